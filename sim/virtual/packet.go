package virtual

import (
	"net/netip"

	"p2pmodel/nat/table"
)

// Numbers of IP (RFC 790) and ICMP (RFC 792).
const (
	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17

	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEchoRequest  = 8
	icmpTimeExceeded = 11

	codeNetUnreachable  = 0
	codePortUnreachable = 3
	codeFragNeeded      = 4
	codeProhibited      = 13

	tcpFIN = 1 << 0
	tcpSYN = 1 << 1
	tcpRST = 1 << 2
	tcpACK = 1 << 4
)

// Sizes in bytes.
const (
	sizeIP   = 20
	sizeUDP  = 8
	sizeTCP  = 20
	sizeICMP = 8
	// sizeMTU is the MTU of interfaces.
	sizeMTU = 1500
	// sizeQuote is how much of a packet an ICMP error quotes at most: it is no longer
	// than 576 bytes (RFC 1812 section 4.3.2.3).
	sizeQuote = 576 - sizeIP - sizeICMP
)

// defaultTTL is that of what hosts and routers send.
const defaultTTL = 64

// packet is an IP packet under way. It belongs to one place at a time: to the
// event that carries it, or to the function that handles it.
type packet struct {
	// src and dst have ports where the protocol has; of an ICMP echo the identifier
	// is the port of who asks, and the other side's is 0.
	src, dst netip.AddrPort
	payload  []byte // of UDP, TCP and ICMP echo; a part of buffer
	size     int    // from the IP header on
	id       uint16 // IP identification
	sequence uint16 // of an ICMP echo
	mtu      uint16 // that an ICMP error tells of
	protocol uint8
	ttl      uint8
	kind     uint8 // of ICMP
	code     uint8 // of ICMP
	flags    uint8 // of TCP
	// whole: it must not be fragmented (DF).
	whole bool
	// expected: conntrack knows its flow.
	expected bool
	// damaged: a link has flipped a bit of it, so that its checksum is wrong by
	// damage, in ones' complement.
	damaged bool
	damage  uint16

	seq, ack uint32  // of TCP
	quoted   *packet // what an ICMP error is about

	buffer []byte // what payload lies in, used again
	data   []byte // as it is on the wire, once it was captured; nil after a change
}

// isError reports whether the packet is an ICMP error.
func (p *packet) isError() bool { return p.quoted != nil }

// fill copies the payload.
func (p *packet) fill(payload []byte) {
	p.buffer = append(p.buffer[:0], payload...)
	p.payload = p.buffer
}

// setSize sets the size by what the packet carries.
func (p *packet) setSize() {
	switch p.protocol {
	case protocolUDP:
		p.size = sizeIP + sizeUDP + len(p.payload)
	case protocolTCP:
		p.size = sizeIP + sizeTCP + len(p.payload)
	case protocolICMP:
		p.size = sizeIP + sizeICMP + len(p.payload)
		if p.quoted != nil {
			p.size = sizeIP + sizeICMP + min(p.quoted.size, sizeQuote)
		}
	}
}

// view is what NATs and firewalls look at of a packet; ok is false for what they
// do not translate: other protocols and ICMP errors.
func (p *packet) view() (v table.Packet, ok bool) {
	v.Src, v.Dst = p.src, p.dst
	switch p.protocol {
	case protocolUDP:
		v.Protocol = table.UDP
	case protocolTCP:
		v.Protocol = table.TCP
	case protocolICMP:
		v.Protocol = table.ICMPEcho
		return v, p.kind == icmpEchoRequest || p.kind == icmpEchoReply
	default:
		return v, false
	}
	return v, true
}

// translated takes the addresses of a verdict.
func (p *packet) translated(v table.Packet) {
	if p.src != v.Src || p.dst != v.Dst {
		p.src, p.dst, p.data = v.Src, v.Dst, nil
	}
}

// packets are those that are used again, since most of a lab's life is packets.
type packets struct{ free []*packet }

// take gives an empty packet.
func (s *packets) take() *packet {
	if last := len(s.free) - 1; last >= 0 {
		p := s.free[last]
		s.free = s.free[:last]
		return p
	}
	return new(packet)
}

// put takes back a packet that came to its end.
func (s *packets) put(p *packet) {
	if p.quoted != nil {
		s.put(p.quoted)
	}
	*p = packet{buffer: p.buffer}
	s.free = append(s.free, p)
}

// copy gives another packet with the same contents.
func (s *packets) copy(p *packet) *packet {
	c := s.take()
	buffer := c.buffer
	*c = *p
	c.buffer, c.payload = buffer, nil
	c.fill(p.payload)
	if p.quoted != nil {
		c.quoted = s.copy(p.quoted)
	}
	return c
}
