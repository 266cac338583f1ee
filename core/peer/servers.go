package peer

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/ticket"
)

// Servers are a rendezvous and a relay, with what they want to see. Config's
// fields of the same names are the first ones; SetServers gives others.
type Servers struct {
	Rendezvous    netip.AddrPort
	RendezvousKey *identity.ID
	Ticket        []byte
	Relay         *RelayConfig
}

// check says what is wrong with servers.
func (s Servers) check() error {
	switch {
	case !s.Rendezvous.IsValid() || s.Rendezvous.Port() == 0:
		return fmt.Errorf("%w: no rendezvous address", ErrConfig)
	case s.Relay != nil && (!s.Relay.Server.IsValid() || s.Relay.Server.Port() == 0):
		return fmt.Errorf("%w: a relay without an address", ErrConfig)
	case len(s.Ticket) > ticket.MaxSize:
		return fmt.Errorf("%w: a ticket of %d bytes, at most %d", ErrConfig, len(s.Ticket), ticket.MaxSize)
	}
	return nil
}

// plain is s, its addresses never in the IPv6-mapped form, and nothing of it
// shared with the caller.
func (s Servers) plain() Servers {
	s.Rendezvous, s.Ticket = unmap(s.Rendezvous), bytes.Clone(s.Ticket)
	if s.RendezvousKey != nil {
		key := *s.RendezvousKey
		s.RendezvousKey = &key
	}
	if s.Relay != nil {
		r := *s.Relay
		r.Server = unmap(r.Server)
		s.Relay = &r
	}
	return s
}

// sameRendezvous reports whether two registrations are one.
func (s Servers) sameRendezvous(o Servers) bool {
	sameKey := s.RendezvousKey == o.RendezvousKey ||
		s.RendezvousKey != nil && o.RendezvousKey != nil && *s.RendezvousKey == *o.RendezvousKey
	return sameKey && s.Rendezvous == o.Rendezvous
}

// SetServers goes on with fresh credentials at the same servers, or at others.
//
// A fresh ticket, or fresh credentials of the same user at the same relay, renew
// what there is: TicketRenewed and RelayRenewed tell, and sessions notice nothing.
//
// Another rendezvous replaces the old one at once; its Registered tells, and the
// old registration expires. Rooms are joined there; members who are not there yet stay members while there is a session
// with them. Another relay replaces the old one when it has made an allocation
// (RelayReady): sessions are introduced anew and move over, and then, or after a
// minute, the old allocation is given back (RelayReleased). Direct paths stay as
// they are, and so do all sessions.
//
// The error, ErrConfig, says what is wrong with the servers; then nothing changes.
func (m *Machine) SetServers(now time.Time, s Servers) error {
	if err := s.check(); err != nil {
		return err
	}
	s = s.plain()
	if s.Rendezvous.Addr().Is6() && m.cfg.Listen.Addr().Is4() || s.Rendezvous.Addr().Is4() && m.cfg.Listen.Addr().Is6() && !m.cfg.Listen.Addr().IsUnspecified() {
		return fmt.Errorf("%w: our socket at %s does not reach a rendezvous at %s", ErrConfig, m.cfg.Listen, s.Rendezvous)
	}
	before := m.servers
	m.servers = s
	if !s.sameRendezvous(before) {
		m.changeRendezvous(now)
	} else if err := m.rendezvous.SetTicket(now, s.Ticket); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	m.setRelay(now, s.Relay)
	m.pump(now)
	return nil
}

func (m *Machine) newRendezvous() *rendezvous.Client {
	return rendezvous.NewClient(rendezvous.ClientConfig{
		Server: m.servers.Rendezvous, ServerKey: m.servers.RendezvousKey, Ticket: m.servers.Ticket,
		Key: m.cfg.Key, Rand: m.cfg.Rand, Keepalive: m.cfg.Keepalive,
	})
}

// changeRendezvous registers elsewhere. The old registration is left to expire: to
// take it back would have the others told that we have left their rooms.
func (m *Machine) changeRendezvous(now time.Time) {
	m.rendezvous = m.newRendezvous()
	for _, r := range m.rooms {
		r.moved = true
		if err := m.rendezvous.Join(now, r.name); err != nil {
			m.Emit(Failed{Err: fmt.Errorf("room %q: %w", r.name, err)})
		}
	}
	if !m.bound {
		return
	}
	m.moving, m.offered = true, nil // whatever the last one knew
	m.updateOffer(now)
	m.rendezvous.Start(now)
}

// arrived has the peers told, by the rendezvous to which we have moved, of sessions
// that need it: those that go over a relay, which may be another one, and those
// without a path. Whoever has not moved yet will do the same later.
func (m *Machine) arrived(now time.Time) {
	if !m.moving {
		return
	}
	m.moving = false
	for _, s := range m.sessions {
		path, _ := s.agent.Path()
		if path.Kind != Direct && (s.initiator || !s.stranger()) {
			m.introduce(now, s)
		}
	}
}

// allocation is our address at a relay, or what is to become one.
type allocation struct {
	relay   *relay.Client
	cfg     RelayConfig
	base    int // 0 or 1: which of relayBases it is
	relayed netip.AddrPort
	// retry is when to ask for an allocation again; failures how often in a row
	// that failed.
	retry    time.Time
	failures int
}

// retirement is the end of an allocation that another one replaces.
type retirement struct {
	*allocation
	// until is when it ends in any case; zero: the other one is not ready yet.
	until time.Time
	// idle is since when no session has used it; zero: one does.
	idle time.Time
	// closed: it has been given back, and only that has still to reach the relay.
	closed bool
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

// setRelay goes on with other credentials, or another relay, or none.
func (m *Machine) setRelay(now time.Time, cfg *RelayConfig) {
	a := m.relay
	switch {
	case a == nil && cfg == nil, a != nil && cfg != nil && a.cfg == *cfg:
		return
	case a != nil && cfg != nil && a.cfg.Server == cfg.Server:
		a.cfg = *cfg
		a.relay.SetCredentials(now, cfg.Username, cfg.Password)
		if !a.retry.IsZero() {
			a.retry, a.failures = now, 0 // other credentials may help at once
		}
		return
	}
	if m.retiring != nil { // a third one at a time is too many
		m.drop(now)
	}
	base := 0
	if a != nil {
		m.retiring = &retirement{allocation: a}
		base = 1 - a.base
	}
	m.relay = nil
	if cfg == nil {
		m.retire(now)
		m.trickle(now)
		return
	}
	m.relay = m.newAllocation(*cfg, base)
	for _, s := range m.sessions {
		for _, p := range s.permitted {
			m.relay.relay.Permit(now, p)
		}
	}
	if m.bound {
		m.relay.relay.Start(now)
	}
}

func (m *Machine) newAllocation(cfg RelayConfig, base int) *allocation {
	return &allocation{cfg: cfg, base: base, relay: relay.NewClient(relay.ClientConfig{
		Server: cfg.Server, Username: cfg.Username, Password: cfg.Password, Rand: m.cfg.Rand, Keepalive: m.cfg.Keepalive,
	})}
}

// retire has sessions leave the old allocation, now that there is the other one, or
// shall be none.
func (m *Machine) retire(now time.Time) {
	r := m.retiring
	if r == nil || !r.until.IsZero() {
		return
	}
	if !r.relayed.IsValid() {
		m.drop(now)
		return
	}
	r.until = now.Add(retireMost)
	for _, s := range m.sessions {
		s.agent.Withdraw(now, relayBases[r.base])
	}
	m.watchRetiring(now)
}

// watchRetiring gives the old allocation back when no session uses it any more.
func (m *Machine) watchRetiring(now time.Time) {
	r := m.retiring
	switch {
	case r == nil || r.until.IsZero():
		return
	case r.closed:
		if due(now, r.until) {
			m.retiring = nil
		}
		return
	}
	used := slices.ContainsFunc(m.sessions, func(s *session) bool {
		path, ok := s.agent.Path()
		return ok && path.Base == relayBases[r.base]
	})
	switch {
	case used:
		r.idle = time.Time{}
	case r.idle.IsZero():
		r.idle = now
	}
	if due(now, r.until) || !r.idle.IsZero() && due(now, r.idle.Add(retireAfter)) {
		m.release(now)
	}
}

// release gives the old allocation back.
func (m *Machine) release(now time.Time) {
	r := m.retiring
	was := r.relayed
	r.relayed, r.closed, r.until = netip.AddrPort{}, true, now.Add(farewell)
	r.relay.Close(now)
	for _, s := range m.sessions {
		s.agent.SetLocal(now, relayBases[r.base], nil)
	}
	m.Emit(RelayReleased{Relayed: was})
}

// drop forgets the old allocation without waiting for anybody.
func (m *Machine) drop(now time.Time) {
	if !m.retiring.closed {
		m.release(now)
		m.pumpAllocation(now, m.retiring.allocation)
	}
	m.retiring = nil
}

// lostRetiring forgets an old allocation that the relay does not have any more.
func (m *Machine) lostRetiring(now time.Time) {
	r := m.retiring
	if r.relayed.IsValid() {
		m.Emit(RelayReleased{Relayed: r.relayed})
	}
	for _, s := range m.sessions {
		s.agent.SetLocal(now, relayBases[r.base], nil)
	}
	m.retiring = nil
	m.updateOffer(now)
}

// retiringAt is when watchRetiring has something to do.
func (r *retirement) retiringAt() time.Time {
	if r.idle.IsZero() || r.closed {
		return r.until
	}
	return earlier(r.until, r.idle.Add(retireAfter))
}

// allocations are those that there are: the one in use first.
func (m *Machine) allocations() []*allocation {
	list := make([]*allocation, 0, 2)
	if m.relay != nil {
		list = append(list, m.relay)
	}
	if m.retiring != nil {
		list = append(list, m.retiring.allocation)
	}
	return list
}
