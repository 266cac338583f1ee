package virtual

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

// Setting is what labs of one Blueprint may differ in.
type Setting struct {
	// Seed seeds all that is random.
	Seed uint64
	// NATs are the behaviours of the lab's routers, in their order, where they are
	// not nil; a router without a NAT has none here either. Nil: those of the lab.
	NATs []*nat.Behavior
	// Links are the impairments of the lab's links, in their order. Nil: those of
	// the lab.
	Links []Directions
	// Record keeps packets, for Packets and Capture; Drops keeps what was dropped.
	Record, Drops bool
	// Connections, Capture and Log are as in sim.Options.
	Connections bool
	Capture     io.Writer
	Log         func(at time.Time, line string)
	// Watcher hears of datagrams; nil: nobody.
	Watcher Watcher
	// Reuse is a lab that was closed and that nobody looks at any more, of any
	// blueprint: its memory becomes this one's. Nil: new memory.
	Reuse *Network
}

// Directions are the impairments of both directions of a link.
type Directions struct{ Up, Down link.Impairment }

// Network is a lab that stands. It implements sim.Network, and what it gives out
// implements the other interfaces of package sim. Its methods are for those who
// play in the lab: one goroutine at a time, see sim.Clock.
type Network struct {
	plans *Blueprint
	opt   Setting

	now     instant
	time    time.Time // now
	events  heap
	seq     uint64
	spins   int
	stirred bool  // somebody who plays may not have to wait any more
	fault   error // why the lab cannot go on
	closed  bool
	failure error // of Close
	tasks
	packets

	nodes    []node
	cables   []cable
	lanes    []*lane // two a cable, up and down; and those of guests
	hosts    []*Host
	routers  []*Router
	machines []*Machine
	errands  []func()

	laneMemory []lane
	shapers    []*link.Shaper // of a lab before, for lanes that need one

	recording *recording // nil: nothing is captured
	dropLog   *dropLog   // nil: drops are not told
	partition partition
	probers   probeAddresses
}

var _ sim.Network = (*Network)(nil)

// Build makes a lab. It fails only for behaviours or impairments that are invalid.
func (b *Blueprint) Build(s Setting) (*Network, error) {
	n := &Network{plans: b, opt: s, time: Epoch}
	n.opt.Reuse = nil
	if s.Reuse != nil {
		n.reuse(s.Reuse)
	}
	n.nodes, n.cables = sized(n.nodes, len(b.nodes)), sized(n.cables, len(b.cables))
	n.lanes, n.laneMemory = sized(n.lanes, 2*len(b.cables)), sized(n.laneMemory, 2*len(b.cables))
	n.hosts, n.routers = sized(n.hosts, len(b.lab.Hosts)), sized(n.routers, len(b.lab.Routers))
	n.machines = sized(n.machines, 0)
	if s.Record {
		n.recording = &recording{connections: s.Connections}
	}
	if s.Drops {
		n.dropLog = &dropLog{}
	}
	for i := range n.nodes {
		print := &b.nodes[i]
		n.nodes[i] = node{name: print.name, kind: print.kind, number: int32(i), index: print.index, routes: print.routes}
	}
	for i := range n.cables {
		n.cables[i].build(n, i, &n.laneMemory[2*i], &n.laneMemory[2*i+1])
	}
	for i := range n.nodes {
		node, print := &n.nodes[i], &b.nodes[i]
		switch node.kind {
		case router:
			node.uplink = n.cables[print.uplinks[0]].up
			r, err := newRouter(n, node, int(print.index))
			if err != nil {
				return nil, err
			}
			n.routers[print.index], node.router = r, r
		case host:
			h, err := newHost(n, node, int(print.index))
			if err != nil {
				return nil, err
			}
			n.hosts[print.index], node.host = h, h
		}
	}
	return n, nil
}

// Lab implements sim.Network.
func (n *Network) Lab() *sim.Lab { return n.plans.lab }

// Plan implements sim.Network. It is the addressing that the lab began with:
// Router.External tells the present one.
func (n *Network) Plan() *sim.Plan { return n.plans.plan }

// Now implements sim.Clock.
func (n *Network) Now() time.Time { return n.time }

// Host implements sim.Network.
func (n *Network) Host(name string) (sim.RunningHost, error) {
	i := slices.IndexFunc(n.hosts, func(h *Host) bool { return h.node.name == name })
	if i < 0 {
		return nil, n.unknown(host, "host", name)
	}
	return n.hosts[i], nil
}

// Router implements sim.Network.
func (n *Network) Router(name string) (sim.RunningRouter, error) {
	i := slices.IndexFunc(n.routers, func(r *Router) bool { return r.node.name == name })
	if i < 0 {
		return nil, n.unknown(router, "router", name)
	}
	return n.routers[i], nil
}

// HostAt gives a host by its number in the lab.
func (n *Network) HostAt(i int) *Host { return n.hosts[i] }

// RouterAt gives a router by its number in the lab.
func (n *Network) RouterAt(i int) *Router { return n.routers[i] }

// Link implements sim.Network.
func (n *Network) Link(id sim.LinkID) (sim.RunningLink, error) {
	if id.Uplink == "" {
		id.Uplink = sim.DefaultUplink
	}
	var have []string
	for i := range n.cables {
		switch c := &n.cables[i]; {
		case c.print.planned.ID == id:
			return c, nil
		case c.print.planned.ID.Node == id.Node:
			have = append(have, c.print.planned.ID.Uplink)
		}
	}
	if len(have) == 0 {
		return nil, fmt.Errorf("link of %s: the lab has no node of that name", id.Node)
	}
	slices.Sort(have)
	return nil, fmt.Errorf("link of %s: no uplink %q; it has %s", id.Node, id.Uplink, strings.Join(have, ", "))
}

func (n *Network) unknown(kind nodeKind, word, name string) error {
	var names []string
	for i := range n.nodes {
		if n.nodes[i].kind == kind {
			names = append(names, n.nodes[i].name)
		}
	}
	slices.Sort(names)
	return fmt.Errorf("the lab has no %s %q; it has %s", word, name, strings.Join(names, ", "))
}

func (n *Network) log(format string, args ...any) {
	if n.opt.Log != nil {
		n.opt.Log(n.time, fmt.Sprintf(format, args...))
	}
}

// Err implements sim.Network.
func (n *Network) Err() error { return errors.Join(n.recording.err(), n.fault) }

// Close implements sim.Network. It has everybody who waits come to an end, and
// ends all machines.
func (n *Network) Close() error {
	if n.closed {
		return n.failure
	}
	n.closed = true
	for _, m := range n.machines {
		m.end()
	}
	n.endTasks()
	n.failure = errors.Join(n.write(), n.recording.err(), n.fault)
	return n.failure
}
