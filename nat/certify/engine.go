package certify

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// Probe is one certification: a machine without I/O or clock. The driver calls
// Start once, then drains PollOpen and PollSend after every call, reports what
// happened with the Handle methods (HandleSent after draining PollSend), and calls HandleTimeout at PollTimeout.
// When Result says true, all is measured; the driver then closes all sockets.
// A probe is not safe for concurrent use.
type Probe struct {
	cfg     Config
	marker  [8]byte // tells this probe's datagrams from all others
	started time.Time

	opens     []Open
	sends     []Send
	sockets   []*socket
	shots     []*shot
	leaving   []leaving // handed to the driver, which has not said yet that they left
	live      []*shot   // shots that await an arrival or their deadline
	alarms    []*alarm
	opening   int
	resetting func(now time.Time, err error) // until the NAT has lost its state
	ranged    string                         // the range of ports that were used up; empty: they were not
	phases    []func(now time.Time)
	other     map[Protocol]*socket // outside sockets of other protocols than UDP
	outside   [2][2]*socket
	used      map[uint16]bool // inside ports that have been chosen

	seen       []sighting        // all mappings, in order
	samples    []analysis.Sample // those of the port test
	narrow     bool              // free ports were not preserved
	rivals     []int             // two inside hosts that contend for ports, or the only one
	hairpin    turned
	contention contention
	judged     map[string]judgement // by the requirement's number
	foretold   bool                 // mappings for the hairpin test could be foretold

	order  []nat.Axis // in which the axes were found
	told   map[nat.Axis]Finding
	result Result
	done   bool
}

// socket is a socket that the probe asked for.
type socket struct {
	protocol Protocol
	number   int
	inside   bool
	local    netip.AddrPort
	attempts int
	fixed    bool
	opened   func(now time.Time, s *socket)
	errors   []ICMPError // that came about what it sent
}

// shot is one datagram, sent once or several times, and who got it.
type shot struct {
	id       uint32
	from     *socket
	to       netip.AddrPort
	size     int  // of the datagram
	form     Form // how it is sent
	text     bool // as the text of an application protocol, not as bytes
	copies   int  // still to be sent
	every    time.Duration
	next     time.Time // of the next copy
	deadline time.Time
	// sent are the times at which copies were to be sent, left those by which
	// they had been: a busy machine may stand still in between.
	sent, left []time.Time
	arrivals   []arrival
	over       bool
	done       func(now time.Time, s *shot)
}

// arrival is a datagram of a shot, as it came out of the network.
type arrival struct {
	at      time.Time
	socket  *socket
	from    netip.AddrPort
	changed bool // the payload is not what was sent
}

// leaving is a copy of a shot that the driver was given to send.
type leaving struct {
	shot *shot
	copy int
}

type alarm struct {
	at   time.Time
	ring func(now time.Time)
}

// Start begins the measurement.
func (p *Probe) Start(now time.Time) {
	p.started = now
	p.advance(now)
}

// HandleOpened answers an Open: the local address as bound, or the error.
func (p *Probe) HandleOpened(now time.Time, number int, local netip.AddrPort, err error) {
	if p.done || number < 0 || number >= len(p.sockets) || p.sockets[number].opened == nil {
		return
	}
	s := p.sockets[number]
	switch {
	case err == nil:
		s.local = local
	case s.fixed && (s.inside || s.local.Port() != p.cfg.Ports[0] && s.local.Port() != p.cfg.Ports[1]): // whoever wanted this very port does without
		opened := s.opened
		s.opened = nil
		p.opening--
		opened(now, nil)
		p.advance(now)
		return
	case s.fixed || s.attempts >= 8:
		p.fail(now, fmt.Errorf("certify: open socket at %s: %w", s.local, err))
		return
	default: // the port is taken; another will do
		s.attempts++
		s.local = netip.AddrPortFrom(s.local.Addr(), p.freshPort())
		p.opens = append(p.opens, Open{Socket: s.number, Protocol: s.protocol, Inside: s.inside, Local: s.local})
		return
	}
	opened := s.opened
	s.opened = nil
	p.opening--
	opened(now, s)
	p.advance(now)
}

// HandleDatagram gives a datagram that arrived. Datagrams that the probe did
// not send are ignored.
func (p *Probe) HandleDatagram(now time.Time, number int, from netip.AddrPort, payload []byte) {
	if p.done || number < 0 || number >= len(p.sockets) {
		return
	}
	id, ok := p.numberOf(payload)
	if !ok {
		return
	}
	s := p.shots[id]
	s.arrivals = append(s.arrivals, arrival{at: now, socket: p.sockets[number], from: from, changed: !bytes.Equal(payload, p.payload(s))})
	if !s.over {
		p.finish(now, s)
		p.advance(now)
	}
}

// HandleTimeout says that the time named by PollTimeout has come. A call too
// early is harmless.
func (p *Probe) HandleTimeout(now time.Time) {
	if p.done {
		return
	}
	for _, s := range append([]*shot(nil), p.live...) {
		switch {
		case s.over:
		case s.copies > 0 && !now.Before(s.next):
			p.transmit(now, s)
		case s.copies == 0 && !now.Before(s.deadline):
			p.finish(now, s)
		}
	}
	var due []*alarm
	var rest []*alarm
	for _, a := range p.alarms {
		if now.Before(a.at) {
			rest = append(rest, a)
		} else {
			due = append(due, a)
		}
	}
	p.alarms = rest
	for _, a := range due {
		a.ring(now)
	}
	p.advance(now)
}

// PollOpen gives the next socket to open or close.
func (p *Probe) PollOpen() (Open, bool) {
	if len(p.opens) == 0 {
		return Open{}, false
	}
	o := p.opens[0]
	p.opens = p.opens[1:]
	return o, true
}

// PollSend gives the next datagram to send.
func (p *Probe) PollSend() (Send, bool) {
	if len(p.sends) == 0 {
		return Send{}, false
	}
	s := p.sends[0]
	p.sends = p.sends[1:]
	return s, true
}

// HandleSent says that all datagrams that PollSend has given were sent by now,
// and so when the wait for them begins. A driver that cannot tell may leave it
// out; ages of mappings are then less certain.
func (p *Probe) HandleSent(now time.Time) {
	for _, l := range p.leaving {
		l.shot.deadline = l.shot.deadline.Add(now.Sub(l.shot.left[l.copy]))
		l.shot.left[l.copy] = now
	}
	p.leaving = p.leaving[:0]
}

// PollTimeout is when HandleTimeout wants to be called; the zero time means
// never.
func (p *Probe) PollTimeout() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if p.done {
		return next
	}
	for _, s := range p.live {
		if s.copies > 0 {
			sooner(s.next)
		} else {
			sooner(s.deadline)
		}
	}
	for _, a := range p.alarms {
		sooner(a.at)
	}
	return next
}

// Result gives what was measured, once it is.
func (p *Probe) Result() (Result, bool) { return p.result, p.done }

// advance starts the next phase when nothing of the present one is under way.
func (p *Probe) advance(now time.Time) {
	for !p.done && p.opening == 0 && len(p.live) == 0 && len(p.alarms) == 0 {
		if len(p.phases) == 0 {
			p.conclude(now)
			return
		}
		phase := p.phases[0]
		p.phases = p.phases[1:]
		phase(now)
	}
}

// open asks for a socket. Port 0 takes a fresh random one.
func (p *Probe) open(inside bool, local netip.AddrPort, opened func(now time.Time, s *socket)) {
	p.openAs(UDP, inside, local, opened)
}

// openAs is open for any protocol. The outside socket of ICMP has no port.
func (p *Probe) openAs(protocol Protocol, inside bool, local netip.AddrPort, opened func(now time.Time, s *socket)) {
	s := &socket{protocol: protocol, number: len(p.sockets), inside: inside, local: local, fixed: local.Port() != 0 || protocol == ICMP && !inside, opened: opened}
	if !s.fixed {
		s.local = netip.AddrPortFrom(local.Addr(), p.freshPort())
	}
	p.sockets = append(p.sockets, s)
	p.opening++
	p.opens = append(p.opens, Open{Socket: s.number, Protocol: protocol, Inside: inside, Local: s.local})
}

// inside opens a socket behind the NAT at one of its hosts.
func (p *Probe) inside(host int, opened func(now time.Time, s *socket)) {
	p.open(true, netip.AddrPortFrom(p.cfg.Inside[host%len(p.cfg.Inside)], 0), opened)
}

// shoot sends a datagram until it arrives: `copies` times, `every` apart, and
// then waits. done is called at the first arrival, or at the end of the wait.
func (p *Probe) shoot(now time.Time, from *socket, to netip.AddrPort, copies int, every, wait time.Duration, done func(now time.Time, s *shot)) {
	p.launch(now, &shot{from: from, to: to, copies: copies, every: every, done: done}, wait)
}

// launch is shoot, with a datagram of another size or form.
func (p *Probe) launch(now time.Time, s *shot, wait time.Duration) {
	s.id, s.size = uint32(len(p.shots)), max(s.size, marked)
	s.deadline = now.Add(wait)
	p.shots = append(p.shots, s)
	p.live = append(p.live, s)
	p.transmit(now, s)
}

// reach sends what ought to arrive, with patience.
func (p *Probe) reach(now time.Time, from *socket, to netip.AddrPort, done func(now time.Time, s *shot)) {
	p.shoot(now, from, to, 6, p.cfg.Wait/2, 3*p.cfg.Wait, done)
}

// try sends what may be dropped, thrice, so that a lost datagram does not pass
// for a dropped one.
func (p *Probe) try(now time.Time, from *socket, to netip.AddrPort, done func(now time.Time, s *shot)) {
	p.shoot(now, from, to, 3, p.cfg.Wait/4, p.cfg.Wait, done)
}

func (p *Probe) transmit(now time.Time, s *shot) {
	p.sends = append(p.sends, Send{Socket: s.from.number, To: s.to, Payload: p.payload(s), Form: s.form})
	p.leaving = append(p.leaving, leaving{shot: s, copy: len(s.sent)})
	s.sent, s.left = append(s.sent, now), append(s.left, now)
	s.copies--
	s.next = now.Add(s.every)
}

func (p *Probe) finish(now time.Time, s *shot) {
	s.over, s.copies = true, 0
	for i, l := range p.live {
		if l == s {
			p.live = append(p.live[:i], p.live[i+1:]...)
			break
		}
	}
	if s.done != nil {
		s.done(now, s)
	}
}

// after calls ring at a time to come; the phase lasts until then.
func (p *Probe) after(at time.Time, ring func(now time.Time)) *alarm {
	a := &alarm{at: at, ring: ring}
	p.alarms = append(p.alarms, a)
	return a
}

// cancel makes an alarm not ring.
func (p *Probe) cancel(a *alarm) {
	p.alarms = slices.DeleteFunc(p.alarms, func(b *alarm) bool { return a == b })
}
