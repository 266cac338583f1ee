package witness

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// fragmentKey is what the fragments of one packet share at one point (RFC 791,
// RFC 8200 section 4.5).
type fragmentKey struct {
	point     Point
	direction Direction
	src, dst  netip.Addr
	protocol  uint8
	id        uint32
}

type fragment struct {
	header header
	index  int // in the result: of the first fragment seen
	packet Packet
}

// strayFragment is how far apart fragments of one packet may be whose addresses
// differ.
const strayFragment = time.Second

// Reassemble replaces the fragments of each UDP packet, point by point, by the
// whole packet at the time when its last fragment was seen. Fragments of
// packets that never became whole stay as they are. Without fragments it
// returns packets itself.
func Reassemble(packets []Packet) []Packet {
	groups := map[fragmentKey][]fragment{}
	for i, p := range packets {
		if p.Protocol != protocolUDP || p.Payload != nil {
			continue
		}
		h, err := parseHeader(p.Data)
		if err != nil || !h.fragment {
			continue
		}
		k := fragmentKey{p.Point, p.Direction, h.src, h.dst, h.protocol, h.id}
		groups[k] = append(groups[k], fragment{h, i, p})
	}
	if len(groups) == 0 {
		return packets
	}
	drop := map[int]bool{}
	var joined []Packet
	take := func(parts []fragment) bool {
		whole, ok := join(parts)
		if !ok {
			return false
		}
		joined = append(joined, whole)
		for _, f := range parts {
			drop[f.index] = true
		}
		return true
	}
	// Linux may write the translated addresses into later fragments before a capture
	// copies what came in: those that are left go by one of their addresses.
	var left []fragment
	for _, parts := range groups {
		if !take(parts) {
			left = append(left, parts...)
		}
	}
	slices.SortFunc(left, func(a, b fragment) int { return a.index - b.index })
	others := map[fragmentKey][]fragment{}
	for _, f := range left {
		if f.header.offset > 0 {
			k := fragmentKey{point: f.packet.Point, direction: f.packet.Direction, protocol: f.header.protocol, id: f.header.id}
			others[k] = append(others[k], f)
		}
	}
	for _, f := range left {
		if f.header.offset > 0 {
			continue
		}
		parts := []fragment{f}
		for _, o := range others[fragmentKey{point: f.packet.Point, direction: f.packet.Direction, protocol: f.header.protocol, id: f.header.id}] {
			apart := o.packet.At.Sub(f.packet.At)
			if !drop[o.index] && max(apart, -apart) <= strayFragment && (o.header.src == f.header.src || o.header.dst == f.header.dst) {
				parts = append(parts, o)
			}
		}
		take(parts)
	}
	out := make([]Packet, 0, len(packets))
	for i, p := range packets {
		if !drop[i] {
			out = append(out, p)
		}
	}
	out = append(out, joined...)
	slices.SortStableFunc(out, func(a, b Packet) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return cmp.Compare(len(a.Data), len(b.Data))
	})
	return out
}

// join makes one packet of fragments, if they are all there and do not overlap.
func join(parts []fragment) (Packet, bool) {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b fragment) int { return cmp.Compare(a.header.offset, b.header.offset) })
	// A fragment that the network doubled is the same twice.
	parts = slices.CompactFunc(parts, func(a, b fragment) bool { return a.header.offset == b.header.offset })
	var transport []byte
	at := parts[0].packet.At
	for i, f := range parts {
		if f.header.offset != len(transport) || f.header.more != (i < len(parts)-1) {
			return Packet{}, false
		}
		transport = append(transport, f.header.transport...)
		if f.packet.At.After(at) {
			at = f.packet.At
		}
	}
	first := parts[0].packet
	if len(transport) > 65535-8 {
		return Packet{}, false
	}
	whole, err := Parse(at, first.Point, first.Direction, wholeHeader(parts[0].header, transport))
	return whole, err == nil
}

// wholeHeader puts the simplest IP header before a reassembled transport part.
func wholeHeader(h header, transport []byte) []byte {
	if h.src.Is4() {
		total := 20 + len(transport)
		if total > 65535 {
			return nil
		}
		b := make([]byte, 20, total)
		b[0], b[8], b[9] = 0x45, h.ttl, h.protocol
		b[2], b[3], b[4], b[5] = byte(total>>8), byte(total), byte(h.id>>8), byte(h.id)
		src, dst := h.src.As4(), h.dst.As4()
		copy(b[12:], src[:])
		copy(b[16:], dst[:])
		sum := ^onesSum(0, b)
		b[10], b[11] = byte(sum>>8), byte(sum)
		return append(b, transport...)
	}
	b := make([]byte, 40, 40+len(transport))
	b[0], b[4], b[5], b[6], b[7] = 0x60, byte(len(transport)>>8), byte(len(transport)), h.protocol, h.ttl
	src, dst := h.src.As16(), h.dst.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	return append(b, transport...)
}
