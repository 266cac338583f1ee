// Package simnet connects machines over a network in memory and in simulated
// time, for tests of protocols: hosts in segments, segments behind NATs, links
// with delay and loss. Nothing waits, and equal seeds give equal runs.
//
// It is single-threaded: all calls come from the test's goroutine, or from the
// events and NATs that the network itself calls.
package simnet

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"p2pmodel/core/sansio"
)

// Epoch is when simulated time begins.
var Epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// maxSpin is how often machines may be called without time passing before the
// network takes them for stuck.
const maxSpin = 100_000

// Net is a network and its clock.
type Net struct {
	now      time.Time
	random   *rand.Rand
	internet *Segment
	hosts    []*Host
	runners  []*Runner
	events   eventHeap
	seq      uint64
	observe  func(Packet)
	// streamPort counts the ports that NATs gave streams.
	streamPort uint16
}

// New makes an empty network. The seed decides about losses.
func New(seed uint64) *Net {
	n := &Net{now: Epoch, random: rand.New(rand.NewPCG(seed, 0x51))}
	n.internet = &Segment{net: n}
	return n
}

// Now is the simulated time.
func (n *Net) Now() time.Time { return n.now }

// Internet is the outermost segment.
func (n *Net) Internet() *Segment { return n.internet }

// Observe calls f with each packet's fate: when it arrives, or where it dies.
func (n *Net) Observe(f func(Packet)) { n.observe = f }

// Packet is what happened to a datagram, or to a message on a stream.
type Packet struct {
	At        time.Time
	From, To  *Host // To is nil if it did not arrive
	Transport sansio.Transport
	// Sent is source and destination as the sender wrote them, Seen as they
	// were at the end of the way.
	SentSource, SentDestination netip.AddrPort
	SeenSource, SeenDestination netip.AddrPort
	Payload                     []byte
	// Lost says why it did not arrive; empty if it did.
	Lost string
}

func (p Packet) String() string {
	if p.Lost != "" {
		return fmt.Sprintf("%v %v → %v (%d bytes) lost: %s", p.At.Sub(Epoch), p.SentSource, p.SentDestination, len(p.Payload), p.Lost)
	}
	return fmt.Sprintf("%v %v → %v seen as %v → %v (%d bytes)", p.At.Sub(Epoch), p.SentSource, p.SentDestination,
		p.SeenSource, p.SeenDestination, len(p.Payload))
}

// Run lets time pass.
func (n *Net) Run(d time.Duration) {
	end := n.now.Add(d)
	n.until(end, func() bool { return false })
	n.now = end
}

// Until lets time pass until the condition holds, at most the limit, and says
// whether it holds. It is asked after everything that happens.
func (n *Net) Until(limit time.Duration, condition func() bool) bool {
	return condition() || n.until(n.now.Add(limit), condition)
}

func (n *Net) until(end time.Time, condition func() bool) bool {
	spins := 0
	for _, r := range n.runners {
		r.polled = false // the test may have called it by itself
	}
	for {
		at, what := n.next()
		if what == nil || at.After(end) {
			n.now = end
			return condition()
		}
		if at.After(n.now) {
			n.now, spins = at, 0
		} else if spins++; spins > maxSpin {
			panic(fmt.Sprintf("simnet: at %v machines were called %d times without time passing; does PollTimeout stay in the past?", n.now.Sub(Epoch), maxSpin))
		}
		what()
		if condition() {
			return true
		}
	}
}

// next is what happens next: packets before timeouts, in the order in which
// they were sent, timeouts in the order in which machines were started.
func (n *Net) next() (time.Time, func()) {
	var at time.Time
	var what func()
	if len(n.events) > 0 {
		e := n.events[0]
		at = e.at
		what = func() {
			heap.Pop(&n.events)
			e.do()
		}
	}
	for _, r := range n.runners {
		if t := r.timeout(); !t.IsZero() && (what == nil || t.Before(at)) {
			at, what = t, r.fire
		}
	}
	return at, what
}

func (n *Net) after(d time.Duration, do func()) {
	heap.Push(&n.events, event{at: n.now.Add(d), seq: n.seq, do: do})
	n.seq++
}

// event is something that will happen.
type event struct {
	at  time.Time
	seq uint64
	do  func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = event{}
	*h = (*h)[:last]
	return e
}
