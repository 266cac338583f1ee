//go:build !linux

package sansio

import (
	"context"
	"slices"
	"time"
)

// pollInterval is how often addresses are compared where the system gives no
// notice: shorter than a person takes to notice the change.
const pollInterval = 2 * time.Second

// Watch compares the addresses every two seconds.
func (s system) Watch(ctx context.Context) (<-chan struct{}, error) {
	last, err := s.Addresses()
	if err != nil {
		return nil, err
	}
	changes := make(chan struct{}, 1)
	go func() {
		defer close(changes)
		ticker := time.NewTicker(pollInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			now, err := s.Addresses()
			if err != nil || slices.Equal(now, last) {
				continue
			}
			last = now
			select {
			case changes <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return changes, nil
}
