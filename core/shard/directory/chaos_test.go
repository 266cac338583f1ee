package directory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/rpc"
)

// TestNoRoomHasTwoOwnersWhateverFails: shards, directories and buckets fail at
// random for more than a minute while all rooms are served wherever a shard thinks that it
// may; inWorld checks the history. Afterwards everything works again.
func TestNoRoomHasTwoOwnersWhateverFails(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) { chaos(t, w, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func chaos(t *testing.T, w *world, dice *rand.Rand) {
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		w.startUnit(id, 100, 1000)
	}
	w.ready()
	var rooms []string
	for range 6 {
		rooms = append(rooms, w.place("m").Room)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serve := func(u *unit) {
		serving.Go(func() {
			for ctx.Err() == nil {
				for _, room := range rooms {
					_ = u.serve(ctx, room)
				}
				time.Sleep(37 * time.Millisecond)
			}
		})
	}
	for _, u := range w.units {
		serve(u)
	}
	for range 50 {
		time.Sleep(time.Duration(200+dice.IntN(3600)) * time.Millisecond)
		id, d := ids[dice.IntN(3)], dice.IntN(3)
		switch dice.IntN(11) {
		case 0, 1:
			w.units[id].link.Stall()
		case 2, 3:
			for _, u := range w.units {
				u.link.Reconnect()
			}
		case 4:
			w.dirs[d].engine.Stall()
		case 5:
			for _, d := range w.dirs {
				d.engine.Reconnect()
			}
			w.hub.SetBuckets(true)
		case 6:
			w.hub.SetBuckets(false)
		case 7:
			w.killDirectory(d)
			w.startDirectory(d)
		case 8:
			w.units[id].kill()
			serve(w.startUnit(id, 100, 1000))
		case 9, 10:
			_, _ = call[insidev1.DrainShardResponse](w, "DrainShard", &insidev1.DrainShardRequest{
				Shard: id, DeadlineSeconds: 1, Cancel: dice.IntN(2) == 0}, nil)
		}
	}
	w.hub.SetBuckets(true)
	for _, d := range w.dirs {
		d.engine.Reconnect()
	}
	for _, u := range w.units {
		u.link.Reconnect()
	}
	for _, id := range ids {
		_, _ = call[insidev1.DrainShardResponse](w, "DrainShard", &insidev1.DrainShardRequest{Shard: id, Cancel: true}, nil)
		w.until("shard "+id+" holds its lease", 20*time.Second, w.units[id].keeper.Ready)
	}
	w.until("what is left of the rooms is served", 40*time.Second, func() error {
		for _, room := range rooms {
			if _, err := w.find(room); err != nil && rpc.CodeOf(err) != connect.CodeNotFound { // it ended
				return err
			}
		}
		w.place("m")
		return nil
	})
	cancel()
	serving.Wait()
	kinds := map[history.Kind]int{}
	for _, op := range w.records.operations(t) {
		kinds[op.Kind]++
	}
	t.Log(kinds)
	if kinds[history.Serve] < 1000 {
		t.Error("hardly anything was served: this proves nothing")
	}
}
