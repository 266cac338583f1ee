//go:build linux

package ruleset

import (
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// protocol is a transport that the NAT translates, each with tables of its own.
type protocol struct {
	name   string
	number byte
	// from and to are the ports of a packet; for an ICMP echo both are the
	// identifier (RFC 5508 section 3.1), and the remote side has no port: 0.
	from, to field
	echo     bool
	// checksum is the offset of the transport's checksum.
	checksum uint32
	// quotedFrom and quotedTo are from and to in the packet that an ICMP error
	// quotes.
	quotedFrom, quotedTo field
}

var protocols = []protocol{
	{
		name: "udp", number: unix.IPPROTO_UDP, checksum: 6,
		from: sourcePort, to: destinationPort,
		quotedFrom: quotedSourcePort, quotedTo: quotedDestinationPort,
	},
	{
		name: "tcp", number: unix.IPPROTO_TCP, checksum: 16,
		from: sourcePort, to: destinationPort,
		quotedFrom: quotedSourcePort, quotedTo: quotedDestinationPort,
	},
	{
		name: "icmp", number: unix.IPPROTO_ICMP, checksum: icmpChecksum, echo: true,
		from: echoIdentifier, to: echoIdentifier,
		quotedFrom: quotedEchoIdentifier, quotedTo: quotedEchoIdentifier,
	},
}

// idle is how long a firewall's flow of the protocol lives that is not used, where
// flows in general live so long.
func (p protocol) idle(timeout time.Duration) time.Duration {
	if p.number == unix.IPPROTO_TCP {
		return max(timeout, nat.TCPTimeout)
	}
	return timeout
}

// times gives how long a mapping of the protocol lives that is not used: where
// packets passed one way only, and where they passed both ways. The behaviour is
// resolved.
func (p protocol) times(b nat.Behavior) (oneWay, stream time.Duration) {
	switch p.number {
	case unix.IPPROTO_TCP:
		return b.TimeoutTCP, b.TimeoutTCP
	case unix.IPPROTO_ICMP:
		return b.TimeoutICMP, b.TimeoutICMP
	}
	return b.Timeout, b.Stream
}

// remotePort loads the port of the remote side: f of the packet, or 0 for an
// echo.
func (p protocol) remotePort(f field, to reg) expr.Any {
	if p.echo {
		return immediate(to, 0, 0, 0, 0)
	}
	return load(f, to)
}

// outbound matches the packets of the protocol that may make a mapping.
func (p protocol) outbound() []expr.Any {
	if p.echo {
		return join(match(ipProtocol, p.number), match(icmpType, icmpEchoRequest))
	}
	return match(ipProtocol, p.number)
}

// inbound matches the packets of the protocol that a mapping may let in.
func (p protocol) inbound() []expr.Any {
	if p.echo {
		return join(match(ipProtocol, p.number), match(icmpType, icmpEchoReply))
	}
	return match(ipProtocol, p.number)
}

// quotedOutbound matches ICMP errors about packets of the protocol that were on
// the way out, quotedInbound about those on the way in.
func (p protocol) quotedOutbound() []expr.Any {
	if p.echo {
		return join(match(quotedProtocol, p.number), match(quotedICMPType, icmpEchoRequest))
	}
	return match(quotedProtocol, p.number)
}

func (p protocol) quotedInbound() []expr.Any {
	if p.echo {
		return join(match(quotedProtocol, p.number), match(quotedICMPType, icmpEchoReply))
	}
	return match(quotedProtocol, p.number)
}

// variant is one way of rewriting a packet.
type variant struct {
	title string
	match []expr.Any
	store func(from reg, f field) expr.Any // writes a port
}

// variants are the ways of rewriting packets of the protocol. A UDP checksum of
// 0 means that there is none (RFC 768); mending it would make a wrong one.
func (p protocol) variants() []variant {
	mended := variant{store: func(from reg, f field) expr.Any { return store(from, f, p.checksum) }}
	if p.number != unix.IPPROTO_UDP {
		return []variant{mended}
	}
	return []variant{
		{title: ", without checksum", match: match(udpChecksum, 0, 0), store: storePlain},
		mended,
	}
}
