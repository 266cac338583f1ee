package link

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// Reason is why a packet was lost.
type Reason uint8

// The reasons.
const (
	None  Reason = iota // it was not lost
	Loss                // it fell to Impairment.Loss
	Queue               // the queue of a link with a Rate was full
)

func (r Reason) String() string {
	switch r {
	case None:
		return "none"
	case Loss:
		return "loss"
	case Queue:
		return "queue"
	}
	return "unknown"
}

// Verdict is what becomes of a packet.
type Verdict struct {
	// Deliver: the packet arrives, At this time. Otherwise it was lost for
	// Reason and At is zero.
	Deliver bool
	At      time.Time
	Reason  Reason
}

const (
	// defaultQueueTime is the queue of a link whose Queue is 0, as time at its
	// Rate; minQueue is the least that such a queue holds, in bytes: two packets
	// of full size.
	defaultQueueTime = 100 * time.Millisecond
	minQueue         = 3000
)

// Shaper decides what one direction of a link does to each packet: a model
// without clock or I/O. The same impairments, seeds and calls give the same
// verdicts. It is not safe for concurrent use.
//
// A packet meets, in this order: loss; the queue and the line of a link with a
// Rate; the delay with its jitter. A lost packet does not use the line. Loss and
// jitter are drawn from two streams, one number of each for every packet, so
// that changing one impairment does not change what the others do.
type Shaper struct {
	imp          Impairment
	loss, jitter *rand.Rand
	queue        int // bytes, 0 without a Rate

	free time.Time // when the line has sent all that it took
	// remainder is what free lacks to be exact, in parts of 1/Rate ns: rounding
	// every packet would make fast lines faster than their Rate.
	remainder uint64
	last      time.Time // the latest arrival given
}

// NewShaper makes a Shaper for an impairment that Validate accepts. Two
// directions of a link need different seeds, or they lose the same packets.
func NewShaper(imp Impairment, seed1, seed2 uint64) *Shaper {
	s := &Shaper{
		loss:   rand.New(rand.NewPCG(seed1, seed2)),
		jitter: rand.New(rand.NewPCG(seed2, ^seed1)),
	}
	s.Change(imp)
	return s
}

// Impairment is what the Shaper does at present.
func (s *Shaper) Impairment() Impairment { return s.imp }

// Change changes the impairment for the packets to come. Those on their way keep
// their times; what waits for the line keeps its place. Unless the new
// impairment reorders, packets to come do not overtake those on their way.
func (s *Shaper) Change(imp Impairment) {
	s.imp = imp
	s.remainder = 0
	s.queue = 0
	if imp.Rate > 0 {
		s.queue = imp.Queue
		if s.queue == 0 {
			// In two steps, so that no rate overflows.
			s.queue = max(int(imp.Rate/8/uint64(time.Second/defaultQueueTime)), minQueue)
		}
	}
}

// Next gives the verdict on a packet that enters the link now; size is its
// length in bytes from the IP header on. now must not go backwards.
func (s *Shaper) Next(now time.Time, size int) Verdict {
	lost := s.loss.Float64() < s.imp.Loss
	jitter := s.draw()
	if lost {
		return Verdict{Reason: Loss}
	}
	at := now
	if s.imp.Rate > 0 {
		if s.free.After(now) {
			if s.backlog(now)+size > s.queue {
				return Verdict{Reason: Queue}
			}
		} else {
			s.free, s.remainder = now, 0
		}
		s.occupy(size)
		at = s.free
	}
	at = at.Add(s.imp.Delay + jitter)
	if !s.imp.Reorder && at.Before(s.last) {
		at = s.last
	}
	if at.After(s.last) {
		s.last = at
	}
	return Verdict{Deliver: true, At: at}
}

// draw gives a jitter of -Jitter to +Jitter, both included.
func (s *Shaper) draw() time.Duration {
	u := s.jitter.Uint64()
	if s.imp.Jitter <= 0 {
		return 0
	}
	// The high word of u × n is uniform over 0..n-1 and takes one number always.
	offset, _ := bits.Mul64(u, 2*uint64(s.imp.Jitter)+1)
	return time.Duration(offset) - s.imp.Jitter
}

// backlog is the number of bytes that the line has not sent yet.
func (s *Shaper) backlog(now time.Time) int {
	wait := uint64(s.free.Sub(now))
	hi, lo := bits.Mul64(wait, s.imp.Rate)
	if hi >= 8*uint64(time.Second) {
		return int(^uint(0) >> 1)
	}
	n, _ := bits.Div64(hi, lo, 8*uint64(time.Second))
	return int(min(n, uint64(1)<<62))
}

// occupy makes the line send size bytes more.
func (s *Shaper) occupy(size int) {
	hi, lo := bits.Mul64(uint64(size)*8, uint64(time.Second))
	lo, carry := bits.Add64(lo, s.remainder, 0)
	hi += carry
	if hi >= s.imp.Rate { // longer than a Duration holds; only rates below a few bits a year
		hi, lo = s.imp.Rate-1, 0
	}
	ns, rem := bits.Div64(hi, lo, s.imp.Rate)
	s.remainder = rem
	s.free = s.free.Add(time.Duration(min(ns, 1<<62)))
}
