package link

import (
	"math/bits"
	"time"
)

const (
	// defaultQueueTime is the queue of a link whose Queue is 0, as time at its
	// Rate; minQueue is the least that such a queue holds, in bytes: two packets
	// of full size.
	defaultQueueTime = 100 * time.Millisecond
	minQueue         = 3000
)

// line sends packets one after another at a rate.
type line struct {
	rate  uint64
	queue int
	free  time.Time // when it has sent all that it took
	// remainder is what free lacks to be exact, in parts of 1/rate ns: rounding
	// every packet would make fast lines faster than their rate.
	remainder uint64
}

// QueueSize is the number of bytes that wait for a link with a Rate: Queue, or
// what stands for it.
func (i Impairment) QueueSize() int { return queueOf(i.Queue, i.Rate) }

// queueOf is the size of a queue before a line of a rate in bits a second.
func queueOf(queue int, rate uint64) int {
	if queue > 0 {
		return queue
	}
	// In two steps, so that no rate overflows.
	return max(int(rate/8/uint64(time.Second/defaultQueueTime)), minQueue)
}

// take gives when a packet has been sent; false: the queue is full.
func (l *line) take(now time.Time, size int) (time.Time, bool) {
	if l.free.After(now) {
		if l.backlog(now)+size > l.queue {
			return time.Time{}, false
		}
	} else {
		l.free, l.remainder = now, 0
	}
	l.occupy(size)
	return l.free, true
}

// backlog is the number of bytes that the line has not sent yet.
func (l *line) backlog(now time.Time) int {
	wait := uint64(l.free.Sub(now))
	hi, lo := bits.Mul64(wait, l.rate)
	if hi >= 8*uint64(time.Second) {
		return int(^uint(0) >> 1)
	}
	n, _ := bits.Div64(hi, lo, 8*uint64(time.Second))
	return int(min(n, uint64(1)<<62))
}

// occupy makes the line send size bytes more.
func (l *line) occupy(size int) {
	hi, lo := bits.Mul64(uint64(size)*8, uint64(time.Second))
	lo, carry := bits.Add64(lo, l.remainder, 0)
	hi += carry
	if hi >= l.rate { // longer than a Duration holds; only rates below a few bits a year
		hi, lo = l.rate-1, 0
	}
	ns, rem := bits.Div64(hi, lo, l.rate)
	l.remainder = rem
	l.free = l.free.Add(time.Duration(min(ns, 1<<62)))
}

// tracedLine sends packets when a trace has opportunities, as mm-link does: each
// opportunity carries so many bytes of the packets that wait at its time, the
// rest of it is lost, and a packet leaves when its last byte does.
type tracedLine struct {
	trace Trace
	queue int
	epoch time.Time // of the trace's time 0: the first packet
	begun bool
	// The opportunity that serves next: of which turn of the trace, its number
	// there, and how many of its bytes are left.
	turn    int64
	number  int
	left    int
	pending []departure
	gone    int // of pending, those that have left
	waiting int // bytes of the others
}

type departure struct {
	at   time.Time
	size int
}

// take gives when a packet has been sent; false: the queue is full.
func (l *tracedLine) take(now time.Time, size int) (time.Time, bool) {
	if !l.begun {
		l.begun, l.epoch, l.left = true, now, OpportunitySize
	}
	for l.gone < len(l.pending) && !l.pending[l.gone].at.After(now) {
		l.waiting -= l.pending[l.gone].size
		l.gone++
	}
	if 2*l.gone >= len(l.pending) {
		l.pending, l.gone = l.pending[:copy(l.pending, l.pending[l.gone:])], 0
	}
	if l.gone < len(l.pending) && l.waiting+size > l.queue {
		return time.Time{}, false
	}
	if l.at().Before(now) {
		l.skip(now)
	}
	at := l.at()
	for rest := size; rest > 0; {
		at = l.at()
		used := min(rest, l.left)
		rest -= used
		if l.left -= used; l.left == 0 {
			l.advance()
		}
	}
	l.pending = append(l.pending, departure{at, size})
	l.waiting += size
	return at, true
}

// at is the time of the opportunity that serves next.
func (l *tracedLine) at() time.Time {
	return l.epoch.Add(time.Duration(l.turn)*l.trace.Period() + l.trace.At(l.number))
}

func (l *tracedLine) advance() {
	l.left = OpportunitySize
	if l.number++; l.number == l.trace.Len() {
		l.number = 0
		l.turn++
	}
}

// skip goes on to the first opportunity that is not before now.
func (l *tracedLine) skip(now time.Time) {
	since := now.Sub(l.epoch)
	l.turn = int64(since / l.trace.Period())
	l.number = l.trace.search(since % l.trace.Period())
	l.left = OpportunitySize
	if l.turn > 0 && since%l.trace.Period() == 0 {
		// The end of a turn is the beginning of the next.
		l.turn, l.number = l.turn-1, l.trace.search(l.trace.Period())
	}
}
