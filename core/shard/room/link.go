package room

import (
	"cmp"
	"slices"
	"time"

	"p2pmodel/core/shard/api/agentv1"
)

// pair is two players, the lesser name first.
type pair struct{ a, b string }

func pairOf(a, b string) pair {
	if b < a {
		a, b = b, a
	}
	return pair{a, b}
}

func (p pair) has(player string) bool { return p.a == player || p.b == player }

// side is 0 for a and 1 for b.
func (p pair) side(player string) int {
	if player == p.a {
		return 0
	}
	return 1
}

// link is the account of one pair's connection. What it is follows from what
// both sides say at present:
//
//	LOST        one side has no path, and had one before
//	DIRECT      both say direct
//	RELAYED     both say relayed
//	as before   one says direct, the other relayed, and the link was DIRECT or
//	            RELAYED: a path changes, and both sides do not see it at once
//	CONNECTING  anything else: a side has said nothing for the life of a
//	            report, or has had no path yet, or they have never agreed
//
// A side whose word is older than that life says nothing. It is judged at the
// moment when it became too old, whenever that is noticed.
type link struct {
	sides   [2]side
	state   agentv1.LinkState
	since   time.Time
	changes uint32
	frozen  bool // one of the two has left, or the match has ended
}

// side is the word of one player on another.
type side struct {
	path agentv1.PathKind // UNSPECIFIED: nothing
	rtt  uint32
	at   time.Time
	had  bool // has had a path
}

// link gives the account of a pair, which begins with this.
func (m *match) link(now time.Time, a, b string) *link {
	k := pairOf(a, b)
	l := m.links[k]
	if l == nil {
		l = &link{state: agentv1.LinkState_LINK_STATE_CONNECTING, since: now}
		m.links[k] = l
	}
	if l.frozen { // who had left is back
		l.frozen = false
		l.restart(now)
	}
	return l
}

// report takes one side's word.
func (l *link) report(now time.Time, life time.Duration, i int, c *agentv1.Connection) {
	l.expire(now, life)
	had := l.sides[i].had || c.Path == agentv1.PathKind_PATH_KIND_DIRECT || c.Path == agentv1.PathKind_PATH_KIND_RELAY
	l.sides[i] = side{path: c.Path, rtt: c.RttMs, at: now, had: had}
	l.judge(now)
}

// restart forgets what both said: one of them is another peer now.
func (l *link) restart(now time.Time) {
	l.sides = [2]side{}
	l.judge(now)
}

// freeze keeps the account as it is now, for the record.
func (l *link) freeze(now time.Time, life time.Duration) {
	l.expire(now, life)
	l.frozen = true
}

// expire forgets words that are too old, in the order in which they became so.
func (l *link) expire(now time.Time, life time.Duration) {
	if l.frozen {
		return
	}
	order := [2]int{0, 1}
	if l.sides[1].at.Before(l.sides[0].at) {
		order = [2]int{1, 0}
	}
	for _, i := range order {
		s := &l.sides[i]
		if ends := s.at.Add(life); s.path != agentv1.PathKind_PATH_KIND_UNSPECIFIED && !now.Before(ends) {
			s.path, s.rtt = agentv1.PathKind_PATH_KIND_UNSPECIFIED, 0
			l.judge(ends)
		}
	}
}

func (l *link) judge(at time.Time) {
	const (
		none   = agentv1.PathKind_PATH_KIND_NONE
		direct = agentv1.PathKind_PATH_KIND_DIRECT
		relay  = agentv1.PathKind_PATH_KIND_RELAY
	)
	x, y := l.sides[0], l.sides[1]
	connected := func(p agentv1.PathKind) bool { return p == direct || p == relay }
	next := agentv1.LinkState_LINK_STATE_CONNECTING
	switch {
	case x.path == none && x.had, y.path == none && y.had:
		next = agentv1.LinkState_LINK_STATE_LOST
	case x.path == direct && y.path == direct:
		next = agentv1.LinkState_LINK_STATE_DIRECT
	case x.path == relay && y.path == relay:
		next = agentv1.LinkState_LINK_STATE_RELAYED
	case connected(x.path) && connected(y.path) && l.state != agentv1.LinkState_LINK_STATE_LOST:
		next = l.state
	}
	if next != l.state {
		l.state, l.since = next, at
		l.changes++
	}
}

// rtt is the mean of what the sides measure that have a path, in milliseconds; 0:
// nobody has measured.
func (l *link) rtt() uint32 {
	sum, n := uint32(0), uint32(0)
	for _, s := range l.sides {
		if s.rtt > 0 && (s.path == agentv1.PathKind_PATH_KIND_DIRECT || s.path == agentv1.PathKind_PATH_KIND_RELAY) {
			sum, n = sum+s.rtt, n+1
		}
	}
	return sum / max(n, 1)
}

// account lists all pairs, by name.
func (m *match) account(now time.Time, life time.Duration) []*agentv1.Match_Link {
	links := make([]*agentv1.Match_Link, 0, len(m.links))
	for k, l := range m.links {
		l.expire(now, life)
		links = append(links, &agentv1.Match_Link{
			A: k.a, B: k.b, State: l.state, RttMs: l.rtt(), SinceMs: l.since.UnixMilli(), Changes: l.changes,
		})
	}
	slices.SortFunc(links, func(x, y *agentv1.Match_Link) int { return cmp.Or(cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B)) })
	return links
}
