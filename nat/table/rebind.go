package table

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// Empty forgets mappings and filters; their ports are free. Unlike with Reboot,
// the counters of sequential ports, of blocks and of pooling go on.
func (t *Table) Empty() {
	if t.flows != nil {
		t.flows = t.newConntrack()
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
// are preserved. Conntrack knows flows: a port stays taken towards its remote.
func (t *Table) Rebind(now time.Time, inside ...netip.Addr) []Mapping {
	ended := slices.DeleteFunc(t.Mappings(now), func(m Mapping) bool {
		return len(inside) > 0 && !slices.Contains(inside, m.Inside.Addr())
	})
	for _, e := range ended {
		if t.flows != nil {
			t.flows.occupy(now, e)
			continue
		}
		s := t.states[e.Protocol]
		m := s.taken[e.External]
		heap.Remove(&s.live, m.index)
		delete(s.out, m.key)
		if s.shared[m.key.inside] == m.filter {
			delete(s.shared, m.key.inside)
		}
		s.expired.add(m.external)
		m.closed = true
		heap.Push(&s.closed, m)
	}
	return ended
}

// occupy ends the flow of a mapping, and has its place taken until it would have
// ended. That of an echo is free: nothing that comes in takes its identifier.
func (c *conntrack) occupy(now time.Time, e Mapping) {
	s := c.states[e.Protocol]
	f := s.inner[flowKey{e.Inside, e.Remote}]
	heap.Remove(&s.byExpiry, f.index)
	s.remove(f)
	if e.Protocol == ICMPEcho {
		return
	}
	s.add(now, &trackedFlow{external: f.external, remote: f.remote, expires: f.expires})
}
