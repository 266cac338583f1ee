package game

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
)

// actor owns one room. Its goroutine alone touches the room: requests come by the
// mailbox, time by a timer, and what became of a save by a channel.
type actor struct {
	rooms *Rooms
	id    string
	epoch uint64
	mail  chan job
	saved chan saved
	wake  chan struct{} // there is a new term
	// replaced is closed when the room has come back with a later epoch.
	replaced chan struct{}
	over     chan struct{} // closed when no job is begun any more
	state    atomic.Int32  // agentv1.RoomState, for metrics

	// Of the goroutine. proved is the term of the lease in which the directory
	// has taken a record, so that the room is ours; while that is not the present
	// term, jobs wait, and so does what others would notice. asked is the term in
	// which the directory was asked last.
	proved, asked uint64
	pending       bool // a save is under way
	parked        *job // came before it was noticed that jobs have to wait
	held          []room.Effect
}

// never is no term of a lease.
const never = math.MaxUint64

type job struct {
	ctx  context.Context
	f    func(now time.Time, r *room.Room) error
	done chan error
}

// saved is what became of a save that was begun in this term.
type saved struct {
	outcome room.Outcome
	term    uint64
}

func newActor(s *Rooms, r *room.Room) *actor {
	a := &actor{
		rooms: s, id: r.ID(), epoch: r.Epoch(), mail: make(chan job, mailbox), saved: make(chan saved, 1), wake: make(chan struct{}, 1),
		replaced: make(chan struct{}), over: make(chan struct{}), proved: never, asked: s.cfg.Lease.Term(),
	}
	a.state.Store(int32(r.State()))
	return a
}

// do gives a job to the actor and waits for it.
func (a *actor) do(ctx context.Context, f func(now time.Time, r *room.Room) error) error {
	j := job{ctx, f, make(chan error, 1)}
	select {
	case <-a.over:
		return notHere(a.id)
	case a.mail <- j:
	default:
		return &rpc.Error{Code: connect.CodeResourceExhausted, Message: "too much waits for the room " + a.id, Retry: 100 * time.Millisecond}
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-a.over:
		select {
		case err := <-j.done: // it was the last
			return err
		default:
			return notHere(a.id)
		}
	}
}

// replace lets go of the room; the caller holds Rooms.mu.
func (a *actor) replace() { close(a.replaced) }

// nudge has the actor look at the lease.
func (a *actor) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run is the actor's life.
func (a *actor) run(r *room.Room) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	drop := a.act(r)
	for !r.Closed() {
		mail := a.mail
		if !a.mine() {
			mail = nil
		} else if a.parked != nil {
			drop = a.serve(*a.parked, r) || drop
			a.parked = nil
			continue
		}
		a.arm(timer, r)
		select {
		case j := <-mail:
			if a.mine() {
				drop = a.serve(j, r) || drop
			} else {
				a.parked = &j
			}
		case s := <-a.saved:
			a.learn(s, r)
		case <-timer.C:
			a.tick(r)
		case <-a.wake:
		case <-a.replaced:
			r.Abandon()
		case <-a.rooms.stop:
			a.last(r)
		}
		drop = a.act(r) || drop
	}
	a.rooms.forget(a)
	a.rooms.left(r.Sessions()...)
	close(a.over)
	a.finish(drop)
}

// mine reports whether the room is known to be ours. A room that was opened or
// adopted is not, before it was saved: the answer to the directory may come too
// late, and the room be another's.
func (a *actor) mine() bool { return a.proved == a.rooms.cfg.Lease.Term() }

// tick does what the time has come for. Of a room that may be another's by now,
// that is to ask the directory.
func (a *actor) tick(r *room.Room) {
	switch now := time.Now(); {
	case !a.rooms.cfg.Lease.Held():
	case a.mine():
		r.HandleTimeout(now)
	case !a.pending:
		a.asked = a.rooms.cfg.Lease.Term()
		r.Want(now)
	}
}

// last saves how the room is, and lets go of it. Of a match, the connections
// change without a save.
func (a *actor) last(r *room.Room) {
	if a.pending {
		a.learn(<-a.saved, r)
	}
	if playing := r.State() == agentv1.RoomState_ROOM_STATE_PLAYING; !r.Closed() && (playing || r.Unsaved()) && a.mine() && a.rooms.cfg.Lease.Held() {
		a.rooms.save(r.Record(time.Now()))
	}
	r.Abandon()
}

// serve does a job and what follows from it, if its caller still waits and the
// lease is held at this very moment.
func (a *actor) serve(j job, r *room.Room) (drop bool) {
	switch {
	case j.ctx.Err() != nil:
		j.done <- j.ctx.Err()
	case !a.rooms.cfg.Lease.Held():
		j.done <- unavailable()
	default:
		op := a.rooms.history.Begin(history.Operation{Kind: history.Serve, Room: a.id, Epoch: a.epoch, Shard: a.rooms.cfg.Shard})
		err := j.f(time.Now(), r)
		if r.State() == agentv1.RoomState_ROOM_STATE_MOVING {
			op.Kind = history.Release
		}
		a.rooms.history.Add(op)
		drop = a.act(r)
		j.done <- err
	}
	return drop
}

// learn takes what became of a save.
func (a *actor) learn(s saved, r *room.Room) {
	a.pending = false
	switch s.outcome {
	case room.Kept:
		a.proved = s.term
	case room.Fenced:
		a.rooms.log.Warn("the room is another shard's, and let go of", "room", a.id, "epoch", a.epoch)
	}
	r.Saved(time.Now(), s.outcome)
}

// act does what the room wants done. It reports whether the directory shall forget
// the room.
func (a *actor) act(r *room.Room) (drop bool) {
	if a.mine() {
		for _, e := range a.held {
			drop = a.show(e) || drop
		}
		a.held = nil
	}
	for {
		e, ok := r.PollEffect()
		if !ok {
			a.state.Store(int32(r.State()))
			return drop
		}
		switch e := e.(type) {
		case room.Entered:
			a.rooms.entered(e.Session)
		case room.Left:
			a.rooms.left(e.Session)
		case room.Save:
			a.pending = true
			a.rooms.metrics.saved(e)
			term := a.rooms.cfg.Lease.Term()
			a.rooms.actors.Go(func() { a.saved <- saved{a.rooms.save(e.Record), term} })
		default:
			if a.mine() {
				drop = a.show(e) || drop
			} else {
				a.held = append(a.held, e)
			}
		}
	}
}

// show does what others notice.
func (a *actor) show(e room.Effect) (drop bool) {
	switch e := e.(type) {
	case room.Tell:
		a.rooms.tell(e.Event, e.Sessions...)
	case room.Ended:
		if err := a.rooms.past.add(e.Match); err != nil {
			a.rooms.log.Error("a match could not be recorded", "room", a.id, "error", err)
		}
	case room.Drop:
		return true
	}
	return false
}

// arm sets the timer to the room's next timeout. While the lease is not held, or
// the room may be another's, it looks again soon instead; at once in a new term.
func (a *actor) arm(timer *time.Timer, r *room.Room) {
	next := r.PollTimeout()
	switch held := a.rooms.cfg.Lease.Held(); {
	case held && !a.mine() && !a.pending && a.asked != a.rooms.cfg.Lease.Term():
		timer.Reset(0)
	case !held || !a.mine():
		timer.Reset(fencedPause)
	case next.IsZero():
		timer.Stop()
	default:
		timer.Reset(max(time.Until(next), 0))
	}
}

// finish waits for what is under way, and has the directory forget a room that is
// over, however long it takes to reach it.
func (a *actor) finish(drop bool) {
	if a.pending {
		<-a.saved
	}
	if !drop {
		return
	}
	for wait := time.Second; !a.rooms.drop(a.id, a.epoch); wait = min(2*wait, 10*time.Second) {
		select {
		case <-time.After(wait):
		case <-a.replaced:
			return
		case <-a.rooms.stop:
			return
		}
	}
}

// stateOf is the room's state, for metrics.
func (a *actor) stateOf() agentv1.RoomState { return agentv1.RoomState(a.state.Load()) }
