package relay

import (
	"net/netip"
	"slices"
)

// refusedPeers is where a relay never sends unless its operator says so: what
// is not the public internet, and what only looks as if it were.
//
// 198.18.0.0/15 (benchmarking, RFC 2544) is not among them: it is the public
// internet of laboratories built for measuring, and no address of the real one,
// so that allowing it reaches nothing but such a laboratory. The documentation
// networks (RFC 5737) are left out for the same reason.
var refusedPeers = prefixes(
	"0.0.0.0/8",         // this network, and Linux takes 0.0.0.0 for loopback
	"10.0.0.0/8",        // private, RFC 1918
	"100.64.0.0/10",     // carriers' shared space, RFC 6598
	"127.0.0.0/8",       // loopback
	"169.254.0.0/16",    // link-local, cloud metadata among it
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // IETF protocol assignments
	"192.88.99.0/24",    // 6to4 anycast, RFC 7526
	"192.168.0.0/16",    // private
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved, and the limited broadcast address
	"::/96",             // unspecified, loopback, IPv4-compatible
	"::ffff:0:0/96",     // IPv4-mapped
	"::ffff:0:0:0/96",   // IPv4-translated, RFC 2765
	"64:ff9b::/96",      // NAT64, RFC 6052
	"64:ff9b:1::/48",    // NAT64, local use, RFC 8215
	"100::/64",          // discard, RFC 6666
	"2001::/32",         // Teredo
	"2002::/16",         // 6to4
	"fc00::/7",          // ULA
	"fe80::/10",         // link-local
	"fec0::/10",         // site-local, deprecated and still in use
	"ff00::/8",          // multicast
	"fd00:ec2::254/128", // cloud metadata (within ULA; named for the reader)
)

func prefixes(texts ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		ps[i] = netip.MustParsePrefix(t)
	}
	return ps
}

// peerPolicy says which peers the relay sends to and takes from. It holds for
// Send, CreatePermission and ChannelBind alike.
type peerPolicy struct {
	allow, deny []netip.Prefix
	listen      []netip.AddrPort               // the listening sockets; their addresses may be unspecified
	relays      []netip.Addr                   // where the relayed addresses are
	own         []netip.Addr                   // the host's addresses
	live        func(peer netip.AddrPort) bool // whether it is a relayed address of an allocation
}

// permits decides about one peer of the allocation whose relayed address of the peer's
// family is self.
//
// In this order: the unspecified address, an IPv4 address in IPv6's form and our own
// listening sockets never; a live relayed address of another allocation always, since that
// is how two clients meet of whom neither can be reached otherwise; then what
// the operator denied, then what was allowed; then our own addresses and
// refusedPeers not.
func (p *peerPolicy) permits(self, peer netip.AddrPort) bool {
	addr := peer.Addr()
	if !addr.IsValid() || addr.IsUnspecified() || addr.Is4In6() {
		return false
	}
	for _, l := range p.listen {
		if peer.Port() == l.Port() && p.ours(addr.Unmap()) {
			return false
		}
	}
	if slices.Contains(p.relays, addr) && p.live(peer) {
		return peer != self
	}
	switch {
	case contains(p.deny, addr) || contains(p.deny, addr.Unmap()):
		return false
	case contains(p.allow, addr):
		return true
	case p.ours(addr.Unmap()):
		return false
	}
	return !contains(refusedPeers, addr)
}

// ours reports whether addr is an address of this host.
func (p *peerPolicy) ours(addr netip.Addr) bool {
	if slices.Contains(p.relays, addr) || slices.Contains(p.own, addr) {
		return true
	}
	for _, l := range p.listen {
		if addr == l.Addr() || addr.IsLoopback() && l.Addr().IsUnspecified() {
			return true
		}
	}
	return false
}

// contains compares as numbers of the address's own family: netip never takes
// an IPv4-mapped IPv6 address for a member of an IPv4 prefix.
func contains(ps []netip.Prefix, addr netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
