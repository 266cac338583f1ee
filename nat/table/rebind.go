package table

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

// Empty forgets mappings and filters; their ports are free. Unlike with Reboot,
// the counters of sequential ports, of blocks and of pooling go on.
func (t *Table) Empty() {
	if t.flows != nil {
		t.flows = newConntrack(t.behavior, t.external, t.rand)
		return
	}
	for i, s := range t.states {
		fresh := newState(s.idleTimes)
		fresh.next, fresh.nextAddr, fresh.blocks.next = s.next, s.nextAddr, s.blocks.next
		t.states[i] = fresh
	}
}

// Rebind ends the live mappings of inside addresses, of all if there are none,
// and returns them. Their ports are closed, and held as those of mappings that
// have expired: the next packet from inside gets another one, also where ports
// are preserved. NATs of other kinds than nat.KindRFC are refused.
func (t *Table) Rebind(now time.Time, inside ...netip.Addr) ([]Mapping, error) {
	if t.flows != nil {
		return nil, fmt.Errorf("NAT table: rebinding of kind=%s is not modelled, only that of kind=%s", t.behavior.Kind, nat.KindRFC)
	}
	ended := slices.DeleteFunc(t.Mappings(now), func(m Mapping) bool {
		return len(inside) > 0 && !slices.Contains(inside, m.Inside.Addr())
	})
	for _, e := range ended {
		s := t.states[e.Protocol]
		m := s.taken[e.External]
		heap.Remove(&s.live, m.index)
		delete(s.out, m.key)
		if s.shared[m.key.inside] == m.filter {
			delete(s.shared, m.key.inside)
		}
		s.expired.add(m.external)
		m.closed, m.held = true, now.Add(s.longest())
		heap.Push(&s.closed, m)
	}
	return ended, nil
}
