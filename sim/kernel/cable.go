//go:build linux

package kernel

import (
	"net/netip"
	"sync"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

// cable is a link of the lab: a veth pair between a node and its parent, or,
// where the link can be impaired, two pairs with a wire of ours between them.
type cable struct {
	network       *Network
	planned       sim.PlannedLink
	child, parent *node
	// lower is the node's end, upper the parent's.
	lower, upper *iface
	wire         *wired // nil: a plain veth

	mu        sync.Mutex
	addrs     []netip.Addr // the node's present addresses
	unplugged bool         // the node's end is down
	lonely    losing       // tells what is for the node meanwhile, on a plain link
	cut       bool
	losing    losing // the cut of a plain veth
	holes     losing // black holes
	lifted    int    // certifications for which the impairments are lifted
}

// wired is the middle of a link that can be impaired.
type wired struct {
	lower, upper *iface // in the namespace of the wires
	up, down     link.Impairment
	link         wireLink
	// mtuUp and mtuDown are those that the routes have.
	mtuUp, mtuDown int
}

// attachParent adds the parent's side: its address, routes to all that the node
// stands for, and who has them.
func (c *cable) attachParent(b *batch) {
	b.address(c.upper, c.planned.ParentAddr, true)
	c.attachRoutes(b)
}

// attachRoutes adds the parent's routes to all that the node stands for.
func (c *cable) attachRoutes(b *batch) {
	c.routeDown(b, c.addrs, true)
	for _, p := range c.planned.Routes {
		b.route(hop{to: p, by: c.upper, gateway: c.addrs[0], source: c.planned.ParentAddr, mtu: c.mtu(sim.Down)}, true)
	}
}

// via is the parent's way to an address that the node forwards to.
func (c *cable) via(a netip.Addr) hop {
	return hop{to: single(a), by: c.upper, gateway: c.addrs[0], source: c.planned.ParentAddr, mtu: c.mtu(sim.Down)}
}

// routeDown adds or takes the parent's ways to the node's addresses.
func (c *cable) routeDown(b *batch, addrs []netip.Addr, present bool) {
	for _, a := range addrs {
		b.neighbor(c.upper, a, c.lower.mac, present)
		b.route(hop{to: single(a), by: c.upper, source: c.planned.ParentAddr, mtu: c.mtu(sim.Down)}, present)
	}
}

// plug brings the node's end to life: interface, addresses, the default route.
func (c *cable) plug(b *batch) {
	b.state(c.lower, true)
	for _, a := range c.addrs {
		b.address(c.lower, a, true)
	}
	b.neighbor(c.lower, c.planned.ParentAddr, c.upper.mac, true)
	b.route(c.defaultRoute(), true)
}

// unplug takes it down; routes and neighbours go with the interface.
func (c *cable) unplug(b *batch) {
	for _, a := range c.addrs {
		b.address(c.lower, a, false)
	}
	b.state(c.lower, false)
}

// defaultRoute is the node's way to everything else, with the first address as
// the source of what does not choose one.
func (c *cable) defaultRoute() hop {
	return hop{to: anywhere(c.addrs[0]), by: c.lower, gateway: c.planned.ParentAddr, source: c.addrs[0], mtu: c.mtu(sim.Up)}
}

// awaitCarrier returns once packets can leave at both ends. An unplugged cable
// has no carrier, and none is awaited.
func (c *cable) awaitCarrier() error {
	if c.wire != nil {
		wires := c.network.nodes[wireNode]
		if err := c.parent.awaitCarrier(c.upper); err != nil {
			return err
		}
		if err := wires.awaitCarrier(c.wire.upper); err != nil {
			return err
		}
		if c.unplugged {
			return nil
		}
		if err := wires.awaitCarrier(c.wire.lower); err != nil {
			return err
		}
		return c.child.awaitCarrier(c.lower)
	}
	if c.unplugged {
		return nil
	}
	if err := c.parent.awaitCarrier(c.upper); err != nil {
		return err
	}
	return c.child.awaitCarrier(c.lower)
}
