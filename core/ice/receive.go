package ice

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

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
	m.handleEarly(now, base, from, payload)
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

// early is a check that came before we knew whom it is from (RFC 8445 section
// 7.3).
type early struct {
	base    punch.Base
	from    netip.AddrPort
	payload []byte
}

// maxEarly bounds what is kept of checks that come too early: the latest of each
// address.
const maxEarly = 16

// handleEarly answers a check of the other side's at once, for which our password is
// enough, and keeps it until we know the rest. One that claims the role that we have
// waits for an answer: who gives way is the agent's to say.
func (m *Machine) handleEarly(now time.Time, base punch.Base, from netip.AddrPort, payload []byte) {
	s := m.session
	ufrag, ok := punch.LocalUfrag(payload)
	if s.agent != nil || !ok || ufrag != s.ufrag || m.state == Failed {
		return
	}
	message, err := m.parser.Parse(payload)
	if err != nil || !message.Contains(pion.AttrFingerprint) || stun.ShortTerm(s.password).Check(message) != nil {
		return
	}
	s.early = slices.DeleteFunc(s.early, func(e early) bool { return e.base == base && e.from == from })
	if len(s.early) < maxEarly {
		s.early = append(s.early, early{base, from, bytes.Clone(payload)})
	}
	unknown := stun.UnknownRequired(message, pion.AttrPriority, pion.AttrUseCandidate)
	if unknown != nil || !message.Contains(pion.AttrPriority) || message.Contains(pion.AttrICEControlling) == m.controlling {
		return
	}
	w := stun.Write(pion.MethodBinding, pion.ClassSuccessResponse, message.TransactionID, earlyRoom)
	w.XORAddress(pion.AttrXORMappedAddress, from)
	w.Sign(stun.ShortTerm(s.password))
	w.Fingerprint()
	m.transmit(now, punch.Transmit{Base: base, Remote: from, Payload: w.Raw()})
}

// earlyRoom is for the attributes of an answer.
const earlyRoom = 24 + 24 + 8
