package unit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/rpc"
	"p2pmodel/core/shard/unit"
)

// TestOneOwnerWhateverHappens cuts shards off, again and again and for any time,
// while players call whichever shard they think has their room. The history of who
// acted as whose owner has to be one of one owner at a time, and in the end all
// rooms are somewhere.
func TestOneOwnerWhateverHappens(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { trouble(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func trouble(t *testing.T, dice *rand.Rand) {
	w := newWorld(t)
	shards := []*process{}
	for _, id := range []string{"a", "b", "c"} {
		p := w.shard(id, func(cfg *unit.Config) { cfg.RendezvousServer, cfg.RelayServer, cfg.Unwatched = nil, nil, true })
		w.until("the shard is ready", p.Ready)
		shards = append(shards, p)
	}
	var players []*player
	var rooms []string
	for i := range 6 {
		p := w.player(fmt.Sprint("p", i))
		players = append(players, p)
		rooms = append(rooms, p.create(func(s *agentv1.RoomSettings) { s.Capacity, s.MinPlayers = 16, 16 }).Place.Room)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var calling sync.WaitGroup
	served := 0
	var mu sync.Mutex
	for i, p := range players {
		own := rand.New(rand.NewPCG(uint64(i), dice.Uint64()))
		calling.Go(func() {
			for ctx.Err() == nil {
				// Any shard may be asked: most do not have the room.
				to, room := shards[own.IntN(len(shards))].id, rooms[own.IntN(len(rooms))]
				_, err := rpc.Call[agentv1.JoinRoomResponse](ctx, w.client, shard.LobbySubject(to, "JoinRoom"),
					&agentv1.JoinRoomRequest{Room: room}, rpc.WithPass(p.pass), rpc.WithTimeout(200*time.Millisecond))
				if err == nil {
					mu.Lock()
					served++
					mu.Unlock()
				}
				time.Sleep(time.Duration(own.IntN(40)) * time.Millisecond)
			}
		})
	}
	// Within the life of the players' passes.
	for end := time.Now().Add(45 * time.Second); time.Now().Before(end); {
		p := shards[dice.IntN(len(shards))]
		if dice.IntN(2) == 0 {
			p.engine.Stall()
		} else {
			p.engine.Disconnect()
		}
		time.Sleep(time.Duration(dice.IntN(4000)) * time.Millisecond)
		p.engine.Reconnect()
		time.Sleep(time.Duration(dice.IntN(2000)) * time.Millisecond)
	}
	cancel()
	calling.Wait()
	for _, room := range rooms {
		w.until("the room can be asked for", func() error { _, err := players[0].look(room); return err })
	}
	if served < 100 {
		t.Errorf("%d calls were served", served)
	}
	w.one()
	t.Logf("%d calls served, %d moves", served, players[0].moved())
}
