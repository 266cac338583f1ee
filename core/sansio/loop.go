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
// machine's methods and OnEvent. On Linux it reads and writes the kernel's sockets itself, many
// datagrams a system call, and one more goroutine waits until there is something to
// read, or, where a Forwarder's loop does that itself, for all else; elsewhere, and of sockets that are not the kernel's, each has a goroutine that reads. Each stream has one
// more that writes (see Streams). What they have read is bounded; when the machine is slower
// than its traffic, the kernel's receive buffers fill and then lose datagrams,
// and when a send buffer stays full, datagrams are lost rather than the machine
// held up.
type Loop struct {
	machine Machine
	forward Forwarder // the machine, if it is one
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
	armed   time.Time // when the timer fires; the zero time: never
	dirty   []*socket // have datagrams to send
	spare   []*departures
	last    *socket // that a datagram was queued at
	poll    *poller // nil: no socket needs it
	ready   <-chan struct{}
	changes <-chan struct{}  // of the network's addresses; nil: no more of them
	again   <-chan time.Time // when to read the addresses anew after an error
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
	forward, _ := m.(Forwarder)
	return &Loop{
		machine: m,
		forward: forward,
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
	// Watch promises to close the channel once ctx has ended.
	defer func() {
		cancel()
		for range changes {
		}
	}()
	if err := l.tellInterfaces(); err != nil {
		return err
	}

	l.changes = changes
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		l.drain(ctx)
		if l.attended() {
			if !l.waitInKernel(ctx) {
				return nil
			}
			continue
		}
		l.arm(timer)
		if !l.do(ctx, l.await(ctx, timer.C)) {
			return nil
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
	if at.Equal(l.armed) {
		return // as it is after most datagrams
	}
	l.armed = at
	if at.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(0, time.Until(at)))
}

// deliver hands what a reader has read to the machine and gives it back.
func (l *Loop) deliver(ctx context.Context, b *batch) {
	s := b.socket
	// What was read before the machine closed the socket is not for it.
	if l.sockets[s.id] == s && b.remote.IsValid() {
		l.hand(ctx, time.Now(), Datagram{Socket: s.id, Remote: b.remote, Payload: b.payload})
	}
	s.free <- b
}

// hand gives one datagram to the machine, and puts what comes of it among what is to
// be sent.
func (l *Loop) hand(ctx context.Context, now time.Time, d Datagram) {
	if l.forward != nil {
		f, done := l.forward.Forward(now, d)
		if done {
			if f.Remote.IsValid() {
				l.queue(f)
			}
			return
		}
	}
	l.machine.HandleDatagram(now, d)
	l.obey(ctx)
}

// drain does what the machine wants done, until it wants nothing.
func (l *Loop) drain(ctx context.Context) {
	l.obey(ctx)
	l.flush()
}

// obey is drain, but that datagrams may wait for the next flush. Sockets are
// closed last, so that what the machine sent before it closed one still leaves.
func (l *Loop) obey(ctx context.Context) {
	for {
		busy := false
		for b, ok := l.machine.PollBind(); ok; b, ok = l.machine.PollBind() {
			busy = true
			l.bind(ctx, b)
		}
		for d, ok := l.machine.PollTransmit(); ok; d, ok = l.machine.PollTransmit() {
			busy = true
			l.queue(Forwarded{Datagram: d})
		}
		if len(l.closing) > 0 {
			l.flush()
		}
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
	l.machine.HandleBound(time.Now(), b.Socket, s.local, nil)
}

// queue puts a datagram among those that leave by its socket at the next
// flush. A datagram for a socket that does not exist is lost.
func (l *Loop) queue(f Forwarded) {
	s := l.last
	if s == nil || s.id != f.Socket {
		if s = l.sockets[f.Socket]; s == nil {
			l.queueStream(f)
			return
		}
		l.last = s
	}
	if s.out == nil {
		s.out = l.departures()
		l.dirty = append(l.dirty, s)
	}
	s.out.add(outgoing{remote: f.Remote, local: f.Local, whole: f.DontFragment}, f.Prefix, f.Payload, s.io.joins())
	if len(s.out.list) >= writeBatch || len(s.out.payload) >= writeBytes {
		l.write(s)
		// It stays among the dirty ones; an empty flush costs nothing.
	}
}

func (l *Loop) queueStream(f Forwarded) {
	k := l.streams.sockets[f.Socket]
	if k == nil {
		return
	}
	if st := k.find(f.Remote); st != nil {
		if len(f.Prefix) > 0 {
			f.Payload = append(f.Prefix[:len(f.Prefix):len(f.Prefix)], f.Payload...)
		}
		st.queue(f.Payload)
	}
}

// departures is room for datagrams to send.
func (l *Loop) departures() *departures {
	if last := len(l.spare) - 1; last >= 0 {
		d := l.spare[last]
		l.spare = l.spare[:last]
		return d
	}
	return new(departures)
}

// write sends what waits at a socket.
func (l *Loop) write(s *socket) {
	if s.out.count > 0 {
		s.io.write(s.out.list, s.out.payload)
		s.out.list, s.out.payload, s.out.count = s.out.list[:0], s.out.payload[:0], 0
	}
}

func (l *Loop) flush() {
	for i, s := range l.dirty {
		l.write(s)
		if len(l.spare) < spareDepartures {
			l.spare = append(l.spare, s.out)
		}
		s.out = nil
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
		if l.last == s {
			l.last = nil
		}
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
	l.stopPolling()
	l.readers.Wait()
}
