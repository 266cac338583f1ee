package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios/connect"
	"p2pmodel/scenarios/grid"
	"p2pmodel/scenarios/runner"
)

// connectFlags are the flags of natlab connect.
type connectFlags struct {
	axes     bool
	stacks   []string
	rounds   int
	parallel int
	seed     uint64
	format   string
	fabric   fabricName
}

func newConnectCommand() *cobra.Command {
	f := &connectFlags{}
	cmd := &cobra.Command{
		Use:   "connect",
		Short: "Measure how soon two peers hear each other, ours beside pion/ice",
		Long: `Measure the time from when two peers were introduced to each other until the first
payload arrives, and until the first arrives directly, behind every pair of the four
classic NATs: our peers, and agents of pion/ice as it comes, tuned (checks each 20 ms,
no wait for better pairs but 500 ms for those over the relay), and eager (no wait at
all). Stacks take turns in each round. Links are 20 ms, so that the peers are 80 ms of
round trip from each other and 40 ms from the servers. Pion's agents are the example
pion-ice (make examples), and need the kernel fabric.

Exit status: 0 ours met all bars (first byte within 1.5 round trips, direct within 2,
or 2.5 with --axes) by the paths that the oracle expects; 1 otherwise; 2 usage, or a
machine that cannot.`,
		Example: `  natlab connect
  natlab connect --stacks ours --axes
  natlab connect --stacks ours --fabric virtual
  natlab connect --rounds 5 --format json > connect.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := f.prepare()
			if err != nil {
				return err
			}
			if err := f.fabric.enter(); err != nil {
				return err
			}
			stderr := cmd.ErrOrStderr()
			if t := screen(stderr); t != nil {
				b.Done = func(done, of int) { fmt.Fprintf(stderr, "\r%d of %d runs", done, of) }
				defer fmt.Fprintln(stderr)
			}
			res, err := b.Run(cmd.Context())
			if err != nil {
				return err
			}
			write := res.WriteText
			if f.format == "json" {
				write = res.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !res.OK() {
				return errUnexpected
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.axes, "axes", false, "all pairs of mapping and filtering instead of the classic ones")
	fl.StringSliceVar(&f.stacks, "stacks", nil, "who connects: ours, pion, pion-tuned, pion-eager (default all)")
	fl.IntVar(&f.rounds, "rounds", 3, "how often each stack meets each pair")
	fl.IntVar(&f.parallel, "parallel", 2, "how many labs stand at once: more than processors makes all of them late")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of the first round; further ones have the next")
	fl.StringVar(&f.format, "format", "text", "text or json, on standard output")
	fabricFlag(fl, &f.fabric)
	return cmd
}

// prepare checks everything before anything is built.
func (f *connectFlags) prepare() (*connect.Bench, error) {
	var errs []error
	if !slices.Contains([]string{"text", "json"}, f.format) {
		errs = append(errs, fmt.Errorf("--format is text or json, not %q", f.format))
	}
	if f.rounds < 1 || f.rounds > maxRepeat {
		errs = append(errs, fmt.Errorf("--rounds must be 1 to %d, not %d", maxRepeat, f.rounds))
	}
	if f.parallel < 1 {
		errs = append(errs, fmt.Errorf("--parallel must be at least 1, not %d", f.parallel))
	}
	stacks, err := connect.Named(f.stacks)
	if err != nil {
		errs = append(errs, fmt.Errorf("--stacks: %w", err))
	}
	for _, s := range stacks {
		err := f.fabric.runnable(s.Scenario)
		if err == nil {
			err = runner.Missing(s.Scenario, programPath())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w; --stacks ours leaves it out", s.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	sides := grid.Classic()
	if f.axes {
		sides = grid.Axes()
	}
	return &connect.Bench{
		Stacks: stacks, Sides: sides, Classic: !f.axes, Rounds: f.rounds, Fabric: f.fabric.on(""),
		Path: programPath(), Seed: f.seed, Parallel: f.parallel,
	}, nil
}
