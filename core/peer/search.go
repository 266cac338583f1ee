package peer

import (
	"net/netip"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/search"
)

// opening is the hard side of a birthday search: sockets that each send to the peer's
// one port, until one of them is found.
type opening struct {
	m       *Machine
	s       *session
	to      netip.AddrPort
	plan    *search.Opener
	sockets []*extra
	ready   int       // sockets that are open
	toldAt  time.Time // zero: not yet
	over    bool
	// refused: the peer has not probed all that it would.
	refused bool
	sent    int
}

func newOpening(m *Machine, s *session, now time.Time) *opening {
	return &opening{m: m, s: s, to: s.meets(), plan: search.NewOpener(now, search.Sockets)}
}

func (*opening) technique() Technique     { return Birthday }
func (o *opening) begin(now time.Time)    { o.step(now) }
func (o *opening) pollTimeout() time.Time { return o.plan.PollTimeout() }
func (o *opening) spent() (s, probes int) { return len(o.sockets), o.sent }
func (o *opening) hint(now time.Time, h hint) bool {
	if h.Kind != hintOver {
		return false
	}
	o.over, o.refused = true, now.Before(o.toldAt.Add(search.Probes*search.ProbeEvery))
	return true
}

func (o *opening) covers(p Path) bool {
	x := o.m.extras[p.Base]
	return x != nil && x.session == o.s
}

// bound sends from a socket that is open. One that cannot be opened is done
// without: a host may have few.
func (o *opening) bound(now time.Time, x *extra, err error) {
	if err == nil {
		o.send(x)
	}
	if o.ready++; o.plan.Opened() && o.ready == len(o.sockets) && o.toldAt.IsZero() {
		o.toldAt = now
		o.m.tell(now, o.s, hint{Kind: hintSearch})
	}
}

func (o *opening) send(x *extra) {
	if x.local.IsValid() {
		o.m.Outbox.Send(socketOf(x.base), o.to, o.s.agent.Probe())
		o.sent++
	}
}

func (o *opening) step(now time.Time) bool {
	for i, ok := o.plan.Poll(now); ok; i, ok = o.plan.Poll(now) {
		if i < len(o.sockets) {
			o.send(o.sockets[i])
		} else if x := o.m.open(o.s); x != nil {
			o.sockets = append(o.sockets, x)
		} else {
			return true
		}
	}
	return o.over || o.plan.Over(now)
}

// searching is the easy side: probes to random ports of the peer's address, from the
// machine's own socket.
type searching struct {
	m    *Machine
	s    *session
	plan *search.Prober
	over bool
	sent int
}

// hitPause is how long probes wait when one has been answered, until there is a path.
const hitPause = 2 * time.Second

func newSearching(m *Machine, s *session, now time.Time) *searching {
	var seed [16]byte
	m.draw(seed[:])
	return &searching{m: m, s: s, plan: search.NewProber(now, seed, search.Probes, s.hard.peer.Low, s.hard.peer.High)}
}

func (*searching) technique() Technique             { return Birthday }
func (p *searching) begin(now time.Time)            { p.step(now) }
func (p *searching) bound(time.Time, *extra, error) {}
func (p *searching) pollTimeout() time.Time         { return p.plan.PollTimeout() }
func (p *searching) spent() (sockets, probes int)   { return 0, p.sent }
func (p *searching) hint(_ time.Time, h hint) bool {
	p.over = p.over || h.Kind == hintOver
	return h.Kind == hintOver
}

func (p *searching) covers(path Path) bool {
	return path.Base == socketBase && path.Remote.Addr() == p.s.hard.vouched.Addr() && path.Remote != p.s.hard.vouched
}

func (p *searching) step(now time.Time) bool {
	for port, ok := p.plan.Poll(now); ok; port, ok = p.plan.Poll(now) {
		p.m.transmit(now, socketBase, netip.AddrPortFrom(p.s.hard.vouched.Addr(), port), p.s.agent.Probe())
		p.m.stats.Hard.Probes++
		p.sent++
	}
	if !p.over && p.plan.Over(now) {
		p.over = true
		p.m.tell(now, p.s, hint{Kind: hintOver})
	}
	return p.over
}

// hit holds a search when something authentic came from the peer's address.
func (m *Machine) hit(now time.Time, s *session, b punch.Base, from netip.AddrPort) {
	if p, ok := s.hard.attempt.(*searching); ok && b == socketBase && from.Addr() == s.hard.vouched.Addr() && from != s.hard.vouched {
		p.plan.Pause(now.Add(hitPause))
	}
}
