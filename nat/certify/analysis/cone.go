// Package analysis concludes from what was seen of a NAT how it behaves. It
// sends nothing and knows no protocol: the certification of the laboratory's NATs
// and the classification of any NAT from behind it share it.
package analysis

import (
	"net/netip"

	"p2pmodel/nat"
)

// Words for what is no value of an axis.
const (
	Unreached    = "unreached"    // nothing came through, so nothing can be told
	Irregular    = "irregular"    // not a behaviour of RFC 4787
	Untranslated = "untranslated" // the inside address was seen outside
	Closed       = "closed"       // not even answers come in
	Overloading  = "overloading"  // two hosts were given one external endpoint
)

// Mapping compares how one inside socket was seen at (A, 1), (A, 2), (B, 1) and
// (B, 2): addresses A and B, ports 1 and 2 (RFC 4787 section 4.1).
func Mapping(inside netip.Addr, x [4]netip.AddrPort) string {
	if x[0].Addr() == inside {
		return Untranslated
	}
	distinct := make(map[netip.AddrPort]bool)
	for _, e := range x {
		distinct[e] = true
	}
	switch {
	case len(distinct) == 1:
		return nat.Behavior{Mapping: nat.EndpointIndependent}.Get(nat.AxisMapping)
	case len(distinct) == 2 && x[0] == x[1] && x[2] == x[3]:
		return nat.Behavior{Mapping: nat.AddressDependent}.Get(nat.AxisMapping)
	case len(distinct) == 4:
		return nat.Behavior{Mapping: nat.AddressAndPortDependent}.Get(nat.AxisMapping)
	}
	return Irregular
}

// Filtering concludes from what entered a mapping that had been opened towards
// (A, 1) alone: entered[address][port] (RFC 4787 section 5).
func Filtering(entered [2][2]bool) string {
	switch entered {
	case [2][2]bool{{true, true}, {true, true}}:
		return nat.Behavior{Filtering: nat.EndpointIndependent}.Get(nat.AxisFiltering)
	case [2][2]bool{{true, true}, {false, false}}:
		return nat.Behavior{Filtering: nat.AddressDependent}.Get(nat.AxisFiltering)
	case [2][2]bool{{true, false}, {false, false}}:
		return nat.Behavior{Filtering: nat.AddressAndPortDependent}.Get(nat.AxisFiltering)
	case [2][2]bool{}:
		return Closed
	}
	return Irregular
}
