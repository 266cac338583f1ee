package ruleset

import (
	"errors"

	"github.com/google/nftables"

	"p2pmodel/nat"
)

// Install gives the router the NAT of cfg, in one transaction. A NAT that was
// there before is replaced in the same transaction; its mappings, filters and
// counters are lost.
func Install(conn *nftables.Conn, cfg Config) error { return errors.New("ruleset: not built yet") }

// Flush is a reboot of the NAT: it loses mappings and filters, and its counters
// start anew. It is one transaction.
func Flush(conn *nftables.Conn, cfg Config) error { return Install(conn, cfg) }

// Remove takes the NAT away, if there is one.
func Remove(conn *nftables.Conn) error { return errors.New("ruleset: not built yet") }

// InstallFirewall gives the router a firewall, in one transaction that also
// replaces the one before. The router may have a NAT too: the firewall stands
// inside of it and sees inside addresses in both directions.
func InstallFirewall(conn *nftables.Conn, router, outside string, fw nat.Firewall) error {
	return errors.New("ruleset: not built yet")
}

// RemoveFirewall takes the firewall away, if there is one.
func RemoveFirewall(conn *nftables.Conn) error { return errors.New("ruleset: not built yet") }
