package room_test

import (
	"strings"
	"testing"
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/room"
)

var (
	none   = agentv1.PathKind_PATH_KIND_NONE
	direct = agentv1.PathKind_PATH_KIND_DIRECT
	relay  = agentv1.PathKind_PATH_KIND_RELAY
)

// mesh is a match of players who have all got tickets.
func mesh(t *testing.T, players ...string) *scene {
	s := open(t, func(cfg *room.Config) { cfg.Start = true }, players...)
	for _, p := range players {
		_, err := s.r.Ticket(s.now, s.caller(p), peer(p))
		s.do(err)
	}
	return s
}

func (s *scene) says(who string, path agentv1.PathKind, rtt uint32, about string) {
	s.t.Helper()
	s.do(s.r.Report(s.now, s.caller(who), []*agentv1.Connection{{Player: about, Path: path, RttMs: rtt}}))
}

func (s *scene) link() *agentv1.Match_Link {
	s.t.Helper()
	links := s.r.Match(s.now).Links
	if len(links) != 1 {
		s.t.Fatalf("links: %v", links)
	}
	return links[0]
}

func state(l *agentv1.Match_Link) string {
	return strings.TrimPrefix(l.State.String(), "LINK_STATE_")
}

// TestAccount is the specification of a link's state: a conversation of reports,
// and the state after each.
func TestAccount(t *testing.T) {
	type report struct {
		after time.Duration
		who   string
		path  agentv1.PathKind
		want  string
	}
	for _, c := range []struct {
		name  string
		talk  []report
		later time.Duration
		want  string
	}{
		{"nobody says anything", nil, time.Hour, "CONNECTING"},
		{"one side says direct", []report{{0, "ann", direct, "CONNECTING"}}, 0, "CONNECTING"},
		{"both say direct", []report{{0, "ann", direct, "CONNECTING"}, {0, "bob", direct, "DIRECT"}}, 0, "DIRECT"},
		{"both say relayed", []report{{0, "ann", relay, "CONNECTING"}, {0, "bob", relay, "RELAYED"}}, 0, "RELAYED"},
		{"they never agreed", []report{{0, "ann", relay, "CONNECTING"}, {0, "bob", direct, "CONNECTING"}}, 0, "CONNECTING"},
		{"who has had no path has not lost it", []report{{0, "ann", none, "CONNECTING"}, {0, "bob", none, "CONNECTING"}}, 0, "CONNECTING"},
		{"a relayed path becomes direct", []report{
			{0, "ann", relay, "CONNECTING"}, {0, "bob", relay, "RELAYED"},
			{time.Second, "ann", direct, "RELAYED"}, {time.Second, "bob", direct, "DIRECT"},
		}, 0, "DIRECT"},
		{"one loses the other", []report{
			{0, "ann", direct, "CONNECTING"}, {0, "bob", direct, "DIRECT"},
			{time.Second, "ann", none, "LOST"}, {time.Second, "bob", direct, "LOST"},
		}, 0, "LOST"},
		{"and finds it again by a relay", []report{
			{0, "ann", direct, "CONNECTING"}, {0, "bob", direct, "DIRECT"}, {time.Second, "ann", none, "LOST"},
			{time.Second, "ann", relay, "CONNECTING"}, {time.Second, "bob", relay, "RELAYED"},
		}, 0, "RELAYED"},
		{"one had a path the other never saw", []report{
			{0, "ann", direct, "CONNECTING"}, {time.Second, "ann", none, "LOST"},
		}, 0, "LOST"},
		{"both fall silent", []report{{0, "ann", direct, "CONNECTING"}, {0, "bob", direct, "DIRECT"}}, 10 * time.Second, "CONNECTING"},
		{"a report counts for ten seconds", []report{{0, "ann", direct, "CONNECTING"}, {0, "bob", direct, "DIRECT"}}, 10*time.Second - 1, "DIRECT"},
		{"one falls silent", []report{
			{0, "ann", direct, "CONNECTING"}, {0, "bob", direct, "DIRECT"}, {6 * time.Second, "ann", direct, "DIRECT"},
		}, 5 * time.Second, "CONNECTING"},
		{"one who has lost the other falls silent", []report{
			{0, "ann", direct, "CONNECTING"}, {0, "bob", direct, "DIRECT"}, {0, "ann", none, "LOST"}, {9 * time.Second, "bob", direct, "LOST"},
		}, 2 * time.Second, "CONNECTING"},
		{"a silent one still has lost it", []report{
			{0, "ann", direct, "CONNECTING"}, {20 * time.Second, "ann", none, "LOST"},
		}, 0, "LOST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mesh(t, "ann", "bob")
			for i, r := range c.talk {
				s.pass(r.after)
				s.says(r.who, r.path, 0, map[string]string{"ann": "bob", "bob": "ann"}[r.who])
				if got := state(s.link()); got != r.want {
					t.Fatalf("after report %d, of %s: %s, want %s", i, r.who, got, r.want)
				}
			}
			s.now = s.now.Add(c.later)
			s.expect("the state at last", state(s.link()), c.want)
		})
	}
}

func TestChangesOfALink(t *testing.T) {
	s := mesh(t, "ann", "bob")
	s.pass(time.Second)
	s.says("ann", relay, 40, "bob")
	s.says("bob", relay, 60, "ann")
	l := s.link()
	s.expect("relayed", []any{l.A, l.B, state(l), l.RttMs, l.SinceMs - epoch.UnixMilli(), l.Changes}, "[ann bob RELAYED 50 1000 1]")
	s.pass(5 * time.Second)
	s.says("ann", relay, 0, "bob")
	// Bob is silent since 1 s: at 11 s nobody knows, though it is noticed later.
	s.pass(9 * time.Second)
	l = s.link()
	s.expect("unknown", []any{state(l), l.RttMs, l.SinceMs - epoch.UnixMilli(), l.Changes}, "[CONNECTING 0 11000 2]")
	// A new peer starts from nothing.
	s.says("ann", direct, 10, "bob")
	s.says("bob", direct, 10, "ann")
	_, err := s.r.Ticket(s.now, s.caller("bob"), peer("bob again"))
	s.do(err)
	l = s.link()
	s.expect("with a new peer", []any{state(l), l.RttMs, l.SinceMs - epoch.UnixMilli(), l.Changes}, "[CONNECTING 0 15000 4]")
	s.says("bob", none, 0, "ann")
	s.expect("who has had no path since has not lost it", state(s.link()), "CONNECTING")
}

func TestALinkOfWhoLeftStaysAsItWas(t *testing.T) {
	s := mesh(t, "ann", "bob")
	s.says("ann", direct, 10, "bob")
	s.says("bob", direct, 10, "ann")
	s.pass(2 * time.Second)
	s.do(s.r.Leave(s.now, s.caller("bob")))
	s.says("ann", none, 0, "bob") // passed over: he is not here
	s.pass(30 * time.Second)
	s.expect("half a minute later", state(s.link()), "DIRECT")
}

func TestReportsOnNobody(t *testing.T) {
	s := mesh(t, "ann", "bob")
	s.says("ann", direct, 10, "ann")
	s.says("ann", direct, 10, "zoe")
	s.expect("links", len(s.r.Match(s.now).Links), 1)
}

func TestMeshOrders(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start = true }, "ann", "bob", "cid")
	s.heard()
	_, err := s.r.Ticket(s.now, s.caller("ann"), peer("ann"))
	s.do(err)
	s.expect("the first peer", s.heard(), "MeshChanged→s-ann,s-bob,s-cid")
	for _, p := range []string{"bob", "cid"} {
		_, err := s.r.Ticket(s.now, s.caller(p), peer(p))
		s.do(err)
	}
	s.expect("two more at once", s.heard(), "")
	s.pass(100 * time.Millisecond)
	s.expect("are told together", s.heard(), "MeshChanged→s-ann,s-bob,s-cid")
	_, err = s.r.Ticket(s.now, s.caller("bob"), peer("bob"))
	s.do(err)
	s.pass(time.Second)
	s.expect("another ticket for the same peer", s.heard(), "")
	s.do(s.r.Leave(s.now, s.caller("cid")))
	s.pass(time.Second)
	s.expect("a peer goes", s.heard(), "RoomChanged→s-ann,s-bob MeshChanged→s-ann,s-bob")
}
