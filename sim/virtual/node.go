package virtual

import (
	"net/netip"
	"slices"
)

// node is the Internet's core, a router or a host.
type node struct {
	name   string
	kind   nodeKind
	number int32 // in the blueprint
	index  int32 // in the lab's routers or hosts
	router *Router
	host   *Host
	uplink *lane  // of a router, its way to everything else
	sent   uint16 // numbers what it sends itself
	// routes are the addresses behind it. They are the blueprint's until they change;
	// many are looked up in a map, which is made when it is needed.
	routes []routePrint
	byAddr map[netip.Addr]int32
	// guests are those who have an address of this node for a while and are no part
	// of the lab: they get the packets for it.
	guests map[netip.Addr]func(p *packet)
}

// manyRoutes is from how many on a map is faster than to look at each.
const manyRoutes = 12

// behind gives the cable that leads to an address behind the node; nil: none.
func (n *Network) behind(at *node, a netip.Addr) *cable {
	if len(at.routes) < manyRoutes {
		for i := range at.routes {
			if at.routes[i].addr == a {
				return n.cableAt(at.routes[i].cable)
			}
		}
		return nil
	}
	if at.byAddr == nil {
		at.byAddr = make(map[netip.Addr]int32, len(at.routes))
		for _, r := range at.routes {
			at.byAddr[r.addr] = r.cable
		}
	}
	if i, ok := at.byAddr[a]; ok {
		return n.cableAt(i)
	}
	return nil
}

// cableAt gives a cable by the number of its lane up, halved.
func (n *Network) cableAt(i int32) *cable { return n.lanes[2*i].cable }

// way gives the lane by which a core or a router reaches an address; nil: it does
// not.
func (n *Network) way(at *node, a netip.Addr) *lane {
	if c := n.behind(at, a); c != nil {
		return c.down
	}
	return at.uplink
}

// reroute has the node reach other addresses by a cable than it did.
func (at *node) reroute(cable int32, former, fresh []netip.Addr) {
	routes := slices.DeleteFunc(slices.Clone(at.routes), func(r routePrint) bool {
		return r.cable == cable && slices.Contains(former, r.addr)
	})
	for _, a := range fresh {
		routes = append(routes, routePrint{a, cable})
	}
	at.routes, at.byAddr = routes, nil
}

// own gives the address that a core or a router has for what goes by a lane.
func (n *Network) own(at *node, by *lane) netip.Addr {
	if by == at.uplink {
		return by.cable.addrs[0]
	}
	return at.gateway(n)
}

// gateway is the address of the core or a router for what stands behind it.
func (at *node) gateway(n *Network) netip.Addr {
	if at.kind == core {
		return n.plans.plan.Realms[0].Gateway
	}
	return at.router.gateway
}

// has reports whether an address is the core's or the router's own.
func (n *Network) has(at *node, a netip.Addr) bool {
	if len(at.guests) > 0 && at.guests[a] != nil {
		return true
	}
	return a == at.gateway(n) || at.kind == router && slices.Contains(at.uplink.cable.addrs, a)
}

// forward takes what every forwarding node takes of a packet: its time to live,
// and its size where the way out is too narrow. It is false when the packet came
// to its end.
func (n *Network) forward(at *node, p *packet, out *lane) bool {
	if p.ttl <= 1 {
		n.answer(at, p, icmpTimeExceeded, 0, 0)
		n.put(p)
		return false
	}
	if p.size > out.mtu && p.whole {
		n.answer(at, p, icmpUnreachable, codeFragNeeded, uint16(out.mtu))
		n.put(p)
		return false
	}
	p.ttl--
	p.data = nil
	return true
}

// consume takes a packet that is for the core or a router itself.
func (n *Network) consume(at *node, p *packet) {
	if len(at.guests) > 0 {
		if deliver := at.guests[p.dst.Addr()]; deliver != nil {
			deliver(p)
			return
		}
	}
	if !p.damaged {
		n.reply(at, p)
	}
	n.put(p)
}
