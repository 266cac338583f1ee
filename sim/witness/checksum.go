package witness

import "encoding/binary"

// onesSum adds b to a ones' complement sum (RFC 1071), folded to 16 bits.
func onesSum(sum uint32, b []byte) uint16 {
	total := uint64(sum)
	for len(b) >= 2 {
		total += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		total += uint64(b[0]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// FinishChecksum completes, in place, the checksum of a UDP or TCP packet whose
// sender left it to the hardware: captured bytes are then those of a real wire.
// Other packets, fragments and malformed ones stay as they are.
func FinishChecksum(data []byte) {
	h, err := parseHeader(data)
	if err != nil || h.fragment {
		return
	}
	var at int
	switch {
	case h.protocol == protocolUDP && len(h.transport) >= 8:
		at = 6
	case h.protocol == protocolTCP && len(h.transport) >= 20:
		at = 16
	default:
		return
	}
	h.transport[at], h.transport[at+1] = 0, 0
	sum := ^transportSum(h)
	if sum == 0 && h.protocol == protocolUDP {
		sum = 0xffff // 0 says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(h.transport[at:], sum)
}

// transportSum is the sum over the pseudo-header and the transport part.
func transportSum(h header) uint16 {
	sum := uint32(h.protocol) + uint32(len(h.transport)&0xffff) + uint32(len(h.transport)>>16)
	sum = uint32(onesSum(sum, h.src.AsSlice()))
	sum = uint32(onesSum(sum, h.dst.AsSlice()))
	return onesSum(sum, h.transport)
}

// ChecksumValid reports whether the checksum of a UDP or TCP packet is right. A
// UDP packet over IPv4 without checksum is right, and so is all that has no
// checksum that can be judged: fragments, other protocols.
func ChecksumValid(data []byte) bool {
	h, err := parseHeader(data)
	if err != nil {
		return false
	}
	switch {
	case h.fragment, h.protocol != protocolUDP && h.protocol != protocolTCP:
		return true
	case h.protocol == protocolUDP && h.src.Is4() && len(h.transport) >= 8 && h.transport[6]|h.transport[7] == 0:
		return true
	}
	return transportSum(h) == 0xffff
}
