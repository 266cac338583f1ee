//go:build linux

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
)

// bogons are the prefixes that the Internet's core does not forward: private
// (RFC 1918), shared (RFC 6598), and those that mean nothing on a wire (RFC
// 6890). The lab's Internet itself is made of a range for benchmarks, which a
// real core would drop.
var bogons = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

// loopbackIndex is the index of lo in every namespace.
var loopbackIndex = binary.NativeEndian.AppendUint32(nil, 1)

const (
	sourceOffset      = 12 // in the IPv4 header
	destinationOffset = 16
)

// installRules gives the Internet its filter, the routers their NATs and
// firewalls, and the hosts theirs.
func (n *Network) installRules(ctx context.Context) error {
	steps := []func() error{n.nodes[sim.Internet].dropBogons}
	for _, r := range n.lab.Routers {
		router := n.routers[r.Name]
		steps = append(steps, func() error { return errors.Join(router.installNAT(), router.installFirewall()) })
	}
	for _, h := range n.lab.Hosts {
		if h.Firewall != nil {
			steps = append(steps, n.hosts[h.Name].installFirewall)
		}
	}
	for _, c := range n.order {
		if c.unplugged {
			steps = append(steps, c.tellUnplugged)
		}
	}
	return each(ctx, len(steps), func(i int) error { return steps[i]() })
}

// coreTable is where the Internet's filter lives.
var coreTable = nftables.Table{Name: "core", Family: nftables.TableFamilyIPv4}

// chainEdge drops what may not pass the Internet's edge.
const chainEdge = "edge"

// dropBogons drops what has no business on the Internet, before it is routed:
// there is no answer, and a counter for each prefix and direction. What is left
// is dropped if its source is not one of those that sent it, as providers do at
// their edge (RFC 2827).
func (n *node) dropBogons() error {
	err := n.nft(func(conn *nftables.Conn) error {
		table := coreTable
		conn.AddTable(&table)
		chain := conn.AddChain(&nftables.Chain{
			Name: chainEdge, Table: &table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
		})
		for _, p := range bogons {
			mask, _ := netip.AddrFrom4([4]byte{255, 255, 255, 255}).Prefix(p.Bits()) // always valid
			for _, offset := range []uint32{sourceOffset, destinationOffset} {
				conn.AddRule(&nftables.Rule{Table: &table, Chain: chain, Exprs: append([]expr.Any{
					// Loopback traffic is the core's own and crosses no wire.
					&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
					&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: loopbackIndex},
					&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
					&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask.Addr().AsSlice(), Xor: make([]byte, 4)},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
				}, dropsAs(causeBogon)...)})
			}
		}
		if tellsDrops() {
			// Not dropped here but by the routing that follows, which answers.
			conn.AddRule(&nftables.Rule{Table: &table, Chain: chain, Exprs: append(unrouted(), ruleset.Log(causeNoRoute, coreTable.Name+" routing"))})
		}
		// The last rule: Spoofed counts it alone.
		conn.AddRule(&nftables.Rule{Table: &table, Chain: chain, Exprs: append(ruleset.Spoofed(), dropsAs(ruleset.CauseSpoofed)...)})
		return conn.Flush()
	})
	if err != nil {
		return fmt.Errorf("node %s: install the filter of private addresses: %w%s", n.name, err, hintFor(err))
	}
	return nil
}

// causeBogon is why the Internet's core drops private addresses.
const causeBogon ruleset.Cause = "private address"

// causeNoRoute is why it drops what is for an address that nobody has, or no longer.
const causeNoRoute ruleset.Cause = "nobody has the address"

// unrouted matches packets for addresses that no route leads to.
func unrouted() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
		&expr.Fib{Register: 1, ResultOIF: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
	}
}

// dropsAs counts, tells and drops, as far as the kernel can tell.
func dropsAs(cause ruleset.Cause) []expr.Any {
	if tellsDrops() {
		return ruleset.Drop(cause, coreTable.Name+" "+chainEdge)
	}
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
}

// Bogons counts the packets that the Internet's core has dropped because their
// source or destination is private.
func (n *Network) Bogons() (uint64, error) {
	bogons, _, err := n.edge()
	return bogons, err
}

// Spoofed counts the packets that the Internet's core has dropped because their
// source is not an address of the node that sent them. Firewalls of routers have
// counters of their own.
func (n *Network) Spoofed() (uint64, error) {
	_, spoofed, err := n.edge()
	return spoofed, err
}

// edge reads the counters of the Internet's core.
func (n *Network) edge() (bogons, spoofed uint64, err error) {
	err = n.nodes[sim.Internet].nft(func(conn *nftables.Conn) error {
		table := coreTable
		rules, err := conn.GetRules(&table, &nftables.Chain{Name: chainEdge, Table: &table})
		if err == nil && len(rules) > 0 {
			last := len(rules) - 1
			bogons, spoofed = countIn(rules[:last]), countIn(rules[last:])
		}
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("node %s: read its counters: %w", sim.Internet, err)
	}
	return bogons, spoofed, nil
}

// countIn sums the packets that counters in rules have seen.
func countIn(rules []*nftables.Rule) (packets uint64) {
	for _, r := range rules {
		for _, x := range r.Exprs {
			if c, ok := x.(*expr.Counter); ok {
				packets += c.Packets
			}
		}
	}
	return packets
}
