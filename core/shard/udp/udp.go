// Package udp runs a relay or a rendezvous as a server of a process, as package
// service wants one: it is ready once it listens, says what it does in log and
// metrics, and, a relay, drains before it stops.
package udp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"p2pmodel/core/sansio"
)

// runner drives a machine.
type runner struct {
	loop   *sansio.Loop
	log    *slog.Logger
	cancel context.CancelCauseFunc // set by run

	listening, draining atomic.Bool
	running             atomic.Bool
}

var errNotYet = errors.New("it does not listen yet")

// Ready is nil while the server takes whoever comes.
func (r *runner) Ready() error {
	switch {
	case !r.listening.Load():
		return errNotYet
	case r.draining.Load():
		return errors.New("it drains: no new allocations")
	}
	return nil
}

// do calls f between the machine's calls; false: the loop does not run.
func (r *runner) do(f func(now time.Time)) bool { return r.running.Load() && r.loop.Do(f) }

// fail ends the run with an error. It is called within the loop.
func (r *runner) fail(err error) { r.cancel(err) }

// run drives the machine until stop's context ends, for as long as whoever is asked
// in the end wants.
func (r *runner) run(ctx context.Context, finish func(done <-chan struct{})) error {
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	r.cancel = cancel
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		r.running.Store(true)
		err = r.loop.Run(running)
		r.running.Store(false)
	}()
	select {
	case <-ctx.Done():
		if finish != nil {
			finish(ended)
		}
		cancel(nil)
	case <-ended:
	}
	<-ended
	if cause := context.Cause(running); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func quoted(name string) slog.Attr { return slog.String("user", fmt.Sprintf("%q", name)) }
