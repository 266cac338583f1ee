package directory

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/rpc"
)

// TestADirectoryThatHasJustStartedPlacesRooms: it has had no heartbeat yet, and shards
// have to register anew before it gets one. Calls that come to it meanwhile are
// answered like those that come to others, and queues stay where they are.
func TestADirectoryThatHasJustStartedPlacesRooms(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for _, id := range []string{"a", "b"} {
			w.startUnit(id, 100, 1000)
		}
		w.ready()
		if _, err := w.quick("chess", w.login("p")); err != nil {
			t.Fatal(err)
		}
		queue := fmt.Sprint(slices.Sorted(maps.Keys(w.queues())))
		for i := range w.dirs {
			w.killDirectory(i)
			time.Sleep(4 * time.Second)
			w.startDirectory(i)
			w.until("it is back", 5*time.Second, w.dirs[i].server.Ready)
			for range w.dirs { // calls go to one after another
				w.place("m")
				if _, err := w.quick("chess", w.login("p")); err != nil {
					t.Error(err)
				}
			}
			if now := fmt.Sprint(slices.Sorted(maps.Keys(w.queues()))); now != queue {
				t.Errorf("the queue of one mode was on %s, and is on %s now", queue, now)
			}
		}
	})
}

// TestAShardThatHasJustRegisteredGetsRooms: it is ready when a majority has granted its
// lease; a heartbeat to one of the others has been lost.
func TestAShardThatHasJustRegisteredGetsRooms(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		time.Sleep(10 * time.Second) // no directory is new
		for i, d := range w.dirs {
			s := w.login("p") // while all can be asked
			d.engine.Stall()
			u := w.startUnit(fmt.Sprint("shard-", i), 100, 1000)
			w.until("it holds its lease", 5*time.Second, u.keeper.Ready)
			d.engine.Reconnect()
			time.Sleep(10 * time.Millisecond) // what the buckets have comes to it
			for range w.dirs {
				if _, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, s.Pass); err != nil {
					t.Errorf("without a heartbeat to directory %d: %v", i, err)
				}
			}
			u.stop()
			delete(w.units, u.id)
		}
	})
}

// TestASilentShardGetsNoRooms: one that neither beats nor registers is left out while
// nobody can declare it dead, by a directory that is old enough to know.
func TestASilentShardGetsNoRooms(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 1000)
		w.startUnit("b", 100, 1000)
		w.ready()
		w.dirs[1].engine.Stall()
		w.dirs[2].engine.Stall()
		a.link.Stall()
		time.Sleep(3 * time.Second)
		s := w.dirs[0].server
		s.state.mu.RLock()
		defer s.state.mu.RUnlock()
		if sh := s.state.shards.rows["a"]; !sh.value.Alive {
			t.Fatalf("it is known to be dead: %v", sh.value)
		}
		for _, c := range s.candidates("a room", time.Now()) {
			if c.alive != (c.id == "b") {
				t.Errorf("shard %s counts as alive: %t", c.id, c.alive)
			}
		}
	})
}

// TestARefusalIsTold: where the only shard takes no room, its word is the answer, and
// not that all were full.
func TestARefusalIsTold(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		u := w.startUnit("a", 100, 1000)
		w.ready()
		u.refuse = func(string) error {
			return &rpc.Error{Code: connect.CodeUnavailable, Message: "its relay does not answer", Retry: 2 * time.Second}
		}
		_, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, w.login("p").Pass)
		if got, want := fmt.Sprint(err), "unavailable: its relay does not answer"; got != want {
			t.Errorf("%q, wanted %q", got, want)
		}
	})
}
