// Package agreement runs scenarios on two fabrics, and compares what came of them:
// verdicts, the paths of phases, pairs and controls, and times. A fabric that is a
// model is worth what such a comparison says.
package agreement

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
)

// Comparison is what is to be compared. The first fabric is the reference, which the
// machine may disturb: where the laboratory failed there (scenarios.Broken), nothing
// can be said, and nothing is compared. On the other fabric that is a difference.
type Comparison struct {
	Fabrics   [2]sim.Fabric
	Scenarios []*scenarios.Scenario
	// Seed is that of the first runs; there are so many Seeds, each the next.
	Seed  uint64
	Seeds int
	// Parallel is how many labs of the reference stand at once. Of the other fabric
	// there are as many as processors.
	Parallel               int
	RealTime, SkipControls bool
	// Version is told in the result.
	Version string
	// Done is told of each pair of runs; calls do not overlap. Nil: nobody is.
	Done func(sc *scenarios.Scenario, seed uint64, differences []Difference)
}

// pairOfRuns is what one seed of a scenario came to on both fabrics.
type pairOfRuns [2]*scenarios.Result

// compared reports whether the reference says anything.
func (p pairOfRuns) compared() bool { return p[0].Verdict != scenarios.Broken }

// Run runs everything. The error is the context's.
func (c *Comparison) Run(ctx context.Context) (*Result, error) {
	began := time.Now()
	slots := [2]*runner.Slots{runner.NewSlots(c.Parallel), runner.NewSlots(runtime.GOMAXPROCS(0))}
	runs := make([][]pairOfRuns, len(c.Scenarios))
	for i := range runs {
		runs[i] = make([]pairOfRuns, c.Seeds)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	flight := make(chan struct{}, c.Parallel+1)
	for seed := range c.Seeds {
		for i, sc := range c.Scenarios {
			flight <- struct{}{}
			wg.Go(func() {
				defer func() { <-flight }()
				p := c.both(ctx, sc, c.Seed+uint64(seed), slots)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				runs[i][seed] = p
				if c.Done != nil {
					var diff []Difference
					if p.compared() {
						diff = Differences(p[0], p[1])
					}
					c.Done(sc, c.Seed+uint64(seed), diff)
				}
			})
		}
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	res := &Result{
		Schema: 1, Fabrics: [2]string{c.Fabrics[0].Name(), c.Fabrics[1].Name()}, Seed: c.Seed, Seeds: c.Seeds,
		RealTime: c.RealTime, SkipControls: c.SkipControls, Version: c.Version, Started: began.UTC(),
	}
	for i, sc := range c.Scenarios {
		res.Scenarios = append(res.Scenarios, summarize(sc, runs[i]))
	}
	res.Links = byLinks(c.Scenarios, runs)
	res.DurationMS = float64(time.Since(began).Milliseconds())
	return res, nil
}

// both runs a scenario on both fabrics with one seed.
func (c *Comparison) both(ctx context.Context, sc *scenarios.Scenario, seed uint64, slots [2]*runner.Slots) (p pairOfRuns) {
	var wg sync.WaitGroup
	for n := range p {
		wg.Go(func() {
			r := runner.Runner{Fabric: c.Fabrics[n], Seed: seed, Slots: slots[n], RealTime: c.RealTime, SkipControls: c.SkipControls}
			res, err := r.Run(ctx, sc)
			if err != nil {
				return
			}
			res.Run = nil // thousands of them would fill the memory
			for i := range res.Controls {
				res.Controls[i].Run = nil
			}
			p[n] = res
		})
	}
	wg.Wait()
	return p
}

// Difference is something that the fabrics do not agree on.
type Difference struct {
	// What it is about: "verdict", `phase "NAME"`, "A ↔ B", `control "NAME"`.
	What string    `json:"what"`
	Came [2]string `json:"came"` // on each fabric
}

func (d Difference) String() string { return fmt.Sprintf("%s: %s, %s", d.What, d.Came[0], d.Came[1]) }

// verdictOf is what a difference between verdicts is about.
const verdictOf = "verdict"

// Differences compares two runs of one scenario in verdict and paths: those of each
// phase, pair and control.
func Differences(a, b *scenarios.Result) (all []Difference) {
	said := [2][]claim{claims(a), claims(b)}
	came := func(n int, what string) string {
		if i := slices.IndexFunc(said[n], func(c claim) bool { return c.what == what }); i >= 0 {
			return said[n][i].came
		}
		return "nothing"
	}
	for n, list := range said {
		for _, c := range list {
			if n == 1 && came(0, c.what) != "nothing" {
				continue // it was compared
			}
			if d := (Difference{c.what, [2]string{came(0, c.what), came(1, c.what)}}); d.Came[0] != d.Came[1] {
				all = append(all, d)
			}
		}
	}
	return all
}

// claim is one thing that a result says.
type claim struct{ what, came string }

// claims are what a result says of verdicts and paths, in an order of their own.
func claims(res *scenarios.Result) (all []claim) {
	add := func(what string, came ...string) { all = append(all, claim{what, strings.Join(came, " ")}) }
	add(verdictOf, string(res.Verdict))
	add("path", string(res.Observed.Path))
	for _, p := range res.Phases {
		add(fmt.Sprintf("phase %q", p.Name), string(p.Observed))
	}
	for _, p := range res.Pairs {
		add(p.A+" ↔ "+p.B, string(p.Observed))
	}
	for _, c := range res.Controls {
		add(fmt.Sprintf("control %q", c.Name), string(c.Verdict)+",", string(c.Observed))
	}
	return all
}

// summarize says what all seeds of a scenario came to.
func summarize(sc *scenarios.Scenario, runs []pairOfRuns) Scenario {
	s := Scenario{ID: sc.ID, Title: sc.Title, Links: linksOf(sc), Seeds: len(runs)}
	for _, p := range runs {
		if !p.compared() {
			s.Broken = append(s.Broken, Broken{Seed: p[0].Seed, Reason: p[0].Reason})
			continue
		}
		s.Compared++
		for n, res := range p {
			if res.Verdict == scenarios.Expected {
				s.Expected[n]++
			}
		}
		diff := Differences(p[0], p[1])
		ofVerdict := slices.ContainsFunc(diff, func(d Difference) bool { return d.What == verdictOf })
		if !ofVerdict {
			s.Verdicts++
		}
		if len(diff) == 0 || ofVerdict && len(diff) == 1 {
			s.Paths++
		}
		if len(diff) > 0 {
			s.Disagreements = append(s.Disagreements, Disagreement{
				Seed: p[0].Seed, Differences: diff, Reasons: [2]string{p[0].Reason, p[1].Reason},
			})
		}
	}
	s.FirstByte, s.Direct = timesOf(runs)
	return s
}

// linksOf says which links a scenario's lab has: by the names that they were given
// by, or in words. It is the same for both fabrics.
func linksOf(sc *scenarios.Scenario) string {
	var all []string
	for _, l := range sc.Lab.Links {
		name := l.Profile
		if name == "" {
			name = sim.DescribeImpairment(l.Up)
			if l.Down != l.Up {
				name += " / " + sim.DescribeImpairment(l.Down)
			}
		}
		all = append(all, name)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == 0 {
		return "no impairment"
	}
	return strings.Join(all, "; ")
}
