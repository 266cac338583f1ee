package memory

import (
	"sync"
	"time"
)

// item is a request or an event on its way.
type item struct {
	subject  string
	data     []byte
	received time.Time
	// reply is nil for events.
	reply func(answer []byte)
}

// subscription is one Serve or Subscribe. What arrives waits in a queue, of which
// at most workers goroutines take; they end when it is empty.
type subscription struct {
	engine     *Engine
	pattern    string
	queue      string
	serves     bool
	workers    int
	limit      int
	dropOldest bool
	handle     func(item)
	overflow   func(item) // may be nil

	mu      sync.Mutex
	closed  bool
	waiting []item
	busy    int
	running sync.WaitGroup
	dropped uint64
}

// deliver lets an item arrive after the hub's delay. Timers of one length end in
// their order, but their functions run in goroutines; so order is kept by putting
// the item into the queue now, and having workers wait until it is due.
func (s *subscription) deliver(i item) {
	if !s.engine.reachable() {
		return
	}
	i.received = time.Now().Add(s.engine.hub.latency())
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return
	case s.busy < s.workers:
		s.busy++
		s.running.Add(1)
		s.waiting = append(s.waiting, i)
		go s.work()
		return
	case len(s.waiting) < s.limit:
		s.waiting = append(s.waiting, i)
		return
	}
	s.dropped++
	if s.dropOldest {
		s.waiting = append(s.waiting[1:], i)
	} else if s.overflow != nil {
		s.overflow(i)
	}
}

func (s *subscription) work() {
	defer s.running.Done()
	for {
		s.mu.Lock()
		if s.closed || len(s.waiting) == 0 {
			s.busy--
			s.mu.Unlock()
			return
		}
		i := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.mu.Unlock()

		if wait(s.engine.ctx, time.Until(i.received)) != nil || !s.engine.reachable() {
			continue
		}
		s.handle(i)
	}
}

// answer sends an answer, unless the connection has been cut meanwhile.
func (s *subscription) answer(i item, data []byte) {
	if s.engine.reachable() {
		i.reply(append([]byte{}, data...))
	}
}

// Dropped implements engine.Subscription.
func (s *subscription) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Close implements engine.Subscription.
func (s *subscription) Close() error {
	s.engine.mu.Lock()
	delete(s.engine.subs, s)
	s.engine.mu.Unlock()
	s.end()
	return nil
}

func (s *subscription) end() {
	s.mu.Lock()
	s.closed = true
	s.waiting = nil
	s.mu.Unlock()
	s.running.Wait()
}
