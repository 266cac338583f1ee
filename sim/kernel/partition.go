//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"p2pmodel/sim"
)

// partition is what parts groups of hosts.
type partition struct {
	mu   sync.Mutex // held while it changes
	cuts []*egress
	was  uint64 // packets that former partitions took
}

// Partition implements sim.Network. Packets are lost on the link of one of the
// two hosts, on their way up or down: of the one that knows the other by its own
// address, which who stands behind a NAT is not known by. A new partition stands
// before the former one goes.
func (n *Network) Partition(groups [][]string) error {
	n.partition.mu.Lock()
	defer n.partition.mu.Unlock()
	foreign, err := n.foreign(groups)
	if err != nil {
		return fmt.Errorf("partition: %w", err)
	}
	var parted []*cable
	for _, c := range n.order {
		if len(foreign[c]) > 0 {
			parted = append(parted, c)
		}
	}
	cuts := make([]*egress, 2*len(parted))
	err = each(context.Background(), len(cuts), func(i int) (err error) {
		c := parted[i/2]
		if i%2 == 0 {
			cuts[i], err = loseAt(c.child, "partition", []*iface{c.lower}, sentTo(foreign[c]))
		} else {
			cuts[i], err = loseAt(c.parent, "partition", []*iface{c.upper}, sentFrom(foreign[c]))
		}
		if err != nil {
			return c.errorf("partition", err)
		}
		return nil
	})
	if err != nil {
		for _, e := range cuts {
			if e != nil {
				_, lifted := e.lift()
				err = errors.Join(err, lifted)
			}
		}
		return err
	}
	former := n.partition.cuts
	n.partition.cuts = cuts
	if err := n.partition.lift(former); err != nil {
		return fmt.Errorf("partition: %w", err)
	}
	var names []string
	for _, g := range groups {
		names = append(names, strings.Join(g, " "))
	}
	n.log("the network is parted: %s", strings.Join(names, " | "))
	return nil
}

// Heal implements sim.Network.
func (n *Network) Heal() error {
	n.partition.mu.Lock()
	defer n.partition.mu.Unlock()
	cuts := n.partition.cuts
	if cuts == nil {
		return nil
	}
	n.partition.cuts = nil
	if err := n.partition.lift(cuts); err != nil {
		return fmt.Errorf("heal the partition: %w", err)
	}
	n.log("the network is parted no more")
	return nil
}

// lift ends losses and adds up what they took.
func (p *partition) lift(cuts []*egress) error {
	lost := make([]uint64, len(cuts))
	err := each(context.Background(), len(cuts), func(i int) (err error) {
		lost[i], err = cuts[i].lift()
		return err
	})
	for _, l := range lost {
		p.was += l
	}
	return err
}

// Partitioned implements sim.Network.
func (n *Network) Partitioned() (uint64, error) {
	n.partition.mu.Lock()
	defer n.partition.mu.Unlock()
	total := n.partition.was
	for _, e := range n.partition.cuts {
		lost, err := e.lost()
		if err != nil {
			return 0, fmt.Errorf("count what the partition took: %w", err)
		}
		total += lost
	}
	return total, nil
}

// foreign gives the addresses that each link is to lose packets of, so that no
// host of a group speaks with one of another.
func (n *Network) foreign(groups [][]string) (map[*cable][]netip.Addr, error) {
	if len(groups) < 2 {
		return nil, errors.New("it takes two groups of hosts at least")
	}
	group := make(map[string]int)
	for i, g := range groups {
		if len(g) == 0 {
			return nil, fmt.Errorf("group %d is empty", i+1)
		}
		for _, name := range g {
			if n.hosts[name] == nil {
				return nil, unknown("host", name, n.hosts)
			}
			if _, twice := group[name]; twice {
				return nil, fmt.Errorf("host %s is there twice", name)
			}
			group[name] = i
		}
	}
	foreign := make(map[*cable][]netip.Addr)
	for i, a := range n.order {
		for _, b := range n.order[i+1:] {
			ga, parted := group[a.planned.ID.Node]
			gb, too := group[b.planned.ID.Node]
			if !parted || !too || ga == gb {
				continue
			}
			switch {
			case n.sees(a, b):
				foreign[a] = append(foreign[a], b.planned.NodeAddrs...)
			case n.sees(b, a):
				foreign[b] = append(foreign[b], a.planned.NodeAddrs...)
			default:
				return nil, fmt.Errorf("hosts %s and %s stand behind different NATs, so that neither is known by its address to the other: cut links instead",
					a.planned.ID.Node, b.planned.ID.Node)
			}
		}
	}
	return foreign, nil
}

// sees reports whether a host sees another's address as it is: the other's realm
// is the own one or in front of it.
func (n *Network) sees(a, b *cable) bool {
	realms := []string{a.planned.Realm}
	for realm := a.planned.Realm; realm != sim.Internet; {
		up := n.cables[sim.LinkID{Node: realm, Uplink: sim.DefaultUplink}]
		realm = up.planned.Realm
		realms = append(realms, realm)
	}
	return slices.Contains(realms, b.planned.Realm)
}
