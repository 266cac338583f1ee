package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"p2pmodel/ci/bench/measure"
	"p2pmodel/ci/bench/network"
	"p2pmodel/ci/bench/relay"
)

// relayFlags are the command line of bench relay.
type relayFlags struct {
	run           relay.Run
	sizes, bursts []int
	ways, systems []string
	without       []string
	report        string // folder
	baseline      string
}

func newRelayCommand() *cobra.Command {
	var f relayFlags
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Measure relays: ours, coturn, pion/turn, and forwarders as the ceiling",
		Long: `Measure relays beside each other, and forwarders that do nothing but forward: how many
datagrams a second each carries on one processor, in what processor time, what it loses
and how long datagrams take at 70 % of that, and what an allocation costs in memory.

The load has another processor, sends bursts with UDP_SEGMENT and says when it was
itself what limited a rate. All systems have large receive buffers:
net.core.rmem_default is raised meanwhile. Rounds alternate; compare ratios, and
take differences below 20 % for noise. It takes root, two processors and, for coturn,
Debian's package.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.measure(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&f.sizes, "sizes", []int{120, 1200}, "payloads, in `bytes`")
	flags.IntSliceVar(&f.bursts, "bursts", []int{1, 8}, "how many datagrams of one flow follow each other")
	flags.StringSliceVar(&f.ways, "ways", []string{"up", "down"}, "up: from clients to a peer; down: from a peer to clients")
	flags.StringSliceVar(&f.systems, "systems", nil, "only these; a name's beginning is enough (default: all)")
	flags.IntVar(&f.run.Flows, "flows", 32, "`clients` with an allocation each")
	flags.IntVar(&f.run.Rounds, "rounds", 3, "how often all are measured")
	flags.DurationVar(&f.run.Each, "each", 500*time.Millisecond, "how long one measurement takes; there are three for each size, burst, system and round")
	flags.IntVar(&f.run.Window, "window", 2048, "`datagrams` on the way at once while the most is measured")
	flags.Float64Var(&f.run.CommonRate, "rate", 20000, "`datagrams` a second at which the latency of all is compared")
	flags.IntVar(&f.run.Allocations, "allocations", 0, "how many allocations to measure the memory of, e.g. 10000 (default: none)")
	flags.IntSliceVar(&f.run.Curve, "curve", nil, "at how many allocations, all active in turn, to measure what a datagram costs, e.g. 1,32,1000,10000 (default: none)")
	flags.IntVar(&f.run.SystemCPU, "system-cpu", 0, "`processor` of the system under test")
	flags.IntVar(&f.run.LoadCPU, "load-cpu", 1, "`processor` of the load")
	reportFlag(cmd, &f.report)
	flags.StringSliceVar(&f.without, "without", nil, "measure p2pmodel without these `offloads` of the kernel, too: gso, gro, off for both")
	flags.BoolVar(&f.run.Whole, "kernel", false, "measure p2pmodel with --fast-path on, too; each processor receives what comes to its side then, and all that the system's does is counted")
	flags.StringVar(&f.baseline, "baseline", "", "measure p2pmodel of this `commit`, too")
	return cmd
}

func (f *relayFlags) measure(ctx context.Context) error {
	switch {
	case runtime.NumCPU() < 2 && os.Getenv(prepared) == "":
		return usageError{fmt.Errorf("it takes two processors: one for the system, one for the load")}
	case f.run.SystemCPU == f.run.LoadCPU:
		return usageError{fmt.Errorf("--system-cpu and --load-cpu are both %d: want two processors", f.run.LoadCPU)}
	case f.run.Flows < 1 || f.run.Rounds < 1 || f.run.Each <= 0 || f.run.Window < 1 || f.run.CommonRate <= 0:
		return usageError{fmt.Errorf("--flows, --rounds, --each, --window and --rate: want more than nothing")}
	}
	for i, n := range f.run.Curve {
		if n < 1 || i > 0 && n <= f.run.Curve[i-1] {
			return usageError{fmt.Errorf("--curve: want ascending numbers of allocations, 1 at least")}
		}
	}
	dir := os.Getenv(prepared)
	if dir == "" {
		return f.prepare(ctx)
	}
	defer os.RemoveAll(dir)
	programs := f.programs(dir)
	systems, err := programs.Systems()
	if err != nil {
		return err
	}
	for _, s := range systems {
		if len(f.systems) == 0 || slices.ContainsFunc(f.systems, func(name string) bool { return strings.HasPrefix(s.Name, name) }) {
			f.run.Systems = append(f.run.Systems, s)
		}
	}
	if len(f.run.Systems) == 0 {
		return usageError{fmt.Errorf("--systems %s: none is called so", strings.Join(f.systems, ","))}
	}
	for _, way := range f.ways {
		if way != "up" && way != "down" {
			return usageError{fmt.Errorf("--ways %s: want up, down or both", way)}
		}
		for _, size := range f.sizes {
			for _, burst := range f.bursts {
				f.run.Loads = append(f.run.Loads, relay.Load{Size: size, Burst: burst, Down: way == "down"})
			}
		}
	}
	f.run.Say = func(what string) { fmt.Fprintln(os.Stderr, "bench:", what) }
	if err := enoughFiles(max(f.run.Allocations, slices.Max(append(f.run.Curve, 0)))); err != nil {
		return err
	}
	debug.SetGCPercent(400) // of the load's own
	result := relay.Result{Machine: machine(ctx, programs)}
	if err := f.run.Do(ctx, &result); err != nil {
		return err
	}
	part := result.Part()
	return finish(f.report, &part)
}

// prepared is the folder of what has been built, for the program's second life.
const prepared = "P2PMODEL_BENCH_PREPARED"

// prepare builds what is measured and starts the program once more, so that every thread
// of it keeps off the system's processor.
func (f *relayFlags) prepare(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bench-relay-")
	if err != nil {
		return err
	}
	err = f.build(ctx, f.programs(dir))
	if err == nil {
		err = f.again(dir)
	}
	return errors.Join(err, os.RemoveAll(dir)) // it came back: it failed
}

func (f *relayFlags) again(dir string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := network.Pin(f.run.LoadCPU); err != nil {
		return usageError{err}
	}
	return unix.Exec(program, os.Args, append(os.Environ(), prepared+"="+dir))
}

// enoughFiles raises the limit of open files.
func enoughFiles(n int) error {
	want := uint64(n + 1000)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= want {
		return nil
	}
	limit.Cur, limit.Max = want, max(limit.Max, want)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("%d open files for --allocations: %w", want, err)
	}
	return nil
}

// programs are those that there are, or will be once they are built.
func (f *relayFlags) programs(dir string) *relay.Programs {
	p := &relay.Programs{P2PModel: filepath.Join(dir, "p2pmodel"), PionTurn: filepath.Join(dir, "pion-turn"), Dir: dir, Without: f.without, Kernel: f.run.Whole}
	p.Bench, _ = os.Executable()
	p.Coturn, _ = exec.LookPath("turnserver")
	if f.baseline != "" {
		p.Baseline, p.BaselineName = filepath.Join(dir, "p2pmodel-baseline"), "p2pmodel at "+f.baseline
	}
	if _, err := os.Stat(p.PionTurn); os.Getenv(prepared) != "" && err != nil {
		p.PionTurn = ""
	}
	return p
}

// build builds what is measured, from the working copy.
func (f *relayFlags) build(ctx context.Context, p *relay.Programs) error {
	if p.Coturn == "" {
		fmt.Fprintln(os.Stderr, "bench: LEFT OUT: coturn (apt-get install coturn)")
	}
	if err := build(ctx, ".", "build", "-o", p.P2PModel, "./cmd/p2pmodel"); err != nil {
		return err
	}
	if err := build(ctx, ".", "-C", "scenarios/foreign/pion-turn", "build", "-o", p.PionTurn, "."); err != nil {
		fmt.Fprintln(os.Stderr, "bench: LEFT OUT: pion/turn:", err)
	}
	if f.baseline == "" {
		return nil
	}
	tree := filepath.Join(p.Dir, "baseline")
	remove, err := checkOut(ctx, f.baseline, tree)
	if err != nil {
		return err
	}
	defer remove()
	return build(ctx, tree, "build", "-o", p.Baseline, "./cmd/p2pmodel")
}

// checkOut has a commit beside the working copy until remove is called.
func checkOut(ctx context.Context, commit, tree string) (remove func(), err error) {
	if err := command(ctx, ".", "git", "worktree", "add", "--detach", tree, commit); err != nil {
		return nil, usageError{fmt.Errorf("--baseline: %w", err)}
	}
	return func() {
		_ = command(context.WithoutCancel(ctx), ".", "git", "worktree", "remove", "--force", tree)
	}, nil
}

func build(ctx context.Context, dir string, args ...string) error {
	return command(ctx, dir, "./ci/go", args...)
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func machine(ctx context.Context, p *relay.Programs) measure.Machine {
	m := measure.ThisMachine(ctx)
	if p.Coturn != "" {
		if out, err := exec.CommandContext(ctx, p.Coturn, "--version").CombinedOutput(); err == nil {
			lines := strings.Fields(string(out))
			if len(lines) > 0 {
				m.Versions["coturn"] = lines[len(lines)-1]
			}
		}
	}
	if out, err := exec.CommandContext(ctx, "./ci/go", "-C", "scenarios/foreign/pion-turn", "list", "-m", "-f", "{{.Version}}", "github.com/pion/turn/v5").Output(); err == nil {
		m.Versions["pion/turn"] = strings.TrimSpace(string(out))
	}
	return m
}
