package sim

import (
	"context"
	"errors"
	"time"
)

// Clock is a fabric's time, and how those wait for it who play in a lab: who
// waits by anything else waits for the time of this machine, which a virtual
// fabric does not know.
//
// On a virtual fabric time passes in Wait only, while all who play in the lab
// wait; these are whoever built it, and what Go started. One of them runs at a
// time, each until it waits, and they take turns in an order that depends on the
// lab and its seed only.
type Clock interface {
	// Now is the fabric's time: all events, captures and machines use it.
	Now() time.Time
	// Wait waits until ch is closed or can be received from, until so much time has
	// passed, or until ctx ends, and tells which: nil, ErrTimeout, or ctx's error.
	// What it receives is lost. A nil channel waits for the time alone, Forever for
	// the channel alone; ErrStuck then says that nothing can ever close it.
	Wait(ctx context.Context, ch <-chan struct{}, limit time.Duration) error
	// Go calls f beside the caller. The channel is closed when f has returned.
	Go(f func()) (done <-chan struct{})
}

// Forever is no limit for a Wait.
const Forever time.Duration = -1

// What a Wait that is not answered ends with.
var (
	ErrTimeout = errors.New("sim: the time is over")
	ErrStuck   = errors.New("sim: everybody in the lab waits for something that cannot happen any more")
)

// Sleep waits for a duration of a clock, or for ctx's end, whose error it gives.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	if err := c.Wait(ctx, nil, max(d, 0)); !errors.Is(err, ErrTimeout) {
		return err
	}
	return nil
}

// WaitAll waits until all channels are closed, whatever time it takes.
func WaitAll(c Clock, all ...<-chan struct{}) error {
	for _, ch := range all {
		if err := c.Wait(context.Background(), ch, Forever); err != nil {
			return err
		}
	}
	return nil
}

// RealTime is the clock of this machine.
type RealTime struct{}

// Now implements Clock.
func (RealTime) Now() time.Time { return time.Now() }

// Wait implements Clock.
func (RealTime) Wait(ctx context.Context, ch <-chan struct{}, limit time.Duration) error {
	var over <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ch:
		return nil
	case <-over:
		return ErrTimeout
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Go implements Clock.
func (RealTime) Go(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}
