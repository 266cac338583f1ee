package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	campaigns "p2pmodel/scenarios/campaign"
	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/trial"
)

// populationFlags are the flags of natlab campaign.
type populationFlags struct {
	list, figures bool
	trials, seed  uint64
	shard, out    string
	json          bool
	parallel      int
}

func newCampaignCommand() *cobra.Command {
	f := &populationFlags{}
	cmd := &cobra.Command{
		Use:   "campaign POPULATION",
		Short: "Say what a population of players would see, by many trials in virtual time",
		Long: `Draw pairs and rooms of players from a population, a mix of networks with weights,
and play them in virtual time, on all processors: which share is direct, relayed,
or without a path; how fast; what the relay carries, and what that costs; how far it
depends on weights that nobody knows; and how it compares with published figures.

A population is one of the catalogue (--list), or a file. Nothing is built: it needs
no root. Ctrl-C ends it with what has been played, which says that it is partial.

With --shard I/N, I from 0, it plays a part, for another machine to play the others:
natlab report merge joins them to what one run would have given, byte by byte.

Exit status: 0 all trials were played; 2 interrupted, bad input, or a trial that
could not be played.`,
		Example: `  natlab campaign --list
  natlab campaign mixed --trials 100000 --out report
  natlab campaign my-players.yaml --seed 7 --json
  natlab campaign mixed --trials 1000000 --shard 0/8 --out part-0`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.lists(cmd, args); err != nil {
				return err
			}
			switch {
			case f.list:
				return report.Narrow(cmd.OutOrStdout(), campaigns.WriteCatalogue)
			case f.figures:
				return report.Narrow(cmd.OutOrStdout(), campaigns.WriteFigures)
			}
			c, err := f.prepare(args)
			if err != nil {
				return err
			}
			return f.run(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
		ValidArgsFunction: completePopulations,
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.list, "list", false, "list the populations that come with natlab")
	fl.BoolVar(&f.figures, "figures", false, "list the published figures that populations may be compared with")
	fl.Uint64Var(&f.trials, "trials", 10_000, "how many pairs or rooms are played")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of all that is drawn")
	fl.StringVar(&f.shard, "shard", "", "play part `I/N` of the trials only, I from 0 to N-1")
	fl.StringVar(&f.out, "out", "", "write a page, JSON and CSV to this `directory`; of a part JSON alone")
	fl.BoolVar(&f.json, "json", false, "JSON on standard output, instead of text")
	fl.IntVar(&f.parallel, "parallel", 0, "how many trials are played at once; 0: one for each processor")
	return cmd
}

// lists says what stands beside --list or --figures, which play nothing.
func (f *populationFlags) lists(cmd *cobra.Command, args []string) error {
	name := "--figures"
	switch {
	case f.list:
		name = "--list"
	case !f.figures:
		return nil
	}
	beside := args
	cmd.Flags().Visit(func(g *pflag.Flag) {
		if "--"+g.Name != name {
			beside = append(beside, "--"+g.Name)
		}
	})
	if len(beside) == 0 {
		return nil
	}
	return fmt.Errorf("%s plays nothing: it goes without %s", name, strings.Join(beside, ", "))
}

// completePopulations gives the shell the names of the catalogue.
func completePopulations(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	shipped, err := campaigns.Catalogue()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []cobra.Completion
	for _, p := range shipped {
		all = append(all, cobra.CompletionWithDesc(p.ID, p.Title))
	}
	return all, cobra.ShellCompDirectiveDefault
}

// prepare checks everything before anything is played.
func (f *populationFlags) prepare(args []string) (*campaigns.Campaign, error) {
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	c := &campaigns.Campaign{Trials: f.trials, Seed: f.seed, Workers: f.parallel, Version: version()}
	if f.trials < 1 || f.trials > campaigns.MaxTrials {
		fail("--trials must be 1 to %d, not %d", campaigns.MaxTrials, f.trials)
	}
	if f.parallel < 0 {
		fail("--parallel must be at least 0, not %d", f.parallel)
	}
	if f.shard != "" {
		shard, err := parseShard(f.shard)
		if err != nil {
			fail("--shard: %w", err)
		}
		if c.Shard = shard; err == nil && f.out == "" && !f.json {
			fail("--shard: a part is for natlab report merge: say where it is kept, with --out or --json")
		}
	}
	if f.out != "" {
		if err := report.Writable(f.out); err != nil {
			fail("--out: %w", err)
		}
	}
	if len(args) == 0 {
		fail("say which population: a name of natlab campaign --list, or a file")
	} else if p, err := campaigns.Find(args[0]); err != nil {
		errs = append(errs, err)
	} else {
		c.Population = p
	}
	return c, errors.Join(errs...)
}

// parseShard reads I/N.
func parseShard(text string) (campaigns.Shard, error) {
	first, second, _ := strings.Cut(text, "/")
	i, err := strconv.ParseUint(first, 10, 32)
	n, err2 := strconv.ParseUint(second, 10, 32)
	switch {
	case err != nil || err2 != nil || n == 0:
		return campaigns.Shard{}, fmt.Errorf("want I/N, as 0/8, got %q", text)
	case n > campaigns.MaxShards:
		return campaigns.Shard{}, fmt.Errorf("at most %d shards, not %d", campaigns.MaxShards, n)
	case i >= n:
		return campaigns.Shard{}, fmt.Errorf("shards count from 0: the last of %d is %d/%d, not %s", n, n-1, n, text)
	}
	return campaigns.Shard{Index: i, Of: n}, nil
}

func (f *populationFlags) run(ctx context.Context, c *campaigns.Campaign, stdout, stderr io.Writer) error {
	show := newTrialShow(stderr, f.json)
	c.Played = show.played
	defer debug.SetGCPercent(debug.SetGCPercent(trial.GarbagePercent))
	began := time.Now()
	res, err := c.Run(ctx)
	show.close()
	if err != nil {
		return err
	}
	if err := res.Conclude(); err != nil {
		return err
	}
	if err := f.tell(res, stdout); err != nil {
		return err
	}
	if took := time.Since(began); !f.json {
		fmt.Fprintf(stdout, "\n%d trials in %s, %.0f a second\n", res.Counts.Trials, took.Round(10*time.Millisecond), float64(res.Counts.Trials)/took.Seconds())
	}
	if res.Partial {
		kept := ""
		if f.out != "" {
			kept = ", which are in " + f.out
		}
		return fmt.Errorf("interrupted: %d of its trials were played%s, marked as partial", res.Counts.Trials, kept)
	}
	return nil
}

// tell writes the result where it is to be.
func (f *populationFlags) tell(res *campaigns.Result, stdout io.Writer) error {
	return tellCampaign(res, f.out, f.json, stdout)
}

// tellCampaign writes a result into a directory, if there is one, and to standard
// output.
func tellCampaign(res *campaigns.Result, dir string, asJSON bool, stdout io.Writer) error {
	var err error
	if dir != "" {
		if err = res.Write(dir); err != nil {
			err = fmt.Errorf("write the report: %w", err)
		}
	}
	if asJSON {
		return errors.Join(err, res.WriteJSON(stdout))
	}
	err = errors.Join(err, report.Narrow(stdout, res.WriteText))
	switch {
	case dir == "" || err != nil:
	case res.Report == nil:
		fmt.Fprintf(stdout, "part: %s\n", campaigns.File(dir))
	default:
		fmt.Fprintf(stdout, "report: %s\n", report.Index(dir))
	}
	return err
}

// trialShow shows how far a campaign is: on a terminal a bar that is rewritten,
// elsewhere a line for each tenth, unless it is mute.
type trialShow struct {
	mu    sync.Mutex
	w     io.Writer
	tty   *os.File
	mute  bool
	began time.Time
	drawn time.Time
	tenth uint64
}

func newTrialShow(w io.Writer, mute bool) *trialShow {
	return &trialShow{w: w, tty: screen(w), mute: mute, began: time.Now()}
}

func (s *trialShow) played(n, of uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	took := now.Sub(s.began)
	left := time.Duration(float64(took) / float64(n) * float64(of-n)).Round(time.Second)
	rate := float64(n) / took.Seconds()
	if s.tty == nil {
		if tenth := 10 * n / of; tenth > s.tenth && !s.mute {
			s.tenth = tenth
			fmt.Fprintf(s.w, "%3d %%  %d of %d trials, %.0f a second, %v left\n", 100*n/of, n, of, rate, left)
		}
		return
	}
	if now.Sub(s.drawn) < refresh && n < of {
		return
	}
	s.drawn = now
	const cells = 24
	full := int(cells * n / of)
	text := fmt.Sprintf("%s%s %3d %%  %d of %d trials  %.0f a second  %v left",
		strings.Repeat("█", full), strings.Repeat("░", cells-full), 100*n/of, n, of, rate, left)
	fmt.Fprint(s.w, "\r\x1b[K"+fitted(s.tty, text))
}

func (s *trialShow) close() {
	if s.tty != nil {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}
