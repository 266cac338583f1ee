package sim_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"p2pmodel/sim"
)

func TestRealTime(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	ended, end := context.WithCancel(t.Context())
	end()
	var clock sim.RealTime
	for _, row := range []struct {
		name  string
		ctx   context.Context
		ch    <-chan struct{}
		limit time.Duration
		want  error
	}{
		{"a channel that is closed", t.Context(), closed, sim.Forever, nil},
		{"a channel that is closed, with time to spare", t.Context(), closed, time.Hour, nil},
		{"a channel that stays open", t.Context(), make(chan struct{}), time.Millisecond, sim.ErrTimeout},
		{"no channel", t.Context(), nil, time.Millisecond, sim.ErrTimeout},
		{"a context that has ended", ended, nil, time.Hour, context.Canceled},
		{"a context that has ended, without a limit", ended, make(chan struct{}), sim.Forever, context.Canceled},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := clock.Wait(row.ctx, row.ch, row.limit); !errors.Is(err, row.want) {
				t.Fatalf("%v, want %v", err, row.want)
			}
		})
	}

	// A sleep takes its time, and what Go started tells when it is over.
	begin, slept := clock.Now(), time.Duration(0)
	done := clock.Go(func() {
		if err := sim.Sleep(t.Context(), clock, 5*time.Millisecond); err != nil {
			t.Error(err)
		}
		slept = clock.Now().Sub(begin)
	})
	if err := sim.WaitAll(clock, done, closed); err != nil {
		t.Fatal(err)
	}
	if slept < 5*time.Millisecond {
		t.Fatalf("slept %v, want at least 5ms", slept)
	}
	if err := sim.Sleep(ended, clock, time.Hour); !errors.Is(err, context.Canceled) {
		t.Fatalf("a sleep whose context has ended: %v", err)
	}
}
