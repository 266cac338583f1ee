package sansio

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Loop drives one machine over the sockets of a Network.
//
// One goroutine, the one that calls Run, owns the machine: it alone calls the
// machine's methods and OnEvent. Each socket has a goroutine that reads, each
// stream one more that writes (see Streams). What they have read is bounded (two batches a socket); when the machine is slower
// than its traffic, the kernel's receive buffers fill and then lose datagrams,
// and when a send buffer stays full, datagrams are lost rather than the machine
// held up.
type Loop struct {
	machine Machine
	network Network
	onEvent func(at time.Time, e Event)

	calls   chan call
	inbox   chan *batch
	stopped chan struct{} // closed when the machine is called no more
	started sync.Once
	readers sync.WaitGroup

	// Owned by the goroutine of Run.
	sockets map[Socket]*socket
	streams *streams
	closing []Bind    // to be closed once their datagrams have left
	dirty   []*socket // have datagrams to send
}

// call is an owner's call, waiting for its turn.
type call struct {
	f    func(now time.Time)
	done chan struct{}
}

// readAddressesPause is the wait after the network's addresses could not be
// read.
const readAddressesPause = 500 * time.Millisecond

// ErrStarted is returned by a second Run of the same Loop.
var ErrStarted = errors.New("loop was started before; make a new one for each run")

// NewLoop prepares to run m over network. onEvent gets each event of the
// machine, in the goroutine of Run; it may call the machine's methods, but not
// Do. Nil: events are dropped.
func NewLoop(m Machine, network Network, onEvent func(at time.Time, e Event)) *Loop {
	if onEvent == nil {
		onEvent = func(time.Time, Event) {}
	}
	m, config := Bare(m)
	return &Loop{
		machine: m,
		network: network,
		onEvent: onEvent,
		calls:   make(chan call),
		inbox:   make(chan *batch),
		stopped: make(chan struct{}),
		sockets: make(map[Socket]*socket),
		streams: newStreams(m, config),
	}
}

// Do calls f between the machine's other calls, with the present time, and then
// drains the machine. It waits until f has returned, or until the loop has
// stopped; then it returns false, and f was not called. Before Run it waits for
// Run. It must not be called from OnEvent or from another f.
func (l *Loop) Do(f func(now time.Time)) bool {
	c := call{f: f, done: make(chan struct{})}
	select {
	case l.calls <- c:
		<-c.done
		return true
	case <-l.stopped:
		return false
	}
}

// Run runs the machine until ctx ends. When it returns, all sockets are closed,
// all goroutines of the loop have ended, and the machine is its owner's again.
// The error is nil when the reason was ctx; otherwise it says why the network's
// addresses could not be had at the beginning. Later, the machine goes on with
// those that it knows until they can be had again.
func (l *Loop) Run(ctx context.Context) error {
	err := ErrStarted
	l.started.Do(func() { err = l.run(ctx) })
	return err
}

func (l *Loop) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer l.shut()
	defer cancel()

	changes, err := l.network.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch the network's addresses: %w", err)
	}
	// Watch promises to close the channel once ctx has ended. Below, changes
	// becomes nil when it is closed; this is the channel itself.
	watched := changes
	defer func() {
		cancel()
		for range watched {
		}
	}()
	if err := l.tellInterfaces(); err != nil {
		return err
	}

	var again <-chan time.Time // when to read the addresses anew after an error
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		l.drain(ctx)
		l.arm(timer)
		select {
		case <-ctx.Done():
			return nil
		case b := <-l.inbox:
			l.deliver(b)
		case e := <-l.streams.inbox:
			l.deliverStream(e)
		case c := <-l.calls:
			c.f(time.Now())
			// The caller may read what the machine did: drain first.
			l.drain(ctx)
			close(c.done)
		case _, open := <-changes:
			if !open {
				// The watch has ended: with ctx, or because it failed for
				// good. The machine goes on with the addresses it knows.
				changes = nil
				continue
			}
			again = l.tellChange()
		case <-again:
			again = l.tellChange()
		case <-timer.C:
			l.machine.HandleTimeout(time.Now())
		}
	}
}

func (l *Loop) tellInterfaces() error {
	addrs, err := l.network.Addresses()
	if err != nil {
		return fmt.Errorf("read the network's addresses: %w", err)
	}
	l.machine.HandleInterfaces(time.Now(), addrs)
	return nil
}

// tellChange is tellInterfaces in the life of a machine, which does not end
// because a list cannot be read just now (no file descriptor is free, another
// change came in between). It gives when to try again, nil after success.
func (l *Loop) tellChange() <-chan time.Time {
	if l.tellInterfaces() == nil {
		return nil
	}
	return time.After(readAddressesPause)
}

// arm sets the timer to the machine's wish. A time that has passed fires at
// once, but through the same select as all other inputs, so that a machine
// which wants to be called all the time starves nobody.
func (l *Loop) arm(timer *time.Timer) {
	at := l.machine.PollTimeout()
	if at.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(0, time.Until(at)))
}

// deliver hands a batch to the machine and gives it back to its reader.
func (l *Loop) deliver(b *batch) {
	s := b.socket
	// What was read before the machine closed the socket is not for it.
	if l.sockets[s.id] == s {
		l.tell(b.errors)
		now := time.Now()
		for i := range b.n {
			remote, payload := b.datagram(i)
			if remote.IsValid() {
				l.machine.HandleDatagram(now, Datagram{Socket: s.id, Remote: remote, Local: b.local[i], Payload: payload})
			}
		}
	}
	b.errors = nil
	s.free <- b
}

// drain does what the machine wants done, until it wants nothing. Sockets are
// closed last, so that what the machine sent before it closed one still leaves.
func (l *Loop) drain(ctx context.Context) {
	for {
		busy := false
		for b, ok := l.machine.PollBind(); ok; b, ok = l.machine.PollBind() {
			busy = true
			l.bind(ctx, b)
		}
		for d, ok := l.machine.PollTransmit(); ok; d, ok = l.machine.PollTransmit() {
			busy = true
			l.queue(d)
		}
		l.flush()
		for _, b := range l.closing {
			l.close(b)
		}
		l.closing = l.closing[:0]
		for e, ok := l.machine.PollEvent(); ok; e, ok = l.machine.PollEvent() {
			busy = true
			l.onEvent(time.Now(), e)
		}
		if !busy {
			return
		}
	}
}

func (l *Loop) bind(ctx context.Context, b Bind) {
	if b.Close {
		l.closing = append(l.closing, b)
		return
	}
	for i, c := range l.closing {
		if c.Socket == b.Socket && !c.Remote.IsValid() { // closed and opened anew in one go
			l.close(c)
			l.closing = append(l.closing[:i], l.closing[i+1:]...)
			break
		}
	}
	if l.sockets[b.Socket] != nil || l.streams.sockets[b.Socket] != nil {
		l.machine.HandleBound(time.Now(), b.Socket, b.Local, fmt.Errorf("socket %d is open already", b.Socket))
		return
	}
	if b.Transport != UDP {
		l.openStream(ctx, b)
		return
	}
	s, err := l.open(ctx, b)
	if err != nil {
		l.machine.HandleBound(time.Now(), b.Socket, b.Local, fmt.Errorf("bind UDP socket to %v: %w", b.Local, err))
		return
	}
	l.sockets[b.Socket] = s
	l.readers.Add(1)
	go func() {
		defer l.readers.Done()
		s.readAll(l.inbox)
	}()
	l.machine.HandleBound(time.Now(), b.Socket, s.local, nil)
}

// queue puts a datagram among those that leave by its socket at the next
// flush. A datagram for a socket that does not exist is lost.
func (l *Loop) queue(d Datagram) {
	s := l.sockets[d.Socket]
	if s == nil {
		if k := l.streams.sockets[d.Socket]; k != nil {
			if st := k.find(d.Remote); st != nil {
				st.queue(d.Payload)
			}
		}
		return
	}
	if len(s.out) == 0 {
		l.dirty = append(l.dirty, s)
	}
	s.queue(d)
	if len(s.out) == writeBatch {
		s.flush()
		// It stays among the dirty ones; an empty flush costs nothing.
	}
}

func (l *Loop) flush() {
	for i, s := range l.dirty {
		s.flush()
		if s.hears != nil && s.hears.failed() {
			l.tell(s.hears.errors(s.id))
		}
		l.dirty[i] = nil
	}
	l.dirty = l.dirty[:0]
}

func (l *Loop) close(b Bind) {
	if s := l.sockets[b.Socket]; s != nil {
		s.close()
		delete(l.sockets, b.Socket)
		return
	}
	l.streams.close(b.Socket, b.Remote)
}

// shut closes what is open and waits for all readers.
func (l *Loop) shut() {
	close(l.stopped)
	for id := range l.sockets {
		l.close(Bind{Socket: id})
	}
	l.streams.shut()
	l.readers.Wait()
}
