//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// starter is the thread from which a lab's programs are started. The kernel
// kills a program that asked for it (PR_SET_PDEATHSIG) when the thread that
// started it ends, not when the process does; so it must be one that stays.
type starter struct {
	mu      sync.Mutex
	jobs    chan func() // nil: the thread does not run
	done    chan struct{}
	stopped bool
}

// in runs f on the starter's thread, inside a namespace.
func (s *starter) in(ns *namespace, f func() error) error {
	origin, err := home()
	if err != nil {
		return err
	}
	jobs, err := s.thread()
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	jobs <- func() {
		if err := ns.enter(); err != nil {
			result <- err
			return
		}
		err := f()
		if back := unix.Setns(origin, unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leave a network namespace: %w", back))
		}
		result <- err
	}
	return <-result
}

func (s *starter) thread() (chan<- func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, errClosed
	}
	if s.jobs == nil {
		s.jobs = make(chan func())
		s.done = make(chan struct{})
		go func() {
			defer close(s.done)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for job := range s.jobs {
				job()
			}
		}()
	}
	return s.jobs, nil
}

// stop ends the thread's work. Nothing may be started at the same time.
func (s *starter) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.jobs != nil {
		close(s.jobs)
		<-s.done
		s.jobs = nil
	}
}
