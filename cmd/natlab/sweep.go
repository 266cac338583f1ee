package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/nat"
	"p2pmodel/scenarios/grid"
	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/sweep"
	"p2pmodel/sim/kernel"
)

// sweepFlags are the flags of natlab sweep.
type sweepFlags struct {
	rtt            time.Duration
	steps          int
	trials, probes int
	seed           uint64
	format, report string
}

func newSweepCommand() *cobra.Command {
	f := &sweepFlags{}
	cmd := &cobra.Command{
		Use:   "sweep [BEHAVIOUR [BEHAVIOUR]]",
		Short: "Measure how punching depends on whose packet comes first",
		Long: `Two hosts behind NATs send each other probes, the second one later by an offset
that goes from −RTT to +RTT. What came of it is plotted over the offset, beside what
the model says. Without arguments: a port-restricted cone, and Linux's masquerade
with each policy for packets that nobody expects, in front of the second host.`,
		Example: `  natlab sweep
  natlab sweep linux,early-inbound=accept port-restricted-cone --report out
  natlab sweep full-cone symmetric --rtt 200ms --steps 41`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.prepare(args)
			if err != nil {
				return err
			}
			if err := kernel.Enter(); err != nil {
				return err
			}
			return f.run(cmd.Context(), s, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.DurationVar(&f.rtt, "rtt", 100*time.Millisecond, "the round-trip time between the hosts")
	fl.IntVar(&f.steps, "steps", 21, "how many offsets from −RTT to +RTT")
	fl.IntVar(&f.trials, "repeat", 10, "how many trials each offset has")
	fl.IntVar(&f.probes, "probes", 2, "how many probes each side sends, two RTT apart")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of the trials")
	fl.StringVar(&f.format, "format", "text", "text, json or csv, on standard output")
	fl.StringVar(&f.report, "report", "", "write a page with the plots, JSON and CSV to this `directory`")
	return cmd
}

// prepare checks everything before anything is built.
func (f *sweepFlags) prepare(args []string) (*sweep.Sweep, error) {
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if !slices.Contains([]string{"text", "json", "csv"}, f.format) {
		fail("--format is text, json or csv, not %q", f.format)
	}
	if f.rtt < 20*time.Millisecond || f.rtt > 2*time.Second {
		fail("--rtt must be 20ms to 2s, not %v", f.rtt)
	}
	if f.steps < 3 || f.steps > sweep.MaxSteps {
		fail("--steps must be 3 to %d, not %d", sweep.MaxSteps, f.steps)
	}
	if f.trials < 1 || f.trials > maxRepeat {
		fail("--repeat must be 1 to %d, not %d", maxRepeat, f.trials)
	}
	if f.probes < 1 || f.probes > 20 {
		fail("--probes must be 1 to 20, not %d", f.probes)
	}
	if f.report != "" {
		if err := report.Writable(f.report); err != nil {
			fail("--report: %w", err)
		}
	}
	pairs, err := sweepPairs(args)
	if err != nil {
		errs = append(errs, err)
	}
	return &sweep.Sweep{
		Pairs: pairs, RTT: f.rtt, Steps: f.steps, Trials: f.trials, Probes: f.probes, Seed: f.seed, Fabric: kernel.Fabric{},
	}, errors.Join(errs...)
}

// sweepPairs reads the pairs of NATs, or gives the usual ones.
func sweepPairs(args []string) ([][2]grid.Side, error) {
	if len(args) > 0 {
		var pair [2]grid.Side
		for i := range pair {
			text := args[min(i, len(args)-1)]
			b, err := nat.ParseBehavior(text)
			if err != nil {
				return nil, err
			}
			if b.Pooling == nat.PoolArbitrary {
				return nil, fmt.Errorf("behaviour %q: with pooling=arbitrary it is left to chance which address a probe gets, so that offsets tell nothing: say pooling=paired", text)
			}
			pair[i] = grid.Side{Name: text, Behavior: b}
		}
		return [][2]grid.Side{pair}, nil
	}
	cone, err := nat.PresetNamed("port-restricted-cone")
	if err != nil {
		return nil, err
	}
	pairs := [][2]grid.Side{{{Name: cone.Name, Behavior: cone.Behavior}, {Name: cone.Name, Behavior: cone.Behavior}}}
	for _, policy := range nat.AxisEarly.Values() {
		text := "kind=masquerade,early-inbound=" + policy
		b, err := nat.ParseBehavior(text)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, [2]grid.Side{{Name: cone.Name, Behavior: cone.Behavior}, {Name: "linux, early inbound " + policy, Behavior: b}})
	}
	return pairs, nil
}

func (f *sweepFlags) run(ctx context.Context, s *sweep.Sweep, stdout, stderr io.Writer) error {
	if t := screen(stderr); t != nil {
		ended, total := 0, len(s.Pairs)*s.Steps
		s.Done = func(pair int, _ sweep.Point) {
			ended++
			fmt.Fprint(stderr, "\r\x1b[K"+fitted(t, fmt.Sprintf("%d of %d offsets, %s ↔ %s", ended, total, s.Pairs[pair][0].Name, s.Pairs[pair][1].Name)))
		}
		defer fmt.Fprint(stderr, "\r\x1b[K")
	}
	res, err := s.Run(ctx)
	if err != nil {
		return err
	}
	res.Version = version()
	if screen(stderr) != nil {
		fmt.Fprint(stderr, "\r\x1b[K")
	}
	err = tell(res, f.format, f.report, stdout, func(reported bool) {
		fmt.Fprint(stdout, res.Text())
		if reported {
			fmt.Fprintf(stdout, "report: %s\n", report.Index(f.report))
		}
	})
	if err == nil && !res.OK() {
		return errUnexpected
	}
	return err
}
