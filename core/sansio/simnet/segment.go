package simnet

import (
	"net/netip"
	"slices"
	"time"
)

// NAT is what a router does to the packets that cross it. Addresses are
// netip values with IPv4 unmapped.
type NAT interface {
	// Outbound gives the source under which a packet from inside leaves, or
	// false to drop it.
	Outbound(now time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool)
	// Inbound gives the inner destination of a packet from outside that is
	// addressed to the router, or false to drop it.
	Inbound(now time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool)
}

// Segment is a set of hosts and routers that reach each other directly.
type Segment struct {
	net      *Net
	parent   *Segment // nil: the internet
	nat      NAT      // between this segment and parent
	external []netip.Addr
	children []*Segment
}

// Behind makes a segment behind a router of s with the given addresses in s.
// A firewall is a NAT that leaves addresses as they are, with the addresses of
// the hosts behind it for its own. A packet from inside to the router's own
// address comes back in as any packet from outside would: NAT.Inbound decides
// about hairpinning.
func (s *Segment) Behind(nat NAT, external ...netip.Addr) *Segment {
	inner := &Segment{net: s.net, parent: s, nat: nat, external: external}
	s.children = append(s.children, inner)
	return inner
}

// SetNAT replaces the router's NAT: a reboot, or another device.
func (s *Segment) SetNAT(nat NAT, external ...netip.Addr) { s.nat, s.external = nat, external }

// Host adds a host with its addresses in the segment.
func (s *Segment) Host(name string, addrs ...netip.Addr) *Host {
	h := &Host{net: s.net, name: name, segment: s, addrs: addrs, ports: make(map[netip.AddrPort]*port), nextPort: firstPort}
	s.net.hosts = append(s.net.hosts, h)
	return h
}

// route follows a packet from a segment to a host, through NATs. The reason
// says why there is none.
func (s *Segment) route(now time.Time, p *Packet) (to *Host, reason string) {
	for hops := 0; hops < 16; hops++ {
		for _, h := range s.net.hosts {
			if h.in(s, p.SeenDestination.Addr()) {
				return h, ""
			}
		}
		if inner := s.childWith(p.SeenDestination.Addr()); inner != nil {
			destination, ok := inner.nat.Inbound(now, p.SeenSource, p.SeenDestination)
			if !ok {
				return nil, "dropped inbound by the NAT at " + p.SeenDestination.Addr().String()
			}
			p.SeenDestination = destination
			s = inner
			continue
		}
		if s.parent == nil {
			return nil, "no host has the address " + p.SeenDestination.Addr().String()
		}
		source, ok := s.nat.Outbound(now, p.SeenSource, p.SeenDestination)
		if !ok {
			return nil, "dropped outbound by the NAT"
		}
		p.SeenSource = source
		s = s.parent
	}
	return nil, "looped"
}

func (s *Segment) childWith(a netip.Addr) *Segment {
	for _, c := range s.children {
		if slices.Contains(c.external, a) {
			return c
		}
	}
	return nil
}
