// Package explore looks for schedules of disturbances under which a scenario's
// peers break a promise. A schedule is drawn within bounds: losses, delays, cuts,
// NATs that reboot or give other ports, servers that die, handovers, strangers. It is
// a value that a scenario file says in full, so that what was found is run again,
// on any fabric, by whoever has the file.
//
// When a schedule has ended, and the network has been whole for as long as
// recovery may take (see Recovery), the invariants are looked at: see Invariant. A
// schedule that breaks one is shrunk to the few disturbances, at round times, that
// still break it.
//
// The same scenario, bounds and seed give the same schedules, runs and findings on a
// virtual fabric, however many run at once.
package explore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
)

// Explorer explores one scenario. Its fields must not change once it runs.
type Explorer struct {
	Scenario *scenarios.Scenario
	Fabric   sim.Fabric
	Bounds   scenarios.Bounds
	// Runs is how many schedules are drawn, Seed draws them: run i depends on Seed and
	// i only.
	Runs int
	Seed uint64
	// Workers is how many run at once; 0: as many as there are processors.
	Workers int
	// Cases is how many cases of one invariant are shrunk; of further ones only the
	// seed is told. 0: DefaultCases.
	Cases int
	// Tries is how many runs the shrinking of one case may take; 0: DefaultTries;
	// negative: nothing is shrunk.
	Tries int
	// Progress is told after each run, if it is not nil: how many have ended, and how
	// many of these broke something. It is called by one goroutine at a time.
	Progress func(ended, broken int)
}

// Defaults of an Explorer.
const (
	DefaultCases = 2
	DefaultTries = 150
)

// ErrScenario is the error for scenarios that cannot be explored.
var ErrScenario = errors.New("this scenario cannot be explored")

// Check says what about the explorer's fields is wrong; nil: nothing.
func (x *Explorer) Check() error {
	sc := x.Scenario
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case sc.System != nil:
		fail("%w: %s has a system of servers, whose schedules would be another matter", ErrScenario, sc.ID)
	case len(sc.Programs) > 0 || sc.Foreign() || len(sc.Peers) == 0:
		fail("%w: %s has programs of others, in which nothing can be looked at", ErrScenario, sc.ID)
	case sc.Settings.Keepalive == scenarios.Off:
		fail("%w: %s has keepalive: off, so that no peer would notice anything", ErrScenario, sc.ID)
	}
	for _, key := range []string{"last", "most", "outage", "loss", "delay", "rate", "kinds"} {
		if text, bad := x.Bounds.Problems()[key]; bad {
			fail("%s", text)
		}
	}
	if len(errs) == 0 && sc.System == nil {
		g := groundOf(sc, sc.Lab, strangerName)
		some := false
		for _, k := range x.Bounds.Kinds {
			some = some || g.allows(k)
		}
		if !some {
			fail("%w: nothing of what may be done to %s can be: its lab has no such part", ErrScenario, sc.ID)
		}
	}
	return errors.Join(errs...)
}

// seedOf is the seed of a run.
func (x *Explorer) seedOf(run int) uint64 {
	// A generator's numbers are as far apart as they can be, also for seeds that are
	// neighbours.
	return rand.New(rand.NewPCG(x.Seed, uint64(run))).Uint64() >> 1 // that YAML and JSON hold
}

// Run explores until all runs are done, or ctx ends, which is no error: the report
// has what was found until then.
func (x *Explorer) Run(ctx context.Context) (*Report, error) {
	if err := x.Check(); err != nil {
		return nil, err
	}
	e := &exploration{Explorer: x, t: newTemplate(x.Scenario), shrunk: map[Invariant]int{}}
	e.ground = groundOf(x.Scenario, e.t.lab, e.t.stranger)
	workers := x.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	e.began = time.Now()
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				e.one(ctx, i)
			}
		})
	}
feed:
	for i := range x.Runs {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	if e.err != nil {
		return nil, e.err
	}
	return e.report(time.Since(e.began)), nil
}

// exploration is an Explorer at work.
type exploration struct {
	*Explorer
	t      *template
	ground ground
	began  time.Time

	mu       sync.Mutex
	ended    int
	broken   int
	tries    int // runs that shrinking took
	shrunk   map[Invariant]int
	cases    []*Case
	recovery []time.Duration
	err      error
}

// one does one run of the exploration.
func (e *exploration) one(ctx context.Context, i int) {
	if ctx.Err() != nil {
		return
	}
	seed := e.seedOf(i)
	s := draw(e.ground, e.Bounds, rand.New(rand.NewPCG(seed, 1)))
	found, o, err := e.try(ctx, s, seed)
	if ctx.Err() != nil {
		return
	}
	var c *Case
	if len(found) > 0 {
		c = &Case{Run: i, Seed: seed, Findings: found, Drawn: len(s), Found: time.Since(e.began), schedule: s}
	}
	e.mu.Lock()
	e.ended++
	if err != nil {
		e.err = errors.Join(e.err, err)
	}
	if c != nil {
		e.broken++
		e.cases = append(e.cases, c)
		cases := e.Cases
		if cases == 0 {
			cases = DefaultCases
		}
		if kind := found[0].Invariant; e.shrunk[kind] < cases {
			e.shrunk[kind]++
			c.shrinks = true
		}
	}
	if o != nil && o.res.Run != nil {
		e.recovery = append(e.recovery, o.recovered())
	}
	e.mu.Unlock()
	if c != nil && c.shrinks {
		tried := e.shrink(ctx, c)
		e.mu.Lock()
		e.tries += tried
		e.mu.Unlock()
	}
	if e.Progress != nil {
		e.mu.Lock()
		e.Progress(e.ended, e.broken)
		e.mu.Unlock()
	}
}

// glance is how long the network is whole in a first run of a schedule: most
// recover much sooner than they have to.
const glance = 8 * time.Second

// try runs a schedule and gives what it broke. Whether a path recovers is seen by
// waiting for as long as it may take, and only for those that have not soon.
func (e *exploration) try(ctx context.Context, s Schedule, seed uint64) ([]Finding, *outcome, error) {
	limit := e.tail(s)
	o, err := e.play(ctx, s, seed, min(glance, limit))
	if err != nil {
		return nil, nil, err
	}
	found := o.findings()
	for _, f := range found {
		if f.Invariant == WrongPath || f.Invariant == Unexpected || f.Invariant == Storm {
			if o, err = e.play(ctx, s, seed, limit); err != nil {
				return nil, nil, err
			}
			return o.findings(), o, nil
		}
	}
	return found, o, nil
}

// tail is how long the network is whole before a path has to be what it must be.
func (e *exploration) tail(s Schedule) time.Duration {
	return Recovery(e.t.rtt(s), e.t.keepalive, s.end(), e.t.sc.Techniques...).Round(100 * time.Millisecond)
}

// play runs a schedule.
func (e *exploration) play(ctx context.Context, s Schedule, seed uint64, tail time.Duration) (*outcome, error) {
	sc, err := e.t.scenario(s, tail)
	if err != nil {
		return nil, err
	}
	return e.run(ctx, sc, s, seed)
}

// run runs a scenario, whose schedule is s.
func (e *exploration) run(ctx context.Context, sc *scenarios.Scenario, s Schedule, seed uint64) (o *outcome, err error) {
	foretold, err := runner.Foretell(sc)
	if err != nil {
		return nil, err
	}
	o = &outcome{sc: sc, foretold: foretold, schedule: s, probes: &probes{}}
	r := &runner.Runner{Fabric: e.Fabric, Seed: seed, SkipControls: true, Unproved: true, Wrap: o.probes.wrap}
	if o.res, err = r.Run(ctx, sc); err != nil {
		return nil, err
	}
	return o, nil
}

// scenario gives the schedule as a scenario that expects what the oracle foretells.
func (t *template) scenario(s Schedule, tail time.Duration) (*scenarios.Scenario, error) {
	parse := func(path scenarios.Path) (*scenarios.Scenario, error) {
		// Paths in the file are relative to the scenario's own folder.
		sc, err := scenarios.ParseAttached(t.sc.File, t.text(s, tail, path, ""), t.sc.Referred)
		if err != nil {
			return nil, fmt.Errorf("a schedule of %s is no scenario, which is a defect of the explorer: %w", t.sc.ID, err)
		}
		return sc, nil
	}
	if len(t.sc.Pairs()) > 1 {
		return parse(scenarios.Mixed)
	}
	sc, err := parse(scenarios.Direct)
	if err != nil {
		return nil, err
	}
	foretold, err := runner.Foretell(sc)
	if err != nil || foretold[0].Path == scenarios.Direct {
		return sc, err
	}
	return parse(foretold[0].Path)
}
