package witness

import (
	"encoding/binary"
	"net/netip"
)

// STUN and TURN framing, as far as a witness reads it (RFC 8489 sections 5, 14;
// RFC 8656 sections 12, 18). It trusts nothing and keeps no state.
const (
	stunHeader = 20
	stunCookie = 0x2112a442

	methodBinding          = 0x001
	methodAllocate         = 0x003
	methodRefresh          = 0x004
	methodSend             = 0x006
	methodData             = 0x007
	methodCreatePermission = 0x008
	methodChannelBind      = 0x009

	classRequest    = 0
	classIndication = 1
	classSuccess    = 2
	classError      = 3

	attributeErrorCode      = 0x0009
	attributeChannelNumber  = 0x000c
	attributeXORPeerAddress = 0x0012
	attributeData           = 0x0013
	attributeUseCandidate   = 0x0025

	channelHeader = 4
)

// stun is a STUN message.
type stun struct {
	method      uint16
	class       uint8
	transaction [12]byte
	attributes  []byte
}

// parseSTUN reads a datagram as a STUN message. It is one if its first two bits
// are 0, the magic cookie is in place and its length is that of the datagram;
// attributes are looked at later.
func parseSTUN(b []byte) (stun, bool) {
	if len(b) < stunHeader || b[0]&0xc0 != 0 || binary.BigEndian.Uint32(b[4:]) != stunCookie {
		return stun{}, false
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size%4 != 0 || stunHeader+size != len(b) {
		return stun{}, false
	}
	kind := binary.BigEndian.Uint16(b)
	return stun{
		method:      kind&0x000f | kind>>1&0x0070 | kind>>2&0x0f80,
		class:       uint8(kind>>4&1 | kind>>7&2),
		transaction: [12]byte(b[8:20]),
		attributes:  b[stunHeader:],
	}, true
}

// attribute gives the value of the first attribute of a kind.
func (m stun) attribute(kind uint16) ([]byte, bool) {
	for b := m.attributes; len(b) >= 4; {
		size := int(binary.BigEndian.Uint16(b[2:]))
		if 4+size > len(b) {
			return nil, false
		}
		if binary.BigEndian.Uint16(b) == kind {
			return b[4 : 4+size : 4+size], true
		}
		b = b[min(4+(size+3)&^3, len(b)):]
	}
	return nil, false
}

// peerAddress is XOR-PEER-ADDRESS.
func (m stun) peerAddress() (netip.AddrPort, bool) {
	v, ok := m.attribute(attributeXORPeerAddress)
	if !ok || len(v) < 8 {
		return netip.AddrPort{}, false
	}
	var pad [16]byte
	binary.BigEndian.PutUint32(pad[:], stunCookie)
	copy(pad[4:], m.transaction[:])
	port := binary.BigEndian.Uint16(v[2:]) ^ uint16(stunCookie>>16)
	address := v[4:]
	switch {
	case v[1] == 1 && len(address) == 4:
	case v[1] == 2 && len(address) == 16:
	default:
		return netip.AddrPort{}, false
	}
	plain := make([]byte, len(address))
	for i := range plain {
		plain[i] = address[i] ^ pad[i]
	}
	a, _ := netip.AddrFromSlice(plain)
	return netip.AddrPortFrom(a, port), true
}

// parseChannelData reads a datagram as ChannelData. Over UDP it may be padded to
// a multiple of four (RFC 8656 section 12.5). Numbers above 0x4fff are reserved,
// but older servers use them.
func parseChannelData(b []byte) (channel uint16, data []byte, ok bool) {
	if len(b) < channelHeader || b[0]&0xc0 != 0x40 {
		return 0, nil, false
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if whole := channelHeader + size; len(b) != whole && len(b) != (whole+3)&^3 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[channelHeader : channelHeader+size : channelHeader+size], true
}

// wrapping is what TURN framing says of whom its payload is for or from.
type wrapping struct {
	channel uint16         // of ChannelData; 0 otherwise
	peer    netip.AddrPort // of an indication
}

// unwrap gives what a datagram between a TURN client and its server carries for
// the peer; false if it carries nothing.
func unwrap(b []byte) ([]byte, wrapping, bool) {
	if channel, data, ok := parseChannelData(b); ok {
		return data, wrapping{channel: channel}, true
	}
	m, ok := parseSTUN(b)
	if !ok || m.class != classIndication || m.method != methodSend && m.method != methodData {
		return nil, wrapping{}, false
	}
	data, ok := m.attribute(attributeData)
	if !ok {
		return nil, wrapping{}, false
	}
	peer, _ := m.peerAddress()
	return data, wrapping{peer: peer}, true
}
