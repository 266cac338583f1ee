package relay

import (
	"encoding/binary"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// The ICMP errors that clients are told of (RFC 8656 section 11.5).
const (
	icmpUnreachable    = 3
	icmpTimeExceeded   = 11
	icmpv6Unreachable  = 1
	icmpv6PacketTooBig = 2
	icmpv6TimeExceeded = 3
)

// HandleUndeliverable implements sansio.ErrorMachine: the client is told in a Data
// indication with ICMP instead of DATA, if the peer has a permission.
func (s *Server) HandleUndeliverable(now time.Time, u sansio.Undeliverable) {
	s.buffers.reclaim()
	a := s.bySocket[u.Socket]
	switch {
	case a == nil || !now.Before(a.expires):
		s.stats.DroppedNoAllocation++
		return
	case !told(u) || !u.Remote.IsValid():
		s.stats.DroppedMalformed++
		return
	case !a.permitted(now, u.Remote.Addr()):
		s.stats.DroppedNoPermission++
		return
	}
	w := stun.Write(pion.MethodData, pion.ClassIndication, s.indicationID(), 24+12)
	w.XORAddress(pion.AttrXORPeerAddress, u.Remote)
	w.Bytes(stun.AttrICMP, icmpValue(u))
	raw := w.Raw()
	if a.limits.any && !a.limits.admit(now, len(raw)) {
		s.stats.DroppedRate++
		return
	}
	s.stats.ICMP++
	s.Send(a.via, a.client, raw)
}

// told reports whether an error is of a type that clients are told of.
func told(u sansio.Undeliverable) bool {
	if u.Remote.Addr().Is4() {
		return u.Type == icmpUnreachable || u.Type == icmpTimeExceeded
	}
	return u.Type == icmpv6Unreachable || u.Type == icmpv6PacketTooBig || u.Type == icmpv6TimeExceeded
}

// icmpValue is the value of ICMP: 16 bits reserved, 7 of type, 9 of code, 32 of data,
// which is the next hop's MTU or 0 (RFC 8656 section 18.13).
func icmpValue(u sansio.Undeliverable) []byte {
	v := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(u.Type&0x7f)<<9|uint16(u.Code))
	return binary.BigEndian.AppendUint32(v, u.MTU)
}

// parseICMP is the inverse of icmpValue.
func parseICMP(v []byte) (kind, code uint8, mtu uint32, ok bool) {
	if len(v) != 8 {
		return 0, 0, 0, false
	}
	both := binary.BigEndian.Uint16(v[2:])
	return uint8(both >> 9), uint8(both & 0xff), binary.BigEndian.Uint32(v[4:]), both&0x100 == 0
}
