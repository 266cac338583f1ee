package ice

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/sansio"
)

// Agent is a Machine with a loop that drives it on a network. All methods may be
// called from any goroutine.
//
//	a, err := ice.NewAgent(ctx, cfg, sansio.System(), nil)
//	local, err := a.Gather(ctx)   // to be sent to the other side: local.String()
//	err = a.Connect(ctx, remote)  // what came from there: ice.ParseDescription
//	err = a.Send(datagram)
//	datagram, err = a.Receive(ctx)
type Agent struct {
	machine *Machine
	loop    *sansio.Loop
	stop    context.CancelFunc
	done    chan struct{} // closed when the loop has ended
	inbox   chan []byte
	lost    atomic.Uint64

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced with each change of what follows
	state    State
	err      error
	gathered bool // gathering is done
}

// inboxSize is how many datagrams wait for Receive. Newer ones are lost when it is
// full.
const inboxSize = 512

// NewAgent starts an agent on a network; sansio.System() is the machine's own. Its
// sockets are opened and candidates gathered at once. onEvent, if there is one, gets
// all events in the loop's goroutine: it may neither block nor call the agent. The
// agent ends when ctx ends, or with Close.
func NewAgent(ctx context.Context, cfg Config, network sansio.Network, onEvent func(sansio.Event)) (*Agent, error) {
	m, err := NewMachine(cfg)
	if err != nil {
		return nil, err
	}
	a := &Agent{machine: m, done: make(chan struct{}), inbox: make(chan []byte, inboxSize), changed: make(chan struct{})}
	a.loop = sansio.NewLoop(m, network, func(_ time.Time, e sansio.Event) {
		a.handle(e)
		if onEvent != nil {
			onEvent(e)
		}
	})
	// The loop outlives ctx by the end of the allocations.
	loopContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stop = stop
	go func() {
		err := a.loop.Run(loopContext)
		if err == nil {
			err = ErrClosed
		}
		a.change(func() { a.state, a.err = Closed, err })
		close(a.done)
	}()
	release := context.AfterFunc(ctx, a.Close)
	go func() { // do not hold on to ctx after Close
		<-a.done
		release()
	}()
	return a, nil
}

// Close gives the allocations back and waits until everything has ended.
func (a *Agent) Close() {
	a.loop.Do(a.machine.Close)
	a.stop()
	<-a.done
}

// handle takes the machine's events, in the loop's goroutine.
func (a *Agent) handle(e sansio.Event) {
	switch e := e.(type) {
	case Received:
		select {
		case a.inbox <- e.Payload:
		default:
			a.lost.Add(1)
		}
	case StateChanged:
		a.change(func() { a.state, a.err = e.State, e.Err })
	case GatheringDone:
		a.change(func() { a.gathered = true })
	case Restarted:
		a.change(func() { a.gathered = false })
	}
}

func (a *Agent) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

// wait waits until condition, which is asked under the lock, says that it is over.
func (a *Agent) wait(ctx context.Context, condition func() (over bool, err error)) error {
	for {
		a.mu.Lock()
		over, err := condition()
		changed := a.changed
		a.mu.Unlock()
		if over {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// do calls the machine.
func (a *Agent) do(f func(now time.Time) error) error {
	err := ErrClosed
	a.loop.Do(func(now time.Time) { err = f(now) })
	return err
}

// Local is Machine.Local: our credentials, and the candidates so far, for who
// trickles.
func (a *Agent) Local() (d Description, err error) {
	err = a.do(func(time.Time) error { d = a.machine.Local(); return nil })
	return d, err
}

// Gather waits until all candidates are known, Config.Gather at most, for who does
// not trickle.
func (a *Agent) Gather(ctx context.Context) (Description, error) {
	err := a.wait(ctx, func() (bool, error) {
		if a.state == Closed {
			return true, a.err
		}
		return a.gathered, nil
	})
	if err != nil {
		return Description{}, fmt.Errorf("gather candidates: %w", err)
	}
	return a.Local()
}

// Connect is Machine.SetRemote, and waits until there is a path, or none, which takes
// Config.Patience: ErrNoPath.
func (a *Agent) Connect(ctx context.Context, remote Description) error {
	if err := a.SetRemote(remote); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	err := a.wait(ctx, func() (bool, error) {
		switch a.state {
		case Connected, Disconnected:
			return true, nil
		case Failed, Closed:
			return true, a.err
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// SetRemote is Machine.SetRemote.
func (a *Agent) SetRemote(d Description) error {
	return a.do(func(now time.Time) error { return a.machine.SetRemote(now, d) })
}

// AddRemote is Machine.AddRemote.
func (a *Agent) AddRemote(c Candidate) error {
	return a.do(func(now time.Time) error { return a.machine.AddRemote(now, c) })
}

// EndOfCandidates is Machine.EndOfCandidates.
func (a *Agent) EndOfCandidates() error {
	return a.do(func(now time.Time) error { a.machine.EndOfCandidates(now); return nil })
}

// Restart is Machine.Restart.
func (a *Agent) Restart() error { return a.do(a.machine.Restart) }

// Send is Machine.Send.
func (a *Agent) Send(payload []byte) error {
	return a.do(func(now time.Time) error { return a.machine.Send(now, payload) })
}

// Receive waits for the next datagram. What came before the end is still given.
func (a *Agent) Receive(ctx context.Context) ([]byte, error) {
	select {
	case b := <-a.inbox:
		return b, nil
	default:
	}
	select {
	case b := <-a.inbox:
		return b, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("receive: %w", ctx.Err())
	case <-a.done:
		select {
		case b := <-a.inbox:
			return b, nil
		default:
			return nil, fmt.Errorf("receive: %w", ErrClosed)
		}
	}
}

// Lost is how many datagrams arrived and were dropped because Receive was not called
// often enough.
func (a *Agent) Lost() uint64 { return a.lost.Load() }

// State is Machine.State.
func (a *Agent) State() (State, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state, a.err
}

// Path is Machine.Path; the zero Path after the end.
func (a *Agent) Path() (p punch.Path) {
	if err := a.do(func(time.Time) error { p = a.machine.Path(); return nil }); errors.Is(err, ErrClosed) {
		return punch.Path{}
	}
	return p
}
