package virtual

import "time"

// Epoch is when a lab's time begins.
var Epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// instant is a time of the lab, in nanoseconds since Epoch.
type instant int64

// never is later than anything that happens.
const never instant = 1<<63 - 1

func (i instant) time() time.Time { return Epoch.Add(time.Duration(i)) }

// instantOf rounds nothing: times of a lab are whole nanoseconds.
func instantOf(t time.Time) instant { return instant(t.Sub(Epoch)) }

// what is a kind of event.
type what uint8

const (
	arrival    what = iota // a packet comes out of a lane; who is the lane
	loopback               // a packet comes back to the host that sent it; who is the host
	timeout                // a machine may want to be called; who is the machine
	start                  // a machine begins; who is the machine
	interfaces             // a machine's host has other addresses; who is the machine
	alarm                  // somebody's wait is over; who is nobody, seq tells whose
	errand                 // something else is to be done; who is its number
)

// event is something that will happen. It is a value, so that the heap is one
// piece of memory.
type event struct {
	at     instant
	seq    uint64 // of two at one time, the one that was scheduled first comes first
	packet *packet
	who    int32
	what   what
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// arity is how many children a node of the heap has: with four, one level lies in
// two lines of the cache, and there are half as many levels.
const arity = 4

// heap has the next event first.
type heap []event

func (h *heap) push(e event) {
	*h = append(*h, e)
	a := *h
	i := len(a) - 1
	for i > 0 {
		up := (i - 1) / arity
		if !e.before(&a[up]) {
			break
		}
		a[i] = a[up]
		i = up
	}
	a[i] = e
}

// pop takes the next event out; there must be one.
func (h *heap) pop() event {
	a := *h
	first, last := a[0], len(a)-1
	e := a[last]
	a[last] = event{}
	a = a[:last]
	*h = a
	if last == 0 {
		return first
	}
	i := 0
	for {
		child := i*arity + 1
		if child >= last {
			break
		}
		best := child
		for c := child + 1; c < min(child+arity, last); c++ {
			if a[c].before(&a[best]) {
				best = c
			}
		}
		if !a[best].before(&e) {
			break
		}
		a[i] = a[best]
		i = best
	}
	a[i] = e
	return first
}
