package sansio

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attendant is the goroutine that waits for all that is no socket of the kernel's, for a loop
// that waits for these itself: it takes an errand, rings, and waits until that is
// done.
type attendant struct {
	bell int // an eventfd, which is among what the loop waits for
	fd   int // of the epoll
	// errand is the attendant's until it has rung, and the loop's until that has sent on
	// resume.
	errand errand
	began  bool
	// parked: the loop has told the runtime's poller when to wake it.
	parked time.Time
}

// bellMark is the bell's mark among events.
const bellMark = 1

func newAttendant(p *poller) (*attendant, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	a := &attendant{bell: bell}
	outer := p.raw.Control(func(epoll uintptr) {
		a.fd = int(epoll)
		err = unix.EpollCtl(a.fd, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN, Pad: bellMark})
	})
	if outer != nil || err != nil {
		_ = unix.Close(bell)
		return nil, fmt.Errorf("wait for an eventfd: %w", err)
	}
	return a, nil
}

// attended reports whether the loop waits for its sockets itself.
func (l *Loop) attended() bool { return l.poll != nil && l.poll.attendant != nil }

// attend is the attendant's goroutine.
func (l *Loop) attend(ctx context.Context) {
	p, a := l.poll, l.poll.attendant
	for {
		a.errand = l.await(ctx, nil)
		// It fails only when it has rung very often already.
		_, _ = unix.Write(a.bell, binary.NativeEndian.AppendUint64(nil, 1))
		select {
		case <-p.resume:
		case <-p.done:
			return
		}
	}
}

// waitInKernel waits for datagrams, for errands and for the machine's timeout, and does
// what there is to do; false: the loop is to end.
func (l *Loop) waitInKernel(ctx context.Context) bool {
	p, a := l.poll, l.poll.attendant
	if !a.began {
		a.began = true
		l.readers.Add(1)
		go func() {
			defer l.readers.Done()
			l.attend(ctx)
		}()
	}
	l.armed = l.machine.PollTimeout()
	if l.holdsProcessor() {
		p.park(l.armed)
	} else {
		p.block(l.armed)
	}
	rung := false
	for _, e := range p.events[:p.n] {
		rung = rung || e.Pad == bellMark
	}
	if p.n > 0 {
		l.readRounds(ctx)
	}
	if !l.armed.IsZero() && !time.Now().Before(l.armed) {
		l.do(ctx, errand{kind: toTimeOut})
	}
	if !rung {
		return true
	}
	var count [8]byte
	_, _ = unix.Read(a.bell, count[:])
	if !l.do(ctx, a.errand) {
		return false // and no errand is taken that nobody does
	}
	a.errand = errand{}
	p.resume <- struct{}{}
	return true
}

// holdsProcessor reports whether a system call that waits would keep goroutines of streams from
// the one processor that they have: the runtime takes it back after milliseconds only.
func (l *Loop) holdsProcessor() bool { return len(l.streams.sockets) > 0 && runtime.GOMAXPROCS(0) == 1 }

// block waits in the kernel.
func (p *poller) block(until time.Time) {
	p.n = 0
	p.wake(time.Time{})
	timeout := -1
	if !until.IsZero() {
		// Rounded up: a timeout too early would come again at once.
		timeout = int(min(max(0, time.Until(until)+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.attendant.fd), uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), uintptr(timeout), 0, 0)
	if errno == 0 {
		p.n = int(n)
	}
}

// park waits in the runtime.
func (p *poller) park(until time.Time) {
	p.n = 0
	p.wake(until)
	// The only error is that it is time.
	_ = p.raw.Read(p.wait)
}

// wake tells the runtime when to end a wait.
func (p *poller) wake(at time.Time) {
	if a := p.attendant; !at.Equal(a.parked) {
		a.parked = at
		_ = p.epoll.SetReadDeadline(at)
	}
}
