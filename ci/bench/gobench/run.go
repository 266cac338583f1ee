package gobench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ErrNone is wrapped by errors of programs that have no such benchmark.
var ErrNone = errors.New("there is none of this name")

// Program is a test program that has been built.
type Program struct{ path, folder string }

// String is the package's folder.
func (p Program) String() string { return p.folder }

// Build builds the tests of a package, given as it is to the go command from within a module's
// folder ("./scenarios/trial"), to a file, whose path is absolute. They run in the package's folder, as go test has it.
func Build(ctx context.Context, module, pkg, to string) (Program, error) {
	cmd := exec.CommandContext(ctx, "./ci/go", "-C", module, "test", "-c", "-o", to, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return Program{}, fmt.Errorf("build the tests of %s in %s: %w: %s", pkg, module, err, bytes.TrimSpace(out))
	}
	return Program{to, filepath.Join(module, pkg)}, nil
}

// Ran is what one process said and took.
type Ran struct {
	Results []Result
	// Peak is the most memory that was resident at once, in bytes; 0 where the system does not say.
	Peak float64
	// Output is all that it wrote.
	Output string
}

// Run runs the benchmarks that match, for a time as -benchtime has it ("2s", "1x"). Environment
// comes besides that of this process. What the program wrote there is with an error, too.
func (p Program) Run(ctx context.Context, match, benchtime string, environment ...string) (*Ran, error) {
	cmd := exec.CommandContext(ctx, p.path, "-test.run", "^$", "-test.bench", match, "-test.benchtime", benchtime, "-test.timeout", "0")
	cmd.Env = append(os.Environ(), environment...)
	cmd.Dir = p.folder
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it may have labs to take down
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	ran := &Ran{Output: string(out), Peak: peak(cmd.ProcessState)}
	if err != nil {
		return ran, fmt.Errorf("benchmark %s: %w: %s", match, err, bytes.TrimSpace(out))
	}
	if ran.Results, err = Parse(string(out)); err == nil && len(ran.Results) == 0 {
		err = ErrNone
	}
	if err != nil {
		return ran, fmt.Errorf("benchmark %s: %w: %s", match, err, bytes.TrimSpace(out))
	}
	return ran, nil
}
