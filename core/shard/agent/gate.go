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
