//go:build linux

// Package readiness waits for many descriptors at once, without keeping a
// processor of the Go runtime meanwhile: a goroutine that waits in epoll_wait
// itself keeps one for up to 10 ms, until the runtime notices.
package readiness

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Set is the descriptors that are waited for, and a way to wake who waits. Add and
// Wake are safe for concurrent use; Wait and Nap are for one goroutine.
type Set struct {
	epoll  *os.File // the runtime waits for it: an epoll may be in another
	raw    syscall.RawConn
	wake   int           // an eventfd, for who waits
	awake  chan struct{} // for who naps
	events []unix.EpollEvent
	ready  []int
}

// New makes a Set of no descriptors.
func New() (*Set, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	s := &Set{wake: wake, awake: make(chan struct{}, 1), events: make([]unix.EpollEvent, 16)}
	// Only what does not block is given to the runtime's poller.
	err = unix.SetNonblock(fd, true)
	s.epoll = os.NewFile(uintptr(fd), "epoll")
	if err == nil {
		s.raw, err = s.epoll.SyscallConn()
	}
	if err == nil {
		err = s.Add(wake)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), s.Close())
	}
	return s, nil
}

// Add waits for a descriptor, too, until it is closed.
func (s *Set) Add(fd int) error {
	var err error
	control := s.raw.Control(func(epoll uintptr) {
		err = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	})
	if err = errors.Join(control, err); err != nil {
		return fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	return nil
}

// Wait waits until some descriptors can be read, and gives all of those, or until
// it is woken. The slice is good until the next call.
func (s *Set) Wait() (ready []int, woken bool, err error) {
	var n int
	wait := s.raw.Read(func(epoll uintptr) bool {
		for {
			n, err = unix.EpollWait(int(epoll), s.events, 0)
			if err == unix.EINTR {
				continue
			}
			if n < len(s.events) {
				return n != 0 || err != nil
			}
			// Perhaps more are ready.
			s.events = make([]unix.EpollEvent, 2*len(s.events))
		}
	})
	if err = errors.Join(wait, err); err != nil {
		return nil, false, fmt.Errorf("epoll_wait: %w", err)
	}
	s.ready = s.ready[:0]
	for _, e := range s.events[:n] {
		if int(e.Fd) != s.wake {
			s.ready = append(s.ready, int(e.Fd))
			continue
		}
		woken = true
		var counter [8]byte
		_, _ = unix.Read(s.wake, counter[:])
	}
	return s.ready, woken, nil
}

// Wake ends a Wait or Nap, or the next one.
func (s *Set) Wake() error {
	select {
	case s.awake <- struct{}{}:
	default:
	}
	if _, err := unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil && err != unix.EAGAIN {
		return fmt.Errorf("wake the reader: %w", err)
	}
	return nil
}

// Nap waits for a time, or until it is woken.
func (s *Set) Nap(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.awake:
	}
}

// Close gives up the Set, not the descriptors that were added. Nobody may wait.
func (s *Set) Close() error {
	return errors.Join(s.epoll.Close(), unix.Close(s.wake))
}
