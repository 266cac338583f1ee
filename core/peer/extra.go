package peer

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/sansio"
	"p2pmodel/core/traits"
)

// extra is a socket beside the machine's own, of one session: it was opened to have a
// mapping of its own. Until somebody proves to be the session's peer on it, the
// session's agent knows nothing of it; then it is a base as any other.
type extra struct {
	base    punch.Base
	session *session
	local   netip.AddrPort // not valid until it is bound
	// home is the address by which everything left when it was opened.
	home    netip.Addr
	survey  *traits.Survey // nil: it asks no server
	adopted bool
	// leaves is when it is closed; zero: not yet.
	leaves time.Time
}

const (
	// firstExtra is the first base of such sockets, extraSocket what is added to
	// get the number of the socket.
	firstExtra  punch.Base    = 256
	extraSocket sansio.Socket = 1 << 20
	// maxExtras bounds those of all sessions: two searches, and guesses beside them.
	maxExtras = 768
)

func socketOf(b punch.Base) sansio.Socket { return extraSocket + sansio.Socket(b) }

func isExtra(s sansio.Socket) bool { return s >= extraSocket && s-extraSocket <= math.MaxUint16 }

// open opens a socket for a session; nil where there are too many.
func (m *Machine) open(s *session) *extra {
	if len(m.extras) >= maxExtras {
		return nil
	}
	if m.extras == nil {
		m.extras = make(map[punch.Base]*extra)
	}
	for {
		m.lastExtra = max(m.lastExtra+1, firstExtra)
		if m.extras[m.lastExtra] == nil {
			break
		}
	}
	x := &extra{base: m.lastExtra, session: s, home: m.home}
	m.extras[x.base] = x
	s.hard.sockets = append(s.hard.sockets, x)
	m.Bind(socketOf(x.base), netip.AddrPortFrom(m.cfg.Listen.Addr(), 0))
	m.stats.Hard.Sockets++
	return x
}

// shut closes a socket, and ends its base where the agent knows it.
func (m *Machine) shut(now time.Time, x *extra) {
	if m.extras[x.base] != x {
		return
	}
	m.forgetExtra(x)
	m.Unbind(socketOf(x.base))
	if x.adopted {
		x.session.agent.SetLocal(now, x.base, nil)
	}
}

func (m *Machine) forgetExtra(x *extra) {
	delete(m.extras, x.base)
	x.session.hard.sockets = slices.DeleteFunc(x.session.hard.sockets, func(o *extra) bool { return o == x })
}

// boundExtra answers a Bind of one of them, and reports whether it was.
func (m *Machine) boundExtra(now time.Time, socket sansio.Socket, local netip.AddrPort, err error) bool {
	if !isExtra(socket) {
		return false
	}
	x := m.extras[punch.Base(socket-extraSocket)]
	switch {
	case x == nil && err == nil:
		m.Unbind(socket)
	case x == nil:
	case err != nil:
		m.forgetExtra(x)
		if a := x.session.hard.attempt; a != nil {
			a.bound(now, x, err)
			m.advance(now, x.session)
		}
	default:
		x.local = local
		if a := x.session.hard.attempt; a != nil {
			a.bound(now, x, nil)
			m.advance(now, x.session)
		}
	}
	m.pump(now)
	return true
}

// receiveExtra takes what came by one of them, and reports whether it did.
func (m *Machine) receiveExtra(now time.Time, d sansio.Datagram) bool {
	if !isExtra(d.Socket) {
		return false
	}
	x := m.extras[punch.Base(d.Socket-extraSocket)]
	from := unmap(d.Remote)
	switch {
	case x == nil:
	case x.survey != nil && x.survey.HandleDatagram(now, from, d.Payload):
		m.advance(now, x.session)
	case !x.adopted && !x.session.agent.Authentic(d.Payload):
		m.stats.Strange++
	default:
		if !x.adopted {
			x.adopted = true
			x.session.agent.SetLocal(now, x.base, m.extraCandidates(x))
		}
		m.receive(now, x.base, from, d.Payload)
	}
	m.pump(now)
	return true
}

// extraCandidates are the addresses of our interfaces, with the socket's port.
func (m *Machine) extraCandidates(x *extra) (list []punch.Candidate) {
	for _, c := range m.hostCandidates() {
		c.Addr = netip.AddrPortFrom(c.Addr.Addr(), x.local.Port())
		list = append(list, c)
	}
	return list
}

// shutBut closes a session's sockets, but for the one of a base.
func (m *Machine) shutBut(now time.Time, s *session, keep punch.Base) {
	for _, x := range slices.Clone(s.hard.sockets) {
		if x.base != keep {
			m.shut(now, x)
		}
	}
}

// leave closes a session's sockets but for the one of a base. One that has carried the
// session stays open for a while: the peer sends to it until it has heard of the new path.
func (s *session) leave(now time.Time, m *Machine, keep punch.Base) {
	for _, x := range slices.Clone(s.hard.sockets) {
		switch {
		case x.base == keep:
			x.leaves = time.Time{}
		case !x.adopted:
			m.shut(now, x)
		case x.leaves.IsZero():
			x.leaves = now.Add(retireAfter)
		}
	}
}

// sendExtra sends by one of them, from the address that it was opened with while that
// is a former one.
func (m *Machine) sendExtra(b punch.Base, to netip.AddrPort, payload []byte) {
	if x := m.extras[b]; x != nil && m.former != nil && x.home == m.former.addr {
		m.SendFrom(socketOf(b), x.home, to, payload)
		return
	}
	m.Outbox.Send(socketOf(b), to, payload)
}

// withdrawExtras has a session leave its sockets: our network is about to be another
// one. What was under way ends.
func (m *Machine) withdrawExtras(now time.Time, s *session) {
	m.hardAgain(now, s, true)
	for _, x := range s.hard.sockets {
		s.agent.Withdraw(now, x.base)
	}
}

// shutExtras closes those that were opened with an address that is gone.
func (m *Machine) shutExtras(now time.Time, s *session, home netip.Addr) {
	for _, x := range slices.Clone(s.hard.sockets) {
		if x.home == home {
			m.shut(now, x)
		}
	}
}
