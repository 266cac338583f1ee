package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// runFlags are the flags of natlab run.
type runFlags struct {
	report       string
	parallel     int
	seed         uint64
	repeat       int
	keep         bool
	format       string
	realTime     bool
	skipControls bool
}

func newRunCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [ID|FILE …]",
		Short: "Run scenarios: the whole catalogue, or those named",
		Long: `Run scenarios of the catalogue by their ids, or scenario files by their paths.
Every scenario runs with its controls, each in a lab of its own.`,
		Example: `  natlab run                       # the whole catalogue
  natlab run TC-03 --report out    # one scenario, with a report in out/
  natlab run my-nat.yaml --keep    # leave the lab standing if it fails
  natlab run TC-02 --repeat 50     # fifty times, with fifty seeds`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			list, err := loadAll(args)
			if err != nil {
				return err
			}
			if err := kernel.Enter(); err != nil {
				return err
			}
			return f.run(cmd.Context(), list, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.report, "report", "", "write the report (HTML, JSON, JUnit, Markdown, captures) to this `directory`")
	fl.IntVar(&f.parallel, "parallel", 3*runtime.NumCPU(), "how many labs stand at once")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of keys, payload, random ports and losses")
	fl.IntVar(&f.repeat, "repeat", 1, "run everything so many times, each with the next seed")
	fl.BoolVar(&f.keep, "keep", false, "leave the lab of a failed scenario standing, and say how to enter it")
	fl.StringVar(&f.format, "format", "text", "text, or json: results.json on standard output")
	fl.BoolVar(&f.realTime, "real-time", false, "NAT timeouts as the files have them (30 s and more) instead of scaled to seconds")
	fl.BoolVar(&f.skipControls, "skip-controls", false, "run without controls: faster, and nothing is proved")
	return cmd
}

func (f runFlags) check() error {
	switch {
	case f.format != "text" && f.format != "json":
		return fmt.Errorf("--format is text or json, not %q", f.format)
	case f.parallel < 1:
		return fmt.Errorf("--parallel must be at least 1")
	case f.repeat < 1:
		return fmt.Errorf("--repeat must be at least 1")
	case f.keep && f.parallel > 1 && f.repeat > 1:
		return fmt.Errorf("--keep waits at the first failure; use it without --repeat")
	}
	return nil
}

// run runs the scenarios and prints the closing table.
func (f runFlags) run(ctx context.Context, list []*scenarios.Scenario, stdout, stderr io.Writer) error {
	live := newLive(stderr, f.format == "json")
	rep := &scenarios.Report{
		Schema: 1, Fabric: "kernel", Seed: f.seed, Version: version(), Started: time.Now(),
	}
	slots := runner.NewSlots(f.parallel)
	fabric := kernel.Fabric{}
	keeper := newKeeper(ctx, stderr)
	for round := range f.repeat {
		results := make([]*scenarios.Result, len(list))
		errs := make([]error, len(list))
		var wg sync.WaitGroup
		for i, sc := range list {
			r := &runner.Runner{
				Fabric: fabric, Seed: f.seed + uint64(round), Slots: slots,
				RealTime: f.realTime, SkipControls: f.skipControls, Progress: live.progress,
			}
			if f.keep {
				r.Keep = keeper.keep
			}
			wg.Go(func() {
				results[i], errs[i] = r.Run(ctx, sc)
				if errs[i] == nil {
					live.done(results[i])
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			live.close()
			return context.Cause(ctx)
		}
		rep.Scenarios = append(rep.Scenarios, results...)
	}
	live.close()
	return f.finish(rep, stdout, stderr)
}

// finish writes the report and the closing table, and judges the whole.
func (f runFlags) finish(rep *scenarios.Report, stdout, stderr io.Writer) error {
	if f.report != "" {
		if err := report.Write(f.report, rep); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if f.format == "json" {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(rep); err != nil {
			return err
		}
	} else {
		report.Table(stdout, rep, terminal(stdout))
		if f.report != "" {
			fmt.Fprintf(stdout, "\nreport: %s\n", report.Index(f.report))
		}
	}
	for _, res := range rep.Scenarios {
		if res.Verdict != scenarios.Expected {
			return errUnexpected
		}
	}
	return nil
}

// load finds a scenario by id in the catalogue, or reads it from a file.
func load(name string) (*scenarios.Scenario, error) {
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		return scenarios.Load(name)
	}
	sc, err := scenarios.Find(name)
	if err != nil {
		return nil, fmt.Errorf("%w, and no file of that name", err)
	}
	return sc, nil
}

// loadAll loads the named scenarios, or the whole catalogue; all that is wrong
// with any of them is in the error.
func loadAll(names []string) ([]*scenarios.Scenario, error) {
	if len(names) == 0 {
		return scenarios.Catalogue()
	}
	var list []*scenarios.Scenario
	var errs []error
	for _, name := range names {
		sc, err := load(name)
		list, errs = append(list, sc), append(errs, err)
	}
	return list, errors.Join(errs...)
}

// keeper leaves failed labs standing until the user has seen enough.
type keeper struct {
	ctx context.Context
	w   io.Writer
	mu  sync.Mutex // one lab at a time
}

func newKeeper(ctx context.Context, w io.Writer) *keeper { return &keeper{ctx: ctx, w: w} }

func (k *keeper) keep(sc *scenarios.Scenario, lab sim.Network, verdict scenarios.Verdict) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fmt.Fprintf(k.w, "\n%s is %s; its lab stands until Ctrl-C. To enter a node:\n", sc.ID, verdict)
	for _, line := range kernel.HowToEnter(lab) {
		fmt.Fprintf(k.w, "  %s\n", line)
	}
	<-k.ctx.Done()
}
