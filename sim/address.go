package sim

import (
	"fmt"
	"net/netip"
)

// The address plan follows the world's, in ranges that cannot be mistaken for
// somebody's.
var (
	// InternetPrefix is the lab's public Internet: the range of benchmarks
	// (RFC 2544 appendix C, RFC 6815).
	InternetPrefix = netip.MustParsePrefix("198.18.0.0/15")
	// ProbePrefix is the part of it that no plan gives out: certification puts
	// its probes there.
	ProbePrefix = netip.MustParsePrefix("198.19.255.0/24")
	// CarrierPrefix is the shared address space behind NATs that have further
	// routers behind them (RFC 6598). A realm takes the /16 of its depth, so that a
	// carrier's carrier does not have the addresses of its customers.
	CarrierPrefix = netip.MustParsePrefix("100.64.0.0/10")
	// HomePrefix is what every NAT has inside that has only hosts behind it
	// (RFC 1918). Homes share it on purpose: overlap is where leaks of a realm
	// show.
	HomePrefix = netip.MustParsePrefix("192.168.1.0/24")
	// CompanyPrefix is for a NAT with more hosts behind it than HomePrefix has
	// addresses for (RFC 1918).
	CompanyPrefix = netip.MustParsePrefix("10.0.0.0/8")
)

// homeCapacity is how many addresses HomePrefix has for nodes: network, gateway
// and broadcast are not theirs.
const homeCapacity = 253

// carrierPrefix gives the /16 of a carrier realm with depth NATs in front of its
// hosts. They repeat after more depths than MaxChain allows.
func carrierPrefix(depth int) netip.Prefix {
	const realms = 64
	a := CarrierPrefix.Addr()
	for range (depth - 1) % realms {
		a = add(a, 1<<16)
	}
	return netip.PrefixFrom(a, CarrierPrefix.Bits()+6)
}

// spares are the addresses that a router's reboots may take: block after block
// of per addresses, every block shared by the routers of a realm.
type spares struct {
	realm string
	first netip.Addr // of the router in the first block
	end   netip.Addr // the first address that is no more to be given out
	count int        // the router's addresses
	per   int        // addresses of all routers of the realm
}

// reserve shares what a realm has left among its NAT routers.
func (b *planner) reserve() {
	per := map[string]int{}
	for _, r := range b.lab.Routers {
		if r.NAT != nil {
			per[b.realmOf(front(r.Behind))] += max(r.Addresses, 1)
		}
	}
	given := map[string]int{}
	for _, r := range b.lab.Routers {
		if r.NAT == nil {
			continue
		}
		name := b.realmOf(front(r.Behind))
		realm, count := b.realms[name], max(r.Addresses, 1)
		b.plan.spare[r.Name] = spares{name, add(realm.next, given[name]), realm.end, count, per[name]}
		given[name] += count
	}
}

// Spare gives the external addresses that a NAT router takes with its n-th
// reboot that changes them, from 1. They are of the router's realm and neither
// any node's nor those of another reboot of any router. The error says that the
// realm has no more.
func (p *Plan) Spare(router string, n int) ([]netip.Addr, error) {
	s, ok := p.spare[router]
	if !ok {
		return nil, fmt.Errorf("%q is no router with NAT", router)
	}
	if n < 1 {
		return nil, fmt.Errorf("router %q: reboots count from 1, not %d", router, n)
	}
	// Far more blocks than any realm has, and no overflow below.
	if n <= 1<<24 {
		a := add(s.first, (n-1)*s.per)
		addrs := make([]netip.Addr, 0, s.count)
		for ; len(addrs) < s.count && a.IsValid() && a.Less(s.end); a = a.Next() {
			addrs = append(addrs, a)
		}
		if len(addrs) == s.count {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("router %q: %s has no fresh addresses left for reboot %d", router, s.realm, n)
}

// last gives the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// add gives the address n after a, and the zero Addr past the end of the family.
func add(a netip.Addr, n int) netip.Addr {
	b := a.AsSlice()
	for i := len(b) - 1; i >= 0 && n > 0; i-- {
		n += int(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	if n > 0 {
		return netip.Addr{}
	}
	sum, _ := netip.AddrFromSlice(b)
	return sum
}
