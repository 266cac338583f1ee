//go:build linux

package differential

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"p2pmodel/nat/table"
)

const (
	ipHeader = 20
	// mark is the number of a packet in its payload, in bytes.
	mark = 8

	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17

	icmpReply       = 0
	icmpUnreachable = 3
	icmpRequest     = 8
)

var headerSize = map[table.Protocol]int{table.UDP: 8, table.TCP: 20, table.ICMPEcho: 8}

// encode makes an IPv4 packet. An echo is a request where it comes from inside, else
// a reply. number tells it from others.
func encode(p table.Packet, request bool, number uint64) []byte {
	size := headerSize[p.Protocol]
	b := make([]byte, ipHeader+size+mark)
	b[0], b[8] = 0x45, 64
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	src, dst := p.Src.Addr().As4(), p.Dst.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	t := b[ipHeader:]
	binary.BigEndian.PutUint64(t[size:], number)
	switch p.Protocol {
	case table.ICMPEcho:
		b[9] = protocolICMP
		t[0] = icmpReply
		id := p.Dst.Port()
		if request {
			t[0], id = icmpRequest, p.Src.Port()
		}
		binary.BigEndian.PutUint16(t[4:], id)
		binary.BigEndian.PutUint16(t[2:], checksum(0, t))
	default:
		binary.BigEndian.PutUint16(t, p.Src.Port())
		binary.BigEndian.PutUint16(t[2:], p.Dst.Port())
		at := 6
		b[9] = protocolUDP
		if p.Protocol == table.TCP {
			b[9], at = protocolTCP, 16
			t[12], t[13] = 5<<4, 0x02 // SYN
		} else {
			binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
		}
		sum := checksum(pseudoHeader(b), t)
		if sum == 0 && p.Protocol == table.UDP {
			sum = 0xffff // 0 would say that there is none (RFC 768)
		}
		binary.BigEndian.PutUint16(t[at:], sum)
	}
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipHeader]))
	return b
}

// decoded is an IPv4 packet that was read.
type decoded struct {
	packet table.Packet
	number uint64
	// refusal: it is an ICMP error that quotes another packet, whose number that is.
	refusal bool
}

// decode reads a packet of ours, or an error about one, and checks its checksums. Of
// one with a wrong checksum it gives what it says, too.
func decode(b []byte) (d decoded, err error) {
	if len(b) < ipHeader || b[0] != 0x45 || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return d, errors.New("no whole IPv4 packet without options")
	}
	if checksum(0, b[:ipHeader]) != 0 {
		return d, errors.New("the checksum of the IPv4 header is wrong")
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	t := b[ipHeader:]
	if b[9] == protocolICMP && len(t) >= 8 && t[0] == icmpUnreachable {
		q := t[8:]
		if checksum(0, t) != 0 || len(q) < ipHeader+8+mark {
			return d, errors.New("an ICMP error with a wrong checksum, or that quotes too little")
		}
		d.refusal = true
		d.number = binary.BigEndian.Uint64(q[len(q)-mark:])
		return d, nil
	}
	err = d.transport(b[9], src, dst, b, t)
	return d, err
}

func (d *decoded) transport(protocol byte, src, dst netip.Addr, b, t []byte) error {
	sum := pseudoHeader(b)
	switch protocol {
	case protocolICMP:
		d.packet.Protocol, sum = table.ICMPEcho, 0
	case protocolTCP:
		d.packet.Protocol = table.TCP
	case protocolUDP:
		d.packet.Protocol = table.UDP
	default:
		return fmt.Errorf("protocol %d", protocol)
	}
	size := headerSize[d.packet.Protocol]
	if len(t) < size+mark {
		return errors.New("it is too short to be one of ours")
	}
	d.number = binary.BigEndian.Uint64(t[size:])
	from, to := binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	if protocol == protocolICMP {
		from, to = 0, binary.BigEndian.Uint16(t[4:])
		if t[0] == icmpRequest {
			from, to = to, 0
		}
	}
	d.packet.Src, d.packet.Dst = netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)
	// The kernel's rules may bring a checksum of UDP to 0, which says that there is none.
	none := protocol == protocolUDP && t[6] == 0 && t[7] == 0
	if !none && checksum(sum, t) != 0 {
		return fmt.Errorf("the checksum of %s is wrong", d.packet.Protocol)
	}
	return nil
}

// pseudoHeader is the sum of an IPv4 packet's pseudo-header (RFC 768).
func pseudoHeader(b []byte) uint32 {
	sum := uint32(b[9]) + uint32(len(b)-ipHeader)
	for i := 12; i < ipHeader; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return sum
}

// checksum is that of RFC 1071, on top of a sum.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
