package witness

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// ErrMalformed is the error of a packet whose headers do not fit.
var ErrMalformed = errors.New("witness: malformed packet")

// IP protocol numbers that the witness reads.
const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
)

// IPv6 extension headers that may stand before the transport header (RFC 8200).
const (
	extensionHopByHop    = 0
	extensionRouting     = 43
	extensionFragment    = 44
	extensionDestination = 60
)

// header is what the witness reads of an IP packet.
type header struct {
	src, dst netip.Addr
	protocol uint8
	id       uint32 // identification; 0 where IPv6 has none
	ttl      uint8
	// fragment: the packet is a part of one; offset is its place in bytes, and
	// more that others follow.
	fragment, more bool
	offset         int
	start          int    // of the transport part
	transport      []byte // from the transport header on
}

// parseHeader reads the IP header of a packet, IPv4 or IPv6. Bytes beyond the
// packet's own length (link-layer padding) are left out.
func parseHeader(data []byte) (header, error) {
	if len(data) == 0 {
		return header{}, ErrMalformed
	}
	switch data[0] >> 4 {
	case 4:
		return parseIPv4(data)
	case 6:
		return parseIPv6(data)
	}
	return header{}, ErrMalformed
}

func parseIPv4(data []byte) (header, error) {
	if len(data) < 20 {
		return header{}, ErrMalformed
	}
	size, total := int(data[0]&15)*4, int(binary.BigEndian.Uint16(data[2:]))
	if size < 20 || total < size || total > len(data) {
		return header{}, ErrMalformed
	}
	flags := binary.BigEndian.Uint16(data[6:])
	h := header{
		src: netip.AddrFrom4([4]byte(data[12:16])), dst: netip.AddrFrom4([4]byte(data[16:20])),
		protocol: data[9], ttl: data[8], id: uint32(binary.BigEndian.Uint16(data[4:])),
		more: flags&0x2000 != 0, offset: int(flags&0x1fff) * 8,
		start: size, transport: data[size:total],
	}
	h.fragment = h.more || h.offset > 0
	return h, nil
}

func parseIPv6(data []byte) (header, error) {
	if len(data) < 40 {
		return header{}, ErrMalformed
	}
	total := 40 + int(binary.BigEndian.Uint16(data[4:]))
	if total > len(data) {
		return header{}, ErrMalformed
	}
	h := header{
		src: netip.AddrFrom16([16]byte(data[8:24])), dst: netip.AddrFrom16([16]byte(data[24:40])),
		protocol: data[6], ttl: data[7],
		transport: data[40:total],
	}
	for {
		h.start = total - len(h.transport)
		switch h.protocol {
		case extensionHopByHop, extensionRouting, extensionDestination:
			if len(h.transport) < 8 {
				return header{}, ErrMalformed
			}
			size := 8 + int(h.transport[1])*8
			if size > len(h.transport) {
				return header{}, ErrMalformed
			}
			h.protocol, h.transport = h.transport[0], h.transport[size:]
		case extensionFragment:
			if len(h.transport) < 8 || h.fragment {
				return header{}, ErrMalformed
			}
			place := binary.BigEndian.Uint16(h.transport[2:])
			h.offset, h.more, h.fragment = int(place&^7), place&1 != 0, true
			h.id = binary.BigEndian.Uint32(h.transport[4:])
			h.protocol, h.transport = h.transport[0], h.transport[8:]
			if h.offset > 0 {
				h.start = total - len(h.transport)
				return h, nil // what follows is no header
			}
		default:
			return h, nil
		}
	}
}

// Parse makes a Packet of captured bytes, from the IP header on. The bytes are
// kept, not copied. A fragment has no Payload, a later fragment no ports either;
// Reassemble joins them. With ErrMalformed the Packet still has its time, place
// and bytes.
func Parse(at time.Time, point Point, direction Direction, data []byte) (Packet, error) {
	p := Packet{At: at, Point: point, Direction: direction, Data: data}
	h, err := parseHeader(data)
	if err != nil {
		return p, err
	}
	p.Protocol = h.protocol
	p.Src, p.Dst = netip.AddrPortFrom(h.src, 0), netip.AddrPortFrom(h.dst, 0)
	if h.offset > 0 {
		return p, nil
	}
	switch h.protocol {
	case protocolUDP:
		if len(h.transport) < 8 {
			return p, ErrMalformed
		}
	case protocolTCP:
		if len(h.transport) < 20 {
			return p, ErrMalformed
		}
	default:
		return p, nil
	}
	p.Src = netip.AddrPortFrom(h.src, binary.BigEndian.Uint16(h.transport))
	p.Dst = netip.AddrPortFrom(h.dst, binary.BigEndian.Uint16(h.transport[2:]))
	if h.protocol == protocolUDP && !h.fragment {
		size := int(binary.BigEndian.Uint16(h.transport[4:]))
		if size < 8 || size > len(h.transport) {
			return p, ErrMalformed
		}
		p.Payload = h.transport[8:size:size]
	}
	return p, nil
}
