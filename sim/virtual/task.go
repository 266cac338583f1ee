package virtual

import (
	"context"
	"errors"
	"time"

	"p2pmodel/sim"
)

// errClosed is what everything says that comes after Close.
var errClosed = errors.New("the lab is closed")

// tasks are those who play in a lab: whoever built it, and what Go started. One
// of them has the baton and runs; all others wait to be given it. Who waits runs
// the lab's events itself, until somebody need not wait any more.
type tasks struct {
	waiting []*waiter // in the order in which they began to wait
	running *task     // nil: whoever built the lab
	alive   int       // tasks that Go started
	closer  *waiter   // Close, while it waits for the others
}

// task is one that Go started.
type task struct{ done chan struct{} }

// waiter is a task that waits.
type waiter struct {
	task    *task
	ctx     context.Context
	ended   <-chan struct{} // ctx's
	ch      <-chan struct{}
	alarm   uint64 // seq of the event that ends its wait; 0: there is none
	over    bool   // that event has come
	begins  bool   // it is a task that has not run yet
	batons  chan error
	forever bool
}

// Wait implements sim.Clock.
func (n *Network) Wait(ctx context.Context, ch <-chan struct{}, limit time.Duration) error {
	w := &waiter{task: n.running, ctx: ctx, ended: ctx.Done(), ch: ch, forever: limit < 0}
	if done, err := w.ready(); done {
		return err
	}
	if n.closed {
		return errClosed
	}
	if limit >= 0 {
		w.alarm = n.schedule(event{at: n.now + instant(limit), what: alarm})
	}
	n.waiting = append(n.waiting, w)
	return n.await(w)
}

// Go implements sim.Clock. What it starts runs when its turn comes: not before
// the caller waits.
func (n *Network) Go(f func()) <-chan struct{} {
	t := &task{done: make(chan struct{})}
	w := &waiter{task: t, ctx: context.Background(), begins: true, batons: make(chan error, 1)}
	n.alive++
	n.waiting = append(n.waiting, w)
	go func() {
		<-w.batons
		f()
		close(t.done)
		n.alive--
		n.await(nil)
	}()
	return t.done
}

// ready reports whether a waiter need not wait any more, and what its Wait
// returns. What can be received is received.
func (w *waiter) ready() (bool, error) {
	if w.begins {
		return true, nil
	}
	select {
	case <-w.ch:
		return true, nil
	default:
	}
	if w.ended != nil {
		select {
		case <-w.ended:
			return true, w.ctx.Err()
		default:
		}
	}
	if w.over {
		return true, sim.ErrTimeout
	}
	return false, nil
}

// patience is how many events pass at most before somebody looks whether a
// context has ended from outside.
const patience = 4096

// await runs the lab until a waiter is ready, and gives it the baton. If it is
// the caller's own, await returns. nil is for a task that has ended: it gives the
// baton away and is gone.
func (n *Network) await(self *waiter) error {
	for {
		n.endMachines()
		if w, err := n.pick(self); w != nil {
			if w == self {
				return err
			}
			return n.give(w, err, self)
		}
		n.stirred = false
		for budget := patience; !n.stirred && budget > 0; budget-- {
			if !n.step(never) {
				w, err := n.stuck(self)
				switch {
				case w == self:
					return err
				case w == nil:
					return nil // nobody is left to have the baton
				}
				return n.give(w, err, self)
			}
		}
	}
}

// give gives the baton to a waiter and, unless the giver is gone, waits to get it
// back.
func (n *Network) give(w *waiter, err error, self *waiter) error {
	var mine chan error
	if self != nil {
		// Only who really gives it away needs a channel.
		mine = make(chan error, 1)
		self.batons = mine
	}
	n.running = w.task
	w.batons <- err
	if self == nil {
		return nil
	}
	return <-mine
}

// pick takes the first waiter that is ready off the list. Who waits and is neither
// the caller nor waits for the baton has left its Wait by a panic.
func (n *Network) pick(self *waiter) (*waiter, error) {
	for i, w := range n.waiting {
		if w != self && w.batons == nil {
			continue
		}
		done, err := w.ready()
		if !done && n.closed {
			if w.task == nil && n.alive > 0 {
				continue // whoever built the lab comes last
			}
			done, err = true, errClosed
		}
		if done {
			n.waiting = append(n.waiting[:i], n.waiting[i+1:]...)
			return w, err
		}
	}
	if w := n.closer; w != nil && (n.alive == 0 || n.alive == 1 && w.task != nil) {
		n.closer = nil
		return w, nil
	}
	return nil, nil
}

// stuck is called when nothing can happen any more: it gives the waiter that is
// told so, the one that has waited for longest.
func (n *Network) stuck(self *waiter) (*waiter, error) {
	err := n.fault
	if err == nil {
		err = sim.ErrStuck
	}
	for i, w := range n.waiting {
		if (w.forever || n.fault != nil) && (w == self || w.batons != nil) {
			n.waiting = append(n.waiting[:i], n.waiting[i+1:]...)
			return w, err
		}
	}
	return nil, err
}

// endTasks has all that Go started come to its end: their waits are over.
func (n *Network) endTasks() {
	n.closer = &waiter{task: n.running, ctx: context.Background()}
	_ = n.await(n.closer) // closing is what it waits for
}

// ring ends the wait that an alarm is for. It is false if that is over already.
func (n *Network) ring(seq uint64) bool {
	for _, w := range n.waiting {
		if w.alarm == seq {
			w.over = true
			return true
		}
	}
	return false
}
