package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/agreement"
	"p2pmodel/scenarios/grid"
	"p2pmodel/scenarios/report"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// agreeFlags are the flags of natlab agree.
type agreeFlags struct {
	axes, classic bool
	seed          uint64
	seeds         int
	parallel      int
	realTime      bool
	skipControls  bool
	format        string
	report        string
}

func newAgreeCommand() *cobra.Command {
	f := &agreeFlags{}
	cmd := &cobra.Command{
		Use:   "agree [ID|FILE …]",
		Short: "Run scenarios on both fabrics, and compare what came of them",
		Long: `Run scenarios on the kernel and in virtual time with the same seeds, and compare
verdicts, the path of each phase, pair and control, and times to the first payload
and to the first that went direct. Without arguments: all of the catalogue that runs
on both.

Of a run that is broken on the kernel, as on a machine that is too busy, nothing can
be said: it is told, and not compared. In virtual time broken is a disagreement.

Exit status: 0 all runs agree in verdict and path; 1 some do not; 2 usage, bad
input, or a machine that cannot.`,
		Example: `  natlab agree                        # the catalogue, three seeds each
  natlab agree TC-01 TC-06 --seeds 100 --report out
  natlab agree --axes --seeds 1       # all pairs of mapping and filtering`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := f.prepare(args)
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
	fl.BoolVar(&f.axes, "axes", false, "the grid of all pairs of mapping and filtering, 9 × 9, instead of scenarios")
	fl.BoolVar(&f.classic, "classic", false, "the grid of the four names of RFC 3489, 4 × 4")
	fl.Uint64Var(&f.seed, "seed", 1, "the first seed of keys, payload, random ports and losses")
	fl.IntVar(&f.seeds, "seeds", 3, "how many seeds each scenario is run with")
	fl.IntVar(&f.parallel, "parallel", 3*runtime.NumCPU(), "how many labs of the kernel stand at once")
	fl.Lookup("parallel").DefValue = "3 for each processor"
	fl.BoolVar(&f.realTime, "real-time", false, "NAT timeouts as the files have them instead of scaled to seconds")
	fl.BoolVar(&f.skipControls, "skip-controls", false, "run without controls")
	fl.StringVar(&f.format, "format", "text", "text, json or csv, on standard output")
	fl.StringVar(&f.report, "report", "", "write a page, JSON and CSV to this `directory`")
	return cmd
}

// prepare checks everything before anything is built.
func (f *agreeFlags) prepare(args []string) ([]*scenarios.Scenario, error) {
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !slices.Contains([]string{"text", "json", "csv"}, f.format) {
		fail("--format is text, json or csv, not %q", f.format)
	}
	if f.seeds < 1 || f.seeds > maxRepeat {
		fail("--seeds must be 1 to %d, not %d", maxRepeat, f.seeds)
	}
	if f.parallel < 1 {
		fail("--parallel must be at least 1, not %d", f.parallel)
	}
	if f.report != "" {
		if err := report.Writable(f.report); err != nil {
			fail("--report: %w", err)
		}
	}
	list, err := f.scenarios(args)
	if err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return list, f.runnable(list)
}

// scenarios are those that are compared.
func (f *agreeFlags) scenarios(args []string) ([]*scenarios.Scenario, error) {
	switch {
	case (f.axes || f.classic) && len(args) > 0 || f.axes && f.classic:
		return nil, errors.New("--axes, --classic and a list of scenarios exclude each other")
	case f.axes:
		return cells(grid.Axes())
	case f.classic:
		return cells(grid.Classic())
	}
	list, err := loadAll(args)
	if len(args) == 0 {
		list = slices.DeleteFunc(slices.Clone(list), func(sc *scenarios.Scenario) bool { return fabricName(virtualFabric).runnable(sc) != nil })
	}
	return list, err
}

// cells are the scenarios of a grid's cells.
func cells(sides []grid.Side) (list []*scenarios.Scenario, err error) {
	template, err := grid.DefaultTemplate()
	if err != nil {
		return nil, err
	}
	for _, a := range sides {
		for _, b := range sides {
			sc, _, err := template.Cell(a, b)
			if err != nil {
				return nil, err
			}
			list = append(list, sc)
		}
	}
	return list, nil
}

// runnable makes sure that both fabrics run the scenarios.
func (f *agreeFlags) runnable(list []*scenarios.Scenario) error {
	var errs []error
	for _, name := range []string{kernelFabric, virtualFabric} {
		run := runFlags{fabric: fabricName(name)}
		_, err := run.withPrograms(list, false, io.Discard)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (f *agreeFlags) run(ctx context.Context, list []*scenarios.Scenario, stdout, stderr io.Writer) error {
	reference, other := fabricName(kernelFabric).on(""), fabricName(virtualFabric).on("")
	for _, sc := range list {
		if err := fabricName(kernelFabric).fits(sc.Lab); err != nil {
			return fmt.Errorf("%s: %w", sc.ID, err)
		}
	}
	show := &agreeShow{w: stderr, mute: f.format != "text", total: len(list) * f.seeds}
	c := &agreement.Comparison{
		Fabrics: [2]sim.Fabric{reference, other}, Scenarios: list, Seed: f.seed, Seeds: f.seeds, Parallel: f.parallel,
		RealTime: f.realTime, SkipControls: f.skipControls, Version: version(), Done: show.done,
	}
	res, err := c.Run(ctx)
	show.close()
	if err != nil {
		return err
	}
	err = tell(res, f.format, f.report, stdout, func(reported bool) {
		_ = res.Table(stdout)
		fmt.Fprintf(stdout, "\n%s, %.1f s\n", res.Summary(), res.DurationMS/1000)
		if reported {
			fmt.Fprintf(stdout, "report: %s\n", report.Index(f.report))
		}
	})
	if err == nil && !res.OK() {
		return errUnexpected
	}
	return err
}

// agreeShow tells of what does not agree while a comparison runs, and on a terminal
// how far it is.
type agreeShow struct {
	w            io.Writer
	mute         bool
	ended, total int
}

func (s *agreeShow) done(sc *scenarios.Scenario, seed uint64, differences []agreement.Difference) {
	s.ended++
	tty := screen(s.w)
	if tty != nil {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
	if len(differences) > 0 && (!s.mute || tty != nil) {
		fmt.Fprintf(s.w, "✗ %s, seed %d: %v\n", sc.ID, seed, differences)
	}
	if tty != nil {
		fmt.Fprint(s.w, fitted(tty, fmt.Sprintf("%d of %d pairs of runs", s.ended, s.total)))
	}
}

func (s *agreeShow) close() {
	if screen(s.w) != nil {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}
