package ice

import (
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/sansio"
)

// link is a socket, which is a base (RFC 8445 section 4).
type link struct {
	base   punch.Base
	socket sansio.Socket
	// addr is what the socket was to be bound to; local is where it is, not valid
	// until then.
	addr  netip.Addr
	local netip.AddrPort
	// index is the link's place among the host's addresses, for its priority.
	index      int
	candidates []punch.Candidate // of the base
}

// HandleInterfaces implements sansio.Machine. An address that is gone takes its
// candidates and pairs with it; a new one gets a socket, whose candidates are told
// while gathering goes on, and otherwise at the next restart (RFC 8838 section 8.2
// allows no more after the end of candidates).
func (m *Machine) HandleInterfaces(now time.Time, addrs []netip.Addr) {
	if m.state == Closed {
		return
	}
	if a := m.cfg.Listen.Addr(); a.IsValid() && !a.IsUnspecified() {
		addrs = []netip.Addr{a.Unmap()}
	}
	for _, l := range slices.Clone(m.links) {
		if !slices.Contains(addrs, l.addr) {
			m.unlink(now, l)
		}
	}
	for i, a := range addrs {
		known := slices.ContainsFunc(m.links, func(l *link) bool { return l.addr == a })
		if !known && len(m.links) < MaxAddresses {
			m.link(a, i)
		}
	}
	if !m.started {
		m.started = true
		if m.session.agent == nil {
			m.open(now, m.session)
		}
		m.beginGathering(now)
	}
	m.pump(now)
}

// link opens a socket.
func (m *Machine) link(addr netip.Addr, index int) {
	base := punch.Base(0)
	for m.linkOf(base) != nil {
		base++
	}
	l := &link{base: base, socket: m.nextSocket, addr: addr, index: index}
	m.nextSocket++
	m.links = append(m.links, l)
	m.Bind(l.socket, netip.AddrPortFrom(addr, m.cfg.Listen.Port()))
}

// unlink forgets a socket and what hangs on it.
func (m *Machine) unlink(now time.Time, l *link) {
	m.links = slices.DeleteFunc(m.links, func(o *link) bool { return o == l })
	m.bindings.CancelIf(func(b *binding) bool { return b.link == l })
	if l.local.IsValid() {
		m.Unbind(l.socket)
	}
	m.forgetCandidates(now, l.base)
	for _, a := range m.allocations {
		if a.link == l {
			m.forgetCandidates(now, a.base)
		}
	}
	m.allocations = slices.DeleteFunc(m.allocations, func(a *allocation) bool { return a.link == l })
}

// HandleBound implements sansio.Machine.
func (m *Machine) HandleBound(now time.Time, s sansio.Socket, local netip.AddrPort, err error) {
	i := slices.IndexFunc(m.links, func(l *link) bool { return l.socket == s })
	switch {
	case i < 0:
		if err == nil {
			m.Unbind(s) // the address went away while the socket was opened
		}
		return
	case err != nil:
		m.Emit(ServerFailed{Err: err})
		m.links = slices.Delete(m.links, i, i+1)
	default:
		l := m.links[i]
		l.local = unmap(local)
		m.gatherAt(now, l)
	}
	m.doneGathering()
	m.pump(now)
}

func (m *Machine) linkOf(base punch.Base) *link {
	for _, l := range m.links {
		if l.base == base {
			return l
		}
	}
	return nil
}

// HandleDatagram implements sansio.Machine.
func (m *Machine) HandleDatagram(now time.Time, d sansio.Datagram) {
	i := slices.IndexFunc(m.links, func(l *link) bool { return l.socket == d.Socket })
	if i < 0 {
		return
	}
	l, from := m.links[i], unmap(d.Remote)
	for _, a := range m.allocations {
		if a.link == l && a.client.HandleDatagram(now, from, d.Payload) {
			m.pump(now)
			return
		}
	}
	m.receive(now, l.base, from, d.Payload)
	m.pump(now)
}
