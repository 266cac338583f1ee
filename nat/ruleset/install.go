//go:build linux

package ruleset

import (
	"fmt"

	"github.com/google/nftables"

	"p2pmodel/nat"
)

// Install gives the router the NAT of cfg, in one transaction. A NAT that was
// there before is replaced in the same transaction, so that no packet passes
// untranslated; its mappings and filters are lost, and its counters start anew.
// The error names the router, the behaviour and the rule or set that the kernel
// refused; nothing has changed then.
//
// A NAT of another kind than nat.KindRFC is the kernel's own, and so are its
// flows: they are forgotten as soon as the rules are there, and the timeouts of
// the namespace's conntrack are set. A firewall beside it has to be tracked as
// well: see FirewallConfig.Tracked.
//
// conn must be in the router's namespace (nftables.WithNetNSFd) and hold no
// queued commands of the caller. The same is true of all functions here.
func Install(conn *nftables.Conn, cfg Config) error {
	full, err := cfg.resolved()
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.name(), err)
	}
	before, err := isTracked(conn)
	if err == nil {
		err = build(full).commit(conn)
	}
	after := full.Behavior.Kind != nat.KindRFC
	if err == nil && after {
		err = writeTimeouts(conn.NetNS, full.Behavior)
	}
	if err == nil && (before || after) {
		err = forgetFlows(conn.NetNS)
	}
	if err != nil {
		return fmt.Errorf("%s: install: %w", cfg.name(), err)
	}
	return nil
}

// Flush is a reboot of the NAT: it loses its mappings and filters, and its
// counters start anew, in one transaction. Other External addresses than before
// are those that the router got when it came up again.
func Flush(conn *nftables.Conn, cfg Config) error { return Install(conn, cfg) }

// Remove takes the NAT away, if there is one; packets are then forwarded as they
// are.
func Remove(conn *nftables.Conn) error {
	tracked, err := isTracked(conn)
	if err == nil {
		err = removeTable(conn, natTable)
	}
	if err == nil && tracked {
		err = forgetFlows(conn.NetNS)
	}
	if err != nil {
		return fmt.Errorf("remove NAT: %w", err)
	}
	return nil
}

// InstallFirewall gives the router, or the host, the firewall of cfg, in one
// transaction that also replaces the one before; the flows and logins that it knew
// are lost, and its counters start anew.
//
// A router may have a firewall and a NAT. The firewall then stands inside of the
// NAT: in both directions it sees inside addresses and ports. Of what passes
// between two inside interfaces, hairpinned packets included, Access.Between
// decides. Packets whose source is not where they came from are dropped before
// anything else.
func InstallFirewall(conn *nftables.Conn, cfg FirewallConfig) error {
	if err := cfg.check(); err != nil {
		return fmt.Errorf("%s: %w", cfg.name(), err)
	}
	if err := (&firewall{FirewallConfig: cfg}).build().commit(conn); err != nil {
		return fmt.Errorf("%s: install: %w", cfg.name(), err)
	}
	return nil
}

// RemoveFirewall takes the firewall away, if there is one.
func RemoveFirewall(conn *nftables.Conn) error {
	if err := removeTable(conn, firewallTable); err != nil {
		return fmt.Errorf("remove firewall: %w", err)
	}
	return nil
}
