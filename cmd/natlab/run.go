package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
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
	p2pmodel     string
	capsules     string
	links        kernel.Backend
	fabric       fabricName

	skipped []scenarios.Skipped
	replays replays
	seeds   map[*scenarios.Scenario]uint64 // of capsules; others have seed
}

// maxRepeat bounds --repeat: all results are listed in the end.
const maxRepeat = 100_000

func newRunCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [ID|FILE|CAPSULE …]",
		Short: "Run scenarios: the whole catalogue, or those named",
		Long: `Run scenarios of the catalogue by their ids, or scenario files by their paths.
Every scenario runs with its controls, each in a lab of its own.

A scenario that is not as expected leaves capsule-ID.tar.zst, with everything
that is known of it: in the report's folder, or else in the current one. A
capsule is run again like a scenario file, with the seed that it was made with.

With --fabric virtual everything runs inside natlab, in virtual time: the same
scenarios and machines, NATs of the model instead of nftables, no root, any system.
A seed then fixes everything: two runs write the same results.json. Of the whole
catalogue, scenarios with programs are skipped there, and told.

Ctrl-C takes everything down; a second one ends natlab at once, and the kernel
takes down the rest.`,
		Example: `  natlab run                       # the whole catalogue
  natlab run TC-03 --report out    # one scenario, with a report in out/
  natlab run my-nat.yaml --keep    # leave the lab standing if it fails
  natlab run TC-02 --repeat 50     # fifty times, with fifty seeds
  natlab run --fabric virtual      # in virtual time: in seconds, without root
  natlab run capsule-TC-02.tar.zst # a failure once more`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, capsules, err := loadWithCapsules(args)
			err = errors.Join(f.adopt(list, capsules, cmd.Flags()), err)
			list, missing := f.withPrograms(list, len(args) == 0, cmd.ErrOrStderr())
			if err = errors.Join(f.check(), err, missing, f.findProgram(list)); err != nil {
				return err
			}
			f.tellVersions(list, cmd.ErrOrStderr())
			if err := f.fabric.enter(); err != nil {
				return err
			}
			return (*f).run(cmd.Context(), list, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// add adds the flags to those of a command.
func (f *runFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.report, "report", "", "write the report (HTML, JSON, JUnit, Markdown, captures) to this `directory`")
	fl.StringVar(&f.capsules, "capsules", "", "write capsules of failures to this `directory`, or none (default: the report's, or the current one)")
	fl.IntVar(&f.parallel, "parallel", 3*runtime.NumCPU(), "how many labs stand at once")
	fl.Lookup("parallel").DefValue = "3 for each processor"
	fl.Uint64Var(&f.seed, "seed", 1, "seed of keys, payload, random ports and losses")
	fl.IntVar(&f.repeat, "repeat", 1, "run everything so many times, each with the next seed")
	fl.BoolVar(&f.keep, "keep", false, "leave the lab of a failed scenario standing, and say how to enter it")
	fl.StringVar(&f.format, "format", "text", "text, or json: results.json on standard output")
	fl.BoolVar(&f.realTime, "real-time", false, "NAT timeouts as the files have them (30 s and more) instead of scaled to seconds")
	fl.StringVar(&f.p2pmodel, "p2pmodel", "", "the `program` p2pmodel, for scenarios of the shard structure (default: the one beside natlab, or in the PATH)")
	linksFlag(fl, &f.links)
	fabricFlag(fl, &f.fabric)
	fl.BoolVar(&f.skipControls, "skip-controls", false, "run without controls: faster, and nothing is proved")
}

// check finds what is wrong with the flags before anything is built.
func (f runFlags) check() error {
	var errs []error
	if f.format != "text" && f.format != "json" {
		errs = append(errs, fmt.Errorf("--format is text or json, not %q", f.format))
	}
	if f.parallel < 1 {
		errs = append(errs, fmt.Errorf("--parallel must be at least 1, not %d", f.parallel))
	}
	if f.repeat < 1 || f.repeat > maxRepeat {
		errs = append(errs, fmt.Errorf("--repeat must be 1 to %d, not %d", maxRepeat, f.repeat))
	}
	if f.keep && f.repeat > 1 {
		errs = append(errs, errors.New("--keep waits at a failure for you: use it without --repeat"))
	}
	errs = append(errs, f.checkFabric())
	if f.report != "" {
		if err := report.Writable(f.report); err != nil {
			errs = append(errs, fmt.Errorf("--report: %w", err))
		}
	}
	errs = append(errs, f.checkCapsules())
	return errors.Join(errs...)
}

// checkFabric finds what the fabric has no use for.
func (f runFlags) checkFabric() error {
	if !f.fabric.virtual() {
		return nil
	}
	var errs []error
	if f.keep {
		errs = append(errs, errors.New("--keep leaves a lab standing for you to enter, and one in virtual time has nothing to enter: use --fabric kernel, or look at the report"))
	}
	if f.links != "" && f.links != kernel.WireLinks {
		errs = append(errs, errors.New("--links chooses what carries links on the kernel fabric: in virtual time the model itself does"))
	}
	return errors.Join(errs...)
}

// findProgram makes sure that there is the program that scenarios with a system
// run.
func (f *runFlags) findProgram(list []*scenarios.Scenario) error {
	i := slices.IndexFunc(list, func(sc *scenarios.Scenario) bool { return sc.System != nil })
	if i < 0 {
		return nil
	}
	if f.p2pmodel == "" {
		if own, err := os.Executable(); err == nil {
			f.p2pmodel = filepath.Join(filepath.Dir(own), "p2pmodel")
		}
		if _, err := os.Stat(f.p2pmodel); err != nil {
			f.p2pmodel = "p2pmodel"
		}
	}
	found, err := exec.LookPath(f.p2pmodel)
	if err != nil {
		return fmt.Errorf("%s runs p2pmodel: %w; make build makes it beside natlab, and --p2pmodel says where it is", list[i].ID, err)
	}
	if f.p2pmodel, err = filepath.Abs(found); err != nil {
		return err
	}
	return nil
}

// run runs the scenarios, and writes the report and the closing table.
func (f runFlags) run(ctx context.Context, list []*scenarios.Scenario, stdout, stderr io.Writer) error {
	fabric := f.fabric.on(f.links)
	for _, sc := range list {
		if err := f.fabric.fits(sc.Lab); err != nil {
			return fmt.Errorf("%s: %w", sc.ID, err)
		}
	}
	rep := &scenarios.Report{
		Schema: 1, Fabric: fabric.Name(), Seed: f.seed, Version: version(), RealTime: f.realTime, Started: fabric.Now(), Skipped: f.skipped,
	}
	if len(list) > 0 {
		rep.Seed = f.seedOf(list[0])
	}
	runs := 0
	for _, sc := range list {
		if runs++; !f.skipControls {
			runs += len(sc.Controls)
		}
	}
	live := newLive(stderr, f.format == "json", runs*f.repeat)
	c := newCampaign(f, list, live)
	var err error
	rep.Scenarios, err = c.run(ctx)
	live.close()
	if err != nil {
		return err
	}
	return f.finish(rep, stdout)
}

// finish writes the report and the closing table, and judges the whole.
func (f runFlags) finish(rep *scenarios.Report, stdout io.Writer) error {
	// What was found out is told, also where it cannot be written down.
	var unwritten error
	if f.report != "" {
		if err := report.Write(f.report, rep); err != nil {
			unwritten = fmt.Errorf("write the report: %w", err)
		}
	}
	if f.format == "json" {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(rep); err != nil {
			return errors.Join(unwritten, err)
		}
	} else {
		report.Table(stdout, rep, colorful(stdout))
		if f.report != "" && unwritten == nil {
			fmt.Fprintf(stdout, "\nreport: %s\n", report.Index(f.report))
		}
		f.tellCapsules(rep, stdout)
	}
	if unwritten != nil {
		return unwritten
	}
	for _, res := range rep.Scenarios {
		if res.Verdict != scenarios.Expected {
			return errUnexpected
		}
	}
	return nil
}
