package virtual

import (
	"net/netip"
	"slices"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// changed notes a change of the NAT that takes effect at once.
func (r *Router) changed(c sim.Change) {
	c.Begin, c.End, c.External = r.network.time, r.network.time, r.External()
	r.changes = append(r.changes, c)
}

// Changes implements sim.RunningRouter.
func (r *Router) Changes() []sim.Change { return slices.Clone(r.changes) }

// Swap implements sim.RunningRouter. From then on Certify compares with the new
// behaviour.
func (r *Router) Swap(b nat.Behavior) error {
	if r.table == nil {
		return r.errorf("swap the NAT", ErrNoNAT)
	}
	if err := b.Validate(); err != nil {
		return r.errorf("swap the NAT", err)
	}
	former := r.behavior.Kind
	r.changed(sim.Change{Kind: sim.ChangeSwap, Behavior: b})
	if err := r.installNAT(b); err != nil {
		return r.errorf("swap the NAT", err)
	}
	if (former == nat.KindRFC) != (b.Kind == nat.KindRFC) && r.wall != nil {
		r.wall.reset() // its rules are made for the NAT's kind
	}
	r.network.log("router %s: its NAT is %v now", r.node.name, b)
	return nil
}

// Reboot implements sim.RunningRouter. The firewall's state is lost as well.
func (r *Router) Reboot(newAddress bool) error {
	if newAddress {
		if r.table == nil {
			return r.errorf("reboot with new addresses", ErrNoNAT)
		}
		if err := r.renumber(); err != nil {
			return r.errorf("reboot with new addresses", err)
		}
	}
	if r.table != nil {
		r.table.Reboot(r.external...)
	}
	if r.wall != nil {
		r.wall.reset()
	}
	r.changed(sim.Change{Kind: sim.ChangeReboot})
	r.network.log("router %s rebooted, external %v", r.node.name, r.external)
	return nil
}

// FlushTable implements sim.RunningRouter.
func (r *Router) FlushTable() error {
	if r.table == nil {
		return r.errorf("flush its table", ErrNoNAT)
	}
	r.table.Empty()
	r.changed(sim.Change{Kind: sim.ChangeFlush})
	r.network.log("router %s: the NAT's table is flushed", r.node.name)
	return nil
}

// Rebind implements sim.RunningRouter.
func (r *Router) Rebind(inside ...netip.Addr) (ended []string, err error) {
	if r.table == nil {
		return nil, r.errorf("rebind", ErrNoNAT)
	}
	for _, m := range r.table.Rebind(r.network.time, inside...) {
		ended = append(ended, r.line(m))
	}
	r.changed(sim.Change{Kind: sim.ChangeRebind, Inside: inside})
	r.network.log("router %s: %d mappings are rebound", r.node.name, len(ended))
	return ended, nil
}

// renumber gives the uplink addresses that it never had.
func (r *Router) renumber() error {
	fresh, err := r.network.plans.plan.Spare(r.lab.Name, r.moves+1)
	if err != nil {
		return err
	}
	c := r.cable
	number := c.up.id / 2
	c.up.to.reroute(number, c.addrs, fresh)
	// Routers in front that do not translate know the way, too.
	for at := c.up.to; at.kind == router && at.router.table == nil; at = at.uplink.to {
		at.uplink.to.reroute(at.uplink.id/2, c.addrs, fresh)
	}
	c.addrs, r.external = fresh, fresh
	r.moves++
	return nil
}
