//go:build linux

package kernel

import (
	"context"
	"fmt"

	"p2pmodel/sim"
)

// makeNodes makes the namespaces of the Internet, of all routers and hosts, and
// of the wires if there are any.
func (n *Network) makeNodes(ctx context.Context) error {
	// The first namespace tells what is left to be written in the others.
	var routers, hosts []setting
	internet, err := newNode(sim.Internet, func() []setting {
		routers, hosts = differing(routerSettings), differing(hostSettings)
		return routers
	})
	if err != nil {
		return err
	}
	n.nodes[sim.Internet] = internet
	type wanted struct {
		name     string
		settings []setting
	}
	var all []wanted
	for _, r := range n.lab.Routers {
		all = append(all, wanted{r.Name, routers})
	}
	for _, h := range n.lab.Hosts {
		all = append(all, wanted{h.Name, hosts})
	}
	if len(n.lab.Links) > 0 {
		all = append(all, wanted{wireNode, hosts})
	}
	made := make([]*node, len(all))
	err = each(ctx, len(all), func(i int) (err error) {
		made[i], err = newNode(all[i].name, always(all[i].settings))
		return err
	})
	for i, node := range made {
		if node != nil {
			n.nodes[all[i].name] = node
		}
	}
	return err
}

// wireNode is where the outer ends of impaired links live. No node of a lab can
// have this name: it is not a word.
const wireNode = "(wires)"

// layOut decides the interfaces of all links and makes the values that run
// them. It makes nothing in the kernel.
func (n *Network) layOut(context.Context) error {
	declared := make(map[sim.LinkID]bool)
	for _, l := range n.lab.Links {
		id, ok := n.lab.LinkID(l.Node, l.Uplink)
		if !ok {
			return fmt.Errorf("link of %s: the lab has no such uplink %q", l.Node, l.Uplink)
		}
		declared[id] = true
	}
	for at, p := range n.plan.Links {
		child, parent := n.nodes[p.ID.Node], n.nodes[p.Parent]
		if child == nil || parent == nil {
			return fmt.Errorf("link %v: the plan names a node that the lab does not have", p.ID)
		}
		c := &cable{
			network: n, planned: p, child: child, parent: parent,
			addrs: p.NodeAddrs,
			lower: child.addIface(p.ID.Uplink, p.ID.Uplink, macOf(at, 1)),
			upper: parent.addIface("to-"+p.ID.Node, pointOf(p.ID), macOf(at, 2)),
		}
		if declared[p.ID] {
			wires := n.nodes[wireNode]
			up, down := n.lab.Impairments(p.ID)
			c.wire = &wired{
				up: up, down: down,
				lower: wires.addIface("", "", macOf(at, 3)),
				upper: wires.addIface("", "", macOf(at, 4)),
			}
		}
		n.cables[p.ID] = c
		n.order = append(n.order, c)
	}
	for i := range n.lab.Routers {
		r := &n.lab.Routers[i]
		uplink := n.cables[sim.LinkID{Node: r.Name, Uplink: sim.DefaultUplink}]
		if uplink == nil {
			return fmt.Errorf("router %s: the plan has no uplink for it", r.Name)
		}
		n.routers[r.Name] = newRouter(n, r, n.nodes[r.Name], uplink)
	}
	for i := range n.lab.Hosts {
		h := &n.lab.Hosts[i]
		host := newHost(n, h, n.nodes[h.Name])
		for _, u := range h.Uplinks {
			c := n.cables[sim.LinkID{Node: h.Name, Uplink: u.Name}]
			if c == nil {
				return fmt.Errorf("host %s: the plan has no uplink %q for it", h.Name, u.Name)
			}
			host.uplinks[u.Name] = c
			// Only one uplink is in use; the others are unplugged.
			c.unplugged = u.Name != host.active
		}
		n.hosts[h.Name] = host
	}
	return nil
}

// makeInterfaces makes all veth pairs, a parent at a time: one request makes
// both ends with their names, numbers and addresses.
func (n *Network) makeInterfaces(ctx context.Context) error {
	near := make(map[*node]*batch)
	var order []*node
	at := func(node *node) *batch {
		if near[node] == nil {
			near[node] = new(batch)
			order = append(order, node)
		}
		return near[node]
	}
	for _, c := range n.order {
		if c.wire == nil {
			at(c.parent).veth(c.upper, c.lower, c.child.ns.fd)
			continue
		}
		wires := n.nodes[wireNode]
		at(c.parent).veth(c.upper, c.wire.upper, wires.ns.fd)
		at(c.child).veth(c.lower, c.wire.lower, wires.ns.fd)
	}
	return each(ctx, len(order), func(i int) error { return order[i].do(near[order[i]]) })
}

// configure gives every interface its addresses, every node its routes and
// neighbours, in one request a node.
func (n *Network) configure(ctx context.Context) error {
	batches := make(map[*node]*batch)
	for _, node := range n.nodes {
		batches[node] = new(batch)
	}
	for _, c := range n.order {
		c.attachParent(batches[c.parent])
		if c.wire != nil {
			batches[n.nodes[wireNode]].state(c.wire.upper, true)
			batches[n.nodes[wireNode]].state(c.wire.lower, true)
		}
		if c.unplugged {
			// With a wire its lower end is the near one, which is made up.
			batches[c.child].state(c.lower, false)
			continue
		}
		c.plug(batches[c.child])
	}
	all := make([]*node, 0, len(batches))
	for node := range batches {
		all = append(all, node)
	}
	if err := each(ctx, len(all), func(i int) error { return all[i].do(batches[all[i]]) }); err != nil {
		return err
	}
	return each(ctx, len(n.order), func(i int) error { return n.order[i].awaitCarrier() })
}
