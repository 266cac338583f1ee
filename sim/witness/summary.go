package witness

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Summary says in a few words what a packet is, for a ladder of packets: "STUN
// Binding request", "ChannelData 0x4000 (84 B)", "UDP 64 B payload".
func Summary(p Packet) string {
	h, err := parseHeader(p.Data)
	if err != nil {
		return fmt.Sprintf("malformed packet (%d B)", len(p.Data))
	}
	if h.offset > 0 {
		return fmt.Sprintf("fragment at %d (%d B)", h.offset, len(h.transport))
	}
	switch {
	case h.protocol == protocolUDP && p.Payload != nil:
		return summarizeUDP(p.Payload)
	case h.protocol == protocolUDP:
		return fmt.Sprintf("UDP, first fragment (%d B)", len(h.transport))
	case h.protocol == protocolTCP && len(h.transport) >= 20:
		return summarizeTCP(h.transport)
	case h.protocol == protocolICMP && len(h.transport) >= 4:
		return "ICMP " + name(icmpNames, [2]uint8{h.transport[0], h.transport[1]}, fmt.Sprintf("type %d code %d", h.transport[0], h.transport[1]))
	case h.protocol == protocolICMPv6 && len(h.transport) >= 4:
		return "ICMPv6 " + name(icmp6Names, [2]uint8{h.transport[0], h.transport[1]}, fmt.Sprintf("type %d code %d", h.transport[0], h.transport[1]))
	}
	return fmt.Sprintf("IP protocol %d (%d B)", h.protocol, len(h.transport))
}

var methodNames = map[uint16]string{
	methodBinding:          "STUN Binding",
	methodAllocate:         "TURN Allocate",
	methodRefresh:          "TURN Refresh",
	methodSend:             "TURN Send",
	methodData:             "TURN Data",
	methodCreatePermission: "TURN CreatePermission",
	methodChannelBind:      "TURN ChannelBind",
}

var classNames = map[uint8]string{
	classRequest: "request", classIndication: "indication", classSuccess: "success", classError: "error",
}

// icmpNames are by type and code (RFC 792, 1812).
var icmpNames = map[[2]uint8]string{
	{0, 0}: "echo reply", {8, 0}: "echo request",
	{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable", {3, 3}: "port unreachable",
	{3, 4}: "fragmentation needed", {3, 13}: "administratively prohibited",
	{11, 0}: "time to live exceeded",
}

// icmp6Names are by type and code (RFC 4443, 4861).
var icmp6Names = map[[2]uint8]string{
	{129, 0}: "echo reply", {128, 0}: "echo request",
	{1, 0}: "no route", {1, 1}: "administratively prohibited", {1, 3}: "address unreachable", {1, 4}: "port unreachable",
	{2, 0}: "packet too big", {3, 0}: "hop limit exceeded",
	{133, 0}: "router solicitation", {134, 0}: "router advertisement",
	{135, 0}: "neighbour solicitation", {136, 0}: "neighbour advertisement",
}

func name[K comparable](names map[K]string, key K, otherwise string) string {
	if s, ok := names[key]; ok {
		return s
	}
	return otherwise
}

func summarizeUDP(b []byte) string {
	if channel, data, ok := parseChannelData(b); ok {
		return fmt.Sprintf("ChannelData %#04x (%d B)%s", channel, len(data), carried(data))
	}
	m, ok := parseSTUN(b)
	if !ok {
		return fmt.Sprintf("UDP %d B payload", len(b))
	}
	s := name(methodNames, m.method, fmt.Sprintf("STUN method %#03x", m.method)) + " " + classNames[m.class]
	if m.class == classError {
		if v, ok := m.attribute(attributeErrorCode); ok && len(v) >= 4 {
			s += fmt.Sprintf(" %d", int(v[2]&7)*100+int(v[3]))
		}
	}
	if _, ok := m.attribute(attributeUseCandidate); ok && m.method == methodBinding {
		s += ", nominates"
	}
	if v, ok := m.attribute(attributeChannelNumber); ok && len(v) >= 2 {
		s += fmt.Sprintf(" %#04x", binary.BigEndian.Uint16(v))
	}
	if peer, ok := m.peerAddress(); ok {
		if m.method == methodData {
			s += fmt.Sprintf(" from %v", peer)
		} else {
			s += fmt.Sprintf(" for %v", peer)
		}
	}
	if data, ok := m.attribute(attributeData); ok {
		s += fmt.Sprintf(" (%d B)%s", len(data), carried(data))
	}
	return s
}

// carried says what framing carries if it is STUN itself: a check over a relay.
func carried(data []byte) string {
	if _, ok := parseSTUN(data); ok {
		return ": " + summarizeUDP(data)
	}
	return ""
}

func summarizeTCP(b []byte) string {
	var flags []string
	for _, f := range []struct {
		bit  uint8
		name string
	}{{2, "SYN"}, {1, "FIN"}, {4, "RST"}, {16, "ACK"}} {
		if b[13]&f.bit != 0 {
			flags = append(flags, f.name)
		}
	}
	s := "TCP"
	if len(flags) > 0 {
		s += " " + strings.Join(flags, " ")
	}
	if size := len(b) - int(b[12]>>4)*4; size > 0 {
		s += fmt.Sprintf(" %d B", size)
	}
	return s
}

// ProtocolName is how a protocol is called, by its IP protocol number: "udp", "tcp",
// "icmp", or the number.
func ProtocolName(number uint8) string {
	switch number {
	case protocolUDP:
		return "udp"
	case protocolTCP:
		return "tcp"
	case protocolICMP:
		return "icmp"
	}
	return fmt.Sprint(number)
}

// Endpoint writes a transport address, or the address alone where the protocol has
// no ports.
func Endpoint(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return ""
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}
