//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat/ruleset"
)

// egress loses packets that leave a node by some of its interfaces, and counts
// them. They are lost as on a wire: the sender's system sends them without an
// error and captures show them leaving, but they are addressed to nobody, so
// that the other end ignores them. Dropping them instead, in the output or
// egress hook, would tell the sender and hide them from the captures; dropping
// them at the other end would show them arriving.
type egress struct {
	node  *node
	table *nftables.Table
	chain *nftables.Chain
}

// nowhere is the link-layer address of nobody: ours are 02:4c:….
var nowhere = []byte{0x02, 0x4c, 0xff, 0xff, 0xff, 0xff}

// lossTables numbers the tables, which must be unique in a namespace only.
var lossTables atomic.Uint64

// selection is which packets are lost. The zero value is all of them.
type selection struct {
	offset uint32 // of the address in the IPv4 header that is looked at
	addrs  []netip.Addr
	// only loses what has one of the addresses, and else what has another.
	only bool
}

// allBut selects the packets that are addressed to others.
func allBut(to []netip.Addr) selection { return selection{offset: destinationOffset, addrs: to} }

// sentTo and sentFrom select packets by one of their addresses.
func sentTo(addrs []netip.Addr) selection   { return selection{destinationOffset, addrs, true} }
func sentFrom(addrs []netip.Addr) selection { return selection{sourceOffset, addrs, true} }

// loseAt begins to lose the selected packets of those that leave by the given
// interfaces.
func loseAt(n *node, purpose string, by []*iface, lost selection) (*egress, error) {
	e := &egress{node: n, table: &nftables.Table{
		Name:   fmt.Sprintf("%s %d", purpose, lossTables.Add(1)),
		Family: nftables.TableFamilyNetdev,
	}}
	lose := []expr.Any{&expr.Counter{}}
	if tellsDrops() {
		lose = append(lose, ruleset.Log(ruleset.Cause(purpose), lossRule))
	}
	lose = append(lose,
		&expr.Immediate{Register: 1, Data: nowhere},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 6},
	)
	err := n.nft(func(conn *nftables.Conn) error {
		conn.AddTable(e.table)
		// One counted chain for all interfaces.
		e.chain = conn.AddChain(&nftables.Chain{Name: "lose", Table: e.table})
		for _, a := range lost.addrs {
			has := []expr.Any{
				&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0x08, 0x00}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: lost.offset, Len: 4},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
			}
			if lost.only {
				has = append(has, lose...)
			}
			conn.AddRule(&nftables.Rule{Table: e.table, Chain: e.chain, Exprs: append(has, &expr.Verdict{Kind: expr.VerdictReturn})})
		}
		if !lost.only {
			conn.AddRule(&nftables.Rule{Table: e.table, Chain: e.chain, Exprs: lose})
		}
		for _, i := range by {
			hook := conn.AddChain(&nftables.Chain{
				Name: "on " + i.name, Table: e.table, Device: i.name,
				Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookEgress, Priority: nftables.ChainPriorityLast,
			})
			conn.AddRule(&nftables.Rule{Table: e.table, Chain: hook, Exprs: []expr.Any{
				&expr.Verdict{Kind: expr.VerdictJump, Chain: e.chain.Name},
			}})
		}
		return conn.Flush()
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("this kernel cannot filter what leaves an interface (it needs Linux 5.16 with CONFIG_NETFILTER_EGRESS): %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("install rules that lose packets: %w", err)
	}
	return e, nil
}

// lost counts the packets lost so far.
func (e *egress) lost() (uint64, error) {
	var packets uint64
	err := e.node.nft(func(conn *nftables.Conn) error {
		rules, err := conn.GetRules(e.table, e.chain)
		if err != nil {
			return fmt.Errorf("read the counter of lost packets: %w", err)
		}
		packets = countIn(rules)
		return nil
	})
	return packets, err
}

// lift ends the loss and tells how many packets it took. Those between the
// last look at the counter and the end are lost and not counted.
func (e *egress) lift() (uint64, error) {
	packets, err := e.lost()
	if err != nil {
		return 0, err
	}
	err = e.node.nft(func(conn *nftables.Conn) error {
		conn.DelTable(e.table)
		return conn.Flush()
	})
	if err != nil {
		return 0, fmt.Errorf("remove rules that lose packets: %w", err)
	}
	return packets, nil
}

// nft runs f with an nftables connection into the node's namespace.
func (n *node) nft(f func(conn *nftables.Conn) error) error {
	return n.ns.use(func(fd int) error {
		conn, err := nftables.New(nftables.WithNetNSFd(fd))
		if err != nil {
			return fmt.Errorf("node %s: talk to nftables: %w%s", n.name, err, hintFor(err))
		}
		return f(conn)
	})
}
