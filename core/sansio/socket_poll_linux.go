package sansio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readRounds is how often what is ready is read until the loop looks at its other
// inputs.
const readRounds = 8

// worthLooking is after how many messages of one round more may well have come meanwhile. After
// fewer, the goroutine that waits looks, as it has to do anyway.
const worthLooking = 8

// readsAtOnce is how often a socket is read at once as long as there is more than fits
// one read. The more datagrams of one flow are there before anything is written, the more
// leave as one.
const readsAtOnce = 4

// poller waits for the kernel's sockets of a loop, so that none needs a goroutine. While the
// loop reads, it waits for nothing.
type poller struct {
	wire  *wire
	epoll *os.File // the runtime waits for it: an epoll may be in another
	raw   syscall.RawConn
	// events are those of the last look; they are the waiting goroutine's until it has
	// sent on ready, and the loop's until that has sent on resume.
	events        [64]unix.EpollEvent
	n             int
	ready, resume chan struct{}
	done          chan struct{} // closed with the loop
	wait, look    func(fd uintptr) bool

	attendant *attendant // nil: a goroutine waits for the sockets
}

// polled takes a socket that the kernel gives, and tells whether it is one.
func (l *Loop) polled(s *socket) (bool, error) {
	udp, ok := s.conn.(udpConn)
	if !ok {
		return false, nil
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return false, nil // nothing but its reads and writes is known of it
	}
	if l.poll == nil {
		if err = l.startPolling(); err != nil {
			return false, err
		}
	}
	io := newKernelIO(udp, raw, l.poll.wire)
	s.io = io
	if l.forward != nil {
		io.coalesce()
	}
	return true, l.poll.add(s.id, raw)
}

// startPolling makes the poller, and begins to wait.
func (l *Loop) startPolling() (err error) {
	if l.poll, err = newPoller(l.forward != nil); err != nil {
		return err
	}
	if l.forward != nil {
		// Who passes datagrams on waits for them itself: to hand over from one goroutine to
		// another takes longer than to pass one on.
		l.poll.attendant, err = newAttendant(l.poll)
		return err
	}
	l.ready = l.poll.ready
	l.readers.Add(1)
	go func() {
		defer l.readers.Done()
		l.poll.run()
	}()
	return nil
}

func newPoller(forwards bool) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	// Only what does not block is given to the runtime's poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &poller{
		wire: newWire(forwards), epoll: os.NewFile(uintptr(fd), "epoll"),
		ready: make(chan struct{}), resume: make(chan struct{}), done: make(chan struct{}),
	}
	if p.raw, err = p.epoll.SyscallConn(); err != nil {
		_ = p.epoll.Close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p.wait = func(fd uintptr) bool {
		p.peek(fd)
		return p.n != 0
	}
	p.look = func(fd uintptr) bool {
		p.peek(fd)
		return true
	}
	return p, nil
}

// peek asks which sockets are ready now.
func (p *poller) peek(fd uintptr) {
	p.n = 0
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), 0, 0, 0)
	if errno == 0 {
		p.n = int(n)
	}
}

// add waits for a socket, too, until it is closed.
func (p *poller) add(s Socket, raw syscall.RawConn) error {
	var err error
	outer := p.raw.Control(func(epoll uintptr) {
		inner := raw.Control(func(fd uintptr) {
			err = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s)})
		})
		err = errors.Join(err, inner)
	})
	if err = errors.Join(outer, err); err != nil {
		return fmt.Errorf("wait for a socket: %w", err)
	}
	return nil
}

// run tells the loop each time when something is ready, until it is stopped.
func (p *poller) run() {
	for {
		if p.raw.Read(p.wait) != nil {
			return // closed
		}
		select {
		case p.ready <- struct{}{}:
		case <-p.done:
			return
		}
		select {
		case <-p.resume:
		case <-p.done:
			return
		}
	}
}

func (l *Loop) stopPolling() {
	if l.poll != nil {
		_ = l.poll.epoll.Close() // it was open
		close(l.poll.done)
		l.readers.Wait() // who waits for all else may still say so
		if l.poll.attendant != nil {
			_ = unix.Close(l.poll.attendant.bell)
		}
	}
}

// readReady is readRounds for a goroutine that waits meanwhile.
func (l *Loop) readReady(ctx context.Context) {
	p := l.poll
	l.readRounds(ctx)
	select {
	case p.resume <- struct{}{}:
	case <-p.done:
	}
}

// readRounds reads what is ready, for as long as something is, a bounded number of times.
func (l *Loop) readRounds(ctx context.Context) {
	p := l.poll
	for range readRounds {
		read := 0
		for _, e := range p.events[:p.n] {
			if s := l.sockets[Socket(e.Fd)]; s != nil && e.Pad != bellMark {
				read += l.readSocket(ctx, s, e.Events)
			}
		}
		l.drain(ctx)
		if read < worthLooking || p.raw.Read(p.look) != nil || p.n == 0 {
			return
		}
	}
}

// readSocket reads what a socket has, within bounds, and hands it to the machine. It gives
// how many messages that were.
func (l *Loop) readSocket(ctx context.Context, s *socket, events uint32) (read int) {
	io, ok := s.io.(*kernelIO)
	if !ok {
		return 0
	}
	if s.hears != nil && events&unix.EPOLLERR != 0 {
		l.tell(s.hears.errors(s.id))
		l.obey(ctx)
	}
	w := l.poll.wire
	for range readsAtOnce {
		n, err := w.read(io)
		if err != nil && s.hears != nil && !errors.Is(err, net.ErrClosed) {
			// The error is a datagram's that left before: it says nothing about the next read.
			l.tell(s.hears.errors(s.id))
		}
		now := time.Now()
		for i := range n {
			if a, ok := w.arrival(io, i); ok {
				l.handArrival(ctx, now, s, &a)
			}
		}
		w.grow(io, n)
		if read += n; n < len(w.in.headers) || s.closed {
			break
		}
	}
	return read
}

// handArrival hands the datagrams of one message to the machine.
func (l *Loop) handArrival(ctx context.Context, now time.Time, s *socket, a *arrival) {
	d := Datagram{Socket: s.id, Remote: a.remote, Local: a.local}
	// What was read before the machine closed the socket is not for it.
	for rest := a.payload; !s.closed; {
		size := min(a.segment, len(rest))
		d.Payload, rest = rest[:size:size], rest[size:]
		l.hand(ctx, now, d)
		if len(rest) == 0 {
			return
		}
	}
}
