package virtual

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
	"p2pmodel/sim/witness"
)

// Blueprint is what all labs of one shape have in common: who is there, with which
// addresses, and which way leads where. It is made once and built from many times,
// also at once: nothing changes it.
type Blueprint struct {
	lab    *sim.Lab
	plan   *sim.Plan
	nodes  []nodePrint // the Internet, the routers, the hosts
	cables []cablePrint
	points []witness.Point // of the captures
}

// nodeKind is what a node does with packets.
type nodeKind uint8

const (
	core nodeKind = iota
	router
	host
)

type nodePrint struct {
	name    string
	kind    nodeKind
	index   int32   // in the lab's routers or hosts
	uplinks []int32 // cables, in the order of the lab
	routes  []routePrint
}

// routePrint is an address behind a node, and the cable that leads there.
type routePrint struct {
	addr  netip.Addr
	cable int32
}

type cablePrint struct {
	name          string // of the link, as files have it
	planned       *sim.PlannedLink
	child, parent int32 // nodes
	declared      bool
	number        int // among the lab's links, if it is declared
	up, down      link.Impairment
	lower, upper  witness.Point
	watched       bool // the parent's end is captured
	plugged       bool
	key           uint64 // of the link's random numbers
}

// Prepare plans a lab; it validates it first.
func Prepare(lab *sim.Lab) (*Blueprint, error) {
	plan, err := lab.Plan()
	if err != nil {
		return nil, err
	}
	b := &Blueprint{lab: lab, plan: plan, nodes: []nodePrint{{name: sim.Internet, kind: core}}}
	byName := map[string]int32{sim.Internet: 0}
	add := func(n nodePrint) {
		byName[n.name] = int32(len(b.nodes))
		b.nodes = append(b.nodes, n)
	}
	for i, r := range lab.Routers {
		add(nodePrint{name: r.Name, kind: router, index: int32(i)})
	}
	for i, h := range lab.Hosts {
		add(nodePrint{name: h.Name, kind: host, index: int32(i)})
	}
	declared := make(map[sim.LinkID]int)
	for i, l := range lab.Links {
		id, ok := lab.LinkID(l.Node, l.Uplink)
		if !ok {
			return nil, fmt.Errorf("link of %s: the lab has no such uplink %q", l.Node, l.Uplink)
		}
		declared[id] = i
	}
	for i := range plan.Links {
		p := &plan.Links[i]
		child, parent := byName[p.ID.Node], byName[p.Parent]
		number, known := declared[p.ID]
		c := cablePrint{
			name: p.ID.String(), planned: p, child: child, parent: parent, declared: known, number: number,
			lower:   witness.Point{Node: p.ID.Node, Interface: p.ID.Uplink},
			upper:   witness.Point{Node: p.Parent, Interface: pointOf(p.ID)},
			watched: b.nodes[parent].kind != core, plugged: true, key: keyOf(p.ID.Node + "\x00" + p.ID.Uplink),
		}
		c.up, c.down = lab.Impairments(p.ID)
		n := &b.nodes[child]
		if n.uplinks = append(n.uplinks, int32(i)); n.kind == host {
			c.plugged = p.ID.Uplink == lab.Hosts[n.index].ActiveUplink()
		}
		for _, a := range p.NodeAddrs {
			b.nodes[parent].routes = append(b.nodes[parent].routes, routePrint{a, int32(i)})
		}
		for _, r := range p.Routes {
			b.nodes[parent].routes = append(b.nodes[parent].routes, routePrint{r.Addr(), int32(i)})
		}
		b.points = append(b.points, c.lower)
		if c.watched {
			b.points = append(b.points, c.upper)
		}
		b.cables = append(b.cables, c)
	}
	return b, nil
}

// Lab is what the blueprint is of.
func (b *Blueprint) Lab() *sim.Lab { return b.lab }

// Plan is its addressing.
func (b *Blueprint) Plan() *sim.Plan { return b.plan }

// pointOf is how the witness calls the parent's end of a link.
func pointOf(id sim.LinkID) string { return "to " + id.String() }

// keyOf makes a number of a purpose: what is random for one purpose does not
// depend on what else there is.
func keyOf(purpose string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose)) // never fails
	return h.Sum64()
}
