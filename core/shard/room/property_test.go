package room_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/room"
)

// machine drives a room by whatever may happen, and knows what must stay so.
type machine struct {
	r          *room.Room
	now        time.Time
	capacity   int
	seen       *agentv1.Room  // the last view
	places     map[string]int // of each session, by Entered and Left
	generation map[string]uint64
	ended      int
	moves      int
}

func newMachine(t *rapid.T) *machine {
	s := settings(func(s *agentv1.RoomSettings) {
		s.Kind = rapid.SampledFrom([]agentv1.RoomKind{agentv1.RoomKind_ROOM_KIND_PLAY, agentv1.RoomKind_ROOM_KIND_PLAY, agentv1.RoomKind_ROOM_KIND_PARTY}).Draw(t, "kind")
		s.Capacity = rapid.Uint32Range(2, 5).Draw(t, "capacity")
		s.MinPlayers = rapid.Uint32Range(0, 2).Draw(t, "min players")
		s.DropIn = rapid.Bool().Draw(t, "drop in")
		s.MatchSeconds = rapid.Uint32Range(0, 400).Draw(t, "match seconds")
	})
	cfg := room.Config{ID: id, Shard: "a", Epoch: 1, Settings: s, Members: people("p0")}
	if s.Kind == agentv1.RoomKind_ROOM_KIND_PLAY {
		cfg.Start = rapid.Bool().Draw(t, "start")
	}
	r, err := room.Open(epoch, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{r: r, now: epoch, capacity: int(s.Capacity), places: map[string]int{}, generation: map[string]uint64{}}
	m.drain(t)
	return m
}

// drain takes the effects; a save's outcome comes at once.
func (m *machine) drain(t *rapid.T) {
	for {
		e, ok := m.r.PollEffect()
		if !ok {
			return
		}
		switch e := e.(type) {
		case room.Entered:
			m.places[e.Session]++
		case room.Left:
			m.places[e.Session]--
		case room.Save:
			if n := proto.Size(e.Record); n > room.MaxRecord {
				t.Fatalf("a record of %d bytes", n)
			}
			m.r.Saved(m.now, rapid.SampledFrom([]room.Outcome{room.Kept, room.Kept, room.Failed}).Draw(t, "outcome"))
		case room.Ended:
			m.ended++
		}
	}
}

func (m *machine) caller(t *rapid.T) room.Caller {
	p := fmt.Sprint("p", rapid.IntRange(0, 6).Draw(t, "player"))
	session := "s-" + p
	if rapid.IntRange(0, 9).Draw(t, "another session") == 0 {
		session = "other-" + p
	}
	if rapid.IntRange(0, 4).Draw(t, "attached anew") == 0 {
		m.generation[session]++
	}
	return room.Caller{Session: session, Player: p, Generation: 1 + m.generation[session], Until: m.now.Add(time.Minute)}
}

// actions are what may happen. Errors are answers like others.
func (m *machine) actions() map[string]func(*rapid.T) {
	do := func(f func(t *rapid.T, c room.Caller)) func(*rapid.T) {
		return func(t *rapid.T) {
			f(t, m.caller(t))
			m.drain(t)
		}
	}
	return map[string]func(*rapid.T){
		"": m.check,
		"join": do(func(t *rapid.T, c room.Caller) {
			if err := m.r.Join(m.now, c); err == nil && !m.r.Has(c.Player) {
				t.Fatalf("%s has joined and is not there", c.Player)
			}
		}),
		"leave": do(func(_ *rapid.T, c room.Caller) { _ = m.r.Leave(m.now, c) }),
		"ready": do(func(t *rapid.T, c room.Caller) { _ = m.r.SetReady(m.now, c, rapid.Bool().Draw(t, "ready")) }),
		"presence": do(func(t *rapid.T, c room.Caller) {
			_ = m.r.Presence(m.now, c, rapid.Bool().Draw(t, "online"))
		}),
		"chat":   do(func(_ *rapid.T, c room.Caller) { _ = m.r.Chat(m.now, c, "hello") }),
		"finish": do(func(_ *rapid.T, c room.Caller) { _ = m.r.Finish(m.now, c, []byte("x")) }),
		"ticket": do(func(t *rapid.T, c room.Caller) {
			_, _ = m.r.Ticket(m.now, c, peer(c.Player+fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "peer"))))
		}),
		"report": do(func(t *rapid.T, c room.Caller) {
			_ = m.r.Report(m.now, c, []*agentv1.Connection{{
				Player: fmt.Sprint("p", rapid.IntRange(0, 6).Draw(t, "about")),
				Path:   rapid.SampledFrom([]agentv1.PathKind{none, direct, relay}).Draw(t, "path"),
			}})
		}),
		"time": func(t *rapid.T) {
			end := m.now.Add(time.Duration(rapid.Int64Range(0, int64(90*time.Second)).Draw(t, "passes")))
			for i := 0; ; i++ {
				next := m.r.PollTimeout()
				if next.IsZero() || next.After(end) {
					break
				}
				if i > 1000 {
					t.Fatalf("the room wants to be called at once for ever: %v", next)
				}
				if next.After(m.now) {
					m.now = next
				}
				m.r.HandleTimeout(m.now)
				m.drain(t)
				m.check(t)
			}
			m.now = end
		},
		"move": m.move,
	}
}

// check is what holds at any time.
func (m *machine) check(t *rapid.T) {
	view := m.r.View()
	if old := m.seen; old != nil && view.Revision <= old.Revision && !proto.Equal(view, old) {
		t.Fatalf("%v has become %v, and the revision does not say so", old, view)
	}
	m.seen = view
	if len(view.Members) > m.capacity {
		t.Fatalf("%d members in a room of %d", len(view.Members), m.capacity)
	}
	players, leaders := map[string]bool{}, 0
	for _, p := range view.Members {
		if players[p.Player] {
			t.Fatalf("%s is there twice", p.Player)
		}
		players[p.Player] = true
		if p.Leader {
			leaders++
		}
	}
	if len(view.Members) > 0 && leaders != 1 {
		t.Fatalf("%d leaders of %d members", leaders, len(view.Members))
	}
	if m.ended > 1 {
		t.Fatalf("the match was recorded %d times", m.ended)
	}
	sum := 0
	for session, n := range m.places {
		if n < 0 || n > 1 {
			t.Fatalf("the session %s has %d places", session, n)
		}
		sum += n
	}
	if sum != len(view.Members) {
		t.Fatalf("%d sessions have places, and there are %d members", sum, len(view.Members))
	}
	if view.State == agentv1.RoomState_ROOM_STATE_PLAYING && !m.r.Closed() && len(view.Members) == 0 {
		t.Fatal("a match of nobody goes on")
	}
}

// move lets another shard go on by the record, as it came over the wire.
func (m *machine) move(t *rapid.T) {
	if m.r.Closed() {
		return
	}
	before, match := m.r.View(), m.r.Match(m.now)
	rec, err := m.r.Release(m.now, m.r.Epoch())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	read := &insidev1.RoomRecord{}
	if err := proto.Unmarshal(raw, read); err != nil {
		t.Fatal(err)
	}
	read.Epoch++
	old := m.r
	if m.r, err = room.Adopt(m.now, "b", read, "it moves", room.Times{}); err != nil {
		t.Fatalf("the record is not taken: %v", err)
	}
	if old.Mesh() == m.r.Mesh() {
		t.Fatalf("the mesh is %s again", m.r.Mesh())
	}
	m.places = map[string]int{}
	m.moves++
	started := m.r.State() == agentv1.RoomState_ROOM_STATE_PLAYING && before.State == agentv1.RoomState_ROOM_STATE_OPEN
	finished := m.r.State() == agentv1.RoomState_ROOM_STATE_ENDED && before.State == agentv1.RoomState_ROOM_STATE_PLAYING
	m.drain(t)
	now := m.r.View()
	if now.Revision <= before.Revision {
		t.Fatalf("the revision went from %d to %d by a move", before.Revision, now.Revision)
	}
	same := proto.CloneOf(before)
	same.Revision = now.Revision
	for _, p := range same.Members {
		p.Online = true // nobody knows better
	}
	if started || finished {
		// Who was offline counts as online now, so it may start, or end.
		same.State = now.State
	}
	if !proto.Equal(same, now) {
		t.Fatalf("before the move %v, then %v", same, now)
	}
	m.compare(t, match, finished)
}

// compare checks that the match survived: its clock, its players and their
// accounts.
func (m *machine) compare(t *rapid.T, before *agentv1.Match, finished bool) {
	after := m.r.Match(m.now)
	if before == nil {
		if after != nil && after.StartedMs != m.now.UnixMilli() {
			t.Fatalf("there was no match, and now there is %v", after)
		}
		return
	}
	if after.StartedMs != before.StartedMs || after.Tick < before.Tick || int(after.Moves) != m.moves {
		t.Fatalf("before %v, then %v", before, after)
	}
	if !finished && after.EndedMs != before.EndedMs {
		t.Fatalf("it ended at %d, and then at %d", before.EndedMs, after.EndedMs)
	}
	if len(before.Players) != len(after.Players) {
		t.Fatalf("players before %v, then %v", before.Players, after.Players)
	}
	for i, p := range before.Players {
		if !proto.Equal(p, after.Players[i]) {
			t.Fatalf("before %v, then %v", p, after.Players[i])
		}
	}
	if before.Agreed != after.Agreed {
		t.Fatalf("agreed: before %v, then %v", before.Agreed, after.Agreed)
	}
	if len(before.Links) != len(after.Links) {
		t.Fatalf("links before %v, then %v", before.Links, after.Links)
	}
}

func TestWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		t.Repeat(m.actions())
	})
}

// TestTheLargestRecordFits fills a room with the longest of everything.
func TestTheLargestRecordFits(t *testing.T) {
	name := func(i int) string { return strings.Repeat("🙂", limits.MaxPlayer-2) + fmt.Sprintf("%02d", i) }
	for _, c := range []struct {
		name     string
		result   int
		finished int // whose accounts survive
		links    bool
		players  int
	}{
		{"few players", 100, 4, true, 4},
		{"64 with large accounts", limits.MaxResult, 0, false, 64},
		{"64 with small ones", 16, 64, false, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := room.Config{ID: id, Shard: "a", Epoch: 1, Settings: settings(func(s *agentv1.RoomSettings) { s.Capacity = 64 }), Start: true}
			for i := range c.players {
				cfg.Members = append(cfg.Members, &insidev1.Participant{Session: strings.Repeat("s", 62) + fmt.Sprintf("%02d", i), Player: name(i)})
			}
			r, err := room.Open(epoch, cfg)
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range cfg.Members {
				caller := room.Caller{Session: p.Session, Player: p.Player, Until: epoch.Add(time.Minute)}
				if _, err := r.Ticket(epoch, caller, peer(fmt.Sprint("peer ", i))); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					continue // goes on playing
				}
				if err := r.Finish(epoch, caller, bytes.Repeat([]byte{byte(i)}, c.result)); err != nil {
					t.Fatal(err)
				}
			}
			rec := r.Record(epoch)
			if n := proto.Size(rec); n > room.MaxRecord {
				t.Fatalf("the record has %d bytes", n)
			}
			if got := len(rec.Match.Links) > 0; got != c.links {
				t.Errorf("it has links: %v, want %v", got, c.links)
			}
			finished := 0
			for _, m := range rec.Members {
				if m.Finished {
					finished++
				}
			}
			if want := max(c.finished-1, 0); finished != want {
				t.Errorf("%d have finished by the record, want %d", finished, want)
			}
			rec.Epoch++
			if _, err := room.Adopt(epoch, "b", rec, "", room.Times{}); err != nil {
				t.Error(err)
			}
		})
	}
}
