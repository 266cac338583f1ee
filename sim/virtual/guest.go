package virtual

import "net/netip"

// invite has a node give what is for an address to somebody who is no part of the
// lab, as long as the returned function is not called. What a guest has to say,
// emit sends.
func (n *Network) invite(at *node, a netip.Addr, deliver func(p *packet)) (leave func()) {
	if at.guests == nil {
		at.guests = make(map[netip.Addr]func(p *packet))
	}
	at.guests[a] = deliver
	return func() { delete(at.guests, a) }
}

// plugIn puts somebody who is no part of the lab behind a router, at a link of
// mtu, with some addresses. send takes a packet from there to the router; deliver
// gets what is for the addresses.
func (n *Network) plugIn(r *Router, addrs []netip.Addr, mtu int, deliver func(p *packet)) (send func(p *packet), unplug func()) {
	number := int32(len(n.lanes) / 2)
	c := &cable{network: n, print: &cablePrint{name: "prober"}, addrs: addrs, plugged: true}
	up := &lane{cable: c, to: r.node, id: 2 * number, up: true, mtu: mtu}
	down := &lane{cable: c, from: r.node, id: 2*number + 1, mtu: mtu, deliver: deliver}
	c.up, c.down = up, down
	n.lanes = append(n.lanes, up, down)
	r.node.reroute(number, nil, addrs)
	send = func(p *packet) { up.send(n, p) }
	unplug = func() {
		r.node.reroute(number, addrs, nil)
		down.deliver = n.put
	}
	return send, unplug
}
