package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/ci/bench/gobench"
	"p2pmodel/ci/bench/measure"
)

// goFlags are the command line of bench go.
type goFlags struct {
	folder, baseline, pattern, each string
	rounds                          int
}

func newGoCommand() *cobra.Command {
	var f goFlags
	cmd := &cobra.Command{
		Use: "go [PACKAGE-FOLDER...]", Short: "Run the Go benchmarks, beside those of another commit",
		Long: `Run the Go benchmarks of all packages, or of those in the folders, and say by benchstat what came of them.
With --baseline the benchmarks of another commit take turns with those of the working copy, and
benchstat says which differences are no accident; that takes six rounds at least.`,
		Example: `  bench go --baseline HEAD~10 --rounds 6 sim/virtual scenarios/trial`,
		RunE: func(cmd *cobra.Command, folders []string) error {
			p, err := f.measure(cmd.Context(), folders)
			if err != nil {
				return err
			}
			return finish(f.folder, p)
		},
	}
	reportFlag(cmd, &f.folder)
	flags := cmd.Flags()
	flags.StringVar(&f.baseline, "baseline", "", "run those of this `commit`, too")
	flags.StringVar(&f.pattern, "bench", ".", "which `benchmarks`, as a regular expression")
	flags.StringVar(&f.each, "each", "300ms", "how long one runs, or `N`x for so many times")
	flags.IntVar(&f.rounds, "rounds", 3, "how often each runs")
	return cmd
}

// side is a working copy with its benchmarks.
type side struct {
	name, tree string
	programs   []gobench.Program
	out        bytes.Buffer
}

func (f *goFlags) measure(ctx context.Context, folders []string) (*measure.Part, error) {
	if _, err := regexp.Compile(f.pattern); err != nil {
		return nil, usageError{fmt.Errorf("--bench: %w", err)}
	}
	if f.rounds < 1 {
		return nil, usageError{fmt.Errorf("--rounds %d: want one or more", f.rounds)}
	}
	dir, err := os.MkdirTemp("", "bench-go-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	sides := []*side{{name: "working copy", tree: "."}}
	if f.baseline != "" {
		tree := filepath.Join(dir, "baseline")
		remove, err := checkOut(ctx, f.baseline, tree)
		if err != nil {
			return nil, err
		}
		defer remove()
		sides = slices.Insert(sides, 0, &side{name: f.baseline, tree: tree})
	}
	for i, s := range sides {
		if err := s.compile(ctx, filepath.Join(dir, fmt.Sprint("side", i)), folders); err != nil {
			return nil, err
		}
	}
	p := &measure.Part{
		Name: "go", Title: "Go benchmarks", At: time.Now(), Machine: measure.ThisMachine(ctx),
		Text: fmt.Sprintf("Benchmarks of single packages, %d rounds of %s each, medians by benchstat.", f.rounds, f.each),
	}
	for round := range f.rounds {
		for i := range sides {
			if err := sides[(i+round)%len(sides)].run(ctx, f, p); err != nil {
				return nil, err
			}
		}
	}
	p.Output, err = benchstat(ctx, dir, sides)
	return p, err
}

// compile compiles the tests of packages that have benchmarks.
func (s *side) compile(ctx context.Context, dir string, folders []string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	args := append([]string{"-C", s.tree, "grep", "-l", "^func Benchmark", "--"}, "*_test.go")
	if len(folders) > 0 {
		args = args[:len(args)-1]
		for _, folder := range folders {
			args = append(args, filepath.Clean(folder))
		}
	}
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return usageError{fmt.Errorf("%s: no benchmarks in %s: %w", s.name, strings.Join(folders, ", "), err)}
	}
	var packages []string
	for file := range strings.Lines(string(out)) {
		// Modules of their own have their own way to run.
		if folder := filepath.Dir(strings.TrimSpace(file)); !strings.HasPrefix(folder, "scenarios/foreign/pion-") {
			packages = append(packages, folder)
		}
	}
	slices.Sort(packages)
	for _, folder := range slices.Compact(packages) {
		file := filepath.Join(dir, strings.ReplaceAll(folder, "/", "-")+".test")
		p, err := gobench.Build(ctx, s.tree, "./"+folder, file)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if _, err := os.Stat(file); err == nil { // else its tests are for another system
			s.programs = append(s.programs, p)
		}
	}
	return nil
}

// run runs all once. What fails is left out, and said.
func (s *side) run(ctx context.Context, f *goFlags, p *measure.Part) error {
	for _, one := range s.programs {
		say(fmt.Sprintf("%s: %v", s.name, one))
		ran, err := one.Run(ctx, f.pattern, f.each)
		s.out.WriteString(ran.Output)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, gobench.ErrNone) {
			p.Left = append(p.Left, fmt.Sprintf("%v of the %s: %s", one, s.name, lastLines(ran.Output, 4)))
		}
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

// benchstat says what came of it.
func benchstat(ctx context.Context, dir string, sides []*side) (string, error) {
	args := []string{"tool", "benchstat"}
	for i, s := range sides {
		file := filepath.Join(dir, fmt.Sprintf("side%d.txt", i))
		if err := os.WriteFile(file, s.out.Bytes(), 0o644); err != nil {
			return "", err
		}
		args = append(args, s.name+"="+file)
	}
	cmd := exec.CommandContext(ctx, "./ci/go", args...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("benchstat: %w: %s", err, bytes.TrimSpace(problems.Bytes()))
	}
	return string(out), nil
}
