package lobby_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/rpc"
)

// BenchmarkLobby is one request for a lobby with 20 rooms of two players: called
// directly, which has the check of the pass and of the request and the room's
// actor in it, and through a memory engine. What the passage by NATS costs is
// told against the former.
func BenchmarkLobby(b *testing.B) {
	w := newWorld(b)
	u := w.shard("a")
	defer w.close()
	type caller struct {
		pass []byte
		room string
	}
	var callers []caller
	for i := range 20 {
		ann, bob := w.player(fmt.Sprint("ann", i)), w.player(fmt.Sprint("bob", i))
		ann.life, bob.life = 9*time.Minute, 9*time.Minute
		w.open("a", roomID(i), func(r *insidev1.OpenRoomRequest) { r.Settings.MinPlayers = 3 }, ann, bob)
		callers = append(callers, caller{ann.pass(), roomID(i)}, caller{bob.pass(), roomID(i)})
	}
	ctx := context.Background()
	var next atomic.Uint64
	run := func(name string, do func(c caller, i uint64) error) {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := next.Add(1)
					if err := do(callers[i%uint64(len(callers))], i); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
	run("GetRoom/direct", func(c caller, _ uint64) error {
		_, err := u.lobby.GetRoom(ctx, &rpc.Request{Pass: c.pass}, &agentv1.GetRoomRequest{Room: c.room})
		return err
	})
	run("SetReady/direct", func(c caller, i uint64) error {
		_, err := u.lobby.SetReady(ctx, &rpc.Request{Pass: c.pass}, &agentv1.SetReadyRequest{Room: c.room, Ready: i/40%2 == 0})
		return err
	})
	run("GetRoom/memory", func(c caller, _ uint64) error {
		_, err := rpc.Call[agentv1.GetRoomResponse](ctx, w.client, shard.LobbySubject("a", "GetRoom"), &agentv1.GetRoomRequest{Room: c.room}, rpc.WithPass(c.pass))
		return err
	})
}
