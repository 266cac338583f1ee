package table

import (
	"container/heap"
	"container/list"
	"net/netip"
	"time"

	"p2pmodel/nat"
)

// state is what the NAT knows of one protocol.
type state struct {
	idleTimes
	out map[key]*mapping
	// taken are the external ports that no new mapping gets: those of live mappings,
	// and of closed ones for as long as their port is held.
	taken map[netip.AddrPort]*mapping
	// live and closed hold each taken port once, the next to end first.
	live, closed endHeap
	// byUse are the mappings of taken, the one that was idle for longest first.
	byUse list.List
	// shared are the filters of inside endpoints, where these are the scope.
	shared map[netip.AddrPort]*filter
	blocks blocks
	// next are the sequential counters, one a parity where it counts: how many steps
	// from the first port the next one to try is. nextAddr is the round robin of
	// arbitrary pooling.
	next     [2]int
	nextAddr int
	expired  memory
}

// idleTimes are how long a mapping of the protocol lives that is not used: of
// one through which packets passed one way only, and both ways.
type idleTimes struct{ oneWay, stream time.Duration }

// longest is how long anything of the protocol is kept without a use.
func (i idleTimes) longest() time.Duration { return max(i.oneWay, i.stream) }

// idle gives the protocol's times of a resolved behaviour.
func idle(b nat.Behavior, p Protocol) idleTimes {
	switch p {
	case TCP:
		return idleTimes{b.TimeoutTCP, b.TimeoutTCP}
	case ICMPEcho:
		return idleTimes{b.TimeoutICMP, b.TimeoutICMP}
	}
	return idleTimes{b.Timeout, b.Stream}
}

// newState makes the state of a protocol that nobody has used yet. Maps are made
// when there is something to put in: most NATs see one protocol.
func newState(times idleTimes) *state { return &state{idleTimes: times} }

// key is what tells mappings apart: the remote is narrowed to what the mapping
// axis looks at, so that one map serves all three mappings.
type key struct {
	inside netip.AddrPort
	remote netip.AddrPort
}

type mapping struct {
	key      key
	external netip.AddrPort
	block    *block // nil unless ports come in blocks
	filter   *filter
	own      filter // of its own, unless another mapping's is shared
	// replied: a packet has passed inwards.
	replied bool
	// rotates is when the mapping ends though it is in use; zero: never.
	rotates time.Time
	// expires is when it ends, held is until when its port is not given anew.
	expires, held time.Time
	closed        bool
	// doubtful is for followers: it may be another mapping with the same endpoints.
	doubtful bool
	index    int // in the heap that has it
	use      *list.Element
}

// end is when the mapping leaves the heap that it is in.
func (m *mapping) end() time.Time {
	if m.closed {
		return m.held
	}
	return m.expires
}

// filter knows who may send in, and until when. Entries never outlive the ports
// of the mappings that made them.
type filter struct {
	remotes map[netip.AddrPort]time.Time
	users   int // mappings that share it
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

// add makes a mapping. It has no expiry until it is used.
func (t *Table) add(now time.Time, s *state, k key, external netip.AddrPort) *mapping {
	m := &mapping{key: k, external: external}
	m.filter = &m.own
	if t.behavior.Scope == nat.ScopeEndpoint {
		if shared := s.shared[k.inside]; shared != nil {
			m.filter = shared
		}
		if s.shared == nil {
			s.shared = make(map[netip.AddrPort]*filter)
		}
		s.shared[k.inside] = m.filter
	}
	m.filter.users++
	if t.behavior.Rotate > 0 {
		m.rotates = now.Add(t.behavior.Rotate)
	}
	m.block = s.blocks.of(now, k.inside.Addr(), external.Addr())
	if s.out == nil {
		s.out, s.taken = make(map[key]*mapping), make(map[netip.AddrPort]*mapping)
	}
	s.out[k], s.taken[external] = m, m
	heap.Push(&s.live, m)
	m.use = s.byUse.PushBack(m)
	return m
}

// refresh counts a packet that passed by the mapping. If it is one that
// restarts the mapping's idle timer, that starts again. The port is held at least
// as long.
func (s *state) refresh(now time.Time, m *mapping, restarts bool) {
	idle, hold := s.oneWay, s.oneWay
	if m.replied {
		idle, hold = s.stream, s.longest()
	}
	m.held = now.Add(hold)
	if m.block != nil {
		m.block.expires = now.Add(s.longest())
	}
	if !restarts {
		return
	}
	m.expires = now.Add(idle)
	if !m.rotates.IsZero() && m.rotates.Before(m.expires) {
		m.expires = m.rotates
	}
	heap.Fix(&s.live, m.index)
	s.byUse.MoveToBack(m.use)
}

// permit lets a remote send in by the mapping.
func (s *state) permit(now time.Time, m *mapping, remote netip.AddrPort) {
	idle := s.oneWay
	if m.replied {
		idle = s.stream
	}
	if m.filter.remotes == nil {
		m.filter.remotes = make(map[netip.AddrPort]time.Time)
	}
	m.filter.remotes[remote] = now.Add(idle)
}

// purge ends the mappings whose time has come, and gives back the ports that
// are held no longer.
func (s *state) purge(now time.Time) {
	for len(s.live) > 0 && !now.Before(s.live[0].end()) {
		m := heap.Pop(&s.live).(*mapping)
		delete(s.out, m.key)
		s.expired.add(m.external)
		m.closed = true
		heap.Push(&s.closed, m)
	}
	for len(s.closed) > 0 && !now.Before(s.closed[0].end()) {
		s.release(heap.Pop(&s.closed).(*mapping))
	}
}

// evict removes the mapping that was idle for longest, its port included.
func (s *state) evict() {
	m := s.byUse.Front().Value.(*mapping)
	if m.closed {
		heap.Remove(&s.closed, m.index)
	} else {
		heap.Remove(&s.live, m.index)
		delete(s.out, m.key)
		s.expired.add(m.external)
	}
	s.release(m)
}

// release gives back the port of a mapping that is in no heap any more.
func (s *state) release(m *mapping) {
	delete(s.taken, m.external)
	s.byUse.Remove(m.use)
	if m.filter.users--; m.filter.users == 0 && s.shared[m.key.inside] == m.filter {
		delete(s.shared, m.key.inside)
	}
}

// memory is of external endpoints whose mappings have ended, the latest of them,
// so that packets for them can be told from packets for what never was.
type memory struct {
	known map[netip.AddrPort]int // how often it stands in ring
	ring  []netip.AddrPort
	at    int
}

// remembered is how many ends a protocol remembers.
const remembered = 4096

func (m *memory) add(external netip.AddrPort) {
	if m.known == nil {
		m.known = make(map[netip.AddrPort]int)
	}
	m.known[external]++
	if len(m.ring) < remembered {
		m.ring = append(m.ring, external)
		return
	}
	old := m.ring[m.at]
	if m.known[old]--; m.known[old] == 0 {
		delete(m.known, old)
	}
	m.ring[m.at], m.at = external, (m.at+1)%remembered
}

func (m *memory) has(external netip.AddrPort) bool { return m.known[external] > 0 }

// endHeap implements heap.Interface.
type endHeap []*mapping

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].end().Before(h[j].end()) }
func (h endHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *endHeap) Push(x any) {
	m := x.(*mapping)
	m.index = len(*h)
	*h = append(*h, m)
}

func (h *endHeap) Pop() any {
	old := *h
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return m
}
