package oracle

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// now is when everything happens: nothing expires in the oracle.
var now = time.Unix(0, 0)

// network is two hosts, the routers before them, and servers on the Internet.
// Packets travel at once. All addresses are different, so that none is
// delivered where it merely looks right.
type network struct {
	hosts   [2]*node
	sockets [2]netip.AddrPort
	nodes   []*node
}

// node is a host, or a router. What has no parent stands on the Internet.
type node struct {
	parent    *node
	addresses []netip.Addr // a host's own, a NAT's external ones; others: none
	nat       *table.Table
	firewall  *table.Firewall
}

// server is a public host that answers everything; its address is no node's.
var server = netip.AddrFrom4([4]byte{198, 18, 255, 1})

// firstPort is the first peer's port; the second has the next.
const firstPort = 40000

func newNetwork(a, b Chain) (*network, error) {
	n := &network{}
	shared := make(map[string]*node)
	for i, chain := range []Chain{a, b} {
		var parent *node
		for _, e := range slices.Backward(chain) {
			if known := shared[e.Name]; known != nil {
				parent = known
				continue
			}
			router, err := n.router(e)
			if err != nil {
				return nil, err
			}
			router.parent = parent
			if e.Name != "" {
				shared[e.Name] = router
			}
			parent = router
		}
		host := &node{parent: parent, addresses: n.fresh(1)}
		n.nodes = append(n.nodes, host)
		n.hosts[i] = host
		n.sockets[i] = netip.AddrPortFrom(host.addresses[0], firstPort+uint16(i))
	}
	return n, nil
}

func (n *network) router(e Element) (*node, error) {
	r := &node{}
	n.nodes = append(n.nodes, r)
	if e.NAT != nil {
		b := *e.NAT
		b.Timeout = 0
		r.addresses = n.fresh(max(1, e.Addresses))
		var err error
		if r.nat, err = table.New(b, r.addresses, rand.New(rand.NewPCG(1, uint64(len(n.nodes))))); err != nil {
			return nil, err
		}
	}
	if e.Firewall != nil {
		var err error
		if r.firewall, err = table.NewFirewall(*e.Firewall, nat.Access[[]netip.Addr]{}); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// fresh gives addresses that nobody has.
func (n *network) fresh(count int) []netip.Addr {
	used := 0
	for _, node := range n.nodes {
		used += len(node.addresses)
	}
	var addrs []netip.Addr
	for i := range count {
		k := used + i + 1
		addrs = append(addrs, netip.AddrFrom4([4]byte{198, 18, byte(k >> 8), byte(k)}))
	}
	return addrs
}

// send carries a packet from a host up to the realm that has its destination,
// and down again. It returns the packet as the host that got it sees it; false:
// it was dropped on the way, or went to nobody.
func (n *network) send(from int, dst netip.AddrPort) (table.Packet, bool) {
	p := table.Packet{Src: n.sockets[from], Dst: dst}
	for router := n.hosts[from].parent; router != nil; router = router.parent {
		if path := n.below(router, p.Dst.Addr()); path != nil {
			return n.descend(path, p)
		}
		p2, hairpin, ok := router.outbound(p)
		if !ok {
			return p, false
		}
		if p = p2; hairpin {
			return n.descend(n.below(router, p.Dst.Addr()), p)
		}
	}
	if p.Dst.Addr() == server {
		return p, true
	}
	return n.descend(n.below(nil, p.Dst.Addr()), p)
}

// answer carries a packet from the server to an address on the Internet.
func (n *network) answer(port uint16, dst netip.AddrPort) (table.Packet, bool) {
	return n.descend(n.below(nil, dst.Addr()), table.Packet{Src: netip.AddrPortFrom(server, port), Dst: dst})
}

// outbound is what the router makes of a packet that leaves.
func (r *node) outbound(p table.Packet) (out table.Packet, hairpin, ok bool) {
	if r.firewall != nil && !slices.Contains(r.addresses, p.Dst.Addr()) {
		if v := r.firewall.Outbound(now, p); v.Drop != table.Passed {
			return p, false, false
		}
	}
	if r.nat == nil {
		return p, false, true
	}
	v := r.nat.Outbound(now, p)
	return v.Packet, v.Hairpin, v.Drop == table.Passed
}

// below gives the way from the inside of a router (nil: the Internet) down to
// whoever has the address in that realm, the outer first; nil if nobody has.
func (n *network) below(top *node, addr netip.Addr) []*node {
	i := slices.IndexFunc(n.nodes, func(o *node) bool { return slices.Contains(o.addresses, addr) })
	if i < 0 {
		return nil
	}
	path := []*node{n.nodes[i]}
	for up := n.nodes[i].parent; up != top; up = up.parent {
		if up == nil || up.nat != nil { // another realm
			return nil
		}
		path = append([]*node{up}, path...)
	}
	return path
}

// descend carries a packet down the way, and on from the NAT at its end.
func (n *network) descend(path []*node, p table.Packet) (table.Packet, bool) {
	for len(path) > 0 {
		next := path[0]
		path = path[1:]
		if next.nat != nil {
			v := next.nat.Inbound(now, p)
			if v.Drop != table.Passed {
				return p, false
			}
			p = v.Packet
			path = n.below(next, p.Dst.Addr())
		}
		if next.firewall != nil {
			if v := next.firewall.Inbound(now, p); v.Drop != table.Passed {
				return p, false
			}
		}
		for i, host := range n.hosts {
			if next == host {
				return p, p.Dst == n.sockets[i]
			}
		}
	}
	return p, false
}

// reaches reports whether a peer gets answers from a server at this UDP port.
func (n *network) reaches(peer int, port uint16) bool {
	_, ok := n.reflexive(peer, port)
	return ok
}

// reflexive asks a server at this port how it sees the peer.
func (n *network) reflexive(peer int, port uint16) (netip.AddrPort, bool) {
	p, ok := n.send(peer, netip.AddrPortFrom(server, port))
	if !ok {
		return netip.AddrPort{}, false
	}
	_, ok = n.answer(port, p.Src)
	return p.Src, ok
}

// mappings gives all external endpoints that the peer's socket has at present,
// at any NAT of its chain.
func (n *network) mappings(peer int) []netip.AddrPort {
	inner, all := []netip.AddrPort{n.sockets[peer]}, []netip.AddrPort(nil)
	for router := n.hosts[peer].parent; router != nil; router = router.parent {
		if router.nat == nil {
			continue
		}
		var outer []netip.AddrPort
		for _, m := range router.nat.Mappings(now) {
			if m.Protocol == table.UDP && slices.Contains(inner, m.Inside) {
				outer = append(outer, m.External)
			}
		}
		all = append(all, outer...)
		inner = outer
	}
	return all
}

// outermost is the address that the peer has on the Internet, and whose.
func (n *network) outermost(peer int) netip.Addr {
	addr := n.hosts[peer].addresses[0]
	for router := n.hosts[peer].parent; router != nil; router = router.parent {
		if router.nat != nil {
			addr = router.addresses[0]
		}
	}
	return addr
}

// foreseeable gives the chain with NATs that preserve ports, and have one
// address: then a peer's first port is known before it sends.
func foreseeable(c Chain) Chain {
	c = slices.Clone(c)
	for i, e := range c {
		if e.NAT == nil {
			continue
		}
		b := *e.NAT
		b.Ports, b.Range = nat.Preserve, nat.PortRange{}
		c[i].NAT, c[i].Addresses = &b, 1
	}
	return c
}
