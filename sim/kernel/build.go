//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
)

// Build implements sim.Fabric. The lab must have been validated. When ctx ends
// before the lab stands, Build takes down what it has made so far and returns
// the context's error.
func (f Fabric) Build(ctx context.Context, lab *sim.Lab, opt sim.Options) (sim.Network, error) {
	n, err := f.build(ctx, lab, opt)
	if err != nil {
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	return n, nil
}

// Supports says why no NAT of this behaviour can be built, if so.
func (Fabric) Supports(b nat.Behavior) error { return ruleset.Supported(b) }

func (f Fabric) build(ctx context.Context, lab *sim.Lab, opt sim.Options) (*Network, error) {
	plan, err := lab.Plan()
	if err != nil {
		return nil, err
	}
	for _, r := range lab.Routers {
		if r.NAT == nil {
			continue
		}
		if err := ruleset.Supported(*r.NAT); err != nil {
			return nil, fmt.Errorf("router %s: %w", r.Name, err)
		}
	}
	if f.Links == NetemLinks {
		if err := refusedByNetem(lab, plan); err != nil {
			return nil, err
		}
	}
	release, err := claim(demandOf(lab))
	if err != nil {
		return nil, err
	}
	n := newNetwork(lab, plan, opt)
	n.backend = f.Links
	n.release = release
	began := time.Now()
	steps := []func(context.Context) error{
		n.hireWires,
		n.makeNodes,
		n.layOut,
		n.makeInterfaces,
		n.configure,
		n.installRules,
		n.startPortals,
		n.startWires,
		n.startCapture,
		n.startDropLog,
	}
	for _, step := range steps {
		err := ctx.Err()
		if err == nil {
			err = step(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	n.log("the lab stands: %d nodes and %d links after %v", len(n.nodes), len(n.order), time.Since(began).Round(time.Microsecond))
	return n, nil
}

// each calls f for 0 ≤ i < count on as many goroutines as there are processors,
// until one fails or ctx ends. It waits for all of them.
func each(ctx context.Context, count int, f func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next sync.Mutex
	i := 0
	take := func() (int, bool) {
		next.Lock()
		defer next.Unlock()
		if i == count || ctx.Err() != nil {
			return 0, false
		}
		i++
		return i - 1, true
	}
	var workers sync.WaitGroup
	for range min(count, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				if err := f(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}
