package sansio

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// resubscribe is how long to wait after a netlink subscription has failed
// (its buffer overflowed, usually) before the next.
const resubscribe = 100 * time.Millisecond

// Watch listens to the kernel's notices of added and removed addresses.
func (system) Watch(ctx context.Context) (<-chan struct{}, error) {
	sub, err := subscribe()
	if err != nil {
		return nil, fmt.Errorf("subscribe to address changes: %w", err)
	}
	changes := make(chan struct{}, 1)
	notify := func() {
		select {
		case changes <- struct{}{}:
		default: // one is waiting already
		}
	}
	go func() {
		defer close(changes)
		for {
			if sub.forward(ctx, notify); ctx.Err() != nil {
				return
			}
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(resubscribe):
				}
				if sub, err = subscribe(); err == nil {
					break
				}
			}
			notify() // whatever was missed meanwhile
		}
	}()
	return changes, nil
}

// subscription is one netlink socket that hears of addresses.
type subscription struct {
	updates chan netlink.AddrUpdate
	done    chan struct{}
}

func subscribe() (subscription, error) {
	s := subscription{updates: make(chan netlink.AddrUpdate), done: make(chan struct{})}
	return s, netlink.AddrSubscribe(s.updates, s.done)
}

// forward notifies of each update until ctx ends or the subscription fails, and
// ends the subscription with its goroutines.
func (s subscription) forward(ctx context.Context, notify func()) {
	defer func() {
		close(s.done)
		for range s.updates {
		}
	}()
	for {
		select {
		case _, ok := <-s.updates:
			if !ok {
				return
			}
			notify()
		case <-ctx.Done():
			return
		}
	}
}
