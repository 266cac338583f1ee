package peer

import (
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/traits"
)

// meeting is for two sides whose mappings depend on each other's ports, and whose
// NATs count. Neither can open a mapping to a port that does not exist yet, so both
// foretell one: each asks a server where its counter stands and names a port some
// steps ahead, and then sends to the other's from as many sockets. One of them
// gets the port that was named, if not too much of others came between. The side
// that leads names its port first; the other one asks, names and sends at
// once; the first one sends when it hears.
type meeting struct {
	m       *Machine
	s       *session
	theirs  uint16 // 0: not named yet
	sockets []*extra
	scout   *extra // asks the server; nil where sockets' ports are preserved
	told    bool
	over    bool
	next    time.Time
	ends    time.Time
	sent    int
}

func newMeeting(m *Machine, s *session, now time.Time, theirs uint16) *meeting {
	return &meeting{m: m, s: s, theirs: theirs, ends: now.Add(surveyLasts)}
}

func (*meeting) technique() Technique { return Prediction }

func (g *meeting) begin(time.Time) {
	count := traits.MeetSockets
	if g.m.survey.traits.Preserves {
		count = 1
	} else if g.scout = g.m.open(g.s); g.scout == nil {
		g.over = true
		return
	}
	for range count {
		x := g.m.open(g.s)
		if x == nil {
			g.over = true
			return
		}
		g.sockets = append(g.sockets, x)
	}
}

// bound asks once all sockets are open: from then on time counts.
func (g *meeting) bound(now time.Time, _ *extra, err error) {
	if err != nil {
		g.over = true
		return
	}
	open := func(x *extra) bool { return x == nil || x.local.IsValid() }
	if g.told || !open(g.scout) || slices.ContainsFunc(g.sockets, func(x *extra) bool { return !open(x) }) {
		return
	}
	if g.scout == nil {
		g.tell(now, g.sockets[0].local.Port())
		return
	}
	g.scout.survey = traits.NewSurvey(g.m.cfg.Rand)
	g.scout.survey.Ask(now, g.m.servers.Rendezvous)
	g.m.inquire(g.scout)
}

func (g *meeting) tell(now time.Time, port uint16) {
	g.told = true
	g.ends = now.Add(4*g.m.roundTrip(g.s) + guessLasts)
	if g.theirs != 0 {
		g.fire(now)
	}
	g.m.tell(now, g.s, hint{Kind: hintMeet, Ports: []uint16{port}})
}

func (g *meeting) fire(now time.Time) {
	to := netip.AddrPortFrom(g.s.hard.vouched.Addr(), g.theirs)
	for _, x := range g.sockets {
		g.m.Outbox.Send(socketOf(x.base), to, g.s.agent.Probe())
		g.sent++
	}
	g.next = now.Add(guessEvery)
}

func (g *meeting) hint(now time.Time, h hint) bool {
	switch {
	case h.Kind == hintMeet && len(h.Ports) == 1 && g.theirs == 0:
		g.theirs = h.Ports[0]
		if g.told {
			g.ends = now.Add(4*g.m.roundTrip(g.s) + guessLasts)
			g.fire(now)
		}
		return true
	case h.Kind == hintOver:
		g.over = true
		return true
	}
	return false
}

func (g *meeting) step(now time.Time) bool {
	switch {
	case g.over || due(now, g.ends):
		return true
	case !g.told && g.scout != nil && g.scout.survey != nil && g.scout.survey.Done():
		seen := g.scout.survey.Seen()
		if len(seen) != 1 || seen[0].Repeated || seen[0].Mapped.Addr() != g.m.reflexive.Addr() {
			return true
		}
		port, ok := traits.Meet(seen[0].Mapped.Port(), g.m.survey.traits.Delta)
		if !ok {
			return true
		}
		g.tell(now, port)
	case g.told && g.theirs != 0 && due(now, g.next):
		g.fire(now)
	}
	return false
}

func (g *meeting) pollTimeout() time.Time {
	if g.told && g.theirs != 0 {
		return earlier(g.next, g.ends)
	}
	return g.ends
}

func (g *meeting) covers(p Path) bool {
	return slices.ContainsFunc(g.sockets, func(x *extra) bool { return x.base == p.Base })
}

func (g *meeting) spent() (sockets, probes int) { return len(g.sockets), g.sent }
