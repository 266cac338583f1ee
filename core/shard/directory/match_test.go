package directory

import (
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/rpc"
)

func (w *world) quick(mode string, s *insidev1.SessionResponse) (*agentv1.QuickMatchResponse, error) {
	return call[agentv1.QuickMatchResponse](w, "QuickMatch", &agentv1.QuickMatchRequest{Mode: mode}, s.Pass)
}

// queues gives, for each shard, how many have come into its queue.
func (w *world) queues() map[string]int {
	all := map[string]int{}
	for id, u := range w.units {
		u.mu.Lock()
		if n := len(u.queued); n > 0 {
			all[id] = n
		}
		u.mu.Unlock()
	}
	return all
}

// TestAModeSticksToOneShard: whoever asks which directory, and whatever comes.
func TestAModeSticksToOneShard(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for _, id := range []string{"a", "b", "c"} {
			w.startUnit(id, 100, 1000)
		}
		w.ready()
		for i := range 30 {
			resp, err := w.quick("chess", w.login(fmt.Sprint("p", i)))
			if err != nil || resp.EstimatedSeconds != 7 {
				t.Fatalf("%v, %v", resp, err)
			}
			if i == 10 {
				w.startUnit("d", 100, 1000)
				w.ready()
			}
			if i == 20 {
				time.Sleep(modeLife * 2 / 3) // the choice is written again before it is forgotten
			}
			if i == 25 {
				time.Sleep(modeLife * 2 / 3)
			}
		}
		first := w.queues()
		if len(first) != 1 {
			t.Errorf("one mode is on %v", first)
		}
		// Many modes are on many shards.
		for i := range 30 {
			if _, err := w.quick(fmt.Sprint("mode-", i), w.login("p")); err != nil {
				t.Fatal(err)
			}
		}
		if all := w.queues(); len(all) != 4 {
			t.Errorf("31 modes are on %v", all)
		}
	})
}

// Modes are clients' words: they must not fill the bucket. Beyond the bound all
// directories still agree, by the mode's name.
func TestModesThatStickAreBounded(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.startUnit("a", 100, 1000)
		w.startUnit("b", 100, 1000)
		w.ready()
		modes := func(d *process) int {
			d.server.state.mu.RLock()
			defer d.server.state.mu.RUnlock()
			return len(d.server.state.modes.rows)
		}
		eve := w.login("eve")
		for i := range maxModes + 20 {
			if _, err := w.quick(fmt.Sprint("mode-", i), eve); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 { // within the life of a pass
				eve, _ = w.renew(eve.Pass)
			}
		}
		for _, d := range w.dirs {
			if n := modes(d); n < maxModes/2 || n > maxModes+len(w.dirs) {
				t.Errorf("%d modes are remembered, wanted about %d", n, maxModes)
			}
		}
		before := w.queues()
		for i := range 9 {
			if _, err := w.quick("another", w.login(fmt.Sprint("p", i))); err != nil {
				t.Fatal(err)
			}
		}
		grew := 0
		for id, n := range w.queues() {
			if n > before[id] {
				grew++
			}
		}
		if grew != 1 {
			t.Errorf("one mode is in the queues of %d shards", grew)
		}
	})
}

func TestAModeMovesWhenItsShardGoes(t *testing.T) {
	for name, goes := range map[string]func(w *world, id string){
		"it is killed": func(w *world, id string) {
			w.units[id].kill()
			delete(w.units, id)
			w.until("known as dead", 4*time.Second, w.stateIs(id, dead))
		},
		"it drains": func(w *world, id string) { w.drain(id, 0) },
		"it does not answer": func(w *world, id string) {
			w.units[id].refuse = func(string) error { return rpc.Errorf(connect.CodeUnavailable, "no") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				w.startUnit("a", 100, 1000)
				w.startUnit("b", 100, 1000)
				w.startUnit("c", 100, 1000)
				w.ready()
				if _, err := w.quick("chess", w.login("ann")); err != nil {
					t.Fatal(err)
				}
				var before string
				for before = range w.queues() {
				}
				goes(w, before)
				for range 9 {
					if _, err := w.quick("chess", w.login("bob")); err != nil {
						t.Fatal(err)
					}
				}
				after := w.queues()
				delete(after, before)
				if len(after) != 1 {
					t.Errorf("it was on %s, and is on %v now", before, after)
				}
			})
		})
	}
}

func TestCancelMatchReachesEveryQueue(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.startUnit("a", 100, 1000)
		w.startUnit("b", 100, 1000)
		w.ready()
		s := w.login("ann")
		if _, err := call[agentv1.CancelMatchResponse](w, "CancelMatch", &agentv1.CancelMatchRequest{}, s.Pass); err != nil {
			t.Fatal(err)
		}
		for id, u := range w.units {
			if len(u.removed) != 1 || u.removed[0] != s.Session {
				t.Errorf("shard %s: %v", id, u.removed)
			}
		}
		_, err := call[agentv1.CancelMatchResponse](w, "CancelMatch", &agentv1.CancelMatchRequest{}, nil)
		wantCode(t, "without a pass", err, connect.CodeUnauthenticated)
	})
}

func TestAPartyIsBroughtByItsLeader(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		u := w.startUnit("a", 100, 1000)
		w.ready()
		leader, friend := w.login("ann"), w.login("bob")
		party := &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PARTY, Title: "friends", Capacity: 4}
		resp, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: party}, leader.Pass)
		if err != nil {
			t.Fatal(err)
		}
		id := resp.Place.Room
		ask := func(s *insidev1.SessionResponse, room string, players uint32) error {
			_, err := call[agentv1.QuickMatchResponse](w, "QuickMatch", &agentv1.QuickMatchRequest{Mode: "chess", Party: room, Players: players}, s.Pass)
			return err
		}
		// The friend enters; the shard saves that a little later.
		u.mu.Lock()
		u.rooms[id].record.Members = append(u.rooms[id].record.Members, &insidev1.RoomMember{
			Participant: &insidev1.Participant{Session: friend.Session, Player: "bob", Rating: 900}})
		u.mu.Unlock()
		go func() {
			time.Sleep(200 * time.Millisecond)
			_ = u.save(t.Context(), id)
		}()
		if err := ask(leader, id, 4); err != nil {
			t.Fatal(err)
		}
		got := u.queued[0]
		if len(got.Group) != 2 || got.Group[0].Session != leader.Session || !got.Group[0].Leader || got.Group[1].Session != friend.Session || got.Players != 4 || got.Mode != "chess" {
			t.Errorf("into the queue comes %v", got)
		}
		wantCode(t, "a member that does not lead", ask(friend, id, 4), connect.CodePermissionDenied)
		wantCode(t, "a stranger", ask(w.login("eve"), id, 4), connect.CodePermissionDenied)
		wantCode(t, "a party that is not", ask(leader, "aaaaaaaaaaaa", 4), connect.CodeNotFound)
		wantCode(t, "a room that is no party", ask(leader, w.place("m").Room, 4), connect.CodeInvalidArgument)
		u.mu.Lock()
		u.rooms[id].record.Members = append(u.rooms[id].record.Members, &insidev1.RoomMember{
			Participant: &insidev1.Participant{Session: "s3", Player: "cid"}})
		u.mu.Unlock()
		_ = u.save(t.Context(), id)
		time.Sleep(20 * time.Millisecond)
		wantCode(t, "more than play", ask(leader, id, 2), connect.CodeInvalidArgument)
		if len(u.queued) != 1 {
			t.Errorf("%d came into the queue", len(u.queued))
		}
	})
}
