package peer

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/ticket"
)

// Servers are a rendezvous and a relay, with what they want to see. Config's
// fields of the same names are the first ones; SetServers gives others.
type Servers struct {
	Rendezvous    netip.AddrPort
	RendezvousKey *identity.ID
	// RendezvousStreams are where the rendezvous is reached without UDP.
	RendezvousStreams Streams
	Ticket            []byte
	Relay             *RelayConfig
	Relays            []RelayConfig
}

// maxRelays bounds the relays to choose from: each is asked again and again how
// far it is.
const maxRelays = 8

// relays are those to choose from, however they were given.
func (s Servers) relays() []RelayConfig {
	if s.Relay != nil {
		return []RelayConfig{*s.Relay}
	}
	return s.Relays
}

// check says what is wrong with servers.
func (s Servers) check() error {
	switch {
	case !s.Rendezvous.IsValid() || s.Rendezvous.Port() == 0:
		return fmt.Errorf("%w: no rendezvous address", ErrConfig)
	case s.Relay != nil && len(s.Relays) > 0:
		return fmt.Errorf("%w: Relay and Relays: name all relays in Relays", ErrConfig)
	case len(s.Relays) > maxRelays:
		return fmt.Errorf("%w: %d relays, at most %d", ErrConfig, len(s.Relays), maxRelays)
	case len(s.Ticket) > ticket.MaxSize:
		return fmt.Errorf("%w: a ticket of %d bytes, at most %d", ErrConfig, len(s.Ticket), ticket.MaxSize)
	}
	if err := s.RendezvousStreams.check(); err != nil {
		return fmt.Errorf("rendezvous: %w", err)
	}
	for i, r := range s.relays() {
		if err := r.Streams.check(); err != nil {
			return fmt.Errorf("relay %s: %w", r.Server, err)
		}
		if !r.Server.IsValid() || r.Server.Port() == 0 {
			return fmt.Errorf("%w: a relay without an address", ErrConfig)
		}
		if slices.ContainsFunc(s.relays()[:i], func(o RelayConfig) bool { return unmap(o.Server) == unmap(r.Server) }) {
			return fmt.Errorf("%w: relay %s is named twice", ErrConfig, r.Server)
		}
	}
	return nil
}

// plain is s, its addresses never in the IPv6-mapped form, and nothing of it
// shared with the caller.
func (s Servers) plain() Servers {
	s.Rendezvous, s.Ticket = unmap(s.Rendezvous), bytes.Clone(s.Ticket)
	s.RendezvousStreams = s.RendezvousStreams.plain()
	if s.RendezvousKey != nil {
		key := *s.RendezvousKey
		s.RendezvousKey = &key
	}
	s.Relays, s.Relay = slices.Clone(s.relays()), nil
	for i := range s.Relays {
		s.Relays[i].Server, s.Relays[i].Streams = unmap(s.Relays[i].Server), s.Relays[i].Streams.plain()
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
// with them. Relays that are not named any more are left when another one has made
// an allocation (RelayReady): sessions are introduced anew and move over, and then,
// or after a minute, the old allocation is given back (RelayReleased). Direct paths
// stay as they are, and so do all sessions.
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
	m.setLines(now)
	if !s.sameRendezvous(before) {
		m.changeRendezvous(now)
	} else if err := m.rendezvous.SetTicket(now, s.Ticket); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	m.setRelays(now, s.Relays)
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
	m.survey.others = [2]netip.AddrPort{}
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
