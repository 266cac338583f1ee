package ice

import (
	"bytes"
	"net/netip"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/stun"
)

// receive takes a datagram that came by a base: a check of one of the sessions, a
// server's answer, or data.
func (m *Machine) receive(now time.Time, base punch.Base, from netip.AddrPort, payload []byte) {
	if !stun.Is(payload) {
		m.deliver(base, from, payload)
		return
	}
	if m.handleBinding(now, base, from, payload) {
		return
	}
	for _, s := range m.sessions() {
		if s.agent != nil && s.agent.HandleDatagram(now, base, from, payload) {
			return
		}
	}
}

// deliver gives data to the application: whatever is not STUN (RFC 7983) and comes
// from where a pair of a session leads. Nothing protects it but what the application
// has; others on the Internet need the pair's addresses to pass for the other side.
func (m *Machine) deliver(base punch.Base, from netip.AddrPort, payload []byte) {
	for _, s := range m.sessions() {
		if s.agent == nil {
			continue
		}
		if path, ok := s.agent.PathOf(base, from); ok {
			m.Emit(Received{Path: path, Payload: bytes.Clone(payload)})
			return
		}
	}
}
