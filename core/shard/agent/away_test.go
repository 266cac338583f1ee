package agent_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/rpc"
)

// Calls that wait for a room on its way cost others nothing: neither places nor
// questions, however many they are.
func TestCallsThatWaitForARoomAreInNobodysWay(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", func(c *agent.Config) { c.Limits.Inside, c.Limits.InsideQueue = 2, 16 })
		ann, ben := w.player("ann", a), w.player("ben", a)
		lost, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		alive, err := ben.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		w.move(lost.Id)
		w.fail("FindRoom", rpc.Errorf(connect.CodeUnavailable, "it is on its way"))
		time.AfterFunc(2*time.Second, func() { w.fail("FindRoom", nil) })
		const calls = 12
		began := time.Now()
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				if _, err := ann.GetRoom(t.Context(), lost.Id); err != nil {
					t.Errorf("a call that waits: %v", err)
				}
				if took := time.Since(began); took > 2500*time.Millisecond {
					t.Errorf("it waited %v, want as long as the way", took)
				}
			})
		}
		synctest.Wait()
		for range 5 {
			at := time.Now()
			if _, err := ben.GetRoom(t.Context(), alive.Id); err != nil {
				t.Errorf("a call to a room that is there: %v", err)
			}
			if took := time.Since(at); took > 10*time.Millisecond {
				t.Errorf("it took %v, with %d calls that wait for another room", took, calls)
			}
			time.Sleep(100 * time.Millisecond)
		}
		all.Wait()
		// 10, 20, 40, 80, 160 and then each 200 ms, for all of them.
		if n := w.called("FindRoom"); n > 20 {
			t.Errorf("the directory was asked %d times", n)
		}
	})
}

// Half of what an address may have in work waits for rooms at most.
func TestCallsThatWaitForRoomsAreBounded(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", func(c *agent.Config) { c.Limits.RequestsPerAddress = 8 })
		c := w.raw(a)
		session := w.login(c, "ann")
		made, err := c.CreateRoom(t.Context(), bearer(session, &agentv1.CreateRoomRequest{Settings: settings()}))
		if err != nil {
			t.Fatal(err)
		}
		room := made.Msg.Room.Id
		w.move(room)
		w.fail("FindRoom", rpc.Errorf(connect.CodeUnavailable, "it is on its way"))
		time.AfterFunc(time.Second, func() { w.fail("FindRoom", nil) })
		began := time.Now()
		var all sync.WaitGroup
		var mu sync.Mutex
		waited, refused := 0, 0
		for range 7 {
			all.Go(func() {
				_, err := c.GetRoom(t.Context(), bearer(session, &agentv1.GetRoomRequest{Room: room}))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					waited++
					return
				}
				wantCode(t, err, connect.CodeUnavailable)
				if time.Since(began) > 100*time.Millisecond {
					t.Errorf("it was refused after %v, want at once", time.Since(began))
				}
				refused++
			})
		}
		synctest.Wait()
		if _, err := c.ListRooms(t.Context(), bearer(session, &agentv1.ListRoomsRequest{})); err != nil {
			t.Errorf("another request of the address: %v", err)
		}
		all.Wait()
		if waited != 4 || refused != 3 {
			t.Errorf("%d calls waited and %d were refused, want 4 and 3", waited, refused)
		}
	})
}
