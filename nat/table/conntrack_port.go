package table

import (
	"net/netip"
	"time"

	"p2pmodel/nat"
)

// The search for a free port begins at a random one and goes on from there for
// so many; then it begins elsewhere, for half as many, until there are few left to
// try. The kernel's NF_NAT_MAX_ATTEMPTS, and where it ends.
const (
	firstAttempts = 128
	leastAttempts = 16
)

// pick chooses the external endpoint of a new flow, as get_unique_tuple does:
// that of the endpoint's latest flow, else the inside port, else a random one. A
// port is free if no flow has it towards this remote. Masquerade takes the first
// address of the interface.
func (c *conntrack) pick(now time.Time, p Packet) (netip.AddrPort, bool) {
	if c.follower != nil {
		return c.follower.chooseFlow(now, c, p), true
	}
	if e, ok := c.preferred(p); ok {
		return e, true
	}
	s := c.states[p.Protocol]
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(c.external[0], port) }
	free := func(e netip.AddrPort) bool { return s.outer[flowKey{e, p.Dst}] == nil }
	low, size := c.portsFor(p.Protocol, p.Src.Port())
	if c.shadow != nil {
		return c.shadow.drawnFlow(c, p, low, size)
	}
	for attempts := min(size, firstAttempts); ; attempts /= 2 {
		offset := uint16(c.rand.Uint64())
		for range attempts {
			if e := at(low + uint16(int(offset)%size)); free(e) {
				return e, true
			}
			offset++
		}
		if attempts >= size || attempts < leastAttempts {
			return netip.AddrPort{}, false
		}
	}
}

// preferred is the external endpoint that plain masquerade takes if it is free.
func (c *conntrack) preferred(p Packet) (netip.AddrPort, bool) {
	if c.behavior.Kind != nat.KindMasquerade {
		return netip.AddrPort{}, false
	}
	s := c.states[p.Protocol]
	free := func(e netip.AddrPort) bool { return s.outer[flowKey{e, p.Dst}] == nil }
	if flows := s.bySource[p.Src]; len(flows) > 0 {
		if e := flows[len(flows)-1].external; free(e) {
			return e, true
		}
	}
	e := netip.AddrPortFrom(c.external[0], p.Src.Port())
	return e, (!c.ranged() || c.behavior.Range.Contains(e.Port())) && free(e)
}

// ranged says whether the rule names a range of ports. The default range is the
// kernel's without one.
func (c *conntrack) ranged() bool { return c.behavior.Range != nat.DefaultPortRange }

// portsFor is where a port for this inside port, or echo identifier, is drawn
// from: the lowest, and how many. Without a range, low ports stay low.
func (c *conntrack) portsFor(protocol Protocol, inside uint16) (low uint16, size int) {
	switch r := c.behavior.Range; {
	case c.ranged():
		return r.Low, r.Size()
	case protocol == ICMPEcho:
		return 0, 1 << 16
	case inside < 512:
		return 1, 511
	case inside < 1024:
		return 600, 424
	}
	return nat.DefaultPortRange.Low, nat.DefaultPortRange.Size()
}
