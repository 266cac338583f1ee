package witness

import "encoding/binary"

// SplitUDP divides a UDP packet that stands for many datagrams of size bytes
// each (the last may be shorter) into the packets that a wire would carry, with
// checksums done: what a program sends by UDP_SEGMENT is several datagrams, also
// where the kernel carries them as one. It returns nil if data is no such packet.
func SplitUDP(data []byte, size int) [][]byte {
	h, err := parseHeader(data)
	if err != nil || h.fragment || h.protocol != protocolUDP || len(h.transport) < 8 || size <= 0 {
		return nil
	}
	ip := data[:h.start]
	payload := h.transport[8:]
	var parts [][]byte
	for i := 0; len(payload) > 0 || i == 0; i++ {
		n := min(size, len(payload))
		part := make([]byte, 0, len(ip)+8+n)
		part = append(append(append(part, ip...), h.transport[:8]...), payload[:n]...)
		payload = payload[n:]
		binary.BigEndian.PutUint16(part[len(ip)+4:], uint16(8+n))
		if h.src.Is4() {
			binary.BigEndian.PutUint16(part[2:], uint16(len(part)))
			// As the kernel numbers segments (inet_gso_segment).
			binary.BigEndian.PutUint16(part[4:], uint16(int(h.id)+i))
			part[10], part[11] = 0, 0
			binary.BigEndian.PutUint16(part[10:], ^onesSum(0, part[:len(ip)]))
		} else {
			binary.BigEndian.PutUint16(part[4:], uint16(len(part)-40))
		}
		FinishChecksum(part)
		parts = append(parts, part)
	}
	return parts
}
