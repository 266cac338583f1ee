package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/explore"
	"p2pmodel/scenarios/report"
	"p2pmodel/sim/document"
	"p2pmodel/sim/kernel"
)

// exploreFlags are the flags of natlab explore.
type exploreFlags struct {
	fabric   fabricName
	runs     int
	seed     uint64
	limit    time.Duration
	parallel int
	out      string
	json     bool
	asIs     bool

	last, outage, delay time.Duration
	most                int
	loss, rate          string
	kinds               []string
}

// maxRuns bounds the runs of one exploration.
const maxRuns = 10_000_000

func newExploreCommand() *cobra.Command {
	f := &exploreFlags{}
	cmd := &cobra.Command{
		Use:   "explore SCENARIO",
		Short: "Look for disturbances under which a scenario's peers break a promise",
		Long: `Schedules of disturbances are drawn and run: losses, delays, cuts, NATs that
reboot or give other ports, servers that die, handovers, a stranger who plays
packets again. When a schedule is over and the network is whole again, each pair
has to have the path that its NATs allow, under the one session that it had; and
nobody may have got a datagram twice, kept more than the schedule explains, or
answered a stranger with more bytes than that one sent.

The scenario gives the network and who connects; its phases, events and controls
are left out. A schedule that breaks something is shrunk, and written as a scenario
file that runs it again. docs/explore.md has the invariants and their bounds.

Exit status: 0 nothing was broken; 1 something was; 2 bad input.`,
		Example: `  natlab explore TC-01 --runs 1000
  natlab explore my.yaml --seed 7 --kinds loss,rebind --last 30s --out cases
  natlab explore --as-is --seed 4711 cases/path-1.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := f.prepare(cmd, args[0])
			if err != nil {
				return err
			}
			if err := f.fabric.enter(); err != nil {
				return err
			}
			return f.run(cmd.Context(), x, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	b := scenarios.DefaultBounds()
	fl := cmd.Flags()
	fabricFlag(fl, &f.fabric)
	f.fabric = fabricName(virtualFabric)
	fl.Lookup("fabric").DefValue = virtualFabric
	fl.IntVar(&f.runs, "runs", 1000, "how many schedules to run")
	fl.Uint64Var(&f.seed, "seed", 1, "what draws them")
	fl.DurationVar(&f.limit, "time", 0, "end after so long, with what was found until then; 0: when all have run")
	fl.IntVar(&f.parallel, "parallel", 0, "how many to run at once; 0: as many as there are processors")
	fl.StringVar(&f.out, "out", "", "write cases to this `directory`; without it they are printed only")
	fl.BoolVar(&f.json, "json", false, "print the outcome as JSON")
	fl.BoolVar(&f.asIs, "as-is", false, "run the scenario once as it stands, with this seed, and look at the invariants")
	fl.DurationVar(&f.last, "last", b.Last, "the time in which disturbances begin")
	fl.IntVar(&f.most, "most", b.Most, "how many disturbances there are at most")
	fl.DurationVar(&f.outage, "outage", b.Outage, "how long one lasts at most")
	fl.StringVar(&f.loss, "loss", document.FormatProbability(b.Loss), "the largest `share` of packets that a link loses")
	fl.DurationVar(&f.delay, "delay", b.Delay, "the longest delay that a link gets besides its own")
	fl.StringVar(&f.rate, "rate", document.FormatRate(b.Rate), "the lowest `rate` that a link gets")
	fl.StringSliceVar(&f.kinds, "kinds", nil, "what may be done: "+strings.Join(scenarios.DisturbanceWords(), ", ")+" (default all)")
	return cmd
}

// drawing are the flags that only what is drawn has a use for.
var drawing = []string{"runs", "time", "out", "last", "most", "outage", "delay", "loss", "rate", "kinds", "parallel"}

// prepare checks everything before anything is built. Flags that are given override
// what the scenario's explore: says.
func (f *exploreFlags) prepare(cmd *cobra.Command, name string) (*explore.Explorer, error) {
	sc, err := load(name)
	if err != nil {
		return nil, err
	}
	b := scenarios.DefaultBounds()
	if sc.Explore != nil {
		b = *sc.Explore
	}
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	given := cmd.Flags().Changed
	if given("last") {
		b.Last = f.last
	}
	if given("most") {
		b.Most = f.most
	}
	if given("outage") {
		b.Outage = f.outage
	}
	if given("delay") {
		b.Delay = f.delay
	}
	if given("loss") {
		var ok bool
		if b.Loss, ok = document.ParseProbability(f.loss); !ok {
			fail("--loss: want a share, as 20%% or 0.2, got %q", f.loss)
		}
	}
	if given("rate") {
		var ok bool
		if b.Rate, ok = document.ParseRate(f.rate); !ok {
			fail("--rate: want a rate, as 64kbit, got %q", f.rate)
		}
	}
	if given("kinds") {
		b.Kinds = nil
		words := scenarios.DisturbanceWords()
		for _, k := range f.kinds {
			if !slices.Contains(words, k) {
				fail("--kinds: no disturbance %q%s", k, document.Suggest(k, words))
			}
			b.Kinds = append(b.Kinds, scenarios.Disturbance(k))
		}
	}
	if f.runs < 1 || f.runs > maxRuns {
		fail("--runs must be 1 to %d, not %d", maxRuns, f.runs)
	}
	if f.parallel < 0 || f.parallel > 1000 {
		fail("--parallel must be 0 to 1000, not %d", f.parallel)
	}
	if f.limit < 0 {
		fail("--time must not be negative, and is %v", f.limit)
	}
	if f.out != "" {
		if err := report.Writable(f.out); err != nil {
			fail("--out: %w", err)
		}
	}
	x := &explore.Explorer{
		Scenario: sc, Fabric: f.fabric.on(kernel.WireLinks), Bounds: b, Runs: f.runs, Seed: f.seed, Workers: f.parallel,
	}
	if f.asIs {
		for _, name := range drawing {
			if given(name) {
				fail("--%s says what is drawn, and --as-is draws nothing: leave one of them out", name)
			}
		}
	}
	if len(errs) == 0 {
		if err := x.Check(); err != nil {
			errs = append(errs, err)
		} else if err := f.fabric.runnable(sc); err != nil {
			errs = append(errs, err)
		}
	}
	return x, errors.Join(errs...)
}

// garbagePercent is GOGC of an exploration.
const garbagePercent = 400

func (f *exploreFlags) run(ctx context.Context, x *explore.Explorer, stdout, stderr io.Writer) error {
	if f.asIs {
		return f.once(ctx, x, stdout)
	}
	if f.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.limit)
		defer cancel()
	}
	// A run is a few megabytes that are garbage at once: who collects it less often has a
	// quarter more time for runs.
	defer debug.SetGCPercent(debug.SetGCPercent(garbagePercent))
	clear := func() {}
	if t := screen(stderr); t != nil {
		began := time.Now()
		clear = func() { fmt.Fprint(stderr, "\r\x1b[K") }
		x.Progress = func(ended, broken int) {
			clear()
			fmt.Fprint(stderr, fitted(t, progressLine(x.Scenario.ID, ended, x.Runs, broken, time.Since(began))))
		}
	}
	r, err := x.Run(ctx)
	clear()
	if err != nil {
		return err
	}
	r.Version = version()
	if err := writeCases(f.out, r); err != nil {
		return err
	}
	if f.json {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		err = out.Encode(r)
	} else {
		_, err = fmt.Fprint(stdout, r)
		for _, c := range r.Cases {
			if c.File == "" && c.Shrunk && err == nil {
				_, err = fmt.Fprintf(stdout, "\n%s", c.Text())
			}
		}
	}
	if err == nil && r.Broken > 0 {
		err = errUnexpected
	}
	return err
}

// progressWidth is how wide the bar is.
const progressWidth = 30

// progressLine is a bar, how many are done, and what was found.
func progressLine(id string, ended, all, broken int, took time.Duration) string {
	full := progressWidth * ended / max(all, 1)
	return fmt.Sprintf("%s [%s%s] %d of %d, %d broke something, %.0f/s", id, strings.Repeat("█", full),
		strings.Repeat("·", progressWidth-full), ended, all, broken, float64(ended)/max(took.Seconds(), 0.001))
}

// once looks at a scenario as it stands.
func (f *exploreFlags) once(ctx context.Context, x *explore.Explorer, stdout io.Writer) error {
	found, res, err := x.AsIs(ctx)
	if err != nil {
		return err
	}
	if f.json {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		err = out.Encode(map[string]any{"scenario": x.Scenario.ID, "seed": x.Seed, "verdict": res.Verdict, "findings": append([]explore.Finding{}, found...)})
	} else if len(found) == 0 {
		_, err = fmt.Fprintf(stdout, "%s, seed %d: no invariant was broken\n", x.Scenario.ID, x.Seed)
	} else {
		for _, one := range found {
			_, err = fmt.Fprintf(stdout, "✗ %s, seed %d: %s\n", x.Scenario.ID, x.Seed, one)
		}
	}
	if err == nil && len(found) > 0 {
		err = errUnexpected
	}
	return err
}

// writeCases writes the cases that were shrunk, each in a file.
func writeCases(dir string, r *explore.Report) error {
	if dir == "" {
		return nil
	}
	for _, c := range r.Cases {
		if !c.Shrunk {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		c.File = filepath.Join(dir, fmt.Sprintf("%s-%s-%d.yaml", strings.ToLower(r.Scenario), c.Findings[0].Invariant, c.Run))
		if err := os.WriteFile(c.File, c.Text(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
