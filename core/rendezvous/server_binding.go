package rendezvous

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

const (
	changeAddress = 0x04 // CHANGE-REQUEST: answer from the other address
	changePort    = 0x02 // CHANGE-REQUEST: answer from the other port
	// maxPadding bounds the PADDING of an answer, and thereby its size: one
	// fragment more than an Ethernet carries is all that a test needs.
	maxPadding = 1500
	classicLen = 20
	// responseAddress is RFC 3489's RESPONSE-ADDRESS, which would have us
	// answer to anybody.
	responseAddress pion.AttrType = 0x0002
)

// handleBinding answers STUN's Binding with what RFC 5780 adds to it.
func (s *Server) handleBinding(from origin, m *pion.Message) {
	known := []pion.AttrType{pion.AttrPadding, pion.AttrResponsePort}
	discovers := len(s.sockets) > 1 && !isStream(from.socket)
	if discovers {
		// A server without another address does not know CHANGE-REQUEST
		// (RFC 5780 section 6.1).
		known = append(known, pion.AttrChangeRequest)
	}
	if unknown := stun.UnknownRequired(m, known...); len(unknown) > 0 {
		s.reject(from, m, stun.CodeUnknownAttribute, pion.UnknownAttributes(unknown))
		return
	}
	if isStream(from.socket) && m.Contains(pion.AttrResponsePort) {
		s.reject(from, m, stun.CodeBadRequest) // nobody connects to the sender
		return
	}
	padding, paddingErr := m.Get(pion.AttrPadding)
	portValue, portErr := m.Get(pion.AttrResponsePort)
	if paddingErr == nil && portErr == nil {
		// RFC 5780 section 6.1: the two do not go together.
		s.reject(from, m, stun.CodeBadRequest)
		return
	}
	out, ok := s.answering(from.socket, m)
	if !ok {
		s.reject(from, m, stun.CodeBadRequest)
		return
	}
	to := from.remote
	if portErr == nil {
		// Two bytes of port, and two that are reserved (RFC 5780 section 7.5).
		if len(portValue) < 2 || binary.BigEndian.Uint16(portValue) == 0 {
			s.reject(from, m, stun.CodeBadRequest)
			return
		}
		to = netip.AddrPortFrom(to.Addr(), binary.BigEndian.Uint16(portValue))
	}
	needed := []pion.Setter{stun.XORAddress{Type: pion.AttrXORMappedAddress, Address: from.remote}}
	var more []pion.Setter
	if local := s.localOf(out); !local.Addr().IsUnspecified() {
		more = append(more, stun.Address{Type: pion.AttrResponseOrigin, Address: local})
	}
	if discovers {
		// A MAPPED-ADDRESS that differs from the masked one shows a NAT that
		// rewrites addresses in payload (RFC 5780 section 6.1).
		more = append(more,
			stun.Address{Type: pion.AttrMappedAddress, Address: from.remote},
			stun.Address{Type: pion.AttrOtherAddress, Address: s.other(from.socket)})
	}
	if paddingErr == nil {
		needed = append(needed, stun.Attribute{Type: pion.AttrPadding, Value: make([]byte, min(len(padding), maxPadding))})
	}
	if r := s.paidFor(from, m, needed, more); r != nil {
		s.Send(out, to, r)
	}
}

// paidFor is the answer to a Binding request, as much of it as what came from there pays
// for: nil if that is not even what is needed.
func (s *Server) paidFor(from origin, m *pion.Message, needed, more []pion.Setter) []byte {
	var answers [2][]byte
	for i, attributes := range [][]pion.Setter{slices.Concat(needed, more), needed} {
		r, err := stun.Success(m, attributes...)
		if err == nil && m.Contains(pion.AttrFingerprint) {
			err = pion.Fingerprint.AddTo(r)
		}
		if err != nil {
			return nil
		}
		answers[i] = r.Raw
	}
	which, ok := s.affords(from, len(answers[0]), len(answers[1]))
	if !ok {
		return nil
	}
	return answers[which]
}

// answering is the socket that a request wants its answer from; false if it
// wants that in an unreadable way.
func (s *Server) answering(in sansio.Socket, m *pion.Message) (sansio.Socket, bool) {
	v, err := m.Get(pion.AttrChangeRequest)
	if err != nil || len(s.sockets) == 1 || isStream(in) {
		return in, true
	}
	if len(v) != 4 {
		return in, false
	}
	if v[3]&changeAddress != 0 {
		in ^= 2
	}
	if v[3]&changePort != 0 {
		in ^= 1
	}
	return in, true
}

// other is the address and port that differ from a socket's in both.
func (s *Server) other(in sansio.Socket) netip.AddrPort { return s.sockets[in^3].local }

// isClassic reports whether b may be a Binding request of RFC 3489, which has
// no magic cookie: 128 bits of transaction id instead.
func isClassic(b []byte) bool {
	return len(b) >= classicLen && b[0] == 0 && b[1] == 1 && int(binary.BigEndian.Uint16(b[2:4])) == len(b)-classicLen
}

// handleClassic answers a client of RFC 3489: with plain addresses under the
// old names, and its whole transaction id.
func (s *Server) handleClassic(now time.Time, d sansio.Datagram) {
	cookie := [4]byte(d.Payload[4:8])
	modern := append([]byte(nil), d.Payload...)
	binary.BigEndian.PutUint32(modern[4:8], stun.Cookie)
	m, err := stun.Parse(modern)
	if err != nil || m.Contains(responseAddress) {
		return
	}
	out, ok := s.answering(d.Socket, m)
	if !ok {
		return
	}
	needed := []pion.Setter{stun.Address{Type: pion.AttrMappedAddress, Address: d.Remote}}
	var more []pion.Setter
	if local := s.sockets[out].local; !local.Addr().IsUnspecified() {
		more = append(more, stun.Address{Type: pion.AttrSourceAddress, Address: local})
	}
	if len(s.sockets) > 1 {
		more = append(more, stun.Address{Type: pion.AttrChangedAddress, Address: s.other(d.Socket)})
	} else if m.Contains(pion.AttrChangeRequest) {
		return // we have no other address to answer from
	}
	if r := s.paidFor(origin{now: now, socket: d.Socket, remote: d.Remote, size: len(d.Payload)}, m, needed, more); r != nil {
		copy(r[4:8], cookie[:])
		s.Send(out, d.Remote, r)
	}
}
