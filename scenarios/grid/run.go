package grid

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
)

// MaxSides bounds a grid: a side more is two cells more for each that is there.
const MaxSides = 64

// Grid is what is to be run.
type Grid struct {
	Template *Template
	Sides    []Side
	Fabric   sim.Fabric
	// P2PModel is as in runner.Runner.
	P2PModel string
	// Path is as in runner.Runner: where programs of others are looked for.
	Path []string
	// Seed is that of the first run of each cell; further ones have the next.
	Seed   uint64
	Repeat int
	// Parallel is how many labs stand at once.
	Parallel int
	// Done is told of each run that has ended, with the cell so far; calls do not
	// overlap. Nil: nobody is.
	Done func(row, column int, c Cell)
}

// Run runs all cells. The error is the context's, or says which pair cannot be.
func (g *Grid) Run(ctx context.Context) (*Result, error) {
	if n := len(g.Sides); n == 0 || n > MaxSides {
		return nil, fmt.Errorf("a grid has 1 to %d behaviours, not %d", MaxSides, n)
	}
	began, labs := time.Now(), g.Fabric.Now()
	res := &Result{
		Schema: 1, Stack: g.Template.scenario.ID, Techniques: g.Template.scenario.Techniques,
		Fabric: g.Fabric.Name(), Seed: g.Seed, Repeat: g.Repeat, Started: labs, Sides: g.Sides, rtt: g.Template.RTT(),
	}
	var jobs []*scenarios.Scenario
	for _, a := range g.Sides {
		for _, b := range g.Sides {
			sc, expected, err := g.Template.Cell(a, b)
			if err != nil {
				return nil, err
			}
			jobs = append(jobs, sc)
			res.Cells = append(res.Cells, Cell{
				A: a.Text(), B: b.Text(), NameA: a.Name, NameB: b.Name, Paths: map[scenarios.Path]int{},
				Expected: sc.Phases[0].Expect.Path, Or: scenarios.Path(expected.Or), Class: expected.Outcome.String(), Why: expected.Why,
			})
		}
	}
	ahead := make([][]*scenarios.Result, len(jobs)) // that wait for those of earlier rounds
	for i := range ahead {
		ahead[i] = make([]*scenarios.Result, g.Repeat)
	}
	slots := runner.NewSlots(g.Parallel)
	var mu sync.Mutex
	var wg sync.WaitGroup
	// A few runs more than labs wait for a slot, so that none stays empty.
	flight := make(chan struct{}, g.Parallel+1)
	for round := range g.Repeat {
		for i, sc := range jobs {
			select {
			case flight <- struct{}{}:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				break
			}
			wg.Go(func() {
				defer func() { <-flight }()
				r := runner.Runner{Fabric: g.Fabric, P2PModel: g.P2PModel, Path: g.Path, Seed: g.Seed + uint64(round), Slots: slots}
				outcome, err := r.Run(ctx, sc)
				if err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				c := &res.Cells[i]
				// By seeds, so that a cell does not depend on which run was faster.
				ahead[i][round] = outcome
				for next := c.Runs; next < g.Repeat && ahead[i][next] != nil; next++ {
					c.add(ahead[i][next])
					ahead[i][next] = nil
				}
				if g.Done != nil {
					so := *c
					so.firstByte, so.direct = slices.Clone(c.firstByte), slices.Clone(c.direct)
					so.conclude()
					g.Done(i/len(g.Sides), i%len(g.Sides), so)
				}
			})
		}
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i := range res.Cells {
		res.Cells[i].conclude()
	}
	res.DurationMS = float64(time.Since(began).Round(time.Millisecond)) / float64(time.Millisecond)
	if g.Fabric.Now().Equal(labs) {
		res.DurationMS = res.longest() // each lab has a time of its own, beside the others
	}
	return res, nil
}

// longest is how long the longest of the runs that are kept took, in its lab's time.
func (r *Result) longest() (ms float64) {
	for _, c := range r.Cells {
		for _, run := range c.Results {
			ms = max(ms, run.DurationMS)
		}
	}
	return ms
}
