package virtual

import (
	"net/netip"

	"p2pmodel/sim"
)

// bogons are the prefixes that the Internet's core does not forward: private
// (RFC 1918), shared (RFC 6598), and those that mean nothing on a wire (RFC
// 6890).
var bogons = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

func bogon(a netip.Addr) bool {
	if sim.InternetPrefix.Contains(a) {
		return false
	}
	for _, p := range bogons {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// What the core's rules are called.
const (
	ruleEdge    = "core edge"
	ruleRouting = "core routing"
)

// atCore forwards a packet over the Internet.
func (n *Network) atCore(p *packet, in *lane) {
	at := &n.nodes[0]
	if bogon(p.src.Addr()) || bogon(p.dst.Addr()) {
		n.dropped(at, p, causeBogon, ruleEdge)
		n.put(p)
		return
	}
	out := n.behind(at, p.dst.Addr())
	if out == nil && !n.has(at, p.dst.Addr()) {
		// Not dropped here but by the routing that follows, which answers.
		n.dropped(at, p, causeNoRoute, ruleRouting)
	}
	if n.behind(at, p.src.Addr()) != in.cable {
		n.dropped(at, p, causeSpoofed, ruleEdge)
		n.put(p)
		return
	}
	switch {
	case out != nil:
		if n.forward(at, p, out.down) {
			out.down.send(n, p)
		}
	case n.has(at, p.dst.Addr()):
		n.consume(at, p)
	default:
		n.answer(at, p, icmpUnreachable, codeNetUnreachable, 0)
		n.put(p)
	}
}
