package peer

import (
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
)

// Make before break: a host that has got another address and still has the one by
// which everything left goes on by that one, by naming it, until the way by the new
// one is proved. Whether anything leaves by the new one at all only an answer tells,
// by the address to which it comes.

// former is the address that everything left by before.
type former struct {
	addr netip.Addr
	// decided: the rendezvous has answered to another one.
	decided bool
	since   time.Time
	// idle is since when no session has used it; zero: one does.
	idle time.Time
}

// formerBase is the base of agents that stands for the socket with the former
// address.
const formerBase punch.Base = 7

// HandleInterfaces implements sansio.Machine. A change of addresses is roaming:
// mappings, registration and allocations belong to the old network.
func (m *Machine) HandleInterfaces(now time.Time, addrs []netip.Addr) {
	var fit []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() == m.servers.Rendezvous.Addr().Is4() || !m.cfg.Listen.Addr().Is4() {
			fit = append(fit, a)
		}
	}
	if slices.Equal(fit, m.addrs) {
		return
	}
	more := slices.ContainsFunc(fit, func(a netip.Addr) bool { return !slices.Contains(m.addrs, a) })
	m.addrs = fit
	if !m.bound {
		return
	}
	kept := slices.Contains(fit, m.home)
	if f := m.former; f != nil && (!slices.Contains(fit, f.addr) || more && f.decided) {
		m.endFormer(now)
	}
	switch {
	case !kept:
		m.roam(now)
	case !more: // one address less, which nothing left by
		m.updateOffer(now)
	case m.former == nil:
		m.keep(now)
	default:
		m.rendezvous.Rebind(now) // it is not decided yet, nor is it with one more
	}
	m.pump(now)
}

// roam begins anew on another network.
func (m *Machine) roam(now time.Time) {
	m.stats.Roams++
	m.home, m.reflexive = netip.Addr{}, netip.AddrPort{}
	m.forgetTraits()
	for _, a := range slices.Clone(m.relays) {
		if a.leaving {
			m.drop(now, a) // it was the old network's
		}
		a.relayed = netip.AddrPort{}
	}
	m.updateOffer(now)
	if len(m.addrs) > 0 {
		m.startLines(now)
		m.rendezvous.Rebind(now)
		for _, a := range m.relays {
			a.retry, a.failures = time.Time{}, 0
			a.relay.Rebind(now)
		}
		m.regauge(now)
	}
	m.rebindAll(now)
	if len(m.addrs) > 0 {
		m.examineAnew(now)
	}
}

// keep goes on by the present address, which is a former one from now on, and looks
// for a way by what has come.
func (m *Machine) keep(now time.Time) {
	m.stats.Roams++
	m.former = &former{addr: m.home, since: now}
	m.reflexive = netip.AddrPort{}
	m.forgetTraits()
	for _, a := range m.relays {
		a.local = m.home
	}
	for _, s := range m.sessions {
		s.agent.Move(socketBase, formerBase)
		s.agent.Withdraw(now, formerBase)
		m.withdrawExtras(now, s)
	}
	m.updateOffer(now)
	m.rendezvous.Rebind(now)
	for _, s := range m.sessions {
		s.attempts, s.upgrades, s.retryAt = 0, 0, time.Time{}
		m.restart(now, s)
	}
}

// decide takes that the rendezvous has answered to one of our addresses, after they
// had changed.
func (m *Machine) decideFormer(now time.Time, local netip.Addr) {
	f := m.former
	switch {
	case f == nil:
		if local.IsValid() {
			m.home = local
		}
		return
	case f.decided || !local.IsValid():
		return
	case local == f.addr: // everything still leaves as it did
		for _, a := range m.relays {
			a.local = netip.Addr{}
		}
		for _, s := range m.sessions {
			s.agent.SetLocal(now, socketBase, nil)
			s.agent.Move(formerBase, socketBase)
		}
		m.former = nil
		m.examineAnew(now)
		return
	}
	f.decided, m.home = true, local
	for _, a := range slices.Clone(m.inUse()) {
		if a.relayed.IsValid() {
			a.leaving = true
			continue
		}
		a.local = netip.Addr{}
		a.relay.Rebind(now)
	}
	m.arrange()
	m.regauge(now)
	m.steer(now)
	m.examineAnew(now)
}

// endFormer leaves the former address.
func (m *Machine) endFormer(now time.Time) {
	f := m.former
	m.former = nil
	for _, a := range slices.Clone(m.relays) {
		switch {
		case a.local != f.addr:
		case a.leaving:
			m.drop(now, a)
		default:
			a.local = netip.Addr{}
		}
	}
	for _, s := range m.sessions {
		s.agent.SetLocal(now, formerBase, nil)
		m.shutExtras(now, s, f.addr)
	}
}

// watchFormer leaves the former address when no session uses it any more.
func (m *Machine) watchFormer(now time.Time) {
	f := m.former
	if f == nil || !f.decided {
		return
	}
	used := slices.ContainsFunc(m.relays, func(a *allocation) bool { return a.local == f.addr }) ||
		slices.ContainsFunc(m.sessions, func(s *session) bool {
			path, ok := s.agent.Path()
			return ok && path.Base == formerBase
		})
	switch {
	case used:
		f.idle = time.Time{}
	case f.idle.IsZero():
		f.idle = now
	}
	if due(now, f.endsAt()) {
		m.endFormer(now)
	}
}

// endsAt is when watchFormer has something to do.
func (f *former) endsAt() time.Time {
	switch {
	case f == nil || !f.decided:
		return time.Time{}
	case f.idle.IsZero():
		return f.since.Add(retireMost)
	}
	return earlier(f.since.Add(retireMost), f.idle.Add(retireAfter))
}

// arrivedAt is the base that stands for the address to which a datagram came.
func (m *Machine) arrivedAt(local netip.Addr) (punch.Base, netip.Addr) {
	if m.former != nil && local == m.former.addr {
		return formerBase, local
	}
	return socketBase, netip.Addr{}
}
