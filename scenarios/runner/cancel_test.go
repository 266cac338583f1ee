//go:build linux

package runner_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/kernel"
)

// Whatever a run is doing when its context ends: it ends soon, with the context's
// error, and nothing of it stays.
func TestCancellation(t *testing.T) {
	sc := parse(t, `
phases:
  - name: connect
    expect: {path: direct}
  - name: quiet
    do: [{quiet: 1h}]
    expect: {path: direct}
`)
	for _, c := range []struct {
		stage string
		after time.Duration // the cancellation comes so long after the stage began
	}{
		{"build", 0}, {"build", 5 * time.Millisecond},
		{"certify", 0}, {"certify", 100 * time.Millisecond},
		{"run", 0}, {"run", time.Millisecond}, {"run", 20 * time.Millisecond},
		{"phase connect", 0}, {"phase connect", 300 * time.Millisecond},
		{"phase quiet", 50 * time.Millisecond},
	} {
		t.Run(c.stage+" "+c.after.String(), func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var cancelled time.Time
			r := &runner.Runner{Fabric: kernel.Fabric{}, Seed: 1, Progress: func(p runner.Progress) {
				if p.Stage == c.stage {
					if c.after == 0 {
						cancelled = time.Now()
						cancel()
						return
					}
					time.AfterFunc(c.after, func() { cancelled = time.Now(); cancel() })
				}
			}}
			res, err := r.Run(ctx, sc)
			if res != nil || !errors.Is(err, context.Canceled) {
				t.Errorf("result %v, error %v; want none and %v", res, err, context.Canceled)
			}
			if took := time.Since(cancelled); took > 5*time.Second {
				t.Errorf("it took %v to end", took)
			}
		})
	}
}
