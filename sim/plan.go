package sim

import (
	"fmt"
	"net/netip"
	"slices"

	"p2pmodel/nat"
)

// Plan is the addressing of a lab: which address each end of each link has. It
// is computed from the lab alone, so that every fabric gives the same. It must not
// be changed.
type Plan struct {
	// Links in the order of building: a node's uplink comes after that of what
	// it stands behind.
	Links []PlannedLink
	// Realms are the address realms, the Internet first.
	Realms []Realm

	links map[LinkID]int
	owner map[realmAddr]LinkID
	spare map[string]spares // by router

	access map[string]nat.Access[[]netip.Addr] // by router or host
}

// PlannedLink is one link with its addresses. Both ends are point to point.
type PlannedLink struct {
	ID     LinkID
	Parent string // the node in front: a router or Internet
	// NodeAddrs are the addresses of the node's end, consecutive. No other link
	// of the realm has them, nor another uplink of the same host.
	NodeAddrs []netip.Addr
	// ParentAddr is the address of the parent's end. A parent has the same one on
	// all links to what stands behind it: a NAT router (and the Internet) the
	// first of the realm, a router without NAT that of its own uplink.
	ParentAddr netip.Addr
	// Realm names the address realm of the link: Internet, or the NAT router
	// that is the next one in front.
	Realm string
	// Routes are the further prefixes reached through the node from its parent:
	// those of the nodes behind routers that do not translate.
	Routes []netip.Prefix
}

// Realm is a part of the lab where an address has one meaning: the Internet, or
// all that is behind a NAT router up to the next ones.
type Realm struct {
	Name    string // Internet or the NAT router's
	Prefix  netip.Prefix
	Gateway netip.Addr // the first address, that of the realm's router
}

type realmAddr struct {
	realm string
	addr  netip.Addr
}

// Link gives a link of the plan.
func (p *Plan) Link(id LinkID) (PlannedLink, bool) {
	i, ok := p.links[id]
	if !ok {
		return PlannedLink{}, false
	}
	return p.Links[i], true
}

// Addresses gives the addresses of a host's uplink. They stay the same
// whichever uplink is active.
func (p *Plan) Addresses(host, uplink string) []netip.Addr {
	l, _ := p.Link(LinkID{host, uplink})
	return l.NodeAddrs
}

// External gives a router's addresses on its uplink, those that it has at the
// start.
func (p *Plan) External(router string) []netip.Addr {
	return p.Addresses(router, DefaultUplink)
}

// Realm gives the realm of this name.
func (p *Plan) Realm(name string) (Realm, bool) {
	i := slices.IndexFunc(p.Realms, func(r Realm) bool { return r.Name == name })
	if i < 0 {
		return Realm{}, false
	}
	return p.Realms[i], true
}

// Owner gives the link whose node has the address in a realm at the start.
// Gateways and spare addresses are no node's.
func (p *Plan) Owner(realm string, addr netip.Addr) (LinkID, bool) {
	id, ok := p.owner[realmAddr{realm, addr}]
	return id, ok
}

// Plan addresses the lab; it validates it first. Equal labs give equal plans.
func (l *Lab) Plan() (*Plan, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	b := newPlanner(l)
	b.sizeRealms()
	for _, r := range l.Routers {
		b.router(r.Name)
	}
	for _, h := range l.Hosts {
		taken := map[netip.Addr]bool{}
		for _, u := range h.Uplinks {
			if err := b.uplink(LinkID{h.Name, u.Name}, front(u.Behind), max(h.Addresses, 1), taken); err != nil {
				return nil, err
			}
		}
	}
	if b.err != nil {
		return nil, b.err
	}
	b.routes()
	b.reserve()
	b.resolveAccess()
	return b.plan, nil
}

// planner builds one plan.
type planner struct {
	lab     *Lab
	plan    *Plan
	err     error
	routers map[string]Router
	realms  map[string]*openRealm
	done    map[string]bool // routers whose uplink is planned
}

// openRealm is a realm while it is being filled.
type openRealm struct {
	Realm
	next   netip.Addr
	end    netip.Addr // the first address that is no more to be given out
	depth  int        // NAT routers between it and the Internet
	needs  int        // addresses
	nested bool       // another router stands in it
}

func newPlanner(l *Lab) *planner {
	b := &planner{
		lab:     l,
		plan:    &Plan{links: map[LinkID]int{}, owner: map[realmAddr]LinkID{}, spare: map[string]spares{}, access: map[string]nat.Access[[]netip.Addr]{}},
		routers: map[string]Router{},
		realms:  map[string]*openRealm{Internet: {Realm: Realm{Name: Internet}}},
		done:    map[string]bool{Internet: true},
	}
	for _, r := range l.Routers {
		b.routers[r.Name] = r
	}
	return b
}

// realmOf names the realm behind a node.
func (b *planner) realmOf(node string) string {
	for node != Internet {
		r := b.routers[node]
		if r.NAT != nil {
			return node
		}
		node = front(r.Behind)
	}
	return Internet
}

// sizeRealms finds the realms and gives each its prefix.
func (b *planner) sizeRealms() {
	for _, r := range b.lab.Routers {
		if r.NAT != nil {
			b.realms[r.Name] = &openRealm{Realm: Realm{Name: r.Name}}
		}
	}
	for _, r := range b.lab.Routers {
		outer := b.realms[b.realmOf(front(r.Behind))]
		outer.needs += max(r.Addresses, 1)
		outer.nested = true
		if r.NAT != nil {
			for at := r.Name; at != Internet; at = b.realmOf(front(b.routers[at].Behind)) {
				b.realms[r.Name].depth++
			}
		}
	}
	for _, h := range b.lab.Hosts {
		for _, u := range h.Uplinks {
			// A host's uplinks skip each other's addresses.
			b.realms[b.realmOf(front(u.Behind))].needs += max(h.Addresses, 1) * len(h.Uplinks)
		}
	}
	b.open(Internet)
	for _, r := range b.lab.Routers {
		if r.NAT != nil {
			b.open(r.Name)
		}
	}
}

// open chooses a realm's prefix and adds it to the plan.
func (b *planner) open(name string) {
	r := b.realms[name]
	switch {
	case name == Internet:
		r.Prefix = InternetPrefix
	case r.nested:
		r.Prefix = carrierPrefix(r.depth)
	case r.needs <= homeCapacity:
		r.Prefix = HomePrefix
	default:
		r.Prefix = CompanyPrefix
	}
	r.Gateway = r.Prefix.Addr().Next()
	r.next = r.Gateway.Next()
	if r.end = last(r.Prefix); name == Internet {
		r.end = ProbePrefix.Addr()
	}
	b.plan.Realms = append(b.plan.Realms, r.Realm)
}

// router plans the uplink of a router, after those of what it stands behind.
func (b *planner) router(name string) {
	if b.done[name] || b.err != nil {
		return
	}
	r := b.routers[name]
	b.router(front(r.Behind))
	b.done[name] = true
	if err := b.uplink(LinkID{name, DefaultUplink}, front(r.Behind), max(r.Addresses, 1), nil); err != nil {
		b.err = err
	}
}

// uplink plans one link with n addresses, none of them taken.
func (b *planner) uplink(id LinkID, parent string, n int, taken map[netip.Addr]bool) error {
	realm := b.realms[b.realmOf(parent)]
	addrs, err := realm.take(n, taken)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	parentAddr := realm.Gateway
	if parent != realm.Name {
		front, _ := b.plan.Link(LinkID{parent, DefaultUplink})
		parentAddr = front.NodeAddrs[0]
	}
	for _, a := range addrs {
		b.plan.owner[realmAddr{realm.Name, a}] = id
		if taken != nil {
			taken[a] = true
		}
	}
	b.plan.links[id] = len(b.plan.Links)
	b.plan.Links = append(b.plan.Links, PlannedLink{
		ID: id, Parent: parent, NodeAddrs: addrs, ParentAddr: parentAddr, Realm: realm.Name,
	})
	return nil
}

// take gives n consecutive addresses that are not taken.
func (r *openRealm) take(n int, taken map[netip.Addr]bool) ([]netip.Addr, error) {
	addrs := make([]netip.Addr, 0, n)
	for len(addrs) < n {
		if r.next == r.end || !r.Prefix.Contains(r.next) {
			return nil, fmt.Errorf("the addresses of %s behind %s are used up", r.Prefix, r.Name)
		}
		if taken[r.next] {
			addrs = addrs[:0]
		} else {
			addrs = append(addrs, r.next)
		}
		r.next = r.next.Next()
	}
	return addrs, nil
}

// routes gives each link of a router without NAT the addresses behind it.
func (b *planner) routes() {
	for _, l := range b.plan.Links {
		for at := l.Parent; at != Internet && b.routers[at].NAT == nil; at = front(b.routers[at].Behind) {
			on := &b.plan.Links[b.plan.links[LinkID{at, DefaultUplink}]]
			for _, a := range l.NodeAddrs {
				on.Routes = append(on.Routes, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
}
