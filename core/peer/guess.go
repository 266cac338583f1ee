package peer

import (
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/traits"
)

const (
	// guessEvery is how often a guess is repeated, over the mapping that it has
	// made, until the peer's own checks have opened the way.
	guessEvery = 150 * time.Millisecond
	// guessLasts is how long it is worth it after both have sent, beside round
	// trips.
	guessLasts = time.Second
	// surveyLasts bounds the wait for servers.
	surveyLasts = 3 * time.Second
	// probeEvery is the pace of probes to ports that the peer has named; probeRounds
	// how often each is probed.
	probeEvery  = 5 * time.Millisecond
	probeRounds = 3
	// mostTargets is how many ports of a peer a hard side opens mappings to.
	mostTargets = 8
)

// guess makes a mapping to the peer between two that servers see, and tells the peer
// where it must be: package traits says why.
type guess struct {
	m       *Machine
	s       *session
	targets []netip.AddrPort
	x       *extra
	before  netip.AddrPort
	after   netip.AddrPort
	told    bool
	over    bool
	next    time.Time
	ends    time.Time
	sent    int
}

func newGuess(m *Machine, s *session, now time.Time, targets []netip.AddrPort) *guess {
	return &guess{m: m, s: s, targets: targets, ends: now.Add(surveyLasts)}
}

func (*guess) technique() Technique { return Prediction }

func (g *guess) begin(time.Time) {
	g.x = g.m.open(g.s)
	g.over = g.x == nil
}

// bound sends all at once: a question, the checks, another question. Where the
// NAT gives a socket's first mapping the socket's own port, nobody is asked.
func (g *guess) bound(now time.Time, x *extra, err error) {
	if x != g.x {
		return
	}
	if err != nil {
		g.over = true
		return
	}
	if g.m.survey.traits.Preserves {
		g.fire(now)
		g.tell(now, []uint16{x.local.Port()})
		return
	}
	servers := g.m.hintServers()
	x.survey = traits.NewSurvey(g.m.cfg.Rand)
	g.before = servers[0]
	x.survey.Ask(now, g.before)
	g.m.inquire(x)
	g.fire(now)
	if len(servers) > 1 {
		g.after = servers[1]
		x.survey.Ask(now, g.after)
		g.m.inquire(x)
	}
}

func (g *guess) fire(now time.Time) {
	for _, t := range g.targets {
		g.m.Outbox.Send(socketOf(g.x.base), t, g.s.agent.Probe())
		g.sent++
	}
	g.next = now.Add(guessEvery)
}

func (g *guess) tell(now time.Time, ports []uint16) {
	g.told = true
	g.ends = now.Add(4*g.m.roundTrip(g.s) + guessLasts)
	g.m.tell(now, g.s, hint{Kind: hintPorts, Ports: ports})
}

// conclude takes what the servers saw.
func (g *guess) conclude(now time.Time) {
	b := traits.Bracket{Opened: g.opened(), Delta: g.m.survey.traits.Delta}
	for _, o := range g.x.survey.Seen() {
		switch {
		case o.Repeated:
		case o.Mapped.Addr() != g.m.reflexive.Addr():
			g.over = true // another address: a port alone says nothing
			return
		case o.To == g.before:
			b.Before = o.Mapped.Port()
		case o.To == g.after:
			b.After = o.Mapped.Port()
		}
	}
	ports := b.Ports()
	if len(ports) == 0 {
		g.over = true
		return
	}
	g.tell(now, ports)
}

// opened is how many mappings the checks have made.
func (g *guess) opened() int {
	if g.m.survey.traits.Mapping == traits.AddressDependent {
		return 1
	}
	return len(g.targets)
}

func (g *guess) hint(now time.Time, h hint) bool {
	switch {
	case h.Kind == hintPorts && g.told && g.m.survey.traits.Mapping == traits.AddressDependent:
		// The peer has opened mappings to us, and says where they are. Ours is the same
		// for all ports of its address.
		g.targets = g.s.at(h.Ports[:min(len(h.Ports), traits.MostPorts)])
		g.ends = now.Add(4*g.m.roundTrip(g.s) + guessLasts)
		g.fire(now)
		return true
	case h.Kind == hintOver:
		g.over = true
		return true
	}
	return false
}

func (g *guess) step(now time.Time) bool {
	switch {
	case g.over || due(now, g.ends):
		return true
	case g.x.survey != nil && !g.told && g.x.survey.Done():
		g.conclude(now)
		return g.over
	case g.told && due(now, g.next):
		g.fire(now)
	}
	return false
}

func (g *guess) pollTimeout() time.Time {
	if g.told {
		return earlier(g.next, g.ends)
	}
	return g.ends
}

func (g *guess) covers(p Path) bool           { return g.x != nil && p.Base == g.x.base }
func (g *guess) spent() (sockets, probes int) { return 1, g.sent }

// probing sends checks to the ports of which the peer says that one is right.
type probing struct {
	m       *Machine
	s       *session
	base    punch.Base
	targets []netip.AddrPort
	sent    int
	probes  int
	next    time.Time
	over    bool
}

func newProbing(m *Machine, s *session, now time.Time, base punch.Base, targets []netip.AddrPort) *probing {
	return &probing{m: m, s: s, base: base, targets: targets, next: now}
}

func (*probing) technique() Technique           { return Prediction }
func (*probing) bound(time.Time, *extra, error) {}
func (p *probing) covers(path Path) bool {
	return path.Base == p.base && slices.Contains(p.targets, path.Remote)
}
func (p *probing) spent() (sockets, probes int) { return 0, p.probes }
func (p *probing) pollTimeout() time.Time       { return p.next }
func (p *probing) begin(now time.Time)          { p.step(now) }

func (p *probing) hint(now time.Time, h hint) bool {
	switch h.Kind {
	case hintPorts: // from another socket
		p.targets, p.sent, p.next = p.s.at(h.Ports), 0, now
		return true
	case hintOver:
		p.over = true
		return true
	}
	return false
}

func (p *probing) step(now time.Time) bool {
	if p.over || len(p.targets) == 0 {
		return true
	}
	for !now.Before(p.next) {
		if p.sent >= probeRounds*len(p.targets) {
			return true
		}
		p.m.transmit(now, p.base, p.targets[p.sent%len(p.targets)], p.s.agent.Probe())
		p.m.stats.Hard.Probes++
		p.sent++
		p.probes++
		switch {
		case p.sent == probeRounds*len(p.targets):
			p.next = now.Add(2*p.m.roundTrip(p.s) + guessLasts)
		case p.sent%len(p.targets) == 0:
			p.next = now.Add(max(guessEvery, p.m.roundTrip(p.s)))
		default:
			p.next = now.Add(probeEvery)
		}
	}
	return false
}
