package table

import (
	"container/heap"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

// Table is one NAT at work. It is not safe for concurrent use.
type Table struct {
	behavior nat.Behavior // resolved
	external []netip.Addr
	rand     *rand.Rand
	states   [protocols]*state
	// flows is the state instead, if the NAT is of another kind than KindRFC.
	flows *conntrack
}

// state is what the NAT knows of one protocol.
type state struct {
	out map[key]*mapping
	in  map[netip.AddrPort]*mapping
	// byExpiry is a heap, the next to expire first.
	byExpiry expiryHeap
	// shared are the filters of inside endpoints, where these are the scope.
	shared map[netip.AddrPort]*filter
	// next is the sequential counter: the offset in the range of the next port
	// to try. nextAddr is the round robin of arbitrary pooling.
	next, nextAddr int
	// idle is how long a mapping lives that is not used.
	idle time.Duration
}

// key is what tells mappings apart: the remote is narrowed to what the mapping
// axis looks at, so that one map serves all three mappings.
type key struct {
	inside netip.AddrPort
	remote netip.AddrPort
}

type mapping struct {
	key      key
	external netip.AddrPort
	expires  time.Time
	filter   *filter
	index    int // in the heap
}

// filter knows who may send in, and until when. Entries never outlive the
// mappings that made them: both are refreshed together.
type filter struct {
	remotes map[netip.AddrPort]time.Time
	users   int // mappings that share it
}

// New makes a NAT with the behaviour and at least one external address. The
// rand.Rand serves ports=random and kinds other than KindRFC; it may be nil
// otherwise.
func New(b nat.Behavior, external []netip.Addr, r *rand.Rand) (*Table, error) {
	if err := b.Validate(); err != nil {
		return nil, fmt.Errorf("NAT table: %w", err)
	}
	if len(external) == 0 {
		return nil, errors.New("NAT table: no external address")
	}
	if b.Kind != nat.KindRFC && r == nil {
		return nil, fmt.Errorf("NAT table: kind=%s needs a source of randomness", b.Kind)
	}
	if b.Ports == nat.Random && r == nil {
		return nil, errors.New("NAT table: ports=random needs a source of randomness")
	}
	t := &Table{behavior: b.Resolved(), external: slices.Clone(external), rand: r}
	t.Reboot()
	return t, nil
}

// Reboot loses all state and resets the counters. With addresses, they become
// the external ones.
func (t *Table) Reboot(external ...netip.Addr) {
	if len(external) > 0 {
		t.external = slices.Clone(external)
	}
	if t.behavior.Kind != nat.KindRFC {
		t.flows = newConntrack(t.behavior, t.external, t.rand)
	}
	for i := range t.states {
		t.states[i] = &state{
			idle:   Protocol(i).idle(t.behavior.Timeout),
			out:    make(map[key]*mapping),
			in:     make(map[netip.AddrPort]*mapping),
			shared: make(map[netip.AddrPort]*filter),
		}
	}
}

// Behavior is the NAT's behaviour, defaults resolved.
func (t *Table) Behavior() nat.Behavior { return t.behavior }

// External gives the external addresses.
func (t *Table) External() []netip.Addr { return slices.Clone(t.external) }

// Outbound translates a packet that came from inside. One that is addressed to
// an external address of the NAT itself is hairpinned or dropped.
func (t *Table) Outbound(now time.Time, p Packet) Verdict {
	if t.flows != nil {
		return t.flows.outbound(now, p)
	}
	t.purge(now)
	if !slices.Contains(t.external, p.Dst.Addr()) {
		return t.translate(now, p)
	}
	switch t.behavior.Hairpin {
	case nat.HairpinInternal:
		v := t.admit(now, p, false)
		v.Hairpin = true
		return v
	case nat.HairpinExternal:
		v := t.translate(now, p)
		if v.Drop == Passed {
			v = t.admit(now, v.Packet, true)
		}
		if v.Drop != Passed {
			v.Packet = p
		}
		v.Hairpin = true
		return v
	}
	return Verdict{Packet: p, Hairpin: true, Drop: HairpinRefused}
}

// Inbound translates a packet that came from outside.
func (t *Table) Inbound(now time.Time, p Packet) Verdict {
	if t.flows != nil {
		return t.flows.inbound(now, p)
	}
	t.purge(now)
	return t.admit(now, p, true)
}

// translate finds or makes the mapping of an outbound packet, refreshes it, and
// lets the destination answer.
func (t *Table) translate(now time.Time, p Packet) Verdict {
	s := t.states[p.Protocol]
	k := key{inside: p.Src, remote: narrow(t.behavior.Mapping, p.Dst)}
	m := s.out[k]
	if m == nil {
		var drop Drop
		if m, drop = t.allocate(s, k); drop != Passed {
			return Verdict{Packet: p, Drop: drop}
		}
	}
	t.refresh(now, s, m, p.Dst)
	p.Src = m.external
	return Verdict{Packet: p}
}

// admit finds the mapping of an inbound packet and asks its filter, unless the
// packet is one that filters do not judge.
func (t *Table) admit(now time.Time, p Packet, filtered bool) Verdict {
	s := t.states[p.Protocol]
	m := s.in[p.Dst]
	if m == nil {
		return Verdict{Packet: p, Drop: NoMapping}
	}
	if filtered && !m.filter.admits(now, narrow(t.behavior.Filtering, p.Src)) {
		return Verdict{Packet: p, Drop: Filtered}
	}
	if t.behavior.Refresh == nat.RefreshBoth {
		if filtered {
			t.refresh(now, s, m, p.Src)
		} else {
			t.prolong(now, s, m)
		}
	}
	p.Dst = m.key.inside
	return Verdict{Packet: p}
}

// refresh restarts the idle timers of a mapping and of its filter's entry.
func (t *Table) refresh(now time.Time, s *state, m *mapping, remote netip.AddrPort) {
	t.prolong(now, s, m)
	m.filter.remotes[narrow(t.behavior.Filtering, remote)] = m.expires
}

func (t *Table) prolong(now time.Time, s *state, m *mapping) {
	m.expires = now.Add(s.idle)
	heap.Fix(&s.byExpiry, m.index)
}

// allocate makes a mapping. It has no expiry until it is refreshed.
func (t *Table) allocate(s *state, k key) (*mapping, Drop) {
	if len(s.out) >= t.behavior.TableSize {
		return nil, TableFull
	}
	external, ok := t.pick(s, k.inside)
	if !ok {
		return nil, Exhausted
	}
	m := &mapping{key: k, external: external}
	if t.behavior.Scope == nat.ScopeEndpoint {
		if m.filter = s.shared[k.inside]; m.filter == nil {
			m.filter = &filter{remotes: make(map[netip.AddrPort]time.Time)}
			s.shared[k.inside] = m.filter
		}
	} else {
		m.filter = &filter{remotes: make(map[netip.AddrPort]time.Time)}
	}
	m.filter.users++
	s.out[k], s.in[external] = m, m
	heap.Push(&s.byExpiry, m)
	return m, Passed
}

// pick chooses the external address and port of a new mapping.
func (t *Table) pick(s *state, inside netip.AddrPort) (netip.AddrPort, bool) {
	if t.behavior.Pooling == nat.PoolPaired {
		return t.pickPort(s, t.paired(inside.Addr()), inside.Port())
	}
	for range t.external {
		addr := t.external[s.nextAddr%len(t.external)]
		s.nextAddr++
		if external, ok := t.pickPort(s, addr, inside.Port()); ok {
			return external, true
		}
	}
	return netip.AddrPort{}, false
}

// paired gives the external address of an inside address: always the same.
func (t *Table) paired(inside netip.Addr) netip.Addr {
	h := fnv.New32a()
	h.Write(inside.AsSlice())
	return t.external[int(h.Sum32()%uint32(len(t.external)))]
}

// pickPort chooses a port of the external address that no mapping has.
func (t *Table) pickPort(s *state, addr netip.Addr, wanted uint16) (netip.AddrPort, bool) {
	r, size := t.behavior.Range, t.behavior.Range.Size()
	free := func(port uint16) bool { return s.in[netip.AddrPortFrom(addr, port)] == nil }
	if t.behavior.Ports == nat.Random {
		// Draw until a free port comes up; where few are left, walk on from the
		// last draw to the next free one.
		offset := 0
		for range 64 {
			offset = t.rand.IntN(size)
			if port := r.Low + uint16(offset); free(port) {
				return netip.AddrPortFrom(addr, port), true
			}
		}
		for i := range size {
			if port := r.Low + uint16((offset+i)%size); free(port) {
				return netip.AddrPortFrom(addr, port), true
			}
		}
		return netip.AddrPort{}, false
	}
	if t.behavior.Ports == nat.Preserve && r.Contains(wanted) && free(wanted) {
		return netip.AddrPortFrom(addr, wanted), true
	}
	for range size {
		port := r.Low + uint16(s.next)
		s.next = (s.next + 1) % size
		if free(port) {
			return netip.AddrPortFrom(addr, port), true
		}
	}
	return netip.AddrPort{}, false
}

// purge removes the mappings that have expired: those whose idle time has
// reached the timeout.
func (t *Table) purge(now time.Time) {
	for _, s := range t.states {
		for len(s.byExpiry) > 0 && !now.Before(s.byExpiry[0].expires) {
			m := heap.Pop(&s.byExpiry).(*mapping)
			delete(s.out, m.key)
			delete(s.in, m.external)
			if m.filter.users--; m.filter.users == 0 {
				delete(s.shared, m.key.inside)
			}
		}
	}
}

func (f *filter) admits(now time.Time, remote netip.AddrPort) bool {
	if remote == (netip.AddrPort{}) { // endpoint-independent
		return true
	}
	expires, known := f.remotes[remote]
	if known && !now.Before(expires) {
		delete(f.remotes, remote)
		return false
	}
	return known
}

// narrow leaves of a remote endpoint what the axis looks at.
func narrow(d nat.Dependence, remote netip.AddrPort) netip.AddrPort {
	switch d {
	case nat.EndpointIndependent:
		return netip.AddrPort{}
	case nat.AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}
