package room_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
)

func TestStart(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*agentv1.RoomSettings)
		players string
		ready   string
		offline string
		want    agentv1.RoomState
	}{
		{"all are ready", nil, "ann bob", "ann bob", "", agentv1.RoomState_ROOM_STATE_PLAYING},
		{"one is not", nil, "ann bob cid", "ann bob", "", agentv1.RoomState_ROOM_STATE_OPEN},
		{"they are too few", nil, "ann", "ann", "", agentv1.RoomState_ROOM_STATE_OPEN},
		{"they are fewer than the room wants", func(s *agentv1.RoomSettings) { s.MinPlayers = 3 }, "ann bob", "ann bob", "", agentv1.RoomState_ROOM_STATE_OPEN},
		{"one is enough", func(s *agentv1.RoomSettings) { s.MinPlayers = 1 }, "ann", "ann", "", agentv1.RoomState_ROOM_STATE_PLAYING},
		{"one is offline", nil, "ann bob", "ann bob", "bob", agentv1.RoomState_ROOM_STATE_OPEN},
		{"a party has no match", func(s *agentv1.RoomSettings) { s.Kind = agentv1.RoomKind_ROOM_KIND_PARTY }, "ann bob", "ann bob", "", agentv1.RoomState_ROOM_STATE_OPEN},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, func(cfg *room.Config) { cfg.Settings = settings(c.change) }, strings.Fields(c.players)...)
			for _, p := range strings.Fields(c.offline) {
				s.do(s.r.Presence(s.now, s.caller(p), false))
			}
			for _, p := range strings.Fields(c.ready) {
				s.do(s.r.SetReady(s.now, s.caller(p), true))
			}
			s.expect("state", s.r.State(), c.want)
		})
	}
}

func TestTheStartWaitsForWhoIsOffline(t *testing.T) {
	s := open(t, nil, "ann", "bob")
	s.do(s.r.SetReady(s.now, s.caller("bob"), true))
	s.do(s.r.Presence(s.now, s.caller("bob"), false))
	s.do(s.r.SetReady(s.now, s.caller("ann"), true))
	s.expect("state", s.r.State(), agentv1.RoomState_ROOM_STATE_OPEN)
	s.heard()
	s.do(s.r.Presence(s.now, s.caller("bob"), true))
	s.expect("state", s.r.State(), agentv1.RoomState_ROOM_STATE_PLAYING)
	s.expect("what is said", s.heard(), "MatchStarted→s-ann,s-bob")
}

func TestLeadership(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Settings.Kind = agentv1.RoomKind_ROOM_KIND_PARTY }, "ann", "bob", "cid")
	s.do(s.r.Presence(s.now, s.caller("bob"), false))
	s.expect("roster", s.roster(), "ann* bob? cid")
	s.do(s.r.Leave(s.now, s.caller("ann")))
	s.expect("roster after the leader left", s.roster(), "bob? cid*")
	s.do(s.r.Presence(s.now, s.caller("cid"), false))
	s.do(s.r.Leave(s.now, s.caller("cid")))
	s.expect("roster with nobody online", s.roster(), "bob*?")
	s.do(s.r.Leave(s.now, s.caller("bob")))
	s.do(s.r.Join(s.now, s.caller("dan")))
	s.expect("roster of a newcomer", s.roster(), "dan*")
}

func TestPlaces(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Settings.Capacity = 2 }, "ann")
	s.do(s.r.Join(s.now, s.caller("bob")))
	s.refused(s.r.Join(s.now, s.caller("cid")), connect.CodeFailedPrecondition)
	s.do(s.r.Join(s.now, s.caller("bob"))) // again
	s.expect("roster", s.roster(), "ann* bob")

	anew := s.caller("bob")
	anew.Session = "s-other"
	s.refused(s.r.SetReady(s.now, anew, true), connect.CodeFailedPrecondition)
	s.heard()
	s.do(s.r.Join(s.now, anew))
	s.expect("the first that is said", strings.Fields(s.heard())[0], "RoomClosed→s-bob")
	s.expect("roster", s.roster(), "ann* bob")
	s.refused(s.r.SetReady(s.now, s.caller("bob"), true), connect.CodeFailedPrecondition)
	s.do(s.r.SetReady(s.now, anew, true))

	stranger := s.caller("eve")
	stranger.Session = "s-ann" // a session has one player
	s.refused(s.r.Join(s.now, stranger), connect.CodePermissionDenied)
}

func TestGenerations(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start = true }, "ann", "bob")
	c := s.caller("bob")
	c.Generation = 4
	s.do(s.r.Presence(s.now, c, true)) // the first that is seen
	c.Generation = 5
	s.do(s.r.Report(s.now, c, nil))
	c.Generation = 4
	for _, err := range []error{
		s.r.Presence(s.now, c, false), s.r.Presence(s.now, c, true), s.r.Join(s.now, c), s.r.Leave(s.now, c),
		s.r.Report(s.now, c, nil), s.r.Chat(s.now, c, "x"), s.r.Finish(s.now, c, nil),
	} {
		s.refused(err, connect.CodeFailedPrecondition)
	}
	s.expect("roster", s.roster(), "ann* bob")
	s.expect("reconnects", s.r.Match(s.now).Players[1].Reconnects, 1)
}

func TestPresence(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start = true }, "ann", "bob")
	// Bob's Agent is silent: he goes offline after a minute, and comes back with
	// whatever he does.
	s.alive(59*time.Second, "ann")
	s.expect("roster after 59 s", s.roster(), "ann* bob")
	s.alive(time.Second, "ann")
	s.expect("roster after a minute", s.roster(), "ann* bob?")
	s.do(s.r.Report(s.now, s.caller("bob"), nil))
	s.expect("roster after a report", s.roster(), "ann* bob")

	// His Agent says that he has gone: what it had sent before counts no more.
	s.do(s.r.Presence(s.now, s.caller("bob"), false))
	s.do(s.r.Report(s.now, s.caller("bob"), nil))
	s.expect("roster after a report that was overtaken", s.roster(), "ann* bob?")
	s.alive(59*time.Second, "ann")
	s.expect("roster within grace", s.roster(), "ann* bob?")
	s.do(s.r.Presence(s.now, s.caller("bob"), true))
	s.expect("reconnects", s.r.Match(s.now).Players[1].Reconnects, 2)
	s.do(s.r.Presence(s.now, s.caller("bob"), false))
	s.alive(time.Minute, "ann")
	s.expect("roster after grace", s.roster(), "ann*")
	s.do(s.r.Presence(s.now, s.caller("bob"), false)) // nobody is to be offline
	s.refused(s.r.Presence(s.now, s.caller("bob"), true), connect.CodePermissionDenied)
}

func TestEndOfAMatch(t *testing.T) {
	for _, c := range []struct {
		name   string
		play   func(s *scene)
		reason string // empty: it goes on
		agreed bool
	}{
		{"all have finished", func(s *scene) {
			s.do(s.r.Finish(s.now, s.caller("ann"), []byte("1:0")))
			s.do(s.r.Finish(s.now, s.caller("bob"), []byte("1:0")))
		}, room.EndFinished, true},
		{"they disagree", func(s *scene) {
			s.do(s.r.Finish(s.now, s.caller("ann"), []byte("1:0")))
			s.do(s.r.Finish(s.now, s.caller("bob"), []byte("0:1")))
		}, room.EndFinished, false},
		{"one corrects the account", func(s *scene) {
			s.do(s.r.Finish(s.now, s.caller("ann"), []byte("0:1")))
			s.do(s.r.Finish(s.now, s.caller("ann"), []byte("1:0")))
			s.do(s.r.Finish(s.now, s.caller("bob"), []byte("1:0")))
		}, room.EndFinished, true},
		{"one has finished", func(s *scene) { s.do(s.r.Finish(s.now, s.caller("ann"), nil)) }, "", false},
		{"the other one is offline", func(s *scene) {
			s.do(s.r.Finish(s.now, s.caller("ann"), nil))
			s.do(s.r.Presence(s.now, s.caller("bob"), false))
		}, room.EndFinished, true},
		{"the other one has left", func(s *scene) {
			s.do(s.r.Finish(s.now, s.caller("ann"), nil))
			s.do(s.r.Leave(s.now, s.caller("bob")))
		}, room.EndFinished, true},
		{"who has finished is offline, and the other plays", func(s *scene) {
			s.do(s.r.Finish(s.now, s.caller("ann"), nil))
			s.do(s.r.Presence(s.now, s.caller("ann"), false))
		}, "", false},
		{"all are offline", func(s *scene) {
			s.do(s.r.Finish(s.now, s.caller("ann"), nil))
			s.do(s.r.Presence(s.now, s.caller("ann"), false))
			s.do(s.r.Presence(s.now, s.caller("bob"), false))
			s.pass(59 * time.Second)
		}, "", false},
		{"all were offline for too long", func(s *scene) {
			s.do(s.r.Presence(s.now, s.caller("ann"), false))
			s.do(s.r.Presence(s.now, s.caller("bob"), false))
			s.pass(time.Minute)
		}, room.EndAbandoned, false},
		{"all have left", func(s *scene) {
			s.do(s.r.Leave(s.now, s.caller("ann")))
			s.do(s.r.Leave(s.now, s.caller("bob")))
		}, room.EndAbandoned, false},
		{"nobody ever came", func(s *scene) { s.pass(2 * time.Minute) }, room.EndAbandoned, false},
		{"its time is over", func(s *scene) { s.alive(5*time.Minute, "ann", "bob") }, room.EndTime, false},
		{"its time is not over", func(s *scene) { s.alive(5*time.Minute-time.Second, "ann", "bob") }, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, func(cfg *room.Config) { cfg.Start, cfg.Settings.MatchSeconds = true, 300 }, "ann", "bob")
			c.play(s)
			m := s.r.Match(s.now)
			s.expect("reason", m.EndReason, c.reason)
			s.expect("records", len(s.ended), map[bool]int{true: 1}[c.reason != ""])
			if c.reason == "" {
				return
			}
			s.expect("agreed", m.Agreed, c.agreed)
			s.expect("state", s.r.State(), agentv1.RoomState_ROOM_STATE_ENDED)
			s.pass(11 * time.Second)
			s.expect("closed and dropped", []bool{s.r.Closed(), s.dropped}, "[true true]")
			s.refused(s.r.Join(s.now, s.caller("cid")), connect.CodeNotFound)
		})
	}
}

func TestAfterTheEnd(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start = true }, "ann", "bob")
	s.do(s.r.Finish(s.now, s.caller("ann"), []byte("1:0")))
	s.do(s.r.Finish(s.now, s.caller("bob"), []byte("1:0")))
	tick := s.r.Tick(s.now)
	s.pass(time.Second)
	s.expect("the clock", s.r.Tick(s.now), tick)
	s.do(s.r.Finish(s.now, s.caller("bob"), []byte("1:0"))) // the answer got lost
	s.refused(s.r.Finish(s.now, s.caller("bob"), []byte("2:0")), connect.CodeFailedPrecondition)
	s.refused(s.r.Join(s.now, s.caller("cid")), connect.CodeFailedPrecondition)
	s.refused(s.r.SetReady(s.now, s.caller("bob"), true), connect.CodeFailedPrecondition)
	_, err := s.r.Ticket(s.now, s.caller("bob"), peer("bob"))
	s.refused(err, connect.CodeFailedPrecondition)
	s.do(s.r.Chat(s.now, s.caller("bob"), "good game"))
	s.do(s.r.Leave(s.now, s.caller("bob")))
	s.expect("left_ms of who leaves after the end", s.r.Match(s.now).Players[1].LeftMs, 0)
	s.heard()
	s.pass(10 * time.Second)
	s.expect("what is said at last", s.heard(), "RoomClosed→s-ann")
}

func TestTick(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start = true }, "ann", "bob")
	for _, c := range []struct {
		after time.Duration
		want  uint64
	}{{0, 0}, {49 * time.Millisecond, 0}, {50 * time.Millisecond, 1}, {time.Second, 20}, {time.Hour, 72000}, {-time.Second, 0}} {
		s.expect(fmt.Sprint("ticks after ", c.after), s.r.Tick(epoch.Add(c.after)), c.want)
	}
}

func TestPlayersComeAndGo(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start, cfg.Settings.DropIn = true, true }, "ann")
	for i := range 200 {
		p := fmt.Sprint("p", i)
		s.do(s.r.Join(s.now, s.caller(p)))
		_, err := s.r.Ticket(s.now, s.caller(p), peer(p))
		s.do(err)
		s.do(s.r.Report(s.now, s.caller(p), []*agentv1.Connection{{Player: "ann", Path: agentv1.PathKind_PATH_KIND_RELAY}}))
		s.pass(time.Second)
		s.do(s.r.Presence(s.now, s.caller("ann"), true))
		s.do(s.r.Leave(s.now, s.caller(p)))
	}
	m := s.r.Match(s.now)
	s.expect("players and links that are kept", []int{len(m.Players), len(m.Links)}, "[65 64]")
	s.do(s.r.Join(s.now, s.caller("p199")))
	m = s.r.Match(s.now)
	s.expect("players after a return", len(m.Players), 65)
	last := m.Players[len(m.Players)-1]
	s.expect("who has returned", []any{last.Player, last.LeftMs, last.Reconnects}, "[p199 0 1]")
}

func TestTellsAndSavesKeepAPace(t *testing.T) {
	s := open(t, nil, "ann")
	s.said, s.saves = nil, nil
	for i := range 1000 {
		s.do(s.r.SetReady(s.now, s.caller("ann"), i%2 == 0))
		s.pass(time.Millisecond)
	}
	s.pass(time.Second)
	if n := len(s.said); n < 10 || n > 12 {
		t.Errorf("1000 changes in a second were told %d times, want about 10", n)
	}
	if n := len(s.saves); n < 4 || n > 6 {
		t.Errorf("they were saved %d times, want about 4", n)
	}
	sum := 0
	for _, save := range s.saves {
		sum += save.Changes
	}
	s.expect("changes that were saved", sum, 1000)
	s.expect("the last record", s.saves[len(s.saves)-1].Record.Revision, s.r.View().Revision)
}

func TestASaveThatFailsIsRepeated(t *testing.T) {
	r, err := room.Open(epoch, room.Config{ID: id, Shard: "a", Epoch: 1, Settings: settings(nil)})
	if err != nil {
		t.Fatal(err)
	}
	save := func() bool {
		e, ok := r.PollEffect()
		_, is := e.(room.Save)
		return ok && is
	}
	if !save() {
		t.Fatal("a new room is not saved")
	}
	r.HandleTimeout(epoch.Add(5 * time.Second))
	if save() {
		t.Error("a second save while the first is under way")
	}
	r.Saved(epoch.Add(5*time.Second), room.Failed)
	if at := r.PollTimeout(); at != epoch.Add(6*time.Second) {
		t.Errorf("it is repeated at %v, want 6 s", at.Sub(epoch))
	}
	r.HandleTimeout(epoch.Add(6 * time.Second))
	if !save() {
		t.Fatal("it is not repeated")
	}
	r.Saved(epoch.Add(7*time.Second), room.Fenced)
	if _, ok := r.PollEffect(); ok || !r.Closed() || !r.PollTimeout().IsZero() {
		t.Error("after it was fenced the room goes on")
	}
	if err := r.Join(epoch, room.Caller{Session: "s", Player: "p"}); rpc.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a join then: %v", err)
	}
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	ann := &insidev1.Participant{Session: "s-ann", Player: "ann"}
	for name, change := range map[string]func(*room.Config){
		"no settings":          func(c *room.Config) { c.Settings = nil },
		"a bad title":          func(c *room.Config) { c.Settings.Title = "" },
		"a player twice":       func(c *room.Config) { c.Members = []*insidev1.Participant{ann, ann} },
		"a party that starts":  func(c *room.Config) { c.Settings.Kind, c.Start = agentv1.RoomKind_ROOM_KIND_PARTY, true },
		"a match of nobody":    func(c *room.Config) { c.Start = true },
		"more than capacity":   func(c *room.Config) { c.Settings.Capacity = 2; c.Members = people("ann", "bob", "cid") },
		"a session for two":    func(c *room.Config) { c.Members = people("ann", "bob"); c.Members[1].Session = "s-ann" },
		"a record of nothing":  nil,
		"a record of the void": nil,
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if change == nil {
				_, err = room.Adopt(epoch, "b", map[string]*insidev1.RoomRecord{"a record of nothing": {}}[name], "", room.Times{})
			} else {
				cfg := room.Config{ID: id, Shard: "a", Epoch: 1, Settings: settings(nil)}
				change(&cfg)
				_, err = room.Open(epoch, cfg)
			}
			var e *rpc.Error
			if !errors.As(err, &e) || e.Code != connect.CodeInvalidArgument {
				t.Errorf("got %v, want invalid_argument", err)
			}
		})
	}
}

func people(names ...string) (list []*insidev1.Participant) {
	for _, n := range names {
		list = append(list, &insidev1.Participant{Session: "s-" + n, Player: n})
	}
	return list
}

func TestWhatIsHandedOutStaysAsItIs(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start = true }, "ann", "bob")
	peers, err := s.r.Ticket(s.now, s.caller("ann"), peer("one"))
	s.do(err)
	view, match := s.r.View(), s.r.Match(s.now)
	before := []proto.Message{proto.CloneOf(view), proto.CloneOf(match), proto.CloneOf(peers[0])}
	_, err = s.r.Ticket(s.now, s.caller("ann"), peer("two"))
	s.do(err)
	s.do(s.r.Finish(s.now, s.caller("ann"), []byte("x")))
	s.do(s.r.Leave(s.now, s.caller("bob")))
	for i, m := range []proto.Message{view, match, peers[0]} {
		if !proto.Equal(m, before[i]) {
			t.Errorf("changed: %v to %v", before[i], m)
		}
	}
}

// A ticket is good until it expires, whoever has the place meanwhile: one player
// must not get so many that the mesh is full of strangers.
func TestAPlayerPlaysByFewPeers(t *testing.T) {
	for name, again := range map[string]bool{"in one place": false, "leaving and joining": true} {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(cfg *room.Config) { cfg.Start, cfg.Settings.DropIn = true, true }, "ann", "eve")
			tickets := 0
			draw := func() error {
				_, err := s.r.Ticket(s.now, s.caller("eve"), peer(fmt.Sprint("eve ", tickets)))
				if err == nil {
					tickets++
				}
				return err
			}
			for range 100 {
				err := draw()
				if err == nil {
					continue
				}
				s.refused(err, connect.CodeResourceExhausted)
				if again {
					s.do(s.r.Leave(s.now, s.caller("eve")))
					s.do(s.r.Join(s.now, s.caller("eve")))
				}
			}
			s.expect("tickets for different peers", tickets, 4)
			_, err := s.r.Ticket(s.now, s.caller("ann"), peer("ann"))
			s.do(err)
			s.pass(30 * time.Second)
			s.do(draw())
		})
	}
}

func TestWhoComesAgainMayNotSayMore(t *testing.T) {
	s := open(t, nil, "ann", "eve")
	said := 0
	for range 50 {
		if err := s.r.Chat(s.now, s.caller("eve"), "spam"); err == nil {
			said++
			continue
		} else {
			s.refused(err, connect.CodeResourceExhausted)
		}
		s.do(s.r.Leave(s.now, s.caller("eve")))
		s.do(s.r.Join(s.now, s.caller("eve")))
	}
	s.expect("said", said, 5)
	s.do(s.r.Chat(s.now, s.caller("ann"), "hello"))
	s.pass(time.Second)
	s.do(s.r.Chat(s.now, s.caller("eve"), "sorry"))
}
