//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
)

// Router is a router of a lab that stands. It implements sim.RunningRouter.
type Router struct {
	network *Network
	lab     *sim.Router
	node    *node
	uplink  *cable

	// changing is held by whatever changes the router, certifications included,
	// from beginning to end; mu only while what is below is read or written.
	changing sync.Mutex
	prober   *node   // once the router was certified; guarded by changing
	portal   *portal // nil: its firewall has none; set by Build
	mu       sync.Mutex
	behavior nat.Behavior // with NAT only
	external []netip.Addr
	moves    int // reboots with new addresses
	changes  []sim.Change
}

var _ sim.RunningRouter = (*Router)(nil)

// ErrNoNAT is returned where a router is asked for what only a NAT has.
var ErrNoNAT = errors.New("the router does not translate addresses")

func newRouter(n *Network, lab *sim.Router, node *node, uplink *cable) *Router {
	r := &Router{network: n, lab: lab, node: node, uplink: uplink, external: uplink.planned.NodeAddrs}
	if lab.NAT != nil {
		r.behavior = *lab.NAT
	}
	return r
}

// Name implements sim.RunningRouter.
func (r *Router) Name() string { return r.lab.Name }

func (r *Router) errorf(doing string, err error) error {
	return fmt.Errorf("router %s: %s: %w", r.lab.Name, doing, err)
}

// Behavior implements sim.RunningRouter.
func (r *Router) Behavior() (nat.Behavior, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.behavior, r.lab.NAT != nil
}

// External implements sim.RunningRouter.
func (r *Router) External() []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.external)
}

// config is the NAT as it is to be.
func (r *Router) config() ruleset.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ruleset.Config{
		Router: r.lab.Name, Behavior: r.behavior,
		Outside: r.uplink.lower.name, External: slices.Clone(r.external), Log: tellsDrops(),
	}
}

// installNAT gives the router its NAT afresh: no mappings, counters at zero.
// The error names the router already.
func (r *Router) installNAT() error {
	if r.lab.NAT == nil {
		return nil
	}
	return r.node.nft(func(conn *nftables.Conn) error { return ruleset.Install(conn, r.config()) })
}

// Swap implements sim.RunningRouter. From then on Certify compares with the new
// behaviour.
func (r *Router) Swap(b nat.Behavior) error {
	if r.lab.NAT == nil {
		return r.errorf("swap the NAT", ErrNoNAT)
	}
	if err := b.Validate(); err != nil {
		return r.errorf("swap the NAT", err)
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	config := r.config()
	config.Behavior = b
	err := r.changed(sim.Change{Kind: sim.ChangeSwap, Behavior: b}, func() error {
		return r.node.nft(func(conn *nftables.Conn) error { return ruleset.Install(conn, config) })
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	before := r.behavior
	r.behavior = b
	r.mu.Unlock()
	if (before.Kind == nat.KindRFC) != (b.Kind == nat.KindRFC) {
		// Its rules keep packets from conntrack, or leave them to it. Until they are
		// new, the NAT drops what it does not see, and nothing leaks.
		if err := r.installFirewall(); err != nil {
			return err
		}
	}
	r.network.log("router %s: its NAT is %v now", r.lab.Name, b)
	return nil
}

// Reboot implements sim.RunningRouter. The firewall's state is lost as well.
func (r *Router) Reboot(newAddress bool) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if newAddress && r.lab.NAT == nil {
		return r.errorf("reboot with new addresses", ErrNoNAT)
	}
	err := r.changed(sim.Change{Kind: sim.ChangeReboot}, func() error {
		if newAddress {
			if err := r.renumber(); err != nil {
				return r.errorf("reboot with new addresses", err)
			}
		}
		return errors.Join(r.installNAT(), r.installFirewall())
	})
	if err != nil {
		return err
	}
	r.network.log("router %s rebooted, external %v", r.lab.Name, r.External())
	return nil
}

// FlushTable implements sim.RunningRouter.
func (r *Router) FlushTable() error {
	if r.lab.NAT == nil {
		return r.errorf("flush its table", ErrNoNAT)
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	err := r.changed(sim.Change{Kind: sim.ChangeFlush}, func() error { return r.node.nft(ruleset.Empty) })
	if err != nil {
		return r.errorf("flush its table", err)
	}
	r.network.log("router %s: the NAT's table is flushed", r.lab.Name)
	return nil
}

// Rebind implements sim.RunningRouter.
func (r *Router) Rebind(inside ...netip.Addr) (ended []string, err error) {
	if r.lab.NAT == nil {
		return nil, r.errorf("rebind", ErrNoNAT)
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	err = r.changed(sim.Change{Kind: sim.ChangeRebind, Inside: inside}, func() error {
		return r.node.nft(func(conn *nftables.Conn) error {
			mappings, err := ruleset.Rebind(conn, inside...)
			for _, m := range mappings {
				ended = append(ended, m.String())
			}
			return err
		})
	})
	if err != nil {
		return ended, r.errorf("rebind", err)
	}
	r.network.log("router %s: %d mappings are rebound", r.lab.Name, len(ended))
	return ended, nil
}

// renumber gives the uplink addresses that it never had.
func (r *Router) renumber() error {
	fresh, err := r.network.plan.Spare(r.lab.Name, r.moves+1)
	if err != nil {
		return err
	}
	c := r.uplink
	c.mu.Lock()
	defer c.mu.Unlock()
	former := c.addrs

	// The default route prefers the first address: it has to be another before
	// that one goes, or it would go with it.
	var below batch
	for _, a := range fresh {
		below.address(c.lower, a, true)
	}
	below.route(hop{to: anywhere(fresh[0]), by: c.lower, gateway: c.planned.ParentAddr, source: fresh[0], mtu: c.mtu(sim.Up)}, true)
	for _, a := range former {
		below.address(c.lower, a, false)
	}
	if err := c.child.do(&below); err != nil {
		return err
	}
	var above batch
	c.routeDown(&above, former, false)
	c.routeDown(&above, fresh, true)
	if err := c.parent.do(&above); err != nil {
		return err
	}
	// Routers in front that do not translate know the way, too.
	for at := r.network.routers[c.planned.Parent]; at != nil && at.lab.NAT == nil; at = r.network.routers[at.uplink.planned.Parent] {
		var b batch
		for _, a := range former {
			b.route(at.uplink.via(a), false)
		}
		for _, a := range fresh {
			b.route(at.uplink.via(a), true)
		}
		if err := at.uplink.parent.do(&b); err != nil {
			return err
		}
	}
	c.addrs = fresh
	r.mu.Lock()
	r.external = fresh
	r.moves++
	r.mu.Unlock()
	return nil
}

// Fingerprint implements sim.RunningRouter.
func (r *Router) Fingerprint() (text string, err error) {
	err = r.node.nft(func(conn *nftables.Conn) (err error) {
		text, err = ruleset.Fingerprint(conn)
		return err
	})
	if err != nil {
		return "", r.errorf("read its rules", err)
	}
	return text, nil
}

// Rules implements sim.RunningRouter: NAT and firewall, as nft would print them.
func (r *Router) Rules() (text string, err error) {
	err = r.node.nft(func(conn *nftables.Conn) (err error) {
		text, err = ruleset.Render(conn)
		return err
	})
	if err != nil {
		return "", r.errorf("read its rules", err)
	}
	return text, nil
}

// Mappings implements sim.RunningRouter.
func (r *Router) Mappings() (string, error) {
	mappings, err := r.MappingTable()
	if err != nil {
		return "", err
	}
	return ruleset.RenderMappings(mappings), nil
}

// MappingTable gives the live mappings as values.
func (r *Router) MappingTable() (mappings []ruleset.Mapping, err error) {
	if r.lab.NAT == nil {
		return nil, r.errorf("read its mappings", ErrNoNAT)
	}
	err = r.node.nft(func(conn *nftables.Conn) (err error) {
		mappings, err = ruleset.Mappings(conn)
		return err
	})
	if err != nil {
		return nil, r.errorf("read its mappings", err)
	}
	return mappings, nil
}
