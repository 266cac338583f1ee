package ruleset

import (
	"errors"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

// Render gives all that the package has installed in the namespace as text for
// people: tables, chains, rules, sets and their live elements.
func Render(conn *nftables.Conn) (string, error) { return "", errors.New("ruleset: not built yet") }

// Mapping is a live mapping of the NAT.
type Mapping struct {
	Protocol string // "udp", "tcp" or "icmp"; the port of icmp is the echo identifier
	Inside   netip.AddrPort
	External netip.AddrPort
	// Remote is what the mapping is for: invalid for endpoint-independent mapping,
	// with port 0 for address-dependent mapping.
	Remote  netip.AddrPort
	Expires time.Duration // from now
	Filter  []FilterEntry // empty for endpoint-independent filtering
}

// FilterEntry is a remote side that may send to a mapping.
type FilterEntry struct {
	Remote  netip.AddrPort // port 0: any port
	Expires time.Duration
}

// Mappings gives the live mappings, ordered by protocol and external address.
func Mappings(conn *nftables.Conn) ([]Mapping, error) {
	return nil, errors.New("ruleset: not built yet")
}

// RenderMappings gives mappings as text for people, a line each.
func RenderMappings(ms []Mapping) string { return "" }
