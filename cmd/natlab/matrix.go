package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/grid"
	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/runner"
)

// matrixFlags are the flags of natlab matrix.
type matrixFlags struct {
	classic, axes bool
	scenario      string
	techniques    []string
	repeat        int
	seed          uint64
	parallel      int
	format        string
	report        string
	baseline      string
	p2pmodel      string
	fabric        fabricName
}

func newMatrixCommand() *cobra.Command {
	f := &matrixFlags{}
	cmd := &cobra.Command{
		Use:   "matrix [BEHAVIOUR …]",
		Short: "Run every pair of a list of NATs, and show expected against observed",
		Long: `Run two peers behind every pair of a list of NATs: the four classic ones, all nine
pairs of mapping and filtering, or the behaviours that are named. Each NAT is
certified in each run, and the outcome of each pair stands beside what the oracle
expects of it.

The stack is our own peer, or that of a scenario with two peers behind a NAT each,
which may be programs that others wrote. With --report a heat map is written, and a
whole report for each pair.

Exit status: 0 every cell as expected (with --baseline: none worse than there);
1 otherwise; 2 usage, bad input, or a machine that cannot.`,
		Example: `  natlab matrix --classic
  natlab matrix --axes --repeat 10 --report out
  natlab matrix --axes --fabric virtual
  natlab matrix linux fritzbox symmetric,ports=random
  natlab matrix --axes --format json > baseline.json
  natlab matrix --axes --baseline baseline.json
  natlab matrix --classic --scenario my-stack.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			g, base, err := f.prepare(args)
			if err != nil {
				return err
			}
			if err := f.fabric.enter(); err != nil {
				return err
			}
			return f.run(cmd.Context(), g, base, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.classic, "classic", false, "the four names of RFC 3489: 4 × 4")
	fl.BoolVar(&f.axes, "axes", false, "all pairs of mapping and filtering: 9 × 9")
	fl.StringVar(&f.scenario, "scenario", "", "run this `scenario` (an id or a file) in every cell, with its routers' NATs replaced")
	fl.StringSliceVar(&f.techniques, "techniques", nil, "what the peers may use to reach each other, of "+strings.Join(scenarios.Techniques, ", ")+"; by default what the scenario says")
	fl.IntVar(&f.repeat, "repeat", 1, "run every pair so many times, each with the next seed")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of keys, payload, random ports and losses")
	fl.IntVar(&f.parallel, "parallel", 4*runtime.NumCPU(), "how many labs stand at once")
	fl.Lookup("parallel").DefValue = "4 for each processor"
	fl.StringVar(&f.format, "format", "text", "text, json or csv, on standard output")
	fl.StringVar(&f.report, "report", "", "write a heat map with a report for each pair, JSON and CSV to this `directory`")
	fl.StringVar(&f.baseline, "baseline", "", "compare with this `file`, which --format json has written: exit with 1 if a cell has become worse")
	fabricFlag(fl, &f.fabric)
	fl.StringVar(&f.p2pmodel, "p2pmodel", "", "the `program` p2pmodel, for scenarios of the shard structure")
	return cmd
}

// prepare checks everything before anything is built.
func (f *matrixFlags) prepare(args []string) (*grid.Grid, *grid.Result, error) {
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !slices.Contains([]string{"text", "json", "csv"}, f.format) {
		fail("--format is text, json or csv, not %q", f.format)
	}
	if f.parallel < 1 {
		fail("--parallel must be at least 1, not %d", f.parallel)
	}
	if f.repeat < 1 || f.repeat > maxRepeat {
		fail("--repeat must be 1 to %d, not %d", maxRepeat, f.repeat)
	}
	for _, t := range f.techniques {
		if !slices.Contains(scenarios.Techniques, t) {
			fail("--techniques: %q is not known; there are %s", t, strings.Join(scenarios.Techniques, ", "))
		}
	}
	if f.report != "" {
		if err := report.Writable(f.report); err != nil {
			fail("--report: %w", err)
		}
	}
	sides, err := f.sides(args)
	if err != nil {
		errs = append(errs, err)
	}
	template, err := f.template()
	if err != nil {
		errs = append(errs, err)
	}
	if template != nil && len(f.techniques) > 0 {
		template = template.With(f.techniques)
	}
	var base *grid.Result
	if f.baseline != "" {
		if base, err = readBaseline(f.baseline); err != nil {
			fail("--baseline: %w", err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	for _, a := range sides { // what cannot be built is told before
		if err := f.fabric.on("").Supports(a.Behavior); err != nil {
			return nil, nil, fmt.Errorf("behaviour %q: %w", a.Name, err)
		}
		for _, b := range sides {
			if _, _, err := template.Cell(a, b); err != nil {
				return nil, nil, err
			}
		}
	}
	return &grid.Grid{
		Template: template, Sides: sides, Fabric: f.fabric.on(""), P2PModel: f.p2pmodel, Path: programPath(),
		Seed: f.seed, Repeat: f.repeat, Parallel: f.parallel,
	}, base, nil
}

func (f *matrixFlags) sides(args []string) ([]grid.Side, error) {
	ways := 0
	for _, chosen := range []bool{f.classic, f.axes, len(args) > 0} {
		if chosen {
			ways++
		}
	}
	switch {
	case ways == 0:
		return nil, errors.New("say which NATs: --classic, --axes, or a list of behaviours, as in natlab matrix linux symmetric")
	case ways > 1:
		return nil, errors.New("--classic, --axes and a list of behaviours exclude each other")
	case f.classic:
		return grid.Classic(), nil
	case f.axes:
		return grid.Axes(), nil
	}
	return grid.Listed(args)
}

func (f *matrixFlags) template() (*grid.Template, error) {
	if f.scenario == "" {
		return grid.DefaultTemplate()
	}
	list, err := loadAll([]string{f.scenario})
	if err != nil {
		return nil, err
	}
	if err := f.fabric.runnable(list[0]); err != nil {
		return nil, fmt.Errorf("%s: %w", list[0].ID, err)
	}
	run := runFlags{p2pmodel: f.p2pmodel}
	if err := run.findProgram(list); err != nil {
		return nil, err
	}
	f.p2pmodel = run.p2pmodel
	if err := runner.Missing(list[0], programPath()); err != nil {
		return nil, err
	}
	return grid.NewTemplate(list[0])
}

func readBaseline(path string) (*grid.Result, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	base, err := grid.ReadJSON(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return base, nil
}

func (f *matrixFlags) run(ctx context.Context, g *grid.Grid, base *grid.Result, stdout, stderr io.Writer) error {
	show := newMatrixShow(stderr, g, f.format != "text")
	g.Done = show.done
	res, err := g.Run(ctx)
	show.close()
	if err != nil {
		return err
	}
	res.Version = version()
	err = tell(res, f.format, f.report, stdout, func(reported bool) { f.print(stdout, res, reported) })
	if err != nil {
		return err
	}
	if base == nil {
		if !res.OK() {
			return errUnexpected
		}
		return nil
	}
	worse, missing := res.Regressions(base)
	say := stderr
	if f.format == "text" {
		say = stdout
	}
	for _, m := range missing {
		fmt.Fprintf(say, "not compared, since it was not run: %s\n", m)
	}
	for _, w := range worse {
		fmt.Fprintf(say, "✗ worse than the baseline: %v\n", w)
	}
	if len(worse) > 0 {
		return errUnexpected
	}
	fmt.Fprintf(say, "no cell is worse than in %s\n", f.baseline)
	return nil
}

// print writes the closing table, and why cells are not as expected.
func (f *matrixFlags) print(w io.Writer, res *grid.Result, reported bool) {
	most := 120
	if t := screen(w); t != nil {
		most = width(t)
	}
	fmt.Fprint(w, res.Table(most, colorful(w)))
	for _, c := range res.Cells {
		if !c.OK() {
			fmt.Fprintf(w, "\n✗ %s × %s: %s\n", c.NameA, c.NameB, c.Reason)
		}
	}
	fmt.Fprintf(w, "\n%s, %.1f s%s\n", res.Summary(), res.DurationMS/1000, f.fabric.ofTime())
	if reported {
		fmt.Fprintf(w, "report: %s\n", report.Index(f.report))
	}
}

// matrixShow shows a grid while it fills: on a terminal a table that is rewritten,
// elsewhere a line for each run that is not as expected.
type matrixShow struct {
	mu    sync.Mutex
	w     io.Writer
	tty   *os.File
	mute  bool
	grid  grid.Result
	lines int // on the screen
	ended int
	total int
}

func newMatrixShow(w io.Writer, g *grid.Grid, mute bool) *matrixShow {
	n := len(g.Sides)
	s := &matrixShow{w: w, tty: screen(w), grid: grid.Result{Sides: g.Sides, Cells: make([]grid.Cell, n*n)}, total: n * n * g.Repeat}
	s.mute = mute && s.tty == nil
	s.draw()
	return s
}

func (s *matrixShow) done(row, column int, c grid.Cell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
	s.grid.Cells[row*len(s.grid.Sides)+column] = c
	switch {
	case s.tty != nil:
		s.draw()
	case !s.mute:
		mark := "✓"
		if !c.OK() {
			mark = "✗"
		}
		fmt.Fprintf(s.w, "%s %s × %s: expected %s, observed %s (%d of %d runs)\n", mark, c.NameA, c.NameB, c.Expected, c.Observed, s.ended, s.total)
	}
}

func (s *matrixShow) draw() {
	if s.tty == nil {
		return
	}
	s.erase()
	text := s.grid.Table(width(s.tty), colorful(s.w)) + fmt.Sprintf("%d of %d runs", s.ended, s.total)
	fmt.Fprint(s.w, text)
	s.lines = strings.Count(text, "\n")
}

func (s *matrixShow) erase() {
	if s.lines > 0 {
		fmt.Fprintf(s.w, "\r\x1b[%dA\x1b[J", s.lines)
	}
	s.lines = 0
}

func (s *matrixShow) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty != nil {
		s.erase()
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}
