//go:build linux

package kernel

import (
	"errors"

	"github.com/google/nftables"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
)

// ErrNoFirewall is returned where a router or a host is asked for what only a
// firewall has.
var ErrNoFirewall = errors.New("it has no firewall")

// installFirewall gives the router its firewall afresh: it knows no flow and no
// login, and its counters are at zero.
func (r *Router) installFirewall() error {
	if r.lab.Firewall == nil {
		return nil
	}
	return r.node.nft(func(conn *nftables.Conn) error {
		return ruleset.InstallFirewall(conn, ruleset.FirewallConfig{
			Router: r.lab.Name, Outside: r.uplink.lower.name,
			Policy: *r.lab.Firewall, Access: r.network.plan.Access(r.lab.Name), Log: tellsDrops(),
			Tracked: r.config().Behavior.Kind != nat.KindRFC,
		})
	})
}

func (r *Router) removeFirewall() error {
	return r.node.nft(ruleset.RemoveFirewall)
}

// installFirewall gives the host its own firewall. It stands in the host's input
// and output, so that all uplinks have it.
func (h *Host) installFirewall() error {
	policy := *h.lab.Firewall
	if policy.Reject.Entering() {
		// The host says no as often as it is asked.
		if err := h.node.ns.inside(func() error { return apply(unlimitedErrors) }); err != nil {
			return h.errorf("install its firewall", err)
		}
	}
	return h.node.nft(func(conn *nftables.Conn) error {
		return ruleset.InstallFirewall(conn, ruleset.FirewallConfig{
			Router: h.lab.Name, Host: true,
			Policy: policy, Access: h.network.plan.Access(h.lab.Name), Log: tellsDrops(),
		})
	})
}

// Firewall implements sim.RunningRouter.
func (r *Router) Firewall() (sim.FirewallCounts, error) {
	counts, err := r.node.countFirewall(r.lab.Firewall, r.lab.Access)
	if err != nil {
		return counts, r.errorf("count at its firewall", err)
	}
	return counts, nil
}

// Firewall implements sim.RunningHost.
func (h *Host) Firewall() (sim.FirewallCounts, error) {
	counts, err := h.node.countFirewall(h.lab.Firewall, h.lab.Access)
	if err != nil {
		return counts, h.errorf("count at its firewall", err)
	}
	return counts, nil
}

// countFirewall reads the counters of a node's firewall.
func (n *node) countFirewall(f *nat.Firewall, access *sim.Access) (counts sim.FirewallCounts, err error) {
	if f == nil {
		return counts, ErrNoFirewall
	}
	var counted ruleset.FirewallCounts
	err = n.nft(func(conn *nftables.Conn) (err error) {
		counted, err = ruleset.CountFirewall(conn)
		return err
	})
	if err != nil {
		return counts, err
	}
	counts = sim.FirewallCounts{
		Entering: counted.Entering, Leaving: counted.Leaving, Between: counted.Between, Spoofed: counted.Spoofed,
		Captive: counted.Captive, Redirected: counted.Redirected,
	}
	if access == nil {
		return counts, nil
	}
	for _, l := range access.Lists() {
		for i, rule := range l.Rules {
			c := sim.RuleCount{List: l.Key, Rule: rule}
			if began := counted.Began[l.Key]; i < len(began) {
				c.Began = began[i]
			}
			counts.Rules = append(counts.Rules, c)
		}
	}
	return counts, nil
}

// Fingerprint implements sim.RunningHost.
func (h *Host) Fingerprint() (text string, err error) {
	err = h.node.nft(func(conn *nftables.Conn) (err error) {
		text, err = ruleset.Fingerprint(conn)
		return err
	})
	if err != nil {
		return "", h.errorf("read its rules", err)
	}
	return text, nil
}

// Rules implements sim.RunningHost: the host's own firewall.
func (h *Host) Rules() (text string, err error) {
	err = h.node.nft(func(conn *nftables.Conn) (err error) {
		text, err = ruleset.Render(conn)
		return err
	})
	if err != nil {
		return "", h.errorf("read its rules", err)
	}
	return text, nil
}
