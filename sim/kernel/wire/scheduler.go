//go:build linux

// Package wire carries frames between two network interfaces with delay, jitter,
// loss and a rate: a link's cable, for kernels with and without netem.
//
// A wire lies between two veth pairs. Of each pair, the outer end is in a node's
// namespace and the inner end in one that belongs to the wires alone; a packet
// socket on each inner end (Open) reads what the node sends and writes what it
// receives. The inner ends are up and have no addresses; nothing but the wire may
// send on them (IPv6 disabled). The outer ends know each other's link-layer
// addresses: ARP passes the wire too, but is lost and delayed as anything else.
// Cut a link before one of its outer ends goes down: frames that the kernel
// refuses to write count as a fault of the laboratory.
//
// One Scheduler moves the frames of all links given to it, on one thread that
// sleeps in the kernel with nanosecond timeouts. Go's timers are late by
// milliseconds here and take no part.
package wire

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/link"
)

// ErrClosed is the error of calls on a closed Scheduler or Link.
var ErrClosed = errors.New("wire: closed")

const (
	// batch is how many frames one system call moves.
	batch = 32
	// rounds is how many batches one socket may bring before frames that are due
	// go out.
	rounds = 4
	// maxAge bounds how long a frame is believed to have waited to be read: the
	// real-time clock that stamps frames may be set meanwhile.
	maxAge = 100 * time.Millisecond
	// ethernetHeader is the link-layer header of a veth.
	ethernetHeader = 14
	// niceness of the scheduler's thread, where it is not at real-time priority.
	niceness = -20
)

// Scheduler moves the frames of links. Its methods are safe for concurrent use.
type Scheduler struct {
	wake int           // an eventfd that interrupts the thread's sleep
	done chan struct{} // closed when the thread has ended

	mu       sync.Mutex
	commands []command
	closing  bool

	// The rest belongs to the thread.
	epoll  int
	links  map[*Link]struct{}
	byFD   map[int32]*direction
	queue  queue
	in     *afpacket.Receiver
	out    *afpacket.Sender
	outbox [][]byte
	sent   []*frame
	pool   pool
}

// command is work for the thread.
type command struct {
	run  func()
	done chan struct{}
}

// NewScheduler starts a scheduler's thread.
func NewScheduler() (*Scheduler, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("wire: epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("wire: eventfd: %w", err)
	}
	s := &Scheduler{
		wake:  wake,
		done:  make(chan struct{}),
		epoll: epoll,
		links: map[*Link]struct{}{},
		byFD:  map[int32]*direction{},
		in:    afpacket.NewReceiver(batch),
		out:   afpacket.NewSender(batch),
	}
	if err := s.watch(wake); err != nil {
		unix.Close(epoll)
		unix.Close(wake)
		return nil, err
	}
	go s.run()
	return s, nil
}

// Add joins two ends by a link and starts to carry frames. up is what happens
// from a to b, down from b to a. The same seed gives the same losses and jitter.
// The link owns both ends from here on; if Add fails, they are closed.
func (s *Scheduler) Add(a, b End, up, down link.Impairment, seed uint64) (*Link, error) {
	l := &Link{s: s, ends: [2]End{a, b}, switches: switches{ends: [2]*Offload{a.Offload, b.Offload}}}
	discard := func(err error) (*Link, error) {
		return nil, errors.Join(err, a.Close(), b.Close())
	}
	if err := validate(up, down); err != nil {
		return discard(err)
	}
	l.up = &direction{link: l, towards: true, from: a.Socket, to: b.Socket, shaper: link.NewShaper(up, seed, 1)}
	l.down = &direction{link: l, from: b.Socket, to: a.Socket, shaper: link.NewShaper(down, seed, 2)}
	// An interface begins with offload.
	if err := l.switches.turn(up, down, false); err != nil {
		return discard(err)
	}
	var failure error
	if err := s.do(func() {
		for _, d := range []*direction{l.up, l.down} {
			if failure = s.watch(d.from); failure != nil {
				break
			}
			s.byFD[int32(d.from)] = d
		}
		if failure != nil {
			delete(s.byFD, int32(a.Socket))
			return
		}
		s.links[l] = struct{}{}
	}); err != nil {
		return discard(err)
	}
	if failure != nil {
		return discard(failure)
	}
	return l, nil
}

// Close closes all links and ends the thread. It may be called twice.
func (s *Scheduler) Close() error {
	var sockets []int
	var errs []error
	err := s.do(func() {
		for l := range s.links {
			s.detach(l)
			for _, e := range l.ends {
				sockets = append(sockets, e.Socket)
				if e.Offload != nil {
					errs = append(errs, e.Offload.Close())
				}
			}
		}
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
	})
	<-s.done
	if err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	return errors.Join(append(errs, afpacket.Close(sockets...))...)
}

// do has the thread call f and waits until it did.
func (s *Scheduler) do(f func()) error {
	c := command{run: f, done: make(chan struct{})}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ErrClosed
	}
	s.commands = append(s.commands, c)
	// Under the lock, so that the thread cannot close the eventfd in between.
	_, err := unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	s.mu.Unlock()
	if err != nil && err != unix.EAGAIN { // EAGAIN: the counter is full, so it wakes anyway
		return fmt.Errorf("wire: wake the scheduler: %w", err)
	}
	select {
	case <-c.done:
		return nil
	case <-s.done:
		select {
		case <-c.done:
			return nil
		default:
			return ErrClosed
		}
	}
}

func (s *Scheduler) watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("wire: watch socket %d: %w", fd, err)
	}
	return nil
}

// run is the thread: it reads frames, sends those that are due, and sleeps until
// the next is or another comes.
func (s *Scheduler) run() {
	// Never unlocked: the thread, with its slack and niceness, ends with us.
	runtime.LockOSThread()
	defer close(s.done)
	defer unix.Close(s.epoll)
	defer unix.Close(s.wake)
	prioritize()

	events := make([]unix.EpollEvent, 64)
	for {
		n, err := wait(s.epoll, events, s.queue.timeout(time.Now()))
		if err != nil {
			// Only a programming error gets here; a lab without wires must not
			// look like one with lossy wires.
			panic(err)
		}
		for _, e := range events[:n] {
			if e.Fd == int32(s.wake) {
				var counter [8]byte
				_, _ = unix.Read(s.wake, counter[:])
				if s.obey() {
					return
				}
			} else if d := s.byFD[e.Fd]; d != nil { // nil: a command has just removed it
				s.receive(d, rounds)
			}
		}
		s.deliver()
	}
}

// prioritize has the thread wake on time, and before others if it can. These are
// wishes: without, the wire works, less exactly. Real time is for a process of wires
// as a whole (beRealtime), never for this thread alone.
func prioritize() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness)
}

// wait is epoll_pwait2 (Linux 5.11); a negative timeout waits for an event.
func wait(epoll int, events []unix.EpollEvent, timeout time.Duration) (int, error) {
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(ts)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR: // Go's own signals
		return 0, nil
	}
	return 0, fmt.Errorf("wire: epoll_pwait2: %w", errno)
}

// obey runs the commands given; it reports whether the thread is to end.
func (s *Scheduler) obey() bool {
	s.mu.Lock()
	commands := s.commands
	s.commands = nil
	s.mu.Unlock()
	for _, c := range commands {
		c.run()
		close(c.done)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// drain reads all that was sent into a link so far, so that a command divides
// packets by when they were sent, not by when they happened to be read.
func (s *Scheduler) drain(l *Link) {
	s.receive(l.up, 1<<20)
	s.receive(l.down, 1<<20)
	s.deliver()
}

// remove takes a link out and closes its ends.
func (s *Scheduler) remove(l *Link) error {
	if l.closed {
		return nil
	}
	s.detach(l)
	// Closing the sockets takes them out of epoll as well.
	return errors.Join(l.ends[0].Close(), l.ends[1].Close())
}

// detach takes a link out; nothing reads or writes its ends any more.
func (s *Scheduler) detach(l *Link) {
	l.closed = true
	delete(s.links, l)
	for _, d := range []*direction{l.up, l.down} {
		d.countOverrun()
		delete(s.byFD, int32(d.from))
	}
}
