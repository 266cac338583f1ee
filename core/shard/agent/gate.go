package agent

import (
	"context"
	"errors"
	"sync/atomic"
)

// errFull: even those who wait are too many.
var errFull = errors.New("too many wait")

// gate lets a number of requests in at once and some more wait.
type gate struct {
	inside  chan struct{}
	waiting atomic.Int64
	most    int64
}

func newGate(inside, waiting int) *gate {
	return &gate{inside: make(chan struct{}, inside), most: int64(waiting)}
}

// enter waits for a place; whoever got one leaves. The error is errFull, or the
// context's.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.inside <- struct{}{}:
		return nil
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > g.most {
		return errFull
	}
	select {
	case g.inside <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) leave() { <-g.inside }

// turn is a call's place among those that ask the inside. It is used by one
// goroutine; nil is that of a call which needs none.
type turn struct {
	s       *Server
	address *address
	in      bool
}

func (t *turn) enter(ctx context.Context) error {
	err := t.s.gate.enter(ctx)
	t.in = err == nil
	return err
}

func (t *turn) leave() {
	if t.in {
		t.in = false
		t.s.gate.leave()
	}
}

// away gives the turn to others while the call waits for something, and takes one
// anew. Half of the requests that may be in work, in all and of an address, may be
// away: others have to find a place beside them. The error is errCrowd, or those of
// enter.
func (t *turn) away(ctx context.Context, wait func()) error {
	if t == nil {
		wait()
		return nil
	}
	l := t.s.cfg.Limits
	defer t.s.away.Add(-1)
	defer t.address.away.Add(-1)
	all, ofAddress := t.s.away.Add(1), t.address.away.Add(1)
	if all > int64(max(1, l.Requests/2)) || ofAddress > int64(max(1, l.RequestsPerAddress/2)) {
		return errCrowd
	}
	t.leave()
	wait()
	return t.enter(ctx)
}
