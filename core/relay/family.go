package relay

import (
	"io"
	"net/netip"
)

// Address families of address attributes and REQUESTED-ADDRESS-FAMILY
// (RFC 8489 section 14.1, RFC 8656 section 18.7).
const (
	familyIPv4 = 0x01
	familyIPv6 = 0x02
)

// family numbers the two in tables: the attribute's number less one.
type family uint8

const (
	four family = iota
	six
	families
)

// number is the attributes' one.
func (f family) number() byte { return byte(f) + familyIPv4 }

// familyOf is of an address in the form that it has: an IPv4 address in IPv6 is six.
func familyOf(a netip.Addr) family {
	if a.Is4() {
		return four
	}
	return six
}

// relayFamily is what the server has of one family to relay from.
type relayFamily struct {
	addr   netip.Addr
	ports  *portRange
	byPort map[uint16]*allocation
}

func newRelayFamily(addr netip.Addr, low, high uint16, random io.Reader) *relayFamily {
	return &relayFamily{addr: addr, ports: newPortRange(low, high, random), byPort: make(map[uint16]*allocation)}
}

// live reports whether an address is a relayed one of an allocation.
func (s *Server) live(a netip.AddrPort) bool {
	f := s.families[familyOf(a.Addr())]
	return f != nil && f.addr == a.Addr() && f.byPort[a.Port()] != nil
}
