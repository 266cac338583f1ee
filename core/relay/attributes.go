package relay

import (
	"encoding/binary"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// protocolUDP is the IP protocol number that REQUESTED-TRANSPORT must carry
// (RFC 8656 section 18.8).
const protocolUDP = 17

const magicCookie = 0x2112A442

// appendXORAddress appends addr as the value of an XOR-ed address attribute
// (RFC 8489 section 14.2). An IPv6-mapped IPv4 address is written as IPv4.
func appendXORAddress(b []byte, id [pion.TransactionIDSize]byte, addr netip.AddrPort) []byte {
	ip, family := addr.Addr().Unmap(), byte(familyIPv4)
	raw := ip.As16()
	host := raw[12:]
	if ip.Is6() {
		family, host = familyIPv6, raw[:]
	}
	b = append(b, 0, family)
	b = binary.BigEndian.AppendUint16(b, addr.Port()^magicCookie>>16)
	pad := xorPad(id)
	for i, h := range host {
		b = append(b, h^pad[i])
	}
	return b
}

// parseXORAddress is the inverse of appendXORAddress; ok is false for a value of the
// wrong length or family. An IPv6 address stays as it came, mapped or not, so
// that a policy can look at the form.
func parseXORAddress(id [pion.TransactionIDSize]byte, value []byte) (addr netip.AddrPort, ok bool) {
	if len(value) < 4 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(value[2:]) ^ magicCookie>>16
	pad := xorPad(id)
	switch {
	case value[1] == familyIPv4 && len(value) == 8:
		var ip [4]byte
		for i := range ip {
			ip[i] = value[4+i] ^ pad[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom4(ip), port), true
	case value[1] == familyIPv6 && len(value) == 20:
		var ip [16]byte
		for i := range ip {
			ip[i] = value[4+i] ^ pad[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom16(ip), port), true
	}
	return netip.AddrPort{}, false
}

func xorPad(id [pion.TransactionIDSize]byte) (pad [16]byte) {
	binary.BigEndian.PutUint32(pad[:], magicCookie)
	copy(pad[4:], id[:])
	return pad
}

// addLifetime writes LIFETIME, in whole seconds (RFC 8656 section 18.2).
func addLifetime(w *stun.Writer, d time.Duration) {
	w.Uint32(pion.AttrLifetime, uint32(d/time.Second))
}

// lifetimeOf reads LIFETIME; present is false without the attribute, ok is
// false where its value is malformed.
func lifetimeOf(a pion.Attributes) (d time.Duration, present, ok bool) {
	raw, present := a.Get(pion.AttrLifetime)
	if !present {
		return 0, false, true
	}
	if len(raw.Value) != 4 {
		return 0, true, false
	}
	return time.Duration(binary.BigEndian.Uint32(raw.Value)) * time.Second, true, true
}

// addRequestedTransport writes REQUESTED-TRANSPORT.
func addRequestedTransport(w *stun.Writer, protocol byte) {
	w.Uint32(pion.AttrRequestedTransport, uint32(protocol)<<24)
}

// addChannelNumber writes CHANNEL-NUMBER (RFC 8656 section 18.1).
func addChannelNumber(w *stun.Writer, n uint16) {
	w.Uint32(pion.AttrChannelNumber, uint32(n)<<16)
}

// channelNumberOf reads CHANNEL-NUMBER.
func channelNumberOf(a pion.Attributes) (n uint16, ok bool) {
	raw, present := a.Get(pion.AttrChannelNumber)
	if !present || len(raw.Value) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint16(raw.Value), true
}

// addAddressErrorCode writes ADDRESS-ERROR-CODE: why there is no relayed address of a
// family (RFC 8656 section 18.12).
func addAddressErrorCode(w *stun.Writer, f family, code pion.ErrorCode) {
	w.Bytes(stun.AttrAddressErrorCode, []byte{f.number(), 0, byte(code / 100), byte(code % 100)}, []byte(reasons[code]))
}

// addressErrorCodeOf is the inverse of addAddressErrorCode.
func addressErrorCodeOf(a pion.Attributes) (number byte, code int, present bool) {
	raw, present := a.Get(stun.AttrAddressErrorCode)
	if !present {
		raw, present = a.Get(stun.AttrDraftAddressError)
	}
	if !present || len(raw.Value) < 4 {
		return 0, 0, false
	}
	return raw.Value[0], int(raw.Value[2]&7)*100 + int(raw.Value[3]), true
}

// additionalFamily gives ADDITIONAL-ADDRESS-FAMILY, by RFC 8656's number or by coturn's.
func additionalFamily(a pion.Attributes) (raw pion.RawAttribute, present bool) {
	if raw, present = a.Get(stun.AttrAdditionalAddressFamily); !present {
		raw, present = a.Get(stun.AttrDraftAdditionalFamily)
	}
	return raw, present
}
