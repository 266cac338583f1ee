package peer

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
)

// This file keeps the machine attached to the network: registered, allocated,
// and with an offer that says where it can be reached.

const (
	// relayBackoff is the wait after a first failure to allocate; it doubles
	// up to relayBackoffMax.
	relayBackoff    = time.Second
	relayBackoffMax = 30 * time.Second
)

// hostCandidates are the addresses of our interfaces, with the socket's port.
func (m *Machine) hostCandidates() []punch.Candidate {
	addrs := m.addrs
	if !m.local.Addr().IsUnspecified() {
		addrs = []netip.Addr{m.local.Addr()}
	}
	var list []punch.Candidate
	for i, a := range addrs {
		if m.former != nil && a == m.former.addr {
			continue // on its way out
		}
		list = append(list, punch.Candidate{
			Kind: punch.Host, Addr: netip.AddrPortFrom(a, m.local.Port()), Priority: punch.Priority(punch.Host, i),
		})
	}
	return list
}

// direct are the candidates whose base is the socket.
func (m *Machine) direct() []punch.Candidate {
	list := m.hostCandidates()
	known := slices.ContainsFunc(list, func(c punch.Candidate) bool { return c.Addr == m.reflexive })
	if m.reflexive.IsValid() && !known {
		list = append(list, punch.Candidate{
			Kind: punch.ServerReflexive, Addr: m.reflexive, Priority: punch.Priority(punch.ServerReflexive, 0),
		})
	}
	return list
}

// updateOffer tells the rendezvous and all agents where we can be reached, if
// that has changed, and reports whether it has.
func (m *Machine) updateOffer(now time.Time) bool {
	o := offer{Instance: m.instance, RTT: m.rendezvous.RTT(), Features: featureExtended, Candidates: append(m.direct(), m.viaRelay()...)}
	if len(o.Candidates) > maxCandidates { // the relayed one is last and must not be lost
		o.Candidates = slices.Delete(o.Candidates, maxCandidates-2, len(o.Candidates)-2)
	}
	if e, ok := m.traitsExtension(); ok {
		o.Extensions = append(o.Extensions, e)
	}
	same := o
	same.RTT = 0
	if text := same.encode(); bytes.Equal(text, m.offered) {
		return false
	} else {
		m.offered = text
	}
	m.generation++
	o.Generation = m.generation
	if err := m.rendezvous.SetOffer(now, o.encode()); err != nil {
		m.Emit(Failed{Err: fmt.Errorf("offer to the rendezvous: %w", err)})
	}
	for _, s := range m.sessions {
		m.setLocal(now, s)
	}
	return true
}

func (m *Machine) setLocal(now time.Time, s *session) {
	s.agent.SetRelays(m.trusted())
	s.agent.SetLocal(now, socketBase, m.direct())
	for _, x := range s.hard.sockets {
		if x.adopted {
			s.agent.SetLocal(now, x.base, m.extraCandidates(x))
		}
	}
	for i, a := range m.relays {
		s.agent.SetLocal(now, a.base, a.candidates(i))
		if a.leaving && !a.until.IsZero() {
			s.agent.Withdraw(now, a.base)
		}
	}
}

// trusted are the addresses of our relays.
func (m *Machine) trusted() (list []netip.Addr) {
	for _, r := range m.servers.Relays {
		list = append(list, r.Server.Addr().Unmap())
	}
	for _, a := range m.relays {
		if r := a.relayed.Addr(); r.IsValid() && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

func (m *Machine) pumpRendezvous(now time.Time) (busy bool) {
	for to, payload, ok := m.rendezvous.PollTransmit(); ok; to, payload, ok = m.rendezvous.PollTransmit() {
		m.toServer(to, payload)
		busy = true
	}
	for e, ok := m.rendezvous.PollEvent(); ok; e, ok = m.rendezvous.PollEvent() {
		busy = true
		switch e := e.(type) {
		case rendezvous.Registered:
			m.Emit(Registered{Reflexive: m.seen(e.Reflexive), RTT: e.RTT})
			m.decideFormer(now, m.cameTo)
			m.registered(now, m.seen(e.Reflexive))
			m.arrived(now)
		case rendezvous.TicketRenewed:
			m.Emit(TicketRenewed{})
		case rendezvous.ReflexiveChanged:
			m.Emit(ReflexiveChanged{Old: e.Old, New: e.New})
			roamed := !m.reflexive.IsValid() // all that has been begun anew already
			if f := m.former; !roamed && (f == nil || f.decided) {
				if e.Old.Addr() == e.New.Addr() {
					m.cliff(now)
				}
				m.moved(now, m.seen(e.New))
			}
		case rendezvous.Introduced:
			m.introduced(now, e)
		case rendezvous.ConnectFailed:
			m.connectFailed(now, e)
		case rendezvous.Members:
			m.members(now, e)
		case rendezvous.Member:
			m.member(now, e)
		case rendezvous.RoomFailed:
			m.Emit(Failed{Err: fmt.Errorf("room %q: %w", e.Room, e.Err)})
		case rendezvous.Unreachable:
			// Live sessions go on without a rendezvous.
			m.Emit(Failed{Err: fmt.Errorf("rendezvous %s: %w", m.servers.Rendezvous, e.Err)})
			m.doubtUDP(now, m.servers.Rendezvous)
		case rendezvous.Refused:
			m.Emit(Failed{Err: fmt.Errorf("rendezvous %s: %w", m.servers.Rendezvous, e.Err)})
		}
	}
	return busy
}

// registered takes our address as the rendezvous sees it. Sessions that wait
// for it to be introduced anew are by the rendezvous client itself.
func (m *Machine) registered(now time.Time, reflexive netip.AddrPort) {
	m.reflexive = reflexive
	m.learn(now)
	m.updateOffer(now)
}

// moved acts on a new mapping: whatever the NAT let in before, it may not any
// more, and the relay may know us no longer either.
func (m *Machine) moved(now time.Time, reflexive netip.AddrPort) {
	m.reflexive = reflexive
	m.forgetTraits()
	m.updateOffer(now)
	m.doubtRelay(now)
	m.rebindAll(now)
	m.examineAnew(now)
}

// doubtRelay makes sure of the allocation. A relay that was restarted says
// nothing of itself: what we send over it is dropped.
func (m *Machine) doubtRelay(now time.Time) {
	for _, a := range m.relays {
		a.relay.Probe(now)
	}
	m.hurry(now)
}

func (m *Machine) pumpAllocation(now time.Time, a *allocation) (busy bool) {
	for to, payload, ok := a.relay.PollTransmit(); ok; to, payload, ok = a.relay.PollTransmit() {
		if a.via != nil {
			m.Outbox.Send(a.via.socket, a.via.remote, payload)
		} else {
			m.SendFrom(0, a.local, to, payload)
		}
		busy = true
	}
	for e, ok := a.relay.PollEvent(); ok; e, ok = a.relay.PollEvent() {
		busy = true
		switch e := e.(type) {
		case relay.Allocated:
			m.seenByRelay(now, a, e.Reflexive)
			m.rendezvous.Retry(now) // both may have been lost by one outage
			m.ready(now, a, e.Relayed)
		case relay.Renewed:
			m.Emit(RelayRenewed{Relayed: a.relayed})
		case relay.AllocateFailed:
			m.relayDown(now, a, e.Err)
		case relay.Lost:
			m.relayDown(now, a, e.Err)
		case relay.Data:
			m.receive(now, a.base, unmap(e.From), e.Payload)
		}
		// Permitted needs no action: checks that the relay dropped before are
		// sent again. PermitFailed neither: the pair fails.
	}
	return busy
}

// trickle tells everyone of an allocation that came after the introduction
// (RFC 8838).
func (m *Machine) trickle(now time.Time) {
	if !m.updateOffer(now) {
		return
	}
	for _, s := range m.sessions {
		m.introduce(now, s)
	}
}
