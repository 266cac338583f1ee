package virtual

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"p2pmodel/sim"
)

// partition is what keeps groups of hosts from each other.
type partition struct {
	cuts []parted
	was  uint64 // packets that former partitions took
}

// parted is a lane that loses what comes from another group, or goes there.
type parted struct {
	lane *lane
	loss *loss
}

// Partition implements sim.Network. A packet of another group is lost at the
// first link on which both addresses can be seen: the hosts' own.
func (n *Network) Partition(groups [][]string) error {
	foreign, err := n.foreign(groups)
	if err != nil {
		return fmt.Errorf("partition: %w", err)
	}
	n.endPartition()
	for i := range n.cables {
		others := foreign[i]
		if len(others) == 0 {
			continue
		}
		up := &loss{cause: "partition", takes: func(p *packet) bool { return slices.Contains(others, p.dst.Addr()) }}
		down := &loss{cause: "partition", takes: func(p *packet) bool { return slices.Contains(others, p.src.Addr()) }}
		n.partition.cuts = append(n.partition.cuts, parted{n.cables[i].up, up}, parted{n.cables[i].down, down})
	}
	for _, c := range n.partition.cuts {
		c.lane.begin(c.loss)
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
	if len(n.partition.cuts) == 0 {
		return nil
	}
	n.endPartition()
	n.log("the network is parted no more")
	return nil
}

func (n *Network) endPartition() {
	for _, c := range n.partition.cuts {
		c.lane.end(c.loss)
		n.partition.was += c.loss.taken
	}
	n.partition.cuts = nil
}

// Partitioned implements sim.Network.
func (n *Network) Partitioned() (uint64, error) {
	total := n.partition.was
	for _, c := range n.partition.cuts {
		total += c.loss.taken
	}
	return total, nil
}

// foreign gives, for each cable of a host, the addresses of hosts of other groups
// as they are seen there.
func (n *Network) foreign(groups [][]string) (map[int][]netip.Addr, error) {
	if len(groups) < 2 {
		return nil, errors.New("it takes two groups of hosts at least")
	}
	group := make(map[string]int)
	for i, g := range groups {
		if len(g) == 0 {
			return nil, fmt.Errorf("group %d is empty", i+1)
		}
		for _, name := range g {
			if _, err := n.Host(name); err != nil {
				return nil, err
			}
			if _, twice := group[name]; twice {
				return nil, fmt.Errorf("host %s is there twice", name)
			}
			group[name] = i
		}
	}
	foreign := make(map[int][]netip.Addr)
	for i := range n.cables {
		for j := i + 1; j < len(n.cables); j++ {
			a, b := n.cables[i].print.planned, n.cables[j].print.planned
			ga, parted := group[a.ID.Node]
			gb, too := group[b.ID.Node]
			if !parted || !too || ga == gb {
				continue
			}
			switch {
			case n.sees(a, b):
				foreign[i] = append(foreign[i], b.NodeAddrs...)
			case n.sees(b, a):
				foreign[j] = append(foreign[j], a.NodeAddrs...)
			default:
				return nil, fmt.Errorf("hosts %s and %s stand behind different NATs, so that neither is known by its address to the other: cut links instead",
					a.ID.Node, b.ID.Node)
			}
		}
	}
	return foreign, nil
}

// sees reports whether what one host sends is for another one's own address: its
// realm is that of the other, or lies within.
func (n *Network) sees(a, b *sim.PlannedLink) bool {
	realm := a.Realm
	for realm != b.Realm {
		if realm == sim.Internet {
			return false
		}
		// A realm is called as the router that translates for it.
		for i := range n.cables {
			if up := n.cables[i].print.planned; up.ID == (sim.LinkID{Node: realm, Uplink: sim.DefaultUplink}) {
				realm = up.Realm
				break
			}
		}
	}
	return true
}
