package virtual

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
	"p2pmodel/sim"
)

// Router is a router of a lab that stands. It implements sim.RunningRouter.
type Router struct {
	network  *Network
	node     *node
	lab      *sim.Router
	cable    *cable // its uplink
	gateway  netip.Addr
	behavior nat.Behavior // with a NAT only
	external []netip.Addr
	table    *table.Table // nil: it does not translate
	wall     *wall        // nil: it has no firewall
	moves    int          // reboots with new addresses
	changes  []sim.Change
	visits   []*visit // logins under way
}

var _ sim.RunningRouter = (*Router)(nil)

// Errors of who is asked for what it does not have.
var (
	ErrNoNAT      = errors.New("the router does not translate addresses")
	ErrNoFirewall = errors.New("it has no firewall")
)

func newRouter(n *Network, at *node, i int) (*Router, error) {
	r := &Router{network: n, node: at, lab: &n.plans.lab.Routers[i], cable: at.uplink.cable}
	r.external = r.cable.addrs
	r.gateway = r.external[0]
	if b := r.lab.NAT; b != nil {
		realm, _ := n.plans.plan.Realm(r.lab.Name) // whoever has a NAT has one
		r.gateway = realm.Gateway
		if n.opt.NATs != nil && n.opt.NATs[i] != nil {
			b = n.opt.NATs[i]
		}
		if err := r.installNAT(*b); err != nil {
			return nil, r.errorf("install its NAT", err)
		}
	}
	if r.lab.Firewall != nil {
		w, err := newWall(n, at, *r.lab.Firewall)
		if err != nil {
			return nil, r.errorf("install its firewall", err)
		}
		r.wall = w
	}
	return r, nil
}

// installNAT gives the router a NAT afresh: no mappings, counters at zero.
func (r *Router) installNAT(b nat.Behavior) error {
	// Not the same ports again after a swap.
	source := rand.NewPCG(r.network.opt.Seed^keyOf("NAT of "+r.node.name), uint64(len(r.changes)))
	t, err := table.New(b, r.external, rand.New(source))
	if err != nil {
		return err
	}
	r.behavior, r.table = b, t
	return nil
}

func (r *Router) errorf(doing string, err error) error {
	return fmt.Errorf("router %s: %s: %w", r.node.name, doing, err)
}

// Name implements sim.RunningRouter.
func (r *Router) Name() string { return r.node.name }

// Behavior implements sim.RunningRouter.
func (r *Router) Behavior() (nat.Behavior, bool) { return r.behavior, r.table != nil }

// External implements sim.RunningRouter.
func (r *Router) External() []netip.Addr { return slices.Clone(r.external) }

// tracked reports whether the NAT is conntrack's.
func (r *Router) tracked() bool { return r.table != nil && r.behavior.Kind != nat.KindRFC }

// isExternal reports whether an address is one that the NAT maps to.
func (r *Router) isExternal(a netip.Addr) bool {
	for _, e := range r.external {
		if e == a {
			return true
		}
	}
	return false
}

// receive takes a packet that came in by a lane, as the hooks of a kernel do:
// reverse path, translation of the destination, routing, firewall, translation of
// the source.
func (r *Router) receive(p *packet, in *lane) {
	n := r.network
	outside := in.cable == r.cable
	if r.wall != nil && !r.wall.off {
		if r.spoofed(p, in) {
			r.wall.counts.Spoofed++
			n.dropped(r.node, p, causeSpoofed, "firewall spoofed: its source is not where it came from")
			n.put(p)
			return
		}
		if !outside && r.captured(p) {
			return
		}
	}
	if r.table != nil && !r.arrive(p, outside) {
		return
	}
	if n.has(r.node, p.dst.Addr()) {
		r.input(p, outside)
		return
	}
	out := n.way(r.node, p.dst.Addr())
	if !n.forward(r.node, p, out) {
		return
	}
	leaves := out == r.cable.up
	if r.wall != nil && !r.wall.off && !r.wall.judge(p, direction(outside, leaves)) {
		return
	}
	if r.table != nil {
		if outside && r.tracked() && !p.expected {
			n.dropped(r.node, p, causeInside, ruleTrackedForward)
			n.put(p)
			return
		}
		if !outside && leaves && !r.depart(p) {
			return
		}
	}
	out.send(n, p)
}

// spoofed reports whether the packet's source is not reached by where it came from
// (RFC 3704 section 2.2).
func (r *Router) spoofed(p *packet, in *lane) bool {
	if r.network.has(r.node, p.src.Addr()) {
		return true
	}
	back := r.network.behind(r.node, p.src.Addr())
	if back == nil {
		return in.cable != r.cable
	}
	return back != in.cable
}

// input takes a packet that is for the router itself.
func (r *Router) input(p *packet, outside bool) {
	if !outside && r.noPortal() == nil && p.protocol == protocolTCP && p.dst == netip.AddrPortFrom(r.gateway, nat.PortalPort) {
		r.hear(p)
		return
	}
	if outside && r.tracked() && !r.isExternal(p.dst.Addr()) {
		r.network.dropped(r.node, p, causeInside, ruleTrackedOther)
		r.network.put(p)
		return
	}
	r.network.consume(r.node, p)
}

// emit sends what the router itself has to say. A NAT translates what errors
// quote: it quotes packets as they are inside.
func (r *Router) emit(p *packet) {
	n := r.network
	if p.isError() && r.table != nil && r.isExternal(p.dst.Addr()) {
		// About a hairpinned packet, whose sender is behind here.
		if r.errorOutbound(p) {
			r.errorInbound(p)
		}
	}
	if n.has(r.node, p.dst.Addr()) {
		n.consume(r.node, p)
		return
	}
	out := n.way(r.node, p.dst.Addr())
	if p.isError() && r.table != nil && out == r.cable.up {
		r.errorOutbound(p)
	}
	n.leave(r.node, p, out)
}
