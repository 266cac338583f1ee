package directory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/keeper"
	"p2pmodel/core/shard/rpc"
)

func (w *world) stateIs(id string, want insidev1.ShardState) func() error {
	return func() error {
		if got := w.shards()[id].GetState(); got != want {
			return fmt.Errorf("shard %s is %v", id, got)
		}
		return nil
	}
}

const (
	alive    = insidev1.ShardState_SHARD_STATE_ALIVE
	draining = insidev1.ShardState_SHARD_STATE_DRAINING
	dead     = insidev1.ShardState_SHARD_STATE_DEAD
)

func TestAShardRegistersAndHolds(t *testing.T) {
	for _, members := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(members, " directories"), func(t *testing.T) {
			inWorld(t, members, func(t *testing.T, w *world) {
				u := w.startUnit("a", 10, 40)
				w.ready()
				time.Sleep(time.Minute)
				if s := u.keeper.State(); s != (keeper.State{Held: true, Term: 1, Epoch: 1}) {
					t.Errorf("after a minute: %+v", s)
				}
				if s := w.shards()["a"]; s.State != alive || s.Epoch != 1 || s.CapacityRooms != 10 || s.CapacityPlayers != 40 {
					t.Errorf("listed as %v", s)
				}
				if _, err := u.keeper.Verifier().Verify(w.login("ann").Pass, time.Now()); err != nil {
					t.Errorf("the shard does not know the keys of passes: %v", err)
				}
			})
		})
	}
}

// TestADeadShardIsKnownWithinThreeSeconds kills a shard at many moments of its
// heartbeats.
func TestADeadShardIsKnownWithinThreeSeconds(t *testing.T) {
	var known, moved []time.Duration
	for i := range 40 {
		inWorld(t, 3, func(t *testing.T, w *world) {
			a := w.startUnit("a", 10, 40)
			w.ready()
			w.startUnit("b", 10, 40)
			room := func() string { // the shard b is not there yet
				return w.place("m").Room
			}()
			w.ready()
			if place, err := w.find(room); err != nil || place.Shard != "a" {
				t.Skip("the room is not on the shard that dies") // cannot happen: see place
			}
			time.Sleep(time.Duration(i) * 13 * time.Millisecond)
			killed := time.Now()
			a.kill()
			w.until("the shard is dead", 3*time.Second, w.stateIs("a", dead))
			known = append(known, time.Since(killed))
			w.until("its room is on the other", time.Second, func() error {
				place, err := w.find(room)
				if err == nil && (place.Shard != "b" || place.Epoch != 2) {
					err = fmt.Errorf("it is at %v", place)
				}
				return err
			})
			moved = append(moved, time.Since(killed))
			b := w.units["b"]
			if len(b.adopted) != 1 || b.adopted[0].reason != reasonDied || len(b.adopted[0].record.Members) != 1 {
				t.Errorf("adopted: %+v", b.adopted)
			}
			if err := b.serve(t.Context(), room); err != nil {
				t.Errorf("the new owner: %v", err)
			}
		})
	}
	report := func(what string, all []time.Duration) {
		all = sorted(all, cmp.Compare)
		n := len(all)
		t.Logf("%s after the kill: least %v, median %v, p90 %v, most %v of %d", what, all[0], all[n/2], all[n*9/10], all[n-1], n)
	}
	report("known", known)
	report("rooms moved", moved)
	if most := slices.Max(known); most > 3*time.Second {
		t.Errorf("one was known after %v only", most)
	}
}

// TestAShardThatIsCutOffStopsFirst: before another has its rooms.
func TestAShardThatIsCutOffStopsFirst(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 10, 40)
		w.ready()
		room := w.place("m").Room
		b := w.startUnit("b", 10, 40)
		w.ready()
		if err := a.serve(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		a.link.Stall()
		w.until("the other has it", 4*time.Second, func() error { return b.serve(t.Context(), room) })
		if lost, adopted := a.lost, b.adopted[0].at; lost.IsZero() || !lost.Before(adopted) {
			t.Errorf("lost at %v, adopted by another at %v", lost, adopted)
		}
		if a.keeper.Held() {
			t.Error("it believes that it holds the lease")
		}
		// It comes back: in a new term, without the room.
		a.link.Reconnect()
		w.until("it holds a lease again", 5*time.Second, a.keeper.Ready)
		if term := a.keeper.Term(); term != 2 {
			t.Errorf("in term %d", term)
		}
		err := a.serve(t.Context(), room)
		wantCode(t, "it goes on with the room", err, connect.CodeAborted)
		if rooms, _ := a.load(); rooms != 0 {
			t.Error("it did not let go of the room")
		}
	})
}

func TestOneDirectoryCutOffChangesNothing(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		units := []*unit{w.startUnit("a", 10, 40), w.startUnit("b", 10, 40)}
		w.ready()
		w.dirs[1].engine.Stall()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			for _, u := range units {
				if s := u.keeper.State(); !s.Held || s.Epoch != 1 {
					t.Fatalf("shard %s: %+v", u.id, s)
				}
			}
		}
		w.dirs[1].engine.Reconnect()
		time.Sleep(10 * time.Second)
		for _, u := range units {
			if s := u.keeper.State(); !s.Held || s.Term != 1 {
				t.Errorf("after it is back, shard %s: %+v", u.id, s)
			}
		}
	})
}

// TestAMinorityOfDirectoriesDecidesNothing: with two of three cut off leases end,
// and nobody's rooms are moved.
func TestAMinorityOfDirectoriesDecidesNothing(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 10, 40)
		w.ready()
		room := w.place("m").Room
		b := w.startUnit("b", 10, 40)
		w.ready()
		w.dirs[0].engine.Stall()
		w.dirs[2].engine.Stall()
		time.Sleep(10 * time.Second)
		if a.keeper.Held() || b.keeper.Held() {
			t.Error("a lease is held by one grant of three")
		}
		if err := a.serve(t.Context(), room); err == nil {
			t.Error("it serves its room")
		}
		if len(b.adopted) != 0 {
			t.Error("its room was moved")
		}
		w.dirs[0].engine.Reconnect()
		w.dirs[2].engine.Reconnect()
		w.until("the lease is held again", 5*time.Second, a.keeper.Ready)
		time.Sleep(5 * time.Second)
		// The directories that were cut off heard nothing of anybody, and conclude
		// nothing from that.
		if s := a.keeper.State(); !s.Held || s.Term != 1 || s.Epoch != 1 {
			t.Errorf("afterwards: %+v", s)
		}
		if err := a.serve(t.Context(), room); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestADirectoryDies: the others go on, and when it comes back shards keep their
// leases.
func TestADirectoryDies(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 10, 40)
		w.ready()
		room := w.place("m").Room
		for i := range 3 {
			w.killDirectory(i)
			time.Sleep(4 * time.Second)
			if _, err := w.find(room); err != nil {
				t.Errorf("without directory %d: %v", i, err)
			}
			if s := a.keeper.State(); !s.Held {
				t.Errorf("without directory %d: %+v", i, s)
			}
			w.place("m")
			w.startDirectory(i)
			w.until("it is back", 5*time.Second, w.dirs[i].server.Ready)
			time.Sleep(4 * time.Second)
		}
		// Each start makes the shard register anew, none of them ends its term.
		if s := a.keeper.State(); !s.Held || s.Term != 1 || s.Epoch < 4 {
			t.Errorf("after all were started again: %+v", s)
		}
		if err := a.serve(t.Context(), room); err != nil {
			t.Error(err)
		}
	})
}

func TestAnElectionOfTheBucketsLapsesNoLease(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 10, 40)
		w.ready()
		room, s := w.place("m").Room, w.login("ann")
		w.hub.SetBuckets(false)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if state := a.keeper.State(); !state.Held || state.Epoch != 1 {
				t.Fatalf("%+v", state)
			}
			if _, err := w.find(room); err != nil {
				t.Fatalf("find a room: %v", err)
			}
			if err := a.serve(t.Context(), room); err != nil {
				t.Fatalf("serve a room: %v", err)
			}
			if _, err := call[insidev1.SessionResponse](w, "RenewPass", &insidev1.RenewPassRequest{}, s.Pass); err != nil {
				t.Fatalf("renew a pass: %v", err)
			}
		}
		_, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, s.Pass)
		wantCode(t, "place a room meanwhile", err, connect.CodeUnavailable)
		wantCode(t, "save a room meanwhile", a.save(t.Context(), room), connect.CodeUnavailable)
		w.hub.SetBuckets(true)
		w.place("m")
		if err := a.save(t.Context(), room); err != nil {
			t.Errorf("save a room afterwards: %v", err)
		}
	})
}

func TestAnotherProcessOfTheSameShard(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 10, 40)
		w.ready()
		room := w.place("m").Room
		register := func() error {
			_, err := rpc.Call[insidev1.RegisterShardResponse](t.Context(), w.client, shard.DirectoryFrom("a", "RegisterShard"),
				&insidev1.RegisterShardRequest{Shard: "a", Incarnation: "another", CapacityRooms: 1, CapacityPlayers: 1})
			return err
		}
		wantCode(t, "while the first one lives", register(), connect.CodeFailedPrecondition)
		if s := a.keeper.State(); !s.Held || s.Epoch != 1 {
			t.Errorf("the first one: %+v", s)
		}
		// Killed and started again: it waits for the lease's end, and gets its own
		// room back as any room of a dead shard.
		a.kill()
		began := time.Now()
		again := w.startUnit("a", 10, 40)
		w.until("the second process holds the lease", 4*time.Second, again.keeper.Ready)
		t.Logf("started again, it holds the lease after %v", time.Since(began))
		w.until("it serves the room", 2*time.Second, func() error { return again.serve(t.Context(), room) })
		if place, err := w.find(room); err != nil || place.Epoch != 2 {
			t.Errorf("the room: %v, %v", place, err)
		}
	})
}

func TestAnOrderlyEndGivesRoomsAwayAtOnce(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 10, 40)
		w.ready()
		room := w.place("m").Room
		b := w.startUnit("b", 10, 40)
		w.ready()
		began := time.Now()
		a.stop()
		w.until("the other serves it", 2*time.Second, func() error { return b.serve(t.Context(), room) })
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if s := w.shards()["a"]; s.State != dead {
			t.Errorf("listed as %v", s)
		}
	})
}

func TestAShardSpeaksForItselfOnly(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.startUnit("a", 10, 40)
		w.ready()
		room := w.place("m")
		from := func(method string) string { return shard.DirectoryFrom("evil", method) }
		_, err := rpc.Call[insidev1.RegisterShardResponse](t.Context(), w.client, from("RegisterShard"),
			&insidev1.RegisterShardRequest{Shard: "a", Incarnation: "x", CapacityRooms: 1, CapacityPlayers: 1})
		wantCode(t, "register as another", err, connect.CodePermissionDenied)
		_, err = rpc.Call[insidev1.UnregisterShardResponse](t.Context(), w.client, from("UnregisterShard"), &insidev1.UnregisterShardRequest{Shard: "a", Epoch: 1})
		wantCode(t, "end another's lease", err, connect.CodePermissionDenied)
		_, err = rpc.Call[insidev1.HeartbeatResponse](t.Context(), w.client, shard.MemberFrom(0, "evil", "Heartbeat"), &insidev1.HeartbeatRequest{Shard: "a", Epoch: 99})
		wantCode(t, "a heartbeat of another", err, connect.CodePermissionDenied)
		_, err = rpc.Call[insidev1.SaveRoomResponse](t.Context(), w.client, from("SaveRoom"),
			&insidev1.SaveRoomRequest{Shard: "a", Record: &insidev1.RoomRecord{Room: room.Room, Shard: "a", Epoch: 1, Settings: settings("m")}})
		wantCode(t, "save another's room", err, connect.CodePermissionDenied)
		_, err = rpc.Call[insidev1.SaveRoomResponse](t.Context(), w.client, from("SaveRoom"),
			&insidev1.SaveRoomRequest{Shard: "evil", Record: &insidev1.RoomRecord{Room: room.Room, Shard: "evil", Epoch: 1, Settings: settings("m")}})
		wantCode(t, "save another's room as its own", err, connect.CodeAborted)
		_, err = rpc.Call[insidev1.DropRoomResponse](t.Context(), w.client, from("DropRoom"), &insidev1.DropRoomRequest{Shard: "evil", Room: room.Room, Epoch: 1})
		wantCode(t, "drop another's room", err, connect.CodeAborted)
		_, err = call[insidev1.RegisterShardResponse](w, "RegisterShard", &insidev1.RegisterShardRequest{Shard: "a", Incarnation: "x", CapacityRooms: 1, CapacityPlayers: 1}, nil)
		wantCode(t, "an Agent registers a shard", err, connect.CodeUnimplemented)
	})
}

func TestOneProcessAMember(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		old := w.dirs[1]
		w.startDirectory(1)
		w.until("the new one is ready", 5*time.Second, w.dirs[1].server.Ready)
		time.Sleep(100 * time.Millisecond)
		if err := old.stop(); err == nil {
			t.Error("the former process goes on beside the new one")
		}
		_ = old.engine.Close()
	})
}

func TestMembersAgreeOnTheirNumber(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		e := w.hub.Connect("stranger")
		server, err := New(Config{Engine: e, Index: 4, Members: 5})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Run(t.Context()); err == nil {
			t.Error("a fifth of five runs beside three")
		} else {
			t.Log(err)
		}
		_ = e.Close()
	})
}

// TestAShardAndADirectoryDieTogether: on one machine, say.
func TestAShardAndADirectoryDieTogether(t *testing.T) {
	var most time.Duration
	for i := range 20 {
		inWorld(t, 3, func(t *testing.T, w *world) {
			a := w.startUnit("a", 10, 40)
			w.ready()
			room := w.place("m").Room
			b := w.startUnit("b", 10, 40)
			w.ready()
			time.Sleep(time.Duration(i) * 29 * time.Millisecond)
			began := time.Now()
			w.dirs[i%3].engine.Disconnect()
			a.kill()
			delete(w.units, "a")
			w.until("the other shard has the room", 4*time.Second, func() error { return b.serve(t.Context(), room) })
			most = max(most, time.Since(began))
		})
	}
	t.Logf("the other shard served the room after %v at most", most)
	if most > 3*time.Second {
		t.Error("that is too late")
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	inWorldWith(t, 1, func(c *Config) { c.Metrics = registry }, func(t *testing.T, w *world) {
		a := w.startUnit("a", 10, 40)
		w.startUnit("b", 10, 40)
		w.ready()
		room := w.place("m")
		_, err := rpc.Call[insidev1.SaveRoomResponse](t.Context(), a.client, shard.DirectoryFrom("x", "SaveRoom"), &insidev1.SaveRoomRequest{
			Shard: "x", Record: &insidev1.RoomRecord{Room: room.Room, Shard: "x", Epoch: 1, Settings: settings("m")}})
		wantCode(t, "another's write", err, connect.CodeAborted)
		w.units[room.Shard].kill()
		delete(w.units, room.Shard)
		w.until("the shard is dead", 3*time.Second, w.stateIs(room.Shard, dead))
		time.Sleep(20 * time.Second)

		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				name := strings.TrimPrefix(f.GetName(), "p2pmodel_directory_")
				for _, l := range m.Label {
					if l.GetName() != "member" {
						name += " " + l.GetValue()
					}
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		for name, want := range map[string]float64{
			"shards alive": 1, "shards dead": 1, "detection_seconds": 1, "placements_total ok": 1, "rooms_moved_total " + reasonDied: 1,
			"writes_refused_total": 1, "sessions_total opened": 1, "sessions": 1,
		} {
			if got[name] != want {
				t.Errorf("%s is %v, %v was right", name, got[name], want)
			}
		}
		if got["heartbeats_total yes"] < 40 {
			t.Errorf("%v heartbeats", got["heartbeats_total yes"])
		}
	})
}
