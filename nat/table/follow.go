package table

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

// Follower is a table that follows a NAT at work by what was seen of it: where the
// NAT was free to choose, it takes what was seen, and says if the behaviour did not
// permit it. It is not safe for concurrent use.
type Follower struct {
	table *Table
	// pairs are the external addresses that inside addresses were seen with: which one
	// a paired NAT chooses is its own affair, as long as it is one.
	pairs     map[netip.Addr]netip.Addr
	seen      netip.AddrPort
	objection string
}

// slackSteps is how many free ports a sequential NAT may seem to leave out, or how
// far it may seem to step back: packets on several processors are seen in another
// order than they were translated in.
const slackSteps = 16

// NewFollower makes one for a NAT of this behaviour. State lives for lag longer than
// the behaviour says, since clocks and timers are not exact; Near tells where that
// matters.
func NewFollower(b nat.Behavior, external []netip.Addr, lag time.Duration) (*Follower, error) {
	f := &Follower{pairs: make(map[netip.Addr]netip.Addr)}
	t, err := New(b, external, noRandom())
	if err != nil {
		return nil, err
	}
	t.lag, t.follower = lag, f
	t.Reboot()
	f.table = t
	return f, nil
}

// Behavior is what the NAT is held to, defaults resolved.
func (f *Follower) Behavior() nat.Behavior { return f.table.behavior }

// Reboot is Table.Reboot.
func (f *Follower) Reboot(external ...netip.Addr) {
	clear(f.pairs)
	f.table.Reboot(external...)
}

// Empty is Table.Empty.
func (f *Follower) Empty() { f.table.Empty() }

// Outbound is Table.Outbound of a packet that was seen to leave with this external
// endpoint. objection says why the behaviour does not permit that as a new mapping;
// empty: it does, or there was a mapping already.
func (f *Follower) Outbound(now time.Time, p Packet, seen netip.AddrPort) (v Verdict, objection string) {
	f.seen, f.objection = seen, ""
	_, external, near := f.Near(now, p, false)
	v = f.table.Outbound(now, p)
	if near && external == seen {
		// It may be the former mapping, or a new one that got the same port.
		if f.table.flows != nil {
			if flow := f.flow(p, false); flow != nil {
				flow.doubtful = true
			}
		} else if m := f.mapping(p, false); m != nil {
			m.doubtful = true
		}
	}
	return v, f.objection
}

// Inbound is Table.Inbound.
func (f *Follower) Inbound(now time.Time, p Packet) Verdict { return f.table.Inbound(now, p) }

// Mapped gives the external endpoint that an outbound packet would leave with, if it
// has one already.
func (f *Follower) Mapped(p Packet) (netip.AddrPort, bool) {
	if f.table.flows != nil {
		flow := f.flow(p, false)
		if flow == nil {
			return netip.AddrPort{}, false
		}
		return flow.external, true
	}
	m := f.mapping(p, false)
	if m == nil {
		return netip.AddrPort{}, false
	}
	return m.external, true
}

// Room reports whether a flow that begins would get a port for certain. Of a NAT
// that says itself when it has none it is always true.
func (f *Follower) Room(p Packet) bool {
	c := f.table.flows
	if c == nil {
		return true
	}
	taken := 0
	for k := range c.states[p.Protocol].outer {
		if k.remote == p.Dst {
			taken++
		}
	}
	_, size := c.portsFor(p.Protocol, p.Src.Port())
	return taken < size/2 // the kernel gives up where few are left
}

// Near reports whether the state by which a packet passes, or passed lately, ends at
// about this time, so that either outcome may come of it and either state be left; or
// whether that was so before, and it is not known since what state there is. inside is
// whose it is.
func (f *Follower) Near(now time.Time, p Packet, inbound bool) (inside, external netip.AddrPort, near bool) {
	t := f.table
	close := func(end time.Time) bool { d := end.Sub(now); return -t.lag <= d && d <= t.lag }
	if c := t.flows; c != nil {
		flows := []*trackedFlow{f.flow(p, inbound)}
		if s := c.states[p.Protocol]; flows[0] == nil && !inbound {
			// What it gets depends on the flows that its endpoint has, and on who has the
			// port.
			flows = append(slices.Clone(s.bySource[p.Src]), s.outer[flowKey{netip.AddrPortFrom(c.external[0], p.Src.Port()), p.Dst}])
		}
		for _, flow := range flows {
			if flow != nil && (flow.doubtful || close(flow.expires)) {
				return p.Src, flow.external, true
			}
		}
		return inside, external, false
	}
	m := f.mapping(p, inbound)
	if m == nil {
		for _, a := range t.external {
			wanted := netip.AddrPortFrom(a, p.Src.Port())
			if other := t.states[p.Protocol].taken[wanted]; !inbound && other != nil && close(other.end()) {
				return p.Src, wanted, true
			}
		}
		return inside, external, false
	}
	end, known := m.filter.remotes[narrow(t.behavior.Filtering, p.Src)]
	return m.key.inside, m.external, m.doubtful || close(m.expires) || close(m.held) || inbound && known && close(end)
}

// Forget ends what lets a packet pass, whatever its times: with inbound the
// permission of its sender alone, where there are such.
func (f *Follower) Forget(p Packet, inbound bool) {
	t := f.table
	if t.flows != nil {
		if flow := f.flow(p, inbound); flow != nil {
			s := t.flows.states[p.Protocol]
			heap.Remove(&s.byExpiry, flow.index)
			s.remove(flow)
		}
		return
	}
	m := f.mapping(p, inbound)
	switch {
	case m == nil:
	case inbound && t.behavior.Filtering != nat.EndpointIndependent:
		delete(m.filter.remotes, narrow(t.behavior.Filtering, p.Src))
	default:
		f.end(t.states[p.Protocol], m)
	}
}

// mapping is the live one that a packet goes by, or nil.
func (f *Follower) mapping(p Packet, inbound bool) *mapping {
	s := f.table.states[p.Protocol]
	if !inbound {
		return s.out[key{p.Src, narrow(f.table.behavior.Mapping, p.Dst)}]
	}
	if m := s.taken[p.Dst]; m != nil && !m.closed {
		return m
	}
	return nil
}

// flow is the one of conntrack that a packet goes by, or nil.
func (f *Follower) flow(p Packet, inbound bool) *trackedFlow {
	s := f.table.flows.states[p.Protocol]
	if inbound {
		return s.outer[flowKey{p.Dst, p.Src}]
	}
	return s.inner[flowKey{p.Src, p.Dst}]
}

// Longest is how long state of a protocol is kept without a use, at most.
func (f *Follower) Longest(p Protocol) time.Duration {
	b := f.table.behavior
	return max(idle(b, p).longest(), b.Rotate)
}

// Rebind is Table.Rebind.
func (f *Follower) Rebind(now time.Time, inside ...netip.Addr) { f.table.Rebind(now, inside...) }

// object notes the first objection.
func (f *Follower) object(format string, args ...any) {
	if f.objection == "" {
		f.objection = fmt.Sprintf(format, args...)
	}
}

// choose takes the endpoint that was seen for a new mapping, and objects where the
// behaviour would not have given it.
func (f *Follower) choose(now time.Time, s *state, inside netip.AddrPort) netip.AddrPort {
	t, e := f.table, f.seen
	b := t.behavior
	if !slices.Contains(t.external, e.Addr()) {
		f.object("%v is no external address of the NAT", e.Addr())
	}
	if other := s.taken[e]; other != nil {
		if now.Before(other.end()) {
			f.object("%v belongs to %v already", e, other.key.inside)
		}
		f.end(s, other)
	}
	if b.Pooling == nat.PoolPaired {
		if pair, known := f.pairs[inside.Addr()]; known && pair != e.Addr() {
			f.object("pooling is paired, and %v has been mapped to %v before", inside.Addr(), pair)
		}
		f.pairs[inside.Addr()] = e.Addr()
	}
	if !b.Range.Contains(e.Port()) {
		f.object("port %d is not in the range %s", e.Port(), b.Range)
	}
	if b.Parity == nat.ParityKeep && e.Port()%2 != inside.Port()%2 {
		f.object("port %d does not keep the parity of %d", e.Port(), inside.Port())
	}
	switch b.Ports {
	case nat.Block:
		f.chooseBlock(now, s, inside.Addr())
	case nat.Preserve:
		wanted := netip.AddrPortFrom(e.Addr(), inside.Port())
		free := b.Range.Contains(inside.Port()) && s.taken[wanted] == nil
		switch {
		case e == wanted:
		case free:
			f.object("port %d was free, and was not preserved: %d was given", inside.Port(), e.Port())
		case b.Fallback == nat.FallbackSequential:
			f.step(s, inside)
		}
	case nat.Sequential:
		f.step(s, inside)
	}
	return e
}

// step advances the sequential counter to the port that was seen.
func (f *Follower) step(s *state, inside netip.AddrPort) {
	b, e := f.table.behavior, f.seen
	counter := &s.next[0]
	if b.Parity == nat.ParityKeep {
		counter = &s.next[inside.Port()%2]
	}
	p := ports(b.Range, inside.Port(), b.Parity, b.Delta)
	apart := int(e.Port()) - int(p.first)
	if p.count == 0 || apart < 0 || apart%p.step != 0 {
		f.object("port %d is none of the sequence %d, %d, …", e.Port(), p.first, int(p.first)+p.step)
		return
	}
	at := apart / p.step
	ahead := (at - *counter + p.count) % p.count
	if behind := p.count - ahead; behind <= slackSteps && behind < p.count {
		return
	}
	skipped := 0
	for i := range ahead {
		if s.taken[netip.AddrPortFrom(e.Addr(), p.at((*counter+i)%p.count))] == nil {
			skipped++
		}
	}
	if skipped > slackSteps {
		f.object("port %d was given where %d was next, with %d free ones between them", e.Port(), p.at(*counter), skipped)
	}
	*counter = (at + 1) % p.count
}

// chooseBlock has the inside address get the block that the port lies in.
func (f *Follower) chooseBlock(now time.Time, s *state, inside netip.Addr) {
	b, e := f.table.behavior, f.seen
	if s.blocks.of(now, inside, e.Addr()) == nil && b.Range.Contains(e.Port()) {
		s.blocks.next = int(e.Port()-b.Range.Low) / b.Block % max(b.Range.Size()/b.Block, 1)
	}
	switch has, ok := s.blocks.take(now, b, inside, e.Addr()); {
	case !ok:
		f.object("no block is free, and %v got a port", inside)
	case !has.ports.Contains(e.Port()):
		f.object("port %d is not in the block %s of %v, or that of another address", e.Port(), has.ports, inside)
	}
}

// end ends a mapping and gives back its port, whatever its times.
func (f *Follower) end(s *state, m *mapping) {
	if m.closed {
		heap.Remove(&s.closed, m.index)
	} else {
		heap.Remove(&s.live, m.index)
		delete(s.out, m.key)
	}
	s.release(m)
}

// full reports whether a table is full whose state lives longer than it should.
func (f *Follower) full(now time.Time, s *state) bool {
	n := 0
	for _, m := range s.taken {
		if now.Before(m.end()) {
			n++
		}
	}
	return n >= f.table.behavior.TableSize
}

// chooseFlow is choose for a flow of conntrack.
func (f *Follower) chooseFlow(now time.Time, c *conntrack, p Packet) netip.AddrPort {
	s, e := c.states[p.Protocol], f.seen
	if !slices.Contains(c.external, e.Addr()) {
		f.object("%v is no external address of the NAT", e.Addr())
	}
	if other := s.outer[flowKey{e, p.Dst}]; other != nil {
		if now.Before(other.expires) {
			f.object("%v has a flow to %v already", e, p.Dst)
		}
		heap.Remove(&s.byExpiry, other.index)
		s.remove(other)
	}
	if preferred, ok := c.preferred(p); ok {
		// Which of its flows is the latest is not certain.
		has := func(flow *trackedFlow) bool { return flow.external == e }
		// One that may have ended by now may have nothing to say.
		counts := func(flow *trackedFlow) bool { return flow.external == preferred && now.Before(flow.expires) }
		certain := preferred.Port() == p.Src.Port() || slices.ContainsFunc(s.bySource[p.Src], counts)
		if certain && e != preferred && e.Port() != p.Src.Port() && !slices.ContainsFunc(s.bySource[p.Src], has) {
			f.object("%v was free towards %v, and %v was given", preferred, p.Dst, e)
		}
		return e
	}
	if low, size := c.portsFor(p.Protocol, p.Src.Port()); int(e.Port()) < int(low) || int(e.Port()) >= int(low)+size {
		f.object("port %d is not in the range %d-%d", e.Port(), low, int(low)+size-1)
	}
	return e
}

// noRandom is the randomness of a follower, which draws nothing.
func noRandom() *rand.Rand { return rand.New(rand.NewPCG(0, 0)) }
