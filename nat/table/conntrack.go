package table

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

// conntrack is the NAT of Linux at work: its connection tracking with the rule
// masquerade. Its state is flows, each known by the endpoints of its first packet
// and by what answers to it look like. An external port is taken only towards
// remotes for which a flow has it, so that hosts share ports.
//
// It follows nf_nat_core.c, nf_conntrack_core.c and nf_conntrack_proto_udp.c of
// Linux 6.x. It knows no TCP states: flows of TCP count as established. What the
// kernel leaves to chance is left out: flows that have expired, but were not
// collected yet, still lend their port to a new flow of the same endpoint there,
// and a flow that no answer has come for may lose its place in a full table.
type conntrack struct {
	behavior nat.Behavior // resolved
	external []netip.Addr
	rand     *rand.Rand
	states   [protocols]*tracking
	lag      time.Duration // as in Table
	follower *Follower
	shadow   *Shadow
}

// tracking is the flows of one protocol.
type tracking struct {
	inner map[flowKey]*trackedFlow // by inside and remote endpoint; not those of the router
	outer map[flowKey]*trackedFlow // by external and remote endpoint
	// bySource are the flows of an inside endpoint, the latest last.
	bySource map[netip.AddrPort][]*trackedFlow
	// lent counts the flows that have an external endpoint.
	lent     map[netip.AddrPort]int
	byExpiry flowHeap
}

// flowKey tells flows apart, on one side of the NAT.
type flowKey struct{ near, remote netip.AddrPort }

type trackedFlow struct {
	// inside is the zero value for a flow of the router itself, which a packet from
	// outside has begun.
	inside, external, remote netip.AddrPort
	began, expires           time.Time
	answered                 bool
	doubtful                 bool // for followers, as with a mapping
	index                    int  // in the heap
}

func (f *trackedFlow) local() bool { return !f.inside.IsValid() }

// streamAfter is the age from which on packets of a UDP flow that was answered
// keep it for the stream timeout: a question and its answer alone do not. It is
// a constant of the kernel.
const streamAfter = 2 * time.Second

// newConntrack makes the state of a table whose NAT is of another kind.
func (t *Table) newConntrack() *conntrack {
	c := &conntrack{behavior: t.behavior, external: t.external, rand: t.rand, lag: t.lag, follower: t.follower, shadow: t.shadow}
	for i := range c.states {
		c.states[i] = &tracking{
			inner:    make(map[flowKey]*trackedFlow),
			outer:    make(map[flowKey]*trackedFlow),
			bySource: make(map[netip.AddrPort][]*trackedFlow),
			lent:     make(map[netip.AddrPort]int),
		}
	}
	return c
}

// outbound translates a packet that came from inside.
func (c *conntrack) outbound(now time.Time, p Packet) Verdict {
	c.purge(now)
	if slices.Contains(c.external, p.Dst.Addr()) {
		return Verdict{Packet: p, Hairpin: true, Drop: HairpinRefused}
	}
	s := c.states[p.Protocol]
	f := s.inner[flowKey{p.Src, p.Dst}]
	if f == nil {
		if len(s.inner) >= c.behavior.TableSize {
			return Verdict{Packet: p, Drop: TableFull}
		}
		external, ok := c.pick(now, p)
		if !ok {
			return Verdict{Packet: p, Drop: Exhausted}
		}
		f = &trackedFlow{inside: p.Src, external: external, remote: p.Dst}
		s.add(now, f)
	}
	c.refresh(now, p.Protocol, f, false)
	p.Src = f.external
	return Verdict{Packet: p}
}

// inbound translates a packet that came from outside. One that no flow expects is
// for the router itself: where that takes it, it begins a flow there, and its
// sender's way to this port is taken. A TCP segment is answered by a reset, which
// ends the flow at once.
func (c *conntrack) inbound(now time.Time, p Packet) Verdict {
	c.purge(now)
	s := c.states[p.Protocol]
	f := s.outer[flowKey{p.Dst, p.Src}]
	if f != nil && !f.local() {
		c.refresh(now, p.Protocol, f, true)
		p.Dst = f.inside
		return Verdict{Packet: p}
	}
	v := Verdict{Packet: p, Drop: NoMapping}
	if s.lent[p.Dst] > 0 {
		v.Drop = Filtered
	}
	if c.behavior.Early != nat.EarlyAccept || p.Protocol != UDP || !slices.Contains(c.external, p.Dst.Addr()) {
		return v
	}
	if f == nil {
		f = &trackedFlow{external: p.Dst, remote: p.Src}
		s.add(now, f)
	}
	c.refresh(now, p.Protocol, f, false)
	return v
}

// refresh restarts the timer of a flow. The kernel notes an answer only after it
// has chosen the time, so the first one does not make a stream yet.
func (c *conntrack) refresh(now time.Time, protocol Protocol, f *trackedFlow, answer bool) {
	idle := c.behavior.Timeout
	switch {
	case protocol == TCP:
		idle = c.behavior.TimeoutTCP
	case protocol == ICMPEcho:
		idle = c.behavior.TimeoutICMP
	case f.answered && now.Sub(f.began) > streamAfter:
		idle = c.behavior.Stream
	}
	f.answered = f.answered || answer
	f.expires = now.Add(idle)
	heap.Fix(&c.states[protocol].byExpiry, f.index)
}

func (s *tracking) add(now time.Time, f *trackedFlow) {
	f.began = now
	s.outer[flowKey{f.external, f.remote}] = f
	if !f.local() {
		s.inner[flowKey{f.inside, f.remote}] = f
		s.bySource[f.inside] = append(s.bySource[f.inside], f)
		s.lent[f.external]++
	}
	heap.Push(&s.byExpiry, f)
}

func (s *tracking) remove(f *trackedFlow) {
	delete(s.outer, flowKey{f.external, f.remote})
	if f.local() {
		return
	}
	delete(s.inner, flowKey{f.inside, f.remote})
	if s.lent[f.external]--; s.lent[f.external] == 0 {
		delete(s.lent, f.external)
	}
	rest := slices.DeleteFunc(s.bySource[f.inside], func(g *trackedFlow) bool { return g == f })
	if s.bySource[f.inside] = rest; len(rest) == 0 {
		delete(s.bySource, f.inside)
	}
}

// purge removes the flows that have expired.
func (c *conntrack) purge(now time.Time) {
	for _, s := range c.states {
		for len(s.byExpiry) > 0 && !now.Add(-c.lag).Before(s.byExpiry[0].expires) {
			s.remove(heap.Pop(&s.byExpiry).(*trackedFlow))
		}
	}
}

// mappings gives a mapping for each flow from inside. Those of the router itself
// have none.
func (c *conntrack) mappings(now time.Time) []Mapping {
	c.purge(now)
	var all []Mapping
	for protocol, s := range c.states {
		for _, f := range s.inner {
			all = append(all, Mapping{
				Protocol: Protocol(protocol), Inside: f.inside, Remote: f.remote, External: f.external,
				Expires: f.expires, Filter: []FilterEntry{{Remote: f.remote, Expires: f.expires}},
			})
		}
	}
	return all
}

// nextExpiry is when the next flow expires, those of the router itself included.
func (c *conntrack) nextExpiry() time.Time {
	var next time.Time
	for _, s := range c.states {
		if len(s.byExpiry) > 0 && (next.IsZero() || s.byExpiry[0].expires.Before(next)) {
			next = s.byExpiry[0].expires
		}
	}
	return next
}

// flowHeap implements heap.Interface.
type flowHeap []*trackedFlow

func (h flowHeap) Len() int           { return len(h) }
func (h flowHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h flowHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *flowHeap) Push(x any) {
	f := x.(*trackedFlow)
	f.index = len(*h)
	*h = append(*h, f)
}

func (h *flowHeap) Pop() any {
	old := *h
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return f
}
