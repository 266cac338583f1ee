package relay

import "encoding/binary"

// Channel numbers. RFC 5766 section 11 let clients use 0x4000 to 0x7FFF, and
// deployed ones do (coturn's turnutils_uclient 4.6.1, measured); RFC 8656
// section 12 narrowed the range to 0x4FFF so that RFC 7983 can tell protocols
// apart by their first byte.
const (
	minChannel       = 0x4000
	maxChannel       = 0x7FFF
	maxChannelStrict = 0x4FFF
)

// channelHeaderSize is the number and the length before a ChannelData
// message's payload (RFC 8656 section 12.4).
const channelHeaderSize = 4

// maxRelayedPayload is the most application data that one relayed datagram
// carries: a UDP/IPv4 datagram's 65507 bytes less the larger framing, that of
// a Send or Data indication with an IPv6 peer, rounded down.
const maxRelayedPayload = 65000

// isChannelData reports whether a datagram is ChannelData rather than STUN:
// the first two bits are 01 (RFC 8656 section 12).
func isChannelData(b []byte) bool { return len(b) > 0 && b[0]>>6 == 1 }

// parseChannelData splits a ChannelData message as it comes over UDP. Bytes
// past the stated length are padding and ignored (RFC 8656 section 12.5); a
// length that is not all there makes the message invalid. data aliases b.
func parseChannelData(b []byte) (number uint16, data []byte, ok bool) {
	if len(b) < channelHeaderSize || !isChannelData(b) {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b)-channelHeaderSize {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[channelHeaderSize : channelHeaderSize+n], true
}

// appendChannelData appends a ChannelData message to b. Over UDP it needs no
// padding. data is at most maxRelayedPayload bytes.
func appendChannelData(b []byte, number uint16, data []byte) []byte {
	return append(appendChannelHeader(b, number, len(data)), data...)
}

// appendChannelHeader appends what is before the data of a ChannelData message.
func appendChannelHeader(b []byte, number uint16, size int) []byte {
	b = binary.BigEndian.AppendUint16(b, number)
	return binary.BigEndian.AppendUint16(b, uint16(size))
}
