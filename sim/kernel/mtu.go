//go:build linux

package kernel

import "p2pmodel/sim"

// The MTU of a link is one of the routes that lead into it, not of its interfaces:
// those drop what they receive beyond their own MTU, so that the two directions
// could not differ. Forwarded packets respect a route's MTU like a device's
// (Linux's ip_dst_mtu_maybe_forward), so fragments and ICMP Fragmentation Needed
// are the kernel's own. Where a link says nothing, the wire takes what is larger.

// mtu is the MTU of the routes into the link; 0: the interface's.
func (c *cable) mtu(d sim.Direction) int {
	if c.wire == nil {
		return 0
	}
	i := c.wire.up
	if d == sim.Down {
		i = c.wire.down
	}
	if i.Blackhole {
		return 0
	}
	return i.MTU
}

// setMTU gives the routes of both ends the link's present MTU. The caller holds
// the cable.
func (c *cable) setMTU() error {
	if c.wire.mtuUp == c.mtu(sim.Up) && c.wire.mtuDown == c.mtu(sim.Down) {
		return nil
	}
	var above batch
	c.attachRoutes(&above)
	if err := c.parent.do(&above); err != nil {
		return err
	}
	if !c.unplugged { // else plug does it
		var below batch
		below.route(c.defaultRoute(), true)
		if err := c.child.do(&below); err != nil {
			return err
		}
	}
	c.wire.mtuUp, c.wire.mtuDown = c.mtu(sim.Up), c.mtu(sim.Down)
	return nil
}
