package connect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/grid"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
)

// The bars, in round trips between the peers: ours have to hear each other, and
// directly, within them. ClassicBar is for pairs of the four names of RFC 3489.
const (
	FirstByteBar = 1.5
	ClassicBar   = 2.0
	DirectBar    = 2.5
)

// rest is what peers have to register and to allocate before they are introduced.
const rest = 500 * time.Millisecond

// roundTrip is that of the peers in the templates.
const roundTrip = 80 * time.Millisecond

// Bench is what is to be run.
type Bench struct {
	Stacks  []Stack
	Sides   []grid.Side
	Classic bool // the sides are those of RFC 3489
	Rounds  int
	Fabric  sim.Fabric
	Path    []string // as in runner.Runner
	Seed    uint64
	// Parallel is how many labs stand at once: what is measured is time.
	Parallel int
	// Done is told of each run, if it is not nil; calls do not overlap.
	Done func(done, of int)
}

// Result is what came of it.
type Result struct {
	Schema  int     `json:"schema"` // 1
	Fabric  string  `json:"fabric"`
	Rounds  int     `json:"rounds"`
	RTT     float64 `json:"round_trip_ms"`
	Cells   []Cell  `json:"cells"`
	Seconds float64 `json:"seconds"`
}

// Cell is one pair of NATs and one stack.
type Cell struct {
	A     string `json:"a"`
	B     string `json:"b"`
	Stack string `json:"stack"`
	// Path is what came most often, Expected what the oracle says of our peers.
	Path     scenarios.Path `json:"path"`
	Expected scenarios.Path `json:"expected"`
	// FirstByte and Direct are of the runs in which there was one.
	FirstByte Times `json:"first_byte"`
	Direct    Times `json:"direct"`
	// Failed runs, and the first reason.
	Failed int    `json:"failed"`
	Reason string `json:"reason,omitempty"`
	// Late: the median is over a bar. Ours only.
	Late []string `json:"late,omitempty"`

	ours, classic bool
	paths         map[scenarios.Path]int
}

// Times are milliseconds.
type Times struct {
	Runs   int     `json:"runs"`
	Median float64 `json:"median_ms"`
	Min    float64 `json:"min_ms"`
	Max    float64 `json:"max_ms"`
	all    []float64
}

func (t *Times) add(ms float64) {
	if ms >= 0 {
		t.all = append(t.all, ms)
	}
}

func (t *Times) conclude() {
	if t.Runs = len(t.all); t.Runs == 0 {
		return
	}
	slices.Sort(t.all)
	t.Median, t.Min, t.Max = t.all[t.Runs/2], t.all[0], t.all[t.Runs-1]
	if t.Runs%2 == 0 {
		t.Median = (t.Median + t.all[t.Runs/2-1]) / 2
	}
}

// String is the median with the least and the most; a dash: there were none.
func (t Times) String() string {
	if t.Runs == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f [%.0f–%.0f]", t.Median, t.Min, t.Max)
}

// job is one run.
type job struct {
	cell int
	sc   *scenarios.Scenario
	seed uint64
}

// Run runs all rounds. The error is the context's, or says which pair cannot be.
func (b *Bench) Run(ctx context.Context) (*Result, error) {
	began := time.Now()
	res := &Result{Schema: 1, Fabric: b.Fabric.Name(), Rounds: b.Rounds, RTT: float64(roundTrip.Milliseconds())}
	var jobs []job
	for i, x := range b.Sides {
		for _, y := range b.Sides[i:] { // the other order is the same pair
			for _, s := range b.Stacks {
				sc, expected, err := s.template.Cell(x, y)
				if err != nil {
					return nil, err
				}
				sc.ID = fmt.Sprintf("%s, %s", sc.ID, s.Name)
				jobs = append(jobs, job{cell: len(res.Cells), sc: sc})
				res.Cells = append(res.Cells, Cell{
					A: x.Name, B: y.Name, Stack: s.Name, Expected: scenarios.Path(expected.Path),
					ours: s.Ours, classic: b.Classic, paths: map[scenarios.Path]int{},
				})
			}
		}
	}
	if err := b.play(ctx, jobs, res); err != nil {
		return nil, err
	}
	for i := range res.Cells {
		res.Cells[i].conclude()
	}
	res.Seconds = time.Since(began).Seconds()
	return res, nil
}

// play runs the jobs of each round, in order: stacks take turns.
func (b *Bench) play(ctx context.Context, jobs []job, res *Result) error {
	slots := runner.NewSlots(b.Parallel)
	flight := make(chan struct{}, b.Parallel)
	var mu sync.Mutex
	var wg sync.WaitGroup
	done := 0
	for round := range b.Rounds {
		for _, j := range jobs {
			j.seed = b.Seed + uint64(round)
			select {
			case flight <- struct{}{}:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				break
			}
			wg.Go(func() {
				defer func() { <-flight }()
				r := runner.Runner{Fabric: b.Fabric, Path: b.Path, Seed: j.seed, Slots: slots, SkipControls: true, Rest: rest}
				outcome, err := r.Run(ctx, j.sc)
				if err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				res.Cells[j.cell].add(outcome)
				if done++; b.Done != nil {
					b.Done(done, len(jobs)*b.Rounds)
				}
			})
		}
	}
	wg.Wait()
	return ctx.Err()
}

func (c *Cell) add(r *scenarios.Result) {
	if r.Verdict == scenarios.Broken {
		c.Failed++
		c.Reason = cmp.Or(c.Reason, r.Reason)
		return
	}
	c.paths[r.Observed.Path]++
	c.FirstByte.add(r.Observed.TimeToFirstByteMS)
	c.Direct.add(r.Observed.TimeToDirectMS)
}

func (c *Cell) conclude() {
	most := 0
	for _, p := range []scenarios.Path{scenarios.Direct, scenarios.Relay, scenarios.Mixed, scenarios.None} {
		if n := c.paths[p]; n > most {
			c.Path, most = p, n
		}
	}
	c.FirstByte.conclude()
	c.Direct.conclude()
	if !c.ours {
		return
	}
	bar := DirectBar
	if c.classic {
		bar = ClassicBar
	}
	c.Late = append(over("first byte", c.FirstByte, FirstByteBar), c.Late...)
	if c.Expected == scenarios.Direct {
		c.Late = append(c.Late, over("direct", c.Direct, bar)...)
	}
}

func over(what string, t Times, bar float64) []string {
	rtt := float64(roundTrip.Milliseconds())
	switch {
	case t.Runs == 0:
		return []string{what + ": never"}
	case t.Median > bar*rtt:
		return []string{fmt.Sprintf("%s: %.2f round trips, at most %.1f", what, t.Median/rtt, bar)}
	}
	return nil
}

// OK says that ours met all bars, by the expected paths, and no run failed.
func (r *Result) OK() bool {
	return !slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Failed > 0 || c.ours && (len(c.Late) > 0 || c.Path != c.Expected) })
}

// WriteJSON writes the result for programs.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes a table: a line for each pair and stack, and the medians of all
// pairs together.
func (r *Result) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "PAIR\tSTACK\tPATH\tFIRST BYTE ms\tDIRECT ms\tROUND TRIPS\t\n")
	var names []string
	medians := map[string][2][]float64{}
	for _, c := range r.Cells {
		note := strings.Join(c.Late, "; ")
		if c.ours && note == "" {
			note = "✓"
		}
		if c.Failed > 0 {
			note = fmt.Sprintf("%d failed: %s", c.Failed, c.Reason)
		}
		fmt.Fprintf(table, "%s × %s\t%s\t%s\t%v\t%v\t%s\t%s\n", c.A, c.B, c.Stack, c.Path, c.FirstByte, c.Direct, r.trips(c), note)
		if !slices.Contains(names, c.Stack) {
			names = append(names, c.Stack)
		}
		m := medians[c.Stack]
		m[0], m[1] = append(m[0], c.FirstByte.all...), append(m[1], c.Direct.all...)
		medians[c.Stack] = m
	}
	for _, name := range names {
		first, direct := Times{all: medians[name][0]}, Times{all: medians[name][1]}
		first.conclude()
		direct.conclude()
		fmt.Fprintf(table, "all pairs\t%s\t\t%v\t%v\t%s\t\n", name, first, direct, r.trips(Cell{FirstByte: first, Direct: direct}))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d rounds on %s, round trip %.0f ms between the peers, half of it to the servers; medians [least–most]; %.0f s\n",
		r.Rounds, r.Fabric, r.RTT, r.Seconds)
	return err
}

// trips are the medians in round trips.
func (r *Result) trips(c Cell) string {
	one := func(t Times) string {
		if t.Runs == 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f", math.Round(t.Median/r.RTT*100)/100)
	}
	return one(c.FirstByte) + " / " + one(c.Direct)
}
