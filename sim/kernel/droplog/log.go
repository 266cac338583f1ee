//go:build linux

// Package droplog hears from the rules of many namespaces which packets they
// dropped, and why, by the kernel's netfilter log.
package droplog

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim/kernel/readiness"
	"p2pmodel/sim/witness"
)

const (
	// DefaultLimit is how many drops a Log keeps where New is given no other limit.
	DefaultLimit = 100_000
	// nap is how long messages wait to be read: waking for each would slow the lab.
	nap = 10 * time.Millisecond
	// room is the receive buffer of a socket, in bytes.
	room = 1 << 20
	// flushTime is how long the kernel may hold messages back, and some.
	flushTime = (flushAfter + 1) * 10 * time.Millisecond
)

// ErrClosed is the error of calls on a closed Log.
var ErrClosed = errors.New("droplog: closed")

// Log collects drops. Its methods are safe for concurrent use.
type Log struct {
	limit int
	set   *readiness.Set
	done  chan struct{}

	mu      sync.Mutex
	nodes   map[int]string // by socket
	drops   []witness.Drop
	missing uint64
	paused  bool
	closing bool
	keep    func(*Message) bool
}

// New starts a Log that keeps at most limit drops (0: DefaultLimit), of those that
// keep is true for; keep may complete them. A nil keep keeps all.
func New(limit int, keep func(*Message) bool) (*Log, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	set, err := readiness.New()
	if err != nil {
		return nil, fmt.Errorf("droplog: %w", err)
	}
	l := &Log{limit: limit, set: set, done: make(chan struct{}), nodes: map[int]string{}, keep: keep}
	go l.run()
	return l, nil
}

// Open opens a socket for Add in the calling thread's network namespace. The error
// is unix.EOPNOTSUPP or its like where the kernel has no nfnetlink_log.
func Open() (fd int, err error) { return open(flushAt) }

// OpenAtOnce is Open of a socket that has each message as soon as its packet is
// dropped. Read it with Decode; a Log needs no such haste.
func OpenAtOnce() (fd int, err error) { return open(1) }

func open(threshold uint32) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, fmt.Errorf("droplog: open a netfilter socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			fd = -1
		}
	}()
	// A wish: without privilege over the whole machine the buffer is smaller.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room)
	}
	request, err := bind(ruleset.DropGroup, threshold)
	if err != nil {
		return fd, err
	}
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fd, fmt.Errorf("droplog: bind to group %d: %w", ruleset.DropGroup, err)
	}
	// The answer is there when the send returns.
	b := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err == nil {
		err = answer(b[:n])
	}
	if err != nil {
		return fd, fmt.Errorf("droplog: bind to group %d: %w", ruleset.DropGroup, err)
	}
	return fd, nil
}

// Add hears a node from now on. fd comes from Open in the node's namespace; the
// Log owns it from here on, also when Add fails.
func (l *Log) Add(node string, fd int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		_ = unix.Close(fd)
		return ErrClosed
	}
	if err := l.set.Add(fd); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("droplog: %w", err)
	}
	l.nodes[fd] = node
	return nil
}

// run reads until the Log is closed.
func (l *Log) run() {
	defer close(l.done)
	buffer := make([]byte, 1<<16)
	for {
		ready, woken, err := l.set.Wait()
		if err != nil {
			// Only a programming error gets here.
			panic("droplog: " + err.Error())
		}
		if woken {
			return
		}
		for _, fd := range ready {
			l.read(fd, buffer)
		}
		l.set.Nap(nap)
	}
}

// read takes all that a socket has.
func (l *Log) read(fd int, buffer []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	node, open := l.nodes[fd]
	if !open {
		return // closed meanwhile: the number may be another's by now
	}
	for {
		n, _, err := unix.Recvfrom(fd, buffer, unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case unix.ENOBUFS:
			l.missing++ // and who knows how many more
			continue
		case unix.EINTR:
			continue
		default:
			return
		}
		Decode(buffer[:n], time.Now(), func(d Message) {
			d.Node = node
			switch {
			case l.paused || l.keep != nil && !l.keep(&d):
			case len(l.drops) >= l.limit:
				l.missing++
			default:
				l.drops = append(l.drops, d.Drop)
			}
		})
	}
}

// Pause leaves out what is dropped from now until Resume.
func (l *Log) Pause() { l.pause(true) }

// Resume ends a Pause.
func (l *Log) Resume() { l.pause(false) }

func (l *Log) pause(paused bool) {
	l.collect()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = paused
}

// collect reads what the kernel has, once it had time to hand it over.
func (l *Log) collect() {
	time.Sleep(flushTime)
	l.readAll()
}

// flush has the kernel hand over what it has, and the last of it.
func (l *Log) flush() error {
	request, err := unbind(ruleset.DropGroup)
	if err != nil {
		return err
	}
	l.mu.Lock()
	for fd := range l.nodes {
		if err == nil {
			err = unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		}
	}
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("droplog: leave group %d: %w", ruleset.DropGroup, err)
	}
	l.readAll()
	return nil
}

func (l *Log) readAll() {
	l.mu.Lock()
	var sockets []int
	for fd := range l.nodes {
		sockets = append(sockets, fd)
	}
	l.mu.Unlock()
	buffer := make([]byte, 1<<16)
	for _, fd := range sockets {
		l.read(fd, buffer)
	}
}

// Drops gives what was dropped so far, and how many drops are missing at least:
// the Log was full, or the kernel could not queue them.
func (l *Log) Drops() (drops []witness.Drop, missing uint64) {
	if !l.closed() {
		l.collect()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]witness.Drop(nil), l.drops...), l.missing
}

func (l *Log) closed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

// Close reads what is there, ends the reader and closes the sockets. The drops
// stay. It may be called twice.
func (l *Log) Close() error {
	if l.closed() {
		<-l.done
		return nil
	}
	// By another call at the same time, perhaps twice, which does no harm.
	flushed := l.flush()
	l.mu.Lock()
	if l.closing { // by another call, meanwhile
		l.mu.Unlock()
		<-l.done
		return nil
	}
	l.closing = true
	err := l.set.Wake()
	l.mu.Unlock()
	if err != nil {
		return errors.Join(flushed, fmt.Errorf("droplog: %w", err))
	}
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{flushed, l.set.Close()}
	for fd := range l.nodes {
		errs = append(errs, unix.Close(fd))
	}
	clear(l.nodes)
	return errors.Join(errs...)
}
