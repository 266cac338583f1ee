//go:build linux

package kernel

import (
	"context"
	"errors"
	"sync"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/sim"
)

// running is what runs on a host: machines and programs, each of which is
// waited for when the lab closes.
type running struct {
	mu       sync.Mutex
	stopping bool
	machines map[*Machine]struct{}
	programs map[*Program]struct{}
	started  []*Program // those, in order
}

// Machine is a machine that runs on a host. It implements sim.RunningMachine.
type Machine struct {
	host   *Host
	loop   *sansio.Loop
	cancel context.CancelFunc
	done   chan struct{} // closed when the loop has returned
	err    error         // of the loop, valid once done is closed
}

var _ sim.RunningMachine = (*Machine)(nil)

// Run implements sim.RunningHost. onEvent is called in the machine's goroutine,
// with the time of day; it must not call Do or Stop.
func (h *Host) Run(ctx context.Context, m sansio.Machine, onEvent func(at time.Time, e sansio.Event)) (sim.RunningMachine, error) {
	if err := ctx.Err(); err != nil {
		return nil, h.errorf("run a machine", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Machine{host: h, loop: sansio.NewLoop(m, h, onEvent), cancel: cancel, done: make(chan struct{})}
	h.running.mu.Lock()
	defer h.running.mu.Unlock()
	if h.running.stopping {
		cancel()
		return nil, h.errorf("run a machine", errClosed)
	}
	if h.running.machines == nil {
		h.running.machines = make(map[*Machine]struct{})
	}
	h.running.machines[r] = struct{}{}
	go func() {
		defer close(r.done)
		defer cancel()
		if err := r.loop.Run(ctx); err != nil {
			r.err = h.errorf("run a machine", err)
		}
		h.running.mu.Lock()
		defer h.running.mu.Unlock()
		delete(h.running.machines, r)
	}()
	return r, nil
}

// Do implements sim.RunningMachine.
func (r *Machine) Do(f func(now time.Time)) bool { return r.loop.Do(f) }

// Stop implements sim.RunningMachine. The error says why the machine ended
// before it was stopped, if it did.
func (r *Machine) Stop() error {
	r.cancel()
	<-r.done
	return r.err
}

// stop ends everything that runs on the host and waits for it.
func (h *Host) stop() error {
	h.running.mu.Lock()
	h.running.stopping = true
	var machines []*Machine
	for m := range h.running.machines {
		m.cancel()
		machines = append(machines, m)
	}
	var programs []*Program
	for p := range h.running.programs {
		programs = append(programs, p)
	}
	h.running.mu.Unlock()
	for _, p := range programs {
		p.end()
	}
	var errs []error
	for _, m := range machines {
		<-m.done
		errs = append(errs, m.err)
	}
	return errors.Join(errs...)
}
