package natsengine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/queue"
)

// outgoing says what is wrong with something to be sent.
func (e *Engine) outgoing(subject string, data []byte) error {
	if err := engine.CheckSubject(subject); err != nil {
		return err
	}
	if len(data) > engine.MaxPayload {
		return fmt.Errorf("%s: %d bytes, at most %d: %w", subject, len(data), engine.MaxPayload, engine.ErrTooLarge)
	}
	return e.usable()
}

// usable says why the engine cannot be used.
func (e *Engine) usable() error {
	switch {
	case e.isClosed():
		return fmt.Errorf("%s: %w", e.cfg.Name, engine.ErrClosed)
	case !e.Connected():
		return fmt.Errorf("%s: no connection: %w", e.cfg.Name, engine.ErrUnavailable)
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
	if err := e.outgoing(subject, request); err != nil {
		return nil, err
	}
	flying, done := e.flights.take(ctx, func(denied string) bool { return denied == subject })
	defer done()
	answer, err := e.nc.RequestMsgWithContext(flying, &nats.Msg{Subject: subject, Data: request})
	if err != nil {
		return nil, e.problem(ctx, flying, subject, err)
	}
	return answer.Data, nil
}

// problem says in the engine's words why something that was sent to a subject
// failed.
func (e *Engine) problem(ctx, flying context.Context, subject string, err error) error {
	if e.isClosed() {
		return fmt.Errorf("%s: %w", e.cfg.Name, engine.ErrClosed)
	}
	if c := cause(flying); c != nil && ctx.Err() == nil {
		return fmt.Errorf("%s to %s: %w", e.cfg.Name, subject, c)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%s: %w", subject, engine.ErrNoResponder)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%s: %w", subject, engine.ErrTooLarge)
	}
	// What is left is about the connection.
	return fmt.Errorf("%s: %w: %w", subject, engine.ErrUnavailable, err)
}

// Publish implements engine.Engine. A subject that is not permitted is known after
// the first event.
func (e *Engine) Publish(subject string, event []byte) error {
	if err := e.outgoing(subject, event); err != nil {
		return err
	}
	if e.denied.has(subject) {
		return denied(e.cfg.Name, subject)
	}
	if err := e.nc.Publish(subject, event); err != nil {
		return fmt.Errorf("publish %s: %w: %w", subject, engine.ErrUnavailable, err)
	}
	return nil
}

// request is one on its way through a queue.
type request struct {
	engine.Request
	msg *nats.Msg
}

// Serve implements engine.Engine.
func (e *Engine) Serve(subject, name string, limits engine.Limits, h engine.Handler) (engine.Subscription, error) {
	limits = limits.Normal()
	answer := func(r request, data []byte) {
		if data == nil {
			return
		}
		if err := r.msg.Respond(data); err != nil && !e.isClosed() {
			// The caller's deadline passes, and it knows as much as we do.
			e.cfg.Log.Debug("an answer was lost", "subject", r.Subject, "error", err)
		}
	}
	cfg := queue.Config[request]{
		Workers: limits.Workers, Waiting: limits.Queue,
		Handle: func(r request) { answer(r, h(e.ctx, r.Request)) },
	}
	if limits.Overflow != nil {
		cfg.Overflow = func(r request) { answer(r, limits.Overflow(r.Request)) }
	}
	items := queue.New(cfg)
	return e.start(subject, name, items, func(m *nats.Msg) {
		items.Add(request{Request: engine.Request{Subject: m.Subject, Data: m.Data, Received: time.Now()}, msg: m})
	})
}

// Subscribe implements engine.Engine.
func (e *Engine) Subscribe(subject string, pending int, h func(engine.Event)) (engine.Subscription, error) {
	if pending < 1 {
		return nil, fmt.Errorf("subscribe %s: at least one event has to wait, not %d", subject, pending)
	}
	items := queue.New(queue.Config[engine.Event]{Workers: 1, Waiting: pending, DropOldest: true, Handle: h})
	return e.start(subject, "", items, func(m *nats.Msg) {
		items.Add(engine.Event{Subject: m.Subject, Data: m.Data})
	})
}

// subscription is one Serve or Subscribe. What nats.go receives is put into a
// queue of ours at once, so that nothing waits in its own.
type subscription struct {
	engine *Engine
	sub    *nats.Subscription
	items  interface {
		Close()
		Dropped() uint64
	}
}

func (e *Engine) start(pattern, name string, items interface {
	Close()
	Dropped() uint64
}, receive nats.MsgHandler) (engine.Subscription, error) {
	if err := engine.CheckPattern(pattern); err != nil {
		return nil, err
	}
	e.starting.Lock()
	defer e.starting.Unlock()
	if e.isClosed() {
		return nil, fmt.Errorf("%s: %w", e.cfg.Name, engine.ErrClosed)
	}
	s := &subscription{engine: e, items: items}
	var err error
	if name == "" {
		s.sub, err = e.nc.Subscribe(pattern, receive)
	} else {
		s.sub, err = e.nc.QueueSubscribe(pattern, name, receive)
	}
	if err != nil {
		return nil, fmt.Errorf("subscribe %s: %w", pattern, err)
	}
	if err := e.confirm(pattern); err != nil {
		_ = s.sub.Unsubscribe()
		items.Close()
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = s.sub.Unsubscribe()
		return nil, fmt.Errorf("%s: %w", e.cfg.Name, engine.ErrClosed)
	}
	e.subs[s] = struct{}{}
	return s, nil
}

// confirm waits until the server knows of a subscription, if there is a server. A
// subscription that it does not permit is an error of the connection that comes
// before the answer to a ping.
func (e *Engine) confirm(pattern string) error {
	if !e.Connected() {
		return nil // it will be told when there is one
	}
	if err := e.nc.FlushTimeout(dialTimeout); err != nil {
		return nil // the connection has gone, and the next one gets it
	}
	if err := e.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) &&
		strings.Contains(err.Error(), fmt.Sprintf("Subscription to %q", pattern)) {
		return denied(e.cfg.Name, pattern)
	}
	return nil
}

// Dropped implements engine.Subscription.
func (s *subscription) Dropped() uint64 { return s.items.Dropped() }

// Close implements engine.Subscription.
func (s *subscription) Close() error {
	s.engine.mu.Lock()
	delete(s.engine.subs, s)
	s.engine.mu.Unlock()
	if err := s.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		s.engine.cfg.Log.Warn("unsubscribe", "subject", s.sub.Subject, "error", err)
	}
	s.items.Close()
	return nil
}
