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

// network is two peers, two servers, and the routers before them. Packets travel
// at once. All addresses are different, so that none is delivered where it merely
// looks right.
type network struct {
	peers   [2]*node
	sockets [2]netip.AddrPort // of the peers
	servers [2]netip.AddrPort // rendezvous and relay
	// stream is the port at which the servers listen for TCP; 0: they do not.
	stream uint16
	nodes  []*node
	hosts  map[string]*node // by name
	shared map[string]*node // routers that several chains pass
	lost   string           // where and why the last lost packet was; empty: nobody has its destination
}

// node is a host, or a router. What has no parent stands on the Internet.
type node struct {
	name      string // of the router's element; may be empty
	parent    *node
	host      bool
	addresses []netip.Addr // a host's own, a NAT's external ones; others: none
	nat       *table.Table
	firewall  *table.Firewall
}

// firstPort is the first peer's port; the second has the next.
const firstPort = 40000

// newNetwork makes the hosts first, which the lists of routers name.
func newNetwork(a, b Chain, opt Options) (*network, error) {
	n := &network{hosts: make(map[string]*node), shared: make(map[string]*node), stream: opt.StreamPort}
	for i := range n.peers {
		n.peers[i] = n.host(opt.Peers[i])
		n.sockets[i] = netip.AddrPortFrom(n.peers[i].addresses[0], firstPort+uint16(i))
	}
	rendezvous, relay := n.host(opt.Rendezvous.Name), n.host(opt.Relay.Name)
	n.servers[0] = netip.AddrPortFrom(rendezvous.addresses[0], opt.RendezvousPort)
	n.servers[1] = netip.AddrPortFrom(relay.addresses[0], opt.RelayPort)
	for _, place := range []struct {
		host  *node
		chain Chain
	}{{n.peers[0], a}, {n.peers[1], b}, {rendezvous, opt.Rendezvous.Chain}, {relay, opt.Relay.Chain}} {
		if err := n.connect(place.host, place.chain); err != nil {
			return nil, err
		}
	}
	for _, place := range []struct {
		host  *node
		name  string
		chain Chain
	}{{n.peers[0], opt.Peers[0], a}, {n.peers[1], opt.Peers[1], b}, {rendezvous, opt.Rendezvous.Name, opt.Rendezvous.Chain}, {relay, opt.Relay.Name, opt.Relay.Chain}} {
		n.login(place.host, place.name, place.chain)
	}
	return n, nil
}

// login has a host log in at the portals of its chain that it is said to be logged
// in at, the inner first, as far as it gets.
func (n *network) login(host *node, name string, chain Chain) {
	// Nobody has the destination; no portal asks for it.
	p := table.Packet{Protocol: table.TCP, Src: netip.AddrPortFrom(host.addresses[0], firstPort), Dst: netip.AddrPortFrom(netip.IPv4Unspecified(), nat.PortalPort)}
	router := host.parent
	for _, e := range chain {
		if router.firewall != nil && name != "" && slices.Contains(e.LoggedIn, name) {
			router.firewall.Login(now, p.Src.Addr())
		}
		out, _, ok := n.outbound(router, p)
		if !ok {
			return
		}
		p, router = out, router.parent
	}
}

func (n *network) rendezvous() netip.AddrPort { return n.servers[0] }
func (n *network) relay() netip.AddrPort      { return n.servers[1] }

// host makes a host; those of one name are one.
func (n *network) host(name string) *node {
	if known := n.hosts[name]; known != nil && name != "" {
		return known
	}
	h := &node{host: true, addresses: n.fresh(1)}
	n.nodes = append(n.nodes, h)
	n.hosts[name] = h
	return h
}

// connect puts a host behind the routers of a chain.
func (n *network) connect(host *node, chain Chain) error {
	var parent *node
	for _, e := range slices.Backward(chain) {
		if known := n.shared[e.Name]; known != nil {
			parent = known
			continue
		}
		router, err := n.router(e)
		if err != nil {
			return err
		}
		router.parent = parent
		if e.Name != "" {
			n.shared[e.Name] = router
		}
		parent = router
	}
	host.parent = parent
	return nil
}

func (n *network) router(e Element) (*node, error) {
	r := &node{name: e.Name}
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
		var access nat.Access[[]netip.Addr]
		if e.Access != nil {
			access = nat.Resolve(*e.Access, n.named)
		}
		var err error
		if r.firewall, err = table.NewFirewall(*e.Firewall, access); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// named gives the addresses of a host that a list names: of one that is not here
// none, of anyone nil.
func (n *network) named(name string, _ nat.Side) []netip.Addr {
	if name == "" {
		return nil
	}
	if h := n.hosts[name]; h != nil {
		return h.addresses
	}
	return []netip.Addr{}
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

// send carries a packet from a host's socket up to the realm that has its
// destination, and down again. It returns the packet as the host that got it sees
// it; false: it was dropped on the way, or went to nobody.
func (n *network) send(src, dst netip.AddrPort) (table.Packet, bool) {
	return n.carry(table.Packet{Src: src, Dst: dst})
}

// carry is send of any packet.
func (n *network) carry(p table.Packet) (table.Packet, bool) {
	n.lost = ""
	from := n.nodes[slices.IndexFunc(n.nodes, func(o *node) bool { return o.host && slices.Contains(o.addresses, p.Src.Addr()) })]
	for router := from.parent; router != nil; router = router.parent {
		if path := n.below(router, p.Dst.Addr()); path != nil {
			return n.turn(router, path, p)
		}
		p2, hairpin, ok := n.outbound(router, p)
		if !ok {
			return p, false
		}
		if p = p2; hairpin {
			return n.turn(router, n.below(router, p.Dst.Addr()), p)
		}
	}
	return n.descend(n.below(nil, p.Dst.Addr()), p)
}

// leave is send of a packet that has not arrived yet: it passes the routers on its
// way to the Internet.
func (n *network) leave(src, dst netip.AddrPort) {
	p := table.Packet{Src: src, Dst: dst}
	from := n.nodes[slices.IndexFunc(n.nodes, func(o *node) bool { return o.host && slices.Contains(o.addresses, src.Addr()) })]
	for router := from.parent; router != nil && n.below(router, p.Dst.Addr()) == nil; router = router.parent {
		out, hairpin, ok := n.outbound(router, p)
		if !ok || hairpin {
			return
		}
		p = out
	}
}

// use has the NATs of a peer make so many mappings.
func (n *network) use(peer, turns int) {
	for i := range turns {
		p := table.Packet{Src: netip.AddrPortFrom(n.peers[peer].addresses[0], usedPort+uint16(i)), Dst: netip.AddrPortFrom(netip.IPv4Unspecified(), usedPort)}
		for router := n.peers[peer].parent; router != nil; router = router.parent {
			out, _, ok := n.outbound(router, p)
			if !ok {
				return
			}
			p = out
		}
	}
}

// usedPort is the first inside port of such mappings, and their remote port.
const usedPort = 50000

// turn carries a packet between two that are behind a router.
func (n *network) turn(router *node, path []*node, p table.Packet) (table.Packet, bool) {
	if router.firewall != nil {
		if v := router.firewall.Between(now, p); v.Drop != table.Passed {
			return p, n.lose(router, v)
		}
	}
	return n.descend(path, p)
}

// outbound is what a router makes of a packet that leaves.
func (n *network) outbound(r *node, p table.Packet) (out table.Packet, hairpin, ok bool) {
	if r.firewall != nil && !slices.Contains(r.addresses, p.Dst.Addr()) {
		if v := r.firewall.Outbound(now, p); v.Drop != table.Passed {
			return p, false, n.lose(r, v)
		}
	}
	if r.nat == nil {
		return p, false, true
	}
	v := r.nat.Outbound(now, p)
	if v.Drop != table.Passed {
		return v.Packet, v.Hairpin, n.lose(r, v)
	}
	return v.Packet, v.Hairpin, true
}

// because gives the reason of the last loss in brackets.
func (n *network) because() string {
	if n.lost == "" {
		return ""
	}
	return " (" + n.lost + ")"
}

// lose notes where a packet was lost, and why. It is false: nothing goes on.
func (n *network) lose(r *node, v table.Verdict) bool {
	if n.lost = v.Drop.String(); r.name != "" {
		n.lost = r.name + ": " + n.lost
	}
	return false
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
				return p, n.lose(next, v)
			}
			p = v.Packet
			path = n.below(next, p.Dst.Addr())
		}
		if next.firewall != nil {
			if v := next.firewall.Inbound(now, p); v.Drop != table.Passed {
				return p, n.lose(next, v)
			}
		}
		if next.host {
			return p, slices.Contains(n.sockets[:], p.Dst) || slices.Contains(n.servers[:], p.Dst) || p.Protocol == table.TCP && n.accepts(p.Dst)
		}
	}
	return p, false
}

// reaches reports whether a peer gets answers from a server.
func (n *network) reaches(peer int, server netip.AddrPort) bool {
	_, ok := n.reflexive(peer, server)
	return ok
}

// streams reports whether a peer can connect to a server.
func (n *network) streams(peer int, server netip.AddrPort) bool {
	p, ok := n.carry(table.Packet{Protocol: table.TCP, Src: n.sockets[peer], Dst: server})
	if !ok {
		return false
	}
	_, ok = n.carry(table.Packet{Protocol: table.TCP, Src: server, Dst: p.Src})
	return ok
}

// accepts reports whether a server takes connections at an address.
func (n *network) accepts(at netip.AddrPort) bool {
	return at.Port() == n.stream && slices.ContainsFunc(n.servers[:], func(s netip.AddrPort) bool { return s.Addr() == at.Addr() })
}

// reflexive asks a server how it sees the peer.
func (n *network) reflexive(peer int, server netip.AddrPort) (netip.AddrPort, bool) {
	p, ok := n.send(n.sockets[peer], server)
	if !ok {
		return netip.AddrPort{}, false
	}
	_, ok = n.send(server, p.Src)
	return p.Src, ok
}

// mappings gives all external endpoints that the peer's socket has at present,
// at any NAT of its chain.
func (n *network) mappings(peer int) []netip.AddrPort {
	inner, all := []netip.AddrPort{n.sockets[peer]}, []netip.AddrPort(nil)
	for router := n.peers[peer].parent; router != nil; router = router.parent {
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
	addr := n.peers[peer].addresses[0]
	for router := n.peers[peer].parent; router != nil; router = router.parent {
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
		if b.Kind != nat.KindRFC && b.Ports == nat.Random {
			b = nat.Behavior{Mapping: b.Mapping, Filtering: b.Filtering, Refresh: b.Refresh}
		}
		b.Ports, b.Block, b.Range = nat.Preserve, 0, nat.PortRange{}
		c[i].NAT, c[i].Addresses = &b, 1
	}
	return c
}
