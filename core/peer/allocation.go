package peer

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/relay"
)

// allocation is our address at a relay, or what is to become one.
type allocation struct {
	relay *relay.Client
	cfg   RelayConfig
	base  punch.Base // one of relayBases
	// local is our address by which its server is reached; the zero value: that
	// of whatever chooses none.
	local netip.Addr
	// via is the stream that it goes by; nil: UDP.
	via     *conn
	relayed netip.AddrPort
	// mapped is our address as the relay sees it.
	mapped netip.AddrPort
	// retry is when to ask for an allocation again; failures how often in a row
	// that failed.
	retry    time.Time
	failures int

	// leaving: another one is to replace it. until is when it ends in any case;
	// zero: the other one is not ready yet. idle is since when no session has
	// used it; zero: one does. closed: it has been given back, and only that has
	// still to reach the relay.
	leaving     bool
	until, idle time.Time
	closed      bool
}

const (
	// retireAfter is how long an old allocation that nothing uses any more still
	// takes what peers sent before they heard of the other path.
	retireAfter = 3 * time.Second
	// retireMost bounds the time in which sessions move from one allocation to
	// another.
	retireMost = time.Minute
	// farewell is how long the end of an allocation is said again to its relay.
	farewell = 3 * time.Second
)

// relayBases are those of the allocations: two in use, and others while sessions
// move from one relay to the next.
var relayBases = [...]punch.Base{1, 2, 3, 4, 5, 6}

// setRelays goes on with other credentials, or other relays, or none.
func (m *Machine) setRelays(now time.Time, list []RelayConfig) {
	for _, a := range slices.Clone(m.relays) {
		if a.leaving {
			continue
		}
		i := slices.IndexFunc(list, func(c RelayConfig) bool { return c.Server == a.cfg.Server })
		switch {
		case i < 0:
			a.leaving = true
		case a.cfg != list[i]:
			a.cfg = list[i]
			a.relay.SetCredentials(now, a.cfg.Username, a.cfg.Password)
			if !a.retry.IsZero() {
				a.retry, a.failures = now, 0 // other credentials may help at once
			}
		}
	}
	m.arrange()
	m.setGauges(now, list)
	if len(list) == 0 {
		m.retire(now)
		m.trickle(now)
	}
	m.steer(now)
}

// arrange puts the allocations that leave behind those in use.
func (m *Machine) arrange() {
	slices.SortStableFunc(m.relays, func(a, b *allocation) int {
		switch {
		case a.leaving == b.leaving:
			return 0
		case a.leaving:
			return 1
		}
		return -1
	})
}

// inUse are the allocations that do not leave, the preferred one first.
func (m *Machine) inUse() []*allocation {
	n := 0
	for n < len(m.relays) && !m.relays[n].leaving {
		n++
	}
	return m.relays[:n]
}

// allocate begins an allocation at one more relay, behind those in use.
func (m *Machine) allocate(now time.Time, cfg RelayConfig) *allocation {
	via := m.via(cfg.Server)
	a := &allocation{cfg: cfg, base: m.freeBase(now), via: via, relay: m.relayClient(cfg, via)}
	m.relays = slices.Insert(m.relays, len(m.inUse()), a)
	for _, s := range m.sessions {
		for _, p := range s.permitted {
			a.relay.Permit(now, p)
		}
	}
	if m.bound {
		a.relay.Start(now)
	}
	return a
}

// freeBase gives a base that no allocation has, at the cost of the oldest one that
// leaves if need be.
func (m *Machine) freeBase(now time.Time) punch.Base {
	for {
		for _, b := range relayBases {
			if !slices.ContainsFunc(m.relays, func(a *allocation) bool { return a.base == b }) {
				return b
			}
		}
		m.drop(now, m.relays[len(m.relays)-1])
	}
}

// candidates are those whose base is the allocation; index is its place among
// those in use.
func (a *allocation) candidates(index int) []punch.Candidate {
	if !a.relayed.IsValid() {
		return nil
	}
	return []punch.Candidate{{Kind: punch.Relayed, Addr: a.relayed, Priority: punch.Priority(punch.Relayed, index)}}
}

// viaRelay are the candidates that peers are offered: of the allocations in use, or
// of those before until there is another.
func (m *Machine) viaRelay() (list []punch.Candidate) {
	for i, a := range m.inUse() {
		list = append(list, a.candidates(i)...)
	}
	if len(list) > 0 {
		return list
	}
	for i, a := range m.relays {
		if a.leaving && a.until.IsZero() {
			list = append(list, a.candidates(i)...)
		}
	}
	return list
}

// retire has sessions leave the old allocations, now that there is another one, or
// shall be none.
func (m *Machine) retire(now time.Time) {
	for _, a := range slices.Clone(m.relays) {
		switch {
		case !a.leaving || !a.until.IsZero():
		case !a.relayed.IsValid():
			m.drop(now, a)
		default:
			a.until = now.Add(retireMost)
			for _, s := range m.sessions {
				s.agent.Withdraw(now, a.base)
			}
		}
	}
	m.watchLeaving(now)
}

// watchLeaving gives old allocations back when no session uses them any more.
func (m *Machine) watchLeaving(now time.Time) {
	for i := len(m.relays) - 1; i >= 0 && m.relays[i].leaving; i-- {
		a := m.relays[i]
		switch {
		case a.until.IsZero():
			continue
		case a.closed:
			if due(now, a.until) {
				m.relays = slices.Delete(m.relays, i, i+1)
			}
			continue
		}
		used := slices.ContainsFunc(m.sessions, func(s *session) bool {
			path, ok := s.agent.Path()
			return ok && path.Base == a.base
		})
		switch {
		case used:
			a.idle = time.Time{}
		case a.idle.IsZero():
			a.idle = now
		}
		if due(now, a.until) || !a.idle.IsZero() && due(now, a.idle.Add(retireAfter)) {
			m.release(now, a)
		}
	}
}

// release gives an old allocation back.
func (m *Machine) release(now time.Time, a *allocation) {
	was := a.relayed
	a.relayed, a.closed, a.until = netip.AddrPort{}, true, now.Add(farewell)
	a.relay.Close(now)
	for _, s := range m.sessions {
		s.agent.SetLocal(now, a.base, nil)
	}
	m.Emit(RelayReleased{Relayed: was})
}

// drop forgets an old allocation without waiting for anybody.
func (m *Machine) drop(now time.Time, a *allocation) {
	if !a.closed {
		m.release(now, a)
		m.pumpAllocation(now, a)
	}
	m.remove(a)
}

// forgo forgets an allocation of which the relay says, or has us believe, that it
// is no more.
func (m *Machine) forgo(now time.Time, a *allocation) {
	if a.leaving && a.relayed.IsValid() {
		m.Emit(RelayReleased{Relayed: a.relayed})
	}
	for _, s := range m.sessions {
		s.agent.SetLocal(now, a.base, nil)
	}
	m.remove(a)
	m.updateOffer(now)
}

func (m *Machine) remove(a *allocation) {
	m.relays = slices.DeleteFunc(m.relays, func(o *allocation) bool { return o == a })
}

// leavingAt is when watchLeaving has something to do about an allocation.
func (a *allocation) leavingAt() time.Time {
	if a.idle.IsZero() || a.closed {
		return a.until
	}
	return earlier(a.until, a.idle.Add(retireAfter))
}

// wakeRelays is when something is due about allocations.
func (m *Machine) wakeRelays() (t time.Time) {
	for _, a := range m.relays {
		t = earlier(earlier(t, a.relay.PollTimeout()), a.retry)
		if a.leaving {
			t = earlier(t, a.leavingAt())
		}
	}
	return t
}

// timeoutRelays does what is due about allocations.
func (m *Machine) timeoutRelays(now time.Time) {
	for _, a := range m.relays {
		a.relay.HandleTimeout(now)
		if due(now, a.retry) {
			a.retry = time.Time{}
			a.relay.Start(now)
		}
	}
}

// relayed takes a datagram of a relay, which came to the local address of an
// allocation at it.
func (m *Machine) relayed(now time.Time, local netip.Addr, from netip.AddrPort, payload []byte) bool {
	for _, a := range m.relays {
		if a.via == nil && a.local == local && a.relay.HandleDatagram(now, from, payload) {
			return true
		}
	}
	return false
}

// ready takes a new allocation.
func (m *Machine) ready(now time.Time, a *allocation, relayed netip.AddrPort) {
	a.failures = 0
	a.relayed = relayed
	m.Emit(RelayReady{Relayed: relayed})
	m.retire(now)
	m.trickle(now)
}

// relayDown goes on without an allocation. Where there are other relays to go to,
// one of them takes its place. Otherwise it is asked for again after a wait; at once
// only where a live allocation was lost to a new address of ours, or to a restart
// of the relay.
func (m *Machine) relayDown(now time.Time, a *allocation, err error) {
	if a.leaving {
		m.forgo(now, a)
		return
	}
	a.relayed = netip.AddrPort{}
	m.Emit(RelayFailed{Err: err})
	m.doubtUDP(now, a.cfg.Server)
	atOnce := errors.Is(err, relay.ErrAddressChanged) || errors.Is(err, relay.ErrForgotten) || errors.Is(err, relay.ErrOtherUser)
	if a.failures == 0 && atOnce {
		m.updateOffer(now)
		a.failures = 1
		a.relay.Rebind(now)
		return
	}
	if g := m.gaugeOf(a); g != nil {
		g.bar(now)
		m.forgo(now, a)
		m.steer(now)
		return
	}
	m.updateOffer(now)
	a.retry = now.Add(min(relayBackoff<<min(a.failures, 10), relayBackoffMax))
	a.failures++
}
