package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/queue"
)

// Engine is a connection to a hub. It implements engine.Engine.
type Engine struct {
	hub  *Hub
	name string
	may  Permissions

	// ctx ends when the engine is closed.
	ctx    context.Context
	cancel context.CancelFunc
	// running counts the goroutines of subscriptions and watches.
	running sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	connected bool
	stalled   bool
	changed   chan struct{}
	subs      map[*subscription]struct{}
}

var _ engine.Engine = (*Engine)(nil)

func newEngine(h *Hub, name string) *Engine {
	e := &Engine{hub: h, name: name, connected: true, changed: make(chan struct{}), subs: map[*subscription]struct{}{}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Disconnect cuts the connection, and both sides know it: what this engine does
// fails with ErrUnavailable, and it gets no request or event.
func (e *Engine) Disconnect() { e.set(false, false) }

// Stall cuts the connection, and neither side knows it, as when packets get lost:
// what this engine sends and what is sent to it gets lost.
func (e *Engine) Stall() { e.set(true, true) }

// Reconnect ends what Disconnect or Stall began.
func (e *Engine) Reconnect() { e.set(true, false) }

func (e *Engine) set(connected, stalled bool) {
	e.mu.Lock()
	if e.connected != connected {
		close(e.changed)
		e.changed = make(chan struct{})
	}
	e.connected, e.stalled = connected, stalled
	e.mu.Unlock()

	e.hub.mu.Lock()
	defer e.hub.mu.Unlock()
	for _, s := range e.hub.buckets {
		s.wake()
	}
}

// Connected implements engine.Engine.
func (e *Engine) Connected() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.connected && !e.closed
}

// Changed implements engine.Engine.
func (e *Engine) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// reachable reports whether what is sent to or by the engine arrives.
func (e *Engine) reachable() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.connected && !e.stalled && !e.closed
}

// linked is reachable, also while Close waits for handlers that run.
func (e *Engine) linked() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.connected && !e.stalled
}

// usable says why the engine cannot be used.
func (e *Engine) usable() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return fmt.Errorf("%s: %w", e.name, engine.ErrClosed)
	case !e.connected:
		return fmt.Errorf("%s: %w", e.name, engine.ErrUnavailable)
	}
	return nil
}

// outgoing says what is wrong with something to be sent.
func (e *Engine) outgoing(subject string, data []byte) error {
	if err := engine.CheckSubject(subject); err != nil {
		return err
	}
	if len(data) > engine.MaxPayload {
		return fmt.Errorf("%s: %d bytes, at most %d: %w", subject, len(data), engine.MaxPayload, engine.ErrTooLarge)
	}
	if err := e.usable(); err != nil {
		return err
	}
	if !permits(e.may.Call, subject) {
		return fmt.Errorf("%s to %s: %w", e.name, subject, engine.ErrPermission)
	}
	return nil
}

// Call implements engine.Engine.
func (e *Engine) Call(ctx context.Context, subject string, request []byte) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, fmt.Errorf("call %s: the context has no deadline", subject)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cut := e.Changed()
	if err := e.outgoing(subject, request); err != nil {
		return nil, err
	}
	if !e.reachable() {
		return nil, e.lost(ctx)
	}
	servers := e.hub.servers(subject)
	if len(servers) == 0 {
		return nil, fmt.Errorf("%s: %w", subject, engine.ErrNoResponder)
	}
	answers := make(chan []byte, len(servers))
	data := append([]byte{}, request...)
	for _, s := range servers {
		s.deliver(item{subject: subject, data: data, reply: func(answer []byte) { answers <- answer }})
	}
	select {
	case answer := <-answers:
		if err := wait(ctx, e.hub.latency()); err != nil {
			return nil, err
		}
		if !e.reachable() {
			return nil, e.lost(ctx)
		}
		return answer, nil
	case <-cut:
		return nil, fmt.Errorf("%s: the connection broke during the call: %w", e.name, engine.ErrUnavailable)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.ctx.Done():
		return nil, fmt.Errorf("%s: %w", e.name, engine.ErrClosed)
	}
}

// lost waits until the context or the engine ends: nothing comes.
func (e *Engine) lost(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ctx.Done():
		return fmt.Errorf("%s: %w", e.name, engine.ErrClosed)
	}
}

// Publish implements engine.Engine.
func (e *Engine) Publish(subject string, event []byte) error {
	if err := e.outgoing(subject, event); err != nil {
		return err
	}
	if !e.reachable() {
		return nil // lost on the way
	}
	data := append([]byte{}, event...)
	for _, s := range e.hub.listeners(subject) {
		s.deliver(item{subject: subject, data: data})
	}
	return nil
}

// Serve implements engine.Engine.
func (e *Engine) Serve(subject, name string, limits engine.Limits, h engine.Handler) (engine.Subscription, error) {
	limits = limits.Normal()
	var s *subscription
	cfg := queue.Config[item]{Workers: limits.Workers, Waiting: limits.Queue}
	if limits.Overflow != nil {
		cfg.Overflow = func(i item) { s.answer(i, limits.Overflow(i.request())) }
	}
	s = e.newSubscription(subject, func(i item) { s.answer(i, h(e.ctx, i.request())) }, cfg)
	s.queue, s.serves = name, true
	return e.start(s)
}

func (i item) request() engine.Request {
	return engine.Request{Subject: i.subject, Data: i.data, Received: i.received}
}

// Subscribe implements engine.Engine.
func (e *Engine) Subscribe(subject string, pending int, h func(engine.Event)) (engine.Subscription, error) {
	if pending < 1 {
		return nil, fmt.Errorf("subscribe %s: at least one event has to wait, not %d", subject, pending)
	}
	return e.start(e.newSubscription(subject,
		func(i item) { h(engine.Event{Subject: i.subject, Data: i.data}) },
		queue.Config[item]{Workers: 1, Waiting: pending, DropOldest: true}))
}

func (e *Engine) start(s *subscription) (engine.Subscription, error) {
	if err := engine.CheckPattern(s.pattern); err != nil {
		return nil, err
	}
	if !permits(e.may.Serve, s.pattern) {
		return nil, fmt.Errorf("%s at %s: %w", e.name, s.pattern, engine.ErrPermission)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("%s: %w", e.name, engine.ErrClosed)
	}
	e.subs[s] = struct{}{}
	return s, nil
}

// matching gives the subscriptions to a subject, unless the connection is cut.
func (e *Engine) matching(subject string, serves bool) []*subscription {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !e.connected {
		return nil
	}
	var all []*subscription
	for s := range e.subs {
		if s.serves == serves && engine.Matches(s.pattern, subject) {
			all = append(all, s)
		}
	}
	return all
}

// Close implements engine.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.changed)
		e.changed = make(chan struct{})
	}
	subs := e.subs
	e.subs = map[*subscription]struct{}{}
	e.mu.Unlock()

	e.cancel()
	for s := range subs {
		s.items.Close()
	}
	e.running.Wait()
	e.hub.remove(e)
	return nil
}

// wait lets time pass, unless the context ends.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
