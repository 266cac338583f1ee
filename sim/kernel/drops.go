//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel/droplog"
	"p2pmodel/sim/witness"
)

// lossRule is the table name in the log prefix of rules that lose packets on a
// link.
const lossRule = "link"

// tellsDrops reports whether this kernel's rules can log what they drop: that
// needs nfnetlink_log.
var tellsDrops = sync.OnceValue(func() bool {
	ns, err := newNamespace(func() error {
		fd, err := droplog.Open()
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
	if err != nil {
		return false
	}
	defer ns.close()
	scratch := &node{name: "examination", ns: ns}
	return scratch.nft(func(conn *nftables.Conn) error {
		table := conn.AddTable(&nftables.Table{Name: "examination", Family: nftables.TableFamilyIPv4})
		chain := conn.AddChain(&nftables.Chain{Name: "log", Table: table})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: ruleset.Drop("examination", "log")})
		return conn.Flush()
	}) == nil
})

// startDropLog hears what rules drop, on all nodes.
func (n *Network) startDropLog(ctx context.Context) error {
	if !tellsDrops() {
		n.log("this kernel has no nfnetlink_log: packets that rules drop are counted, but not told one by one")
		return nil
	}
	log, err := droplog.New(0, n.completeDrop)
	if err != nil {
		return err
	}
	n.dropLog = log
	nodes := make([]*node, 0, len(n.nodes))
	for name, node := range n.nodes {
		if name != wireNode {
			nodes = append(nodes, node)
		}
	}
	return each(ctx, len(nodes), func(i int) error {
		var fd int
		err := nodes[i].ns.inside(func() (err error) {
			fd, err = droplog.Open()
			return err
		})
		if err == nil {
			err = log.Add(nodes[i].name, fd)
		}
		if err != nil {
			return fmt.Errorf("node %s: listen to its netfilter log: %w%s", nodes[i].name, err, hintFor(err))
		}
		return nil
	})
}

// completeDrop names the link that a drop is about. The probes of certifications
// are left out.
func (n *Network) completeDrop(m *droplog.Message) bool {
	if sim.ProbePrefix.Contains(m.Src.Addr()) || sim.ProbePrefix.Contains(m.Dst.Addr()) || slices.Contains(proberInside, m.Src.Addr()) {
		return false
	}
	if m.Rule == lossRule {
		m.Rule = ""
		node := n.nodes[m.Node]
		for _, i := range node.ifaces {
			if i.index == m.In {
				m.Link = n.linkAt(m.Node, i)
			}
		}
	}
	return true
}

// linkAt names the link of an interface.
func (n *Network) linkAt(node string, i *iface) string {
	for _, c := range n.order {
		if c.lower == i || c.upper == i {
			return c.planned.ID.String()
		}
	}
	return node
}

// Drops implements sim.Network.
func (n *Network) Drops() ([]witness.Drop, error) {
	drops, missing := n.wireDrops()
	if n.dropLog == nil {
		return drops, errors.New("this kernel cannot tell what rules drop: it has no nfnetlink_log (modprobe nfnetlink_log)")
	}
	byRules, more := n.dropLog.Drops()
	drops, missing = append(drops, byRules...), missing+more
	slices.SortStableFunc(drops, func(a, b witness.Drop) int { return a.At.Compare(b.At) })
	if missing > 0 {
		return drops, fmt.Errorf("%d packets that were dropped are missing from the list: it was full, or the machine was too busy", missing)
	}
	return drops, nil
}

func (n *Network) stopDropLog() error {
	if n.dropLog == nil {
		return nil
	}
	return n.dropLog.Close()
}
