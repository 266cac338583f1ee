package player

import (
	"context"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
)

// Start runs a peer's machine until ctx ends or its Runner is stopped. The
// machine may be wrapped in another one, as long as the wrapper passes on all
// calls and gives all events to onEvent, in the goroutine that owns the machine.
type Start func(ctx context.Context, m *peer.Machine, onEvent func(at time.Time, e sansio.Event)) (Runner, error)

// Runner is a machine that runs. Do calls f between the machine's other calls and
// reports whether the machine still ran; Stop ends it and waits for that.
type Runner interface {
	Do(f func(now time.Time)) bool
	Stop() error
}

// OnSystem runs peers on the network of this machine.
func OnSystem(ctx context.Context, m *peer.Machine, onEvent func(at time.Time, e sansio.Event)) (Runner, error) {
	return OnNetwork(sansio.System())(ctx, m, onEvent)
}

// OnNetwork runs peers on a network.
func OnNetwork(network sansio.Network) Start {
	return func(ctx context.Context, m *peer.Machine, onEvent func(at time.Time, e sansio.Event)) (Runner, error) {
		ctx, cancel := context.WithCancel(ctx)
		r := &loopRunner{loop: sansio.NewLoop(sansio.Streams(m, m.StreamConfig()), network, onEvent), cancel: cancel, done: make(chan struct{})}
		go func() {
			defer close(r.done)
			r.err = r.loop.Run(ctx)
		}()
		return r, nil
	}
}

type loopRunner struct {
	loop   *sansio.Loop
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of the loop, once done is closed
}

// Do implements Runner.
func (r *loopRunner) Do(f func(now time.Time)) bool { return r.loop.Do(f) }

// Stop implements Runner.
func (r *loopRunner) Stop() error {
	r.cancel()
	<-r.done
	return r.err
}
