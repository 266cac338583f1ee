package memory

import (
	"time"

	"p2pmodel/core/shard/engine/queue"
)

// item is a request or an event on its way.
type item struct {
	subject string
	data    []byte
	// received is when it arrives; the hub's delay may put that into the future.
	received time.Time
	// reply is nil for events.
	reply func(answer []byte)
}

// subscription is one Serve or Subscribe.
type subscription struct {
	engine  *Engine
	pattern string
	queue   string
	serves  bool
	items   *queue.Queue[item]
}

// newSubscription makes one whose items are handled when they are due.
func (e *Engine) newSubscription(pattern string, handle func(item), cfg queue.Config[item]) *subscription {
	cfg.Handle = func(i item) {
		if wait(e.ctx, time.Until(i.received)) == nil && e.reachable() {
			handle(i)
		}
	}
	return &subscription{engine: e, pattern: pattern, items: queue.New(cfg)}
}

// deliver lets an item arrive after the hub's delay. Timers of one length end in
// their order, but their functions run in goroutines; so order is kept by putting
// the item into the queue now, and having workers wait until it is due.
func (s *subscription) deliver(i item) {
	if s.engine.reachable() {
		i.received = time.Now().Add(s.engine.hub.latency())
		s.items.Add(i)
	}
}

// answer sends an answer, unless the connection has been cut meanwhile.
func (s *subscription) answer(i item, data []byte) {
	if data != nil && s.engine.linked() {
		i.reply(append([]byte{}, data...))
	}
}

// Dropped implements engine.Subscription.
func (s *subscription) Dropped() uint64 { return s.items.Dropped() }

// Close implements engine.Subscription.
func (s *subscription) Close() error {
	s.engine.mu.Lock()
	delete(s.engine.subs, s)
	s.engine.mu.Unlock()
	s.items.Close()
	return nil
}
