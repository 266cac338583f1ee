//go:build linux

// Package scan makes the probes of a port scan and knows them again on a wire,
// them and what answers them. It opens no sockets.
package scan

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
)

// Mark is the type-of-service byte of probes: a DSCP for local use (RFC 2474
// section 6, pool 2) that nothing else of a lab has. Resets have it too, since
// the kernel gives them that of what they refuse, and ICMP errors quote it.
const Mark = 63 << 2

const (
	ipHeader  = 20
	tcpHeader = 20
	udpHeader = 8
	payload   = 12 // nonce, target, port
)

// Maker makes the probes of one scan.
type Maker struct {
	from    netip.AddrPort
	targets []netip.Addr
	nonce   uint64
}

// NewMaker makes the probes from an IPv4 address to some others.
func NewMaker(from netip.AddrPort, targets []netip.Addr) *Maker {
	return &Maker{from: from, targets: targets, nonce: rand.Uint64()}
}

// Append appends the packet of a probe to a port of the target at an index. The
// number of the target, from 1, is in the identification of the IP header; the
// port is in the sequence number, or in the payload: addresses and ports may be
// translated on the way.
func (m *Maker) Append(b []byte, t sim.Transport, target int, port uint16) []byte {
	length := ipHeader + tcpHeader
	protocol := byte(unix.IPPROTO_TCP)
	if t == sim.UDP {
		length, protocol = ipHeader+udpHeader+payload, unix.IPPROTO_UDP
	}
	at := len(b)
	b = append(b, make([]byte, length)...)
	p := b[at:]
	p[0], p[1], p[8], p[9] = 0x45, Mark, 64, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(length))
	binary.BigEndian.PutUint16(p[4:], uint16(target+1))
	from, to := m.from.Addr().As4(), m.targets[target].As4()
	copy(p[12:], from[:])
	copy(p[16:], to[:])
	binary.BigEndian.PutUint16(p[10:], checksum(sum(p[:ipHeader])))
	s := p[ipHeader:]
	binary.BigEndian.PutUint16(s, m.from.Port())
	binary.BigEndian.PutUint16(s[2:], port)
	// The pseudo-header of both transports (RFC 768, RFC 9293 section 3.1).
	pseudo := sum(p[12:ipHeader]) + uint32(protocol) + uint32(len(s))
	if t == sim.UDP {
		binary.BigEndian.PutUint16(s[4:], uint16(len(s)))
		binary.BigEndian.PutUint64(s[udpHeader:], m.nonce)
		binary.BigEndian.PutUint16(s[udpHeader+8:], uint16(target+1))
		binary.BigEndian.PutUint16(s[udpHeader+10:], port)
		check := checksum(pseudo + sum(s))
		if check == 0 {
			check = 0xffff // 0 says that there is none
		}
		binary.BigEndian.PutUint16(s[6:], check)
		return b
	}
	binary.BigEndian.PutUint32(s[4:], m.sequence(port))
	s[12], s[13] = tcpHeader/4<<4, flagSYN
	binary.BigEndian.PutUint16(s[14:], 1024) // window
	binary.BigEndian.PutUint16(s[16:], checksum(pseudo+sum(s)))
	return b
}

// sequence is the sequence number of the SYN to a port.
func (m *Maker) sequence(port uint16) uint32 { return uint32(m.nonce)<<16 | uint32(port) }

// Flags of TCP (RFC 9293 section 3.1).
const (
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagACK = 1 << 4
)

func sum(b []byte) (s uint32) {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	return s
}

// checksum folds a sum of words (RFC 1071).
func checksum(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// Probe knows a probe again wherever it passes: in an IPv4 packet, which may be
// cut off behind the first 64 bytes.
func (m *Maker) Probe(packet []byte) (sim.Probe, bool) {
	protocol, s, ok := transport(packet)
	if !ok || packet[1] != Mark {
		return sim.Probe{}, false
	}
	number, t, port := binary.BigEndian.Uint16(packet[4:]), sim.TCP, uint16(0)
	switch {
	case protocol == unix.IPPROTO_TCP && len(s) >= tcpHeader && s[13] == flagSYN:
		sequence := binary.BigEndian.Uint32(s[4:])
		port = uint16(sequence)
		ok = sequence == m.sequence(port)
	case protocol == unix.IPPROTO_UDP && len(s) >= udpHeader+payload:
		t, port = sim.UDP, binary.BigEndian.Uint16(s[udpHeader+10:])
		ok = binary.BigEndian.Uint64(s[udpHeader:]) == m.nonce && binary.BigEndian.Uint16(s[udpHeader+8:]) == number
	default:
		ok = false
	}
	if !ok || number == 0 || int(number) > len(m.targets) {
		return sim.Probe{}, false
	}
	return sim.Probe{Transport: t, Target: netip.AddrPortFrom(m.targets[number-1], port)}, true
}

// Answer knows what answers a probe, in an IPv4 packet that came to where probes
// are sent from.
func (m *Maker) Answer(packet []byte) (sim.Answer, bool) {
	protocol, s, ok := transport(packet)
	if !ok {
		return sim.Answer{}, false
	}
	from := netip.AddrFrom4([4]byte(packet[12:]))
	if protocol == unix.IPPROTO_ICMP {
		return m.icmpError(from, s)
	}
	if len(s) < udpHeader || binary.BigEndian.Uint16(s[2:]) != m.from.Port() || !slices.Contains(m.targets, from) {
		return sim.Answer{}, false
	}
	a := sim.Answer{Probe: sim.Probe{Transport: sim.TCP, Target: netip.AddrPortFrom(from, binary.BigEndian.Uint16(s))}, From: from}
	switch {
	case protocol == unix.IPPROTO_UDP:
		a.Transport, a.Kind = sim.UDP, sim.Datagram
		return a, true
	case protocol != unix.IPPROTO_TCP || len(s) < tcpHeader || binary.BigEndian.Uint32(s[8:]) != m.sequence(a.Target.Port())+1:
		return sim.Answer{}, false
	case s[13]&flagRST != 0:
		a.Kind = sim.Reset
		return a, true
	case s[13]&(flagSYN|flagACK) == flagSYN|flagACK:
		a.Kind = sim.SynAck
		return a, true
	}
	return sim.Answer{}, false
}

// icmpError finds the probe that an ICMP error quotes (RFC 792).
func (m *Maker) icmpError(from netip.Addr, s []byte) (sim.Answer, bool) {
	const header = 8
	if len(s) < header || s[0] != 3 && s[0] != 11 && s[0] != 12 {
		return sim.Answer{}, false
	}
	protocol, quoted, ok := transport(s[header:])
	if !ok || len(quoted) < 4 || binary.BigEndian.Uint16(quoted) != m.from.Port() {
		return sim.Answer{}, false
	}
	a := sim.Answer{Kind: sim.Error, From: from}
	switch protocol {
	case unix.IPPROTO_TCP:
		a.Transport = sim.TCP
	case unix.IPPROTO_UDP:
		a.Transport = sim.UDP
	default:
		return a, false
	}
	a.Target = netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[header+16:])), binary.BigEndian.Uint16(quoted[2:]))
	return a, slices.Contains(m.targets, a.Target.Addr())
}

// transport gives the protocol of an IPv4 packet and what is behind its header;
// false: it is none, or a later fragment.
func transport(packet []byte) (protocol byte, rest []byte, ok bool) {
	if len(packet) < ipHeader || packet[0]>>4 != 4 || binary.BigEndian.Uint16(packet[6:])&0x1fff != 0 {
		return 0, nil, false
	}
	header := int(packet[0]&0xf) * 4
	if header < ipHeader || len(packet) < header {
		return 0, nil, false
	}
	return packet[9], packet[header:], true
}
