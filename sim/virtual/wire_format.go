package virtual

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// marshal appends the packet's bytes, from its IP header on, with all checksums
// done, and wrong by what a link has damaged.
func (p *packet) marshal(b []byte) []byte {
	begin := len(b)
	b = append(b, make([]byte, sizeIP)...)
	ip := b[begin:]
	ip[0], ip[8], ip[9] = 0x45, p.ttl, p.protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(p.size))
	binary.BigEndian.PutUint16(ip[4:], p.id)
	if p.whole {
		ip[6] = 0x40
	}
	src, dst := p.src.Addr().As4(), p.dst.Addr().As4()
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip))

	transport := len(b)
	checksum, pseudo := 0, true
	switch p.protocol {
	case protocolUDP:
		b = binary.BigEndian.AppendUint16(b, p.src.Port())
		b = binary.BigEndian.AppendUint16(b, p.dst.Port())
		b = binary.BigEndian.AppendUint16(b, uint16(sizeUDP+len(p.payload)))
		b = append(append(b, 0, 0), p.payload...)
		checksum = 6
	case protocolTCP:
		b = binary.BigEndian.AppendUint16(b, p.src.Port())
		b = binary.BigEndian.AppendUint16(b, p.dst.Port())
		b = binary.BigEndian.AppendUint32(b, p.seq)
		b = binary.BigEndian.AppendUint32(b, p.ack)
		b = append(b, 5<<4, p.flags, 0xff, 0xff, 0, 0, 0, 0)
		b = append(b, p.payload...)
		checksum = 16
	default:
		b = append(b, p.kind, p.code, 0, 0)
		checksum, pseudo = 2, false
		switch {
		case p.quoted != nil:
			b = binary.BigEndian.AppendUint32(b, uint32(p.mtu))
			quote := p.quoted.marshal(nil)
			b = append(b, quote[:min(len(quote), sizeQuote)]...)
		default:
			b = binary.BigEndian.AppendUint16(b, p.src.Port()|p.dst.Port())
			b = binary.BigEndian.AppendUint16(b, p.sequence)
			b = append(b, p.payload...)
		}
	}
	t := b[transport:]
	start := uint32(0)
	if pseudo {
		start = pseudoHeader(p.src.Addr(), p.dst.Addr(), p.protocol, len(t))
	}
	value := ^sum(start, t)
	if p.damaged {
		value = ones(value, p.damage)
	}
	if p.protocol == protocolUDP && value == 0 {
		value = 0xffff // 0 says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(t[checksum:], value)
	return b
}

// pseudoHeader is what the checksums of UDP and TCP cover besides them.
func pseudoHeader(src, dst netip.Addr, protocol uint8, size int) uint32 {
	a, b := src.As4(), dst.As4()
	return uint32(protocol) + uint32(size) + uint32(sum(0, a[:])) + uint32(sum(0, b[:]))
}

// sum is a ones' complement sum (RFC 1071), folded to 16 bits.
func sum(start uint32, b []byte) uint16 {
	total := uint64(start)
	for ; len(b) >= 2; b = b[2:] {
		total += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += uint64(b[0]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// ones adds in ones' complement.
func ones(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s>>16 + s&0xffff)
}

// corrupt flips one bit behind the packet's IP header, which flip selects, and
// leaves the checksum as it was: wrong. NATs mend checksums by differences, so
// that it stays wrong by as much on all of the way.
func (p *packet) corrupt(flip uint64) {
	behind := p.size - sizeIP
	if behind <= 0 {
		return
	}
	at, _ := bits.Mul64(flip, uint64(behind)*8)
	offset, bit := int(at/8), uint16(1)<<(at%8)
	if offset%2 == 0 {
		bit <<= 8
	}
	p.data = nil
	// The word's change makes the sum larger or smaller by the bit's value: the
	// checksum that would be right changes by as much the other way.
	was := p.word(offset)
	delta := bit
	if was&bit != 0 {
		delta = ^bit
	}
	p.damaged, p.damage = true, ones(p.damage, delta)
	p.flip(offset, bit)
}

// word is the 16-bit word at an offset behind the IP header, of an even one or of
// the one before.
func (p *packet) word(offset int) uint16 {
	b := p.marshal(nil)[sizeIP:]
	b = append(b, 0)
	return binary.BigEndian.Uint16(b[offset&^1:])
}

// flip changes what the packet carries, where that has a field: ports and payload.
// Of other words only the checksum tells.
func (p *packet) flip(offset int, bit uint16) {
	header := sizeUDP
	if p.protocol == protocolTCP {
		header = sizeTCP
	}
	switch {
	case p.protocol == protocolICMP && p.quoted != nil:
	case offset >= header && offset-header < len(p.payload):
		if offset%2 == 0 {
			bit >>= 8
		}
		p.payload[offset-header] ^= byte(bit)
	case p.protocol == protocolICMP:
	case offset < 2:
		p.src = netip.AddrPortFrom(p.src.Addr(), p.src.Port()^bit)
	case offset < 4:
		p.dst = netip.AddrPortFrom(p.dst.Addr(), p.dst.Port()^bit)
	}
}
