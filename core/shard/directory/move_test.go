package directory

import (
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/rpc"
)

// drain drains a shard.
func (w *world) drain(id string, seconds uint32) {
	w.t.Helper()
	if _, err := call[insidev1.DrainShardResponse](w, "DrainShard", &insidev1.DrainShardRequest{Shard: id, DeadlineSeconds: seconds}, nil); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // all directories know
}

func TestDrainWithoutADeadline(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 100)
		w.ready()
		room := w.place("m").Room
		w.startUnit("b", 100, 100)
		w.ready()
		w.drain("a", 0)
		w.until("the shard knows", time.Second, func() error {
			if !a.keeper.Draining() {
				return fmt.Errorf("it does not")
			}
			return nil
		})
		for range 10 {
			if place := w.place("m"); place.Shard != "b" {
				t.Fatalf("a new room is on %s", place.Shard)
			}
		}
		time.Sleep(time.Minute)
		if place, err := w.find(room); err != nil || place.Shard != "a" || w.shards()["a"].State != draining {
			t.Errorf("its room is at %v, %v; the shard is %v", place, err, w.shards()["a"].State)
		}
		if _, err := call[insidev1.DrainShardResponse](w, "DrainShard", &insidev1.DrainShardRequest{Shard: "a", Cancel: true}, nil); err != nil {
			t.Fatal(err)
		}
		w.until("it takes rooms again", time.Second, func() error {
			if place := w.place("m"); place.Shard != "a" {
				return fmt.Errorf("a room is on %s", place.Shard)
			}
			return nil
		})
		_, err := call[insidev1.DrainShardResponse](w, "DrainShard", &insidev1.DrainShardRequest{Shard: "nobody"}, nil)
		wantCode(t, "drain what is not", err, connect.CodeNotFound)
	})
}

func TestDrainWithADeadlineHandsRoomsOver(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 1000)
		w.ready()
		var rooms []string
		for range 20 {
			rooms = append(rooms, w.place("m").Room)
		}
		b, c := w.startUnit("b", 100, 1000), w.startUnit("c", 100, 1000)
		w.ready()
		w.drain("a", 5)
		time.Sleep(4 * time.Second)
		if n, _ := a.load(); n != 20 {
			t.Errorf("before the deadline it has %d rooms", n)
		}
		w.until("all rooms are elsewhere", 5*time.Second, func() error {
			if n, _ := a.load(); n > 0 {
				return fmt.Errorf("%d are left", n)
			}
			for _, room := range rooms {
				place, err := w.find(room)
				if err != nil {
					return err
				}
				if err := w.units[place.Shard].serve(t.Context(), room); err != nil || place.Epoch != 2 {
					return fmt.Errorf("%v: %w", place, err)
				}
			}
			return nil
		})
		if len(b.adopted) < 5 || len(c.adopted) < 5 || b.adopted[0].reason != reasonDrains {
			t.Errorf("b adopted %d, c %d", len(b.adopted), len(c.adopted))
		}
		if s := a.keeper.State(); !s.Held || s.Term != 1 {
			t.Errorf("the drained shard: %+v", s)
		}
	})
}

// TestARoomIsNotTakenFromAShardThatDoesNotLetGo: it may be serving it.
func TestARoomIsNotTakenFromAShardThatDoesNotLetGo(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 1000)
		w.ready()
		room := w.place("m").Room
		b := w.startUnit("b", 100, 1000)
		w.ready()
		a.mu.Lock()
		a.refuse = func(string) error { return rpc.Errorf(connect.CodeUnavailable, "no time") }
		a.mu.Unlock()
		w.drain("a", 1)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if err := a.serve(t.Context(), room); err != nil {
				t.Fatal(err)
			}
		}
		if len(b.adopted) != 0 {
			t.Error("another has it too")
		}
		a.mu.Lock()
		a.refuse = nil
		a.mu.Unlock()
		w.until("the other has it", 2*time.Second, func() error { return b.serve(t.Context(), room) })
	})
}

func TestADrainedRoomStaysWhereNobodyElseTakesIt(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 1000)
		w.ready()
		room := w.place("m").Room
		w.drain("a", 1)
		time.Sleep(time.Minute)
		if err := a.serve(t.Context(), room); err != nil {
			t.Errorf("after its deadline, alone: %v", err)
		}
	})
}

func TestRoomsWithoutAnyShardEnd(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 1000)
		w.ready()
		room := w.place("m").Room
		a.kill()
		delete(w.units, "a")
		time.Sleep(28 * time.Second)
		_, err := w.find(room)
		wantCode(t, "before its end", err, connect.CodeUnavailable)
		w.until("the room has ended", 10*time.Second, func() error {
			if _, err := w.find(room); rpc.CodeOf(err) != connect.CodeNotFound {
				return fmt.Errorf("%v", err)
			}
			return nil
		})
	})
}

func TestAShardThatRefusesToAdoptIsLeftOut(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 1000)
		w.ready()
		room := w.place("m").Room
		b := w.startUnit("b", 100, 10000) // the first choice
		c := w.startUnit("c", 100, 1000)
		w.ready()
		for range 3 {
			w.place("m") // b and c have load now
		}
		b.refuse = func(string) error { return rpc.Errorf(connect.CodeUnavailable, "no") }
		c.refuse = b.refuse
		a.kill()
		delete(w.units, "a")
		time.Sleep(6 * time.Second)
		_, err := w.find(room)
		wantCode(t, "while both refuse", err, connect.CodeUnavailable)
		c.mu.Lock()
		c.refuse = nil
		c.mu.Unlock()
		w.until("the one that does not refuse any more has it", 15*time.Second, func() error { return c.serve(t.Context(), room) })
	})
}

// TestADirectoryDiesWithAMoveHalfDone: what was written and not told is told by
// another one.
func TestADirectoryDiesWithAMoveHalfDone(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 1000)
		w.ready()
		moved, placed := w.place("m").Room, w.place("m").Room
		b := w.startUnit("b", 100, 1000)
		w.ready()
		// By hand: the entry says that b has the room, and nobody told b; the other
		// was never opened.
		s := w.dirs[0].server
		a.mu.Lock()
		delete(a.rooms, moved)
		delete(a.rooms, placed)
		a.mu.Unlock()
		write := func(id string, change func(*insidev1.StoredRoom)) {
			room, _ := s.state.rooms.find(id)
			next := proto.CloneOf(room.value)
			change(next)
			if _, err := s.state.rooms.update(t.Context(), id, next, room.revision); err != nil {
				t.Fatal(err)
			}
		}
		op := s.history.Begin(history.Operation{Kind: history.Move, Room: moved, Epoch: 2, Shard: "b"})
		write(moved, func(r *insidev1.StoredRoom) {
			r.Record.Shard, r.Record.Epoch, r.ShardEpoch = "b", 2, b.keeper.Epoch()
			r.Pending, r.Reason = true, reasonDied
		})
		s.history.Add(op)
		write(placed, func(r *insidev1.StoredRoom) { r.Pending = true })
		w.killDirectory(0)
		w.until("b has it", 6*time.Second, func() error { return b.serve(t.Context(), moved) })
		w.until("what nobody opened is forgotten", 40*time.Second, func() error {
			if _, err := w.find(placed); rpc.CodeOf(err) != connect.CodeNotFound {
				return fmt.Errorf("%v", err)
			}
			return nil
		})
	})
}
