// Package queue hands items to a bounded number of workers and lets a bounded
// number wait: what engines keep requests and events in.
package queue

import "sync"

// Config says how a queue works.
type Config[T any] struct {
	// Handle runs at most Workers times at once, in order if that is 1.
	Handle  func(T)
	Workers int
	// Waiting is how many items may wait.
	Waiting int
	// DropOldest: an item for which there is no place takes that of the oldest.
	// Else it is given to Overflow (nil: dropped), which must not block.
	DropOldest bool
	Overflow   func(T)
}

// Queue is one that runs. Its workers are goroutines that end when nothing waits.
type Queue[T any] struct {
	cfg Config[T]

	mu      sync.Mutex
	closed  bool
	waiting []T
	busy    int
	dropped uint64
	running sync.WaitGroup
}

// New makes a queue.
func New[T any](cfg Config[T]) *Queue[T] { return &Queue[T]{cfg: cfg} }

// Add lets an item wait for a worker. It does not block.
func (q *Queue[T]) Add(item T) {
	if q.admit(item) || q.cfg.Overflow == nil {
		return
	}
	q.cfg.Overflow(item)
}

// admit reports whether the item has a place, or needs none.
func (q *Queue[T]) admit(item T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return true
	case q.busy < q.cfg.Workers:
		q.waiting = append(q.waiting, item)
		q.busy++
		q.running.Add(1)
		go q.work()
		return true
	case len(q.waiting) < q.cfg.Waiting:
		q.waiting = append(q.waiting, item)
		return true
	case q.cfg.DropOldest && len(q.waiting) > 0:
		q.waiting = append(q.waiting[1:], item)
		q.dropped++
		return true
	}
	q.dropped++
	return false
}

func (q *Queue[T]) work() {
	defer q.running.Done()
	for {
		item, ok := q.take()
		if !ok {
			return
		}
		q.cfg.Handle(item)
	}
}

func (q *Queue[T]) take() (item T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy--
		q.waiting = nil // the array behind it
		return item, false
	}
	var none T
	item, q.waiting[0] = q.waiting[0], none
	q.waiting = q.waiting[1:]
	return item, true
}

// Dropped counts the items for which there was no place.
func (q *Queue[T]) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Close drops what waits and waits for workers. Not to be called from one.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	q.closed = true
	q.waiting = nil
	q.mu.Unlock()
	q.running.Wait()
}
