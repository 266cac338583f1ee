package directory

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

func TestChoice(t *testing.T) {
	shardOf := func(id string, rooms, players int) candidate {
		return candidate{id: id, used: amount{rooms, players}, capacity: amount{10, 100}, alive: true}
	}
	with := func(c candidate, change func(*candidate)) candidate { change(&c); return c }
	for _, c := range []struct {
		name    string
		from    []candidate
		spare   bool
		without []string
		want    string
	}{
		{name: "nobody"},
		{name: "fewer players", from: []candidate{shardOf("a", 1, 20), shardOf("b", 9, 10)}, want: "b"},
		{name: "as many players, fewer rooms", from: []candidate{shardOf("a", 5, 10), shardOf("b", 4, 10)}, want: "b"},
		{name: "relative to capacity", from: []candidate{
			shardOf("a", 1, 20), with(shardOf("b", 1, 30), func(c *candidate) { c.capacity.players = 1000 })}, want: "b"},
		{name: "equal: the preferred one", from: []candidate{
			with(shardOf("a", 1, 1), func(c *candidate) { c.preference = 2 }), with(shardOf("b", 1, 1), func(c *candidate) { c.preference = 1 })}, want: "b"},
		{name: "dead and draining ones are left out", from: []candidate{
			with(shardOf("a", 0, 0), func(c *candidate) { c.alive = false }), with(shardOf("b", 0, 0), func(c *candidate) { c.draining = true }), shardOf("c", 9, 90)}, want: "c"},
		{name: "full of rooms", spare: true, from: []candidate{shardOf("a", 10, 0), shardOf("b", 9, 90)}, want: "b"},
		{name: "full of players", spare: true, from: []candidate{shardOf("a", 0, 100)}},
		{name: "full, but better than nothing", from: []candidate{shardOf("a", 10, 100)}, want: "a"},
		{name: "tried before", without: []string{"a"}, from: []candidate{shardOf("a", 0, 0), shardOf("b", 5, 5)}, want: "b"},
	} {
		got, ok := choose(c.from, amount{1, 1}, c.spare, c.without)
		if got.id != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v; wanted %q", c.name, got.id, ok, c.want)
		}
	}
}

// TestPlacementIsFair: many Agents at once, by all directories; shards get rooms by
// their capacity.
func TestPlacementIsFair(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.startUnit("a", 1000, 100)
		w.startUnit("b", 1000, 100)
		w.startUnit("c", 1000, 200)
		w.ready()
		var placing sync.WaitGroup
		for range 20 {
			placing.Go(func() {
				for range 10 {
					w.place("m")
				}
			})
		}
		placing.Wait()
		for id, want := range map[string]int{"a": 50, "b": 50, "c": 100} {
			if rooms, _ := w.units[id].load(); rooms < want*85/100 || rooms > want*115/100 {
				t.Errorf("shard %s has %d rooms, about %d were right", id, rooms, want)
			} else {
				t.Logf("shard %s has %d rooms of %d by capacity", id, rooms, want)
			}
		}
	})
}

func TestARoomIsPlacedOnlyWhereItMayBe(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		ann := w.login("ann")
		place := func() (*insidev1.PlaceRoomResponse, error) {
			return call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, ann.Pass)
		}
		_, err := place()
		wantCode(t, "without any shard", err, connect.CodeUnavailable)
		w.startUnit("a", 2, 100)
		w.ready()
		resp, err := place()
		if err != nil {
			t.Fatal(err)
		}
		if m := resp.Room.Members; len(m) != 1 || m[0].Player != "ann" || !m[0].Leader || limits.CheckRoomID("room", resp.Place.Room) != nil {
			t.Errorf("the room is %v", resp)
		}
		if _, err = place(); err != nil {
			t.Fatal(err)
		}
		_, err = place()
		wantCode(t, "with all shards full", err, connect.CodeResourceExhausted)
		w.startUnit("b", 100, 100)
		w.ready()
		w.drain("b", 0)
		_, err = place()
		wantCode(t, "with the other one draining", err, connect.CodeResourceExhausted)
	})
}

func TestRoomsAreBounded(t *testing.T) {
	inWorldWith(t, 1, func(c *Config) { c.MaxRooms = 2 }, func(t *testing.T, w *world) {
		w.startUnit("a", 10, 100)
		w.ready()
		w.place("m")
		w.place("m")
		_, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, w.login("p").Pass)
		wantCode(t, "a third", err, connect.CodeResourceExhausted)
	})
}

func TestAnotherShardGetsTheRoomIfTheFirstDoesNotAnswer(t *testing.T) {
	for name, refuse := range map[string]func(string) error{
		"refuses":               func(string) error { return rpc.Errorf(connect.CodeResourceExhausted, "too much to do") },
		"answers too late":      func(string) error { time.Sleep(1200 * time.Millisecond); return nil },
		"opens it but says not": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				w.startUnit("a", 100, 100)
				w.startUnit("b", 100, 1000)
				w.ready()
				for range 4 { // both are first choice some time
					first := ""
					for _, u := range w.units {
						u.refuse = func(method string) error {
							u.mu.Lock()
							again := first != "" && first != u.id
							if first == "" {
								first = u.id
							}
							u.mu.Unlock()
							if again {
								return nil
							}
							if refuse == nil {
								return rpc.Errorf(connect.CodeUnavailable, "it says")
							}
							return refuse(method)
						}
					}
					place := w.place("m")
					if place.Shard == first {
						t.Errorf("the room is on %s, which did not answer", first)
					}
					if err := w.units[place.Shard].serve(t.Context(), place.Room); err != nil {
						t.Errorf("who has the room: %v", err)
					}
					time.Sleep(2 * time.Second)
					if err := w.units[first].serve(t.Context(), place.Room); err == nil {
						t.Errorf("%s serves it too", first)
					}
				}
			})
		})
	}
}

func TestAShardPlacesAMatchOnce(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 100)
		w.startUnit("b", 100, 100)
		w.ready()
		req := &insidev1.PlaceRoomRequest{Settings: settings("m"), Start: true, Key: "match 1", Members: []*insidev1.Participant{
			{Session: "s1", Player: "ann"}, {Session: "s2", Player: "bob"},
		}}
		place := func(req *insidev1.PlaceRoomRequest) (*insidev1.PlaceRoomResponse, error) {
			return rpc.Call[insidev1.PlaceRoomResponse](t.Context(), a.client, shard.DirectoryFrom("a", "PlaceRoom"), req)
		}
		first, err := place(req)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if again, err := place(req); err != nil || again.Place.Room != first.Place.Room || again.Place.Shard != first.Place.Shard {
				t.Errorf("once more: %v, %v", again, err)
			}
		}
		if rooms := len(a.rooms) + len(w.units["b"].rooms); rooms != 1 {
			t.Errorf("there are %d rooms", rooms)
		}
		_, err = call[insidev1.PlaceRoomResponse](w, "PlaceRoom", req, w.login("eve").Pass)
		wantCode(t, "an Agent places others", err, connect.CodePermissionDenied)
		_, err = call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, nil)
		wantCode(t, "an Agent without a pass", err, connect.CodeUnauthenticated)
		_, err = place(&insidev1.PlaceRoomRequest{Settings: settings("m")})
		wantCode(t, "a match of nobody", err, connect.CodeInvalidArgument)
	})
}

func TestOnlyTheOwnerSavesAndDrops(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 100)
		w.ready()
		room := w.place("m").Room
		save := func(epoch uint64, change func(*insidev1.RoomRecord)) error {
			record := &insidev1.RoomRecord{Room: room, Shard: "a", Epoch: epoch, Settings: settings("m"), Revision: 100}
			if change != nil {
				change(record)
			}
			_, err := rpc.Call[insidev1.SaveRoomResponse](t.Context(), a.client, shard.DirectoryFrom("a", "SaveRoom"), &insidev1.SaveRoomRequest{Shard: "a", Record: record})
			return err
		}
		wantCode(t, "the owner", save(1, nil), 0)
		wantCode(t, "an epoch that nobody gave", save(2, nil), connect.CodeUnavailable)
		wantCode(t, "a room that is not", save(1, func(r *insidev1.RoomRecord) { r.Room = strings.Repeat("a", 12) }), connect.CodeAborted)
		wantCode(t, "no room's id", save(1, func(r *insidev1.RoomRecord) { r.Room = "x" }), connect.CodeInvalidArgument)
		wantCode(t, "another's record", save(1, func(r *insidev1.RoomRecord) { r.Shard = "b" }), connect.CodeInvalidArgument)
		wantCode(t, "too large", save(1, func(r *insidev1.RoomRecord) {
			r.Match = &agentv1.Match{EndReason: strings.Repeat("x", MaxRecord)}
		}), connect.CodeInvalidArgument)
		wantCode(t, "without settings", save(1, func(r *insidev1.RoomRecord) { r.Settings = nil }), connect.CodeInvalidArgument)

		drop := func(epoch uint64) error {
			_, err := rpc.Call[insidev1.DropRoomResponse](t.Context(), a.client, shard.DirectoryFrom("a", "DropRoom"), &insidev1.DropRoomRequest{Shard: "a", Room: room, Epoch: epoch})
			return err
		}
		wantCode(t, "drop an epoch that nobody gave", drop(2), connect.CodeUnavailable)
		wantCode(t, "drop", drop(1), 0)
		wantCode(t, "drop once more", drop(1), 0)
		wantCode(t, "save what was dropped", save(1, nil), connect.CodeAborted)
		_, err := w.find(room)
		wantCode(t, "find what was dropped", err, connect.CodeNotFound)
	})
}

func TestAnOlderSaveDoesNotUndoANewerOne(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		a := w.startUnit("a", 100, 100)
		w.ready()
		room := w.place("m").Room
		for _, revision := range []uint64{50, 40} {
			_, err := rpc.Call[insidev1.SaveRoomResponse](t.Context(), a.client, shard.DirectoryFrom("a", "SaveRoom"), &insidev1.SaveRoomRequest{
				Shard: "a", Record: &insidev1.RoomRecord{Room: room, Shard: "a", Epoch: 1, Settings: settings("m"), Revision: revision}})
			if err != nil {
				t.Fatal(err)
			}
		}
		if r, _ := w.dirs[0].server.state.rooms.find(room); r.value.Record.Revision != 50 {
			t.Errorf("the record has revision %d", r.value.Record.Revision)
		}
	})
}

func TestListRooms(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.startUnit("a", 1000, 10000)
		w.ready()
		make := func(change func(*agentv1.RoomSettings)) {
			s := settings("chess")
			if change != nil {
				change(s)
			}
			if _, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: s}, w.login("p").Pass); err != nil {
				t.Fatal(err)
			}
		}
		for range 25 {
			make(nil)
		}
		for range 5 {
			make(func(s *agentv1.RoomSettings) { s.Mode = "go" })
		}
		make(func(s *agentv1.RoomSettings) { s.Private = true })
		make(func(s *agentv1.RoomSettings) { s.Kind = agentv1.RoomKind_ROOM_KIND_PARTY })
		list := func(req *agentv1.ListRoomsRequest) (ids []string, next string) {
			resp, err := call[agentv1.ListRoomsResponse](w, "ListRooms", req, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range resp.Rooms {
				ids = append(ids, r.Id)
			}
			return ids, resp.NextCursor
		}
		all, next := list(&agentv1.ListRoomsRequest{})
		if len(all) != 30 || next != "" {
			t.Errorf("%d rooms are listed, then %q", len(all), next)
		}
		var paged []string
		for cursor := "-"; cursor != ""; {
			var ids []string
			ids, cursor = list(&agentv1.ListRoomsRequest{Limit: 7, Cursor: strings.Trim(cursor, "-")})
			paged = append(paged, ids...)
		}
		if fmt.Sprint(paged) != fmt.Sprint(all) {
			t.Errorf("by pages %v\nat once %v", paged, all)
		}
		if ids, _ := list(&agentv1.ListRoomsRequest{Mode: "go"}); len(ids) != 5 {
			t.Errorf("of mode go %d are listed", len(ids))
		}
		_, err := call[agentv1.ListRoomsResponse](w, "ListRooms", &agentv1.ListRoomsRequest{Cursor: "nonsense"}, nil)
		wantCode(t, "a cursor that is none", err, connect.CodeInvalidArgument)

		// Rooms that nobody can enter.
		a := w.units["a"]
		for i, id := range all[:3] {
			record := a.rooms[id].record
			switch i {
			case 0:
				record.State = agentv1.RoomState_ROOM_STATE_PLAYING
			case 1:
				record.State, record.Settings.DropIn = agentv1.RoomState_ROOM_STATE_PLAYING, true
			case 2:
				for n := range 3 {
					record.Members = append(record.Members, &insidev1.RoomMember{Participant: &insidev1.Participant{Session: fmt.Sprint("s", n), Player: "x"}})
				}
			}
			if err := a.save(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if ids, _ := list(&agentv1.ListRoomsRequest{}); len(ids) != 28 {
			t.Errorf("%d can be entered, 28 were right", len(ids))
		}
		if ids, _ := list(&agentv1.ListRoomsRequest{All: true}); len(ids) != 30 {
			t.Errorf("%d in all, 30 were right", len(ids))
		}
	})
}

// One client must not be able to fill the shards: neither with rooms that it is
// in, nor with rooms that it leaves at once, which live on for a while.
func TestASessionHasOnlySoManyRoomsMade(t *testing.T) {
	for name, leave := range map[string]bool{"and stays in them": false, "and leaves them at once": true} {
		t.Run(name, func(t *testing.T) {
			inWorldWith(t, 1, nil, func(t *testing.T, w *world) {
				a := w.startUnit("a", 1000, 10000)
				w.ready()
				ann, made, began := w.login("ann"), 0, time.Now()
				for range 100 {
					resp, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, ann.Pass)
					if err != nil {
						wantCode(t, "one room too many", err, connect.CodeResourceExhausted)
						continue
					}
					if made++; leave {
						a.mu.Lock()
						a.rooms[resp.Place.Room].record.Members = nil
						a.mu.Unlock()
						if err := a.save(t.Context(), resp.Place.Room); err != nil {
							t.Fatal(err)
						}
					}
				}
				most := limits.MaxRoomsSession
				if leave {
					most = createBurst + int(time.Since(began)/createEvery)
				}
				if made != most {
					t.Errorf("%d rooms were made, wanted %d", made, most)
				}
				w.place("m") // of another player
				time.Sleep(createEvery)
				_, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, ann.Pass)
				if want := map[bool]connect.Code{false: connect.CodeResourceExhausted}[leave]; rpc.CodeOf(err) != want {
					t.Errorf("a while later: %v", err)
				}
			})
		})
	}
}

// A list of a mode that nobody plays must not hold up everything else while it
// looks at all rooms there are.
func TestAListLooksAtSoManyRoomsOnly(t *testing.T) {
	s := &Server{}
	s.state.init()
	s.state.rooms.rows = map[string]row[*insidev1.StoredRoom]{}
	const rooms = 2*maxLook + 1
	for i := range rooms {
		mode := "chess"
		if i == rooms-1 {
			mode = "go"
		}
		id := strings.Map(func(r rune) rune { return 'a' + r - '0' }, fmt.Sprintf("%012d", i))
		room := &insidev1.StoredRoom{Record: &insidev1.RoomRecord{Room: id, Shard: "a", Settings: settings(mode)}}
		s.state.rooms.rows[id] = row[*insidev1.StoredRoom]{room, uint64(i + 1)}
		s.state.roomChanged(id, nil, room)
	}
	found, calls, cursor := 0, 0, ""
	for more := true; more; more = cursor != "" {
		resp, err := s.listRooms(t.Context(), nil, &agentv1.ListRoomsRequest{Mode: "go", All: true, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		found, calls, cursor = found+len(resp.Rooms), calls+1, resp.NextCursor
	}
	if found != 1 || calls != 3 {
		t.Errorf("%d rooms found in %d calls, wanted 1 in 3", found, calls)
	}
}
