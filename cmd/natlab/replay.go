package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/capsule"
	"p2pmodel/scenarios/report"
)

// noCapsules is the value of --capsules for none at all.
const noCapsules = "none"

// replays are the capsules among what is run, by their scenarios.
type replays map[*scenarios.Scenario]*capsule.Capsule

// adopt takes from capsules how their scenarios were run, where no flag says it.
func (f *runFlags) adopt(list []*scenarios.Scenario, from replays, given *pflag.FlagSet) error {
	f.replays = from
	if !given.Changed("seed") {
		f.seeds = map[*scenarios.Scenario]uint64{}
		for sc, c := range from {
			f.seeds[sc] = c.Seed
		}
	}
	return errors.Join(
		f.agreeOnFabric(list, given),
		f.agree(list, given, "real-time", &f.realTime, func(c *capsule.Capsule) bool { return c.RealTime }),
		f.agree(list, given, "skip-controls", &f.skipControls, func(c *capsule.Capsule) bool { return c.SkipControls }),
	)
}

// agree sets a flag that holds for all scenarios of a run to what the capsules
// among them have.
func (f *runFlags) agree(list []*scenarios.Scenario, given *pflag.FlagSet, flag string, value *bool, has func(*capsule.Capsule) bool) error {
	if given.Changed(flag) {
		return nil
	}
	first := true
	for _, sc := range list {
		want := false
		if c := f.replays[sc]; c != nil {
			want = has(c)
		}
		if !first && want != *value {
			return fmt.Errorf("some of these were run with --%s and others without: run them apart, or say --%[1]s or --%[1]s=false for all", flag)
		}
		*value, first = want, false
	}
	return nil
}

// agreeOnFabric is agree for the fabric.
func (f *runFlags) agreeOnFabric(list []*scenarios.Scenario, given *pflag.FlagSet) error {
	if given.Changed("fabric") {
		return nil
	}
	for i, sc := range list {
		want := string(defaultFabric())
		if c := f.replays[sc]; c != nil {
			want = c.Fabric
		}
		if i > 0 && want != f.fabric.String() {
			return errors.New("some of these were run on the virtual fabric and others on the kernel's: run them apart, or say --fabric for all")
		}
		if err := f.fabric.Set(want); err != nil {
			return fmt.Errorf("the capsule of %s ran on fabric %q, which this natlab does not have: %w", sc.ID, want, err)
		}
	}
	return nil
}

// seedOf is the seed of a scenario's first round.
func (f *runFlags) seedOf(sc *scenarios.Scenario) uint64 {
	if seed, own := f.seeds[sc]; own {
		return seed
	}
	return f.seed
}

// capsuleDir is where capsules go; "": nowhere. Who runs a capsule has one already.
func (f *runFlags) capsuleDir(sc *scenarios.Scenario) string {
	switch {
	case f.capsules == noCapsules:
		return ""
	case f.capsules != "":
		return f.capsules
	case f.report != "":
		return f.report
	case f.replays[sc] != nil:
		return ""
	}
	return "."
}

// checkCapsules finds what is wrong with where capsules go.
func (f *runFlags) checkCapsules() error {
	if f.capsules != "" && f.capsules != noCapsules {
		if err := report.Writable(f.capsules); err != nil {
			return fmt.Errorf("--capsules: %w", err)
		}
	}
	for sc, c := range f.replays {
		from, err1 := os.Stat(filepath.Dir(c.Path))
		to, err2 := os.Stat(f.capsuleDir(sc))
		if err1 == nil && err2 == nil && os.SameFile(from, to) {
			return fmt.Errorf("what comes of %s would be written over it: choose another folder than %s", c.Path, f.capsuleDir(sc))
		}
	}
	return nil
}

// pack leaves the capsule of a result that is not as expected. That it cannot
// be written changes no verdict.
func (c *campaign) pack(res *scenarios.Result) {
	dir := c.flags.capsuleDir(res.Scenario)
	if dir == "" {
		return
	}
	c.packing.Lock() // a capsule at a time: each takes memory for its captures
	defer c.packing.Unlock()
	err := capsule.Leave(dir, c.flags.report, res, capsule.Origin{
		Name: capsule.Name(res.ID, res.Seed, c.flags.repeat > 1), Fabric: c.flags.fabric.String(),
		RealTime: c.flags.realTime, SkipControls: c.flags.skipControls,
		Made: time.Now(), Versions: capsule.Here(version()),
	})
	if err != nil {
		c.live.say(fmt.Sprintf("natlab: the capsule of %s was not written: %v\n", res.ID, err))
	}
}

// tellVersions says before the run how what a capsule was made by differs from what
// is here.
func (f *runFlags) tellVersions(list []*scenarios.Scenario, w io.Writer) {
	for _, sc := range list {
		c := f.replays[sc]
		if c == nil {
			continue
		}
		here := capsule.Here(version())
		if c.Versions.Natlab == "" { // the suite made it, which knows of none
			here.Natlab = ""
		}
		if c.Versions != here {
			fmt.Fprintf(w, "%s was made by %s; this is %s\n", c.Path, c.Versions, here)
		}
	}
}

// tellCapsules says which capsules were left, and whether those that were run came
// to the same verdict as before.
func (f *runFlags) tellCapsules(rep *scenarios.Report, w io.Writer) {
	for _, res := range rep.Scenarios {
		if res.Capsule == "" {
			continue
		}
		fmt.Fprintf(w, "capsule: %s\n", capsule.Path(f.report, res))
	}
	again, runs := map[*scenarios.Scenario]int{}, map[*scenarios.Scenario]int{}
	var order []*scenarios.Scenario
	for _, res := range rep.Scenarios {
		c := f.replays[res.Scenario]
		if c == nil {
			continue
		}
		if runs[res.Scenario]++; runs[res.Scenario] == 1 {
			order = append(order, res.Scenario)
		}
		if res.Verdict == c.Verdict {
			again[res.Scenario]++
		}
	}
	for _, sc := range order {
		c := f.replays[sc]
		switch n, of := again[sc], runs[sc]; {
		case of > 1:
			fmt.Fprintf(w, "%s: %s again in %d of %d runs\n", c.Path, c.Verdict, n, of)
		case n == 1:
			fmt.Fprintf(w, "%s: %s again\n", c.Path, c.Verdict)
		default:
			fmt.Fprintf(w, "%s: %s when it was made, and not now\n", c.Path, c.Verdict)
		}
	}
}
