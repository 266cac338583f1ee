// Package table executes a NAT behaviour: it is the model that the kernel's
// rules, the certification and the oracle are compared with. It is pure: time
// and randomness come in as parameters, and nothing is sent anywhere. It looks
// at addresses and ports only; it knows no TCP states, fragments or ICMP errors.
package table

import (
	"fmt"
	"net/netip"
	"time"

	"p2pmodel/nat"
)

// Protocol is what a packet carries. Each has its own mappings and ports.
type Protocol uint8

// The protocols that are translated.
const (
	UDP Protocol = iota
	TCP
	// ICMPEcho: the identifier stands in the port of the inside or external
	// side, and the remote port is 0.
	ICMPEcho
	protocols
)

func (p Protocol) String() string {
	switch p {
	case UDP:
		return "udp"
	case TCP:
		return "tcp"
	case ICMPEcho:
		return "icmp"
	}
	return fmt.Sprintf("invalid(%d)", uint8(p))
}

// idle is how long a firewall's flow of the protocol lives that is not used, where
// flows in general live so long.
func (p Protocol) idle(timeout time.Duration) time.Duration {
	if p == TCP {
		return max(timeout, nat.TCPTimeout)
	}
	return timeout
}

// Packet is what a NAT looks at of a packet.
type Packet struct {
	Protocol Protocol
	Src, Dst netip.AddrPort
}

func (p Packet) String() string { return fmt.Sprintf("%s %s > %s", p.Protocol, p.Src, p.Dst) }

// Drop is why a packet went no further.
type Drop uint8

// The reasons. The zero value means that the packet passed.
const (
	Passed Drop = iota
	// NoMapping: no mapping has the external address and port, nor had one lately.
	NoMapping
	// Expired: the mapping that had them has ended: it was idle for too long, or was
	// rotated or evicted.
	Expired
	// Filtered: the mapping's filter does not know the sender.
	Filtered
	// Exhausted: no external port is free, none of the right parity, none in the
	// inside address's block, or no block.
	Exhausted
	// TableFull: the protocol has as many mappings as the table takes.
	TableFull
	// HairpinRefused: the NAT does not hairpin.
	HairpinRefused
	// Unsolicited: a firewall takes replies only, and this is none.
	Unsolicited
	// PortBlocked: a firewall lets no UDP, or no TCP, leave to this port.
	PortBlocked
	// NotAllowed: no rule of a firewall lets the flow begin.
	NotAllowed
	// ProtocolBlocked: a firewall lets nothing leave but UDP and TCP.
	ProtocolBlocked
	// NotLoggedIn: the host inside is not logged in at the firewall's portal.
	NotLoggedIn
	// Redirected: the firewall's portal answers in the place of who was asked.
	Redirected
)

func (d Drop) String() string {
	switch d {
	case Passed:
		return "passed"
	case NoMapping:
		return "no mapping"
	case Expired:
		return "mapping expired"
	case Filtered:
		return "filtered"
	case Exhausted:
		return "no free port"
	case TableFull:
		return "table full"
	case HairpinRefused:
		return "hairpin refused"
	case Unsolicited:
		return "unsolicited"
	case PortBlocked:
		return "port blocked"
	case NotAllowed:
		return "not allowed"
	case ProtocolBlocked:
		return "protocol blocked"
	case NotLoggedIn:
		return "not logged in"
	case Redirected:
		return "redirected to the portal"
	}
	return fmt.Sprintf("invalid(%d)", uint8(d))
}

// Answer is what the sender of a dropped packet is told.
type Answer uint8

// The answers.
const (
	// Silence: nothing.
	Silence Answer = iota
	// Prohibited: an ICMP error, communication administratively prohibited.
	Prohibited
	// Reset: a TCP RST.
	Reset
)

// Verdict is what became of a packet.
type Verdict struct {
	// Packet is the packet as translated. Of a dropped one it is as it came.
	Packet Packet
	// Hairpin says that an outbound packet turned back inside.
	Hairpin bool
	// Drop is Passed, or why the packet went no further.
	Drop Drop
	// Answer is what the sender of a dropped packet is told.
	Answer Answer
}

func (v Verdict) String() string {
	switch {
	case v.Drop != Passed:
		return fmt.Sprintf("%s: %s", v.Packet, v.Drop)
	case v.Hairpin:
		return fmt.Sprintf("%s (hairpin)", v.Packet)
	}
	return v.Packet.String()
}
