package agent

import (
	"sync"

	"p2pmodel/core/shard/api/agentv1"
)

// queue holds the events of a session until its stream takes them: at most so
// many, and so many bytes. Older events make room for newer ones.
type queue struct {
	most, mostBytes int

	mu     sync.Mutex
	items  []item
	bytes  int
	missed uint64
	wake   chan struct{} // has a place for one
}

// item is an event with its size when it came.
type item struct {
	event *agentv1.Event
	size  int
}

func newQueue(most, mostBytes int) *queue {
	return &queue{most: most, mostBytes: mostBytes, wake: make(chan struct{}, 1)}
}

// push adds an event and gives how many were dropped for it.
func (q *queue) push(e *agentv1.Event, size int) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, item{e, size})
	q.bytes += size
	for len(q.items) > q.most || q.bytes > q.mostBytes && len(q.items) > 1 {
		q.bytes -= q.items[0].size
		q.items[0] = item{}
		q.items = q.items[1:]
		dropped++
	}
	q.missed += uint64(dropped)
	q.signal()
	return dropped
}

// miss notes events that got lost before they came here.
func (q *queue) miss(n uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.missed += n
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// pop gives the next event, Overflow before others where some are missing, or
// nil.
func (q *queue) pop() *agentv1.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.missed > 0 {
		missed := q.missed
		q.missed = 0
		return &agentv1.Event{Kind: &agentv1.Event_Overflow{Overflow: &agentv1.Overflow{Missed: missed}}}
	}
	if len(q.items) == 0 {
		q.items = nil
		return nil
	}
	next := q.items[0]
	q.items[0] = item{}
	q.items = q.items[1:]
	q.bytes -= next.size
	return next.event
}
