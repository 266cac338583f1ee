//go:build linux

package foreign_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"p2pmodel/sim/kernel"
)

// testsAtOnce is how many tests run side by side: judges wait for answers that
// do not come most of their time, whatever the number of processors.
const testsAtOnce = "16"

func TestMain(m *testing.M) {
	kernel.Init()
	enterErr := kernel.Enter()
	flag.Parse()
	if !given("test.parallel") {
		if err := flag.Set("test.parallel", testsAtOnce); err != nil {
			panic(err)
		}
	}
	if enterErr != nil {
		court.close(enterErr)
	}
	os.Exit(run(m))
}

// run runs the tests on a fresh build of our program and gives the exit code.
func run(m *testing.M) int {
	remove, err := build()
	if remove != nil {
		defer func() {
			if err := remove(); err != nil {
				fmt.Println(err)
			}
		}()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Println(err)
			code = 1
		}
	}
	court.report()
	return code
}

// given reports whether the command line names a flag.
func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// court knows which judges there are, and which were missed.
var court courtroom

// packages are where Debian and Ubuntu have the judges.
var packages = map[string]string{
	"turnutils_natdiscovery": "coturn",
	"turnutils_uclient":      "coturn",
	"turnutils_peer":         "coturn",
	"turnserver":             "coturn",
	"stun":                   "stun-client",
	"aioice":                 "python3-aioice",
}

type courtroom struct {
	mu      sync.Mutex
	closed  error               // no lab can be built
	missing map[string][]string // program → tests that were left out
}

func (c *courtroom) close(why error) { c.closed = why }

// required reports whether a missing judge is a failure.
func required() bool { return os.Getenv("P2PMODEL_JUDGES") == "require" }

// leaveOut skips a test or, where judges are required, fails it.
func leaveOut(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if required() {
		tb.Fatalf(format, args...)
	}
	tb.Skipf("LEFT OUT: "+format, args...)
}

// call makes sure that the judges are there and a lab to put them in.
func (c *courtroom) call(tb testing.TB, programs ...string) {
	tb.Helper()
	if c.closed != nil {
		leaveOut(tb, "no lab can be built: %v", c.closed)
	}
	for _, p := range programs {
		_, err := exec.LookPath(p)
		if err == nil {
			continue
		}
		c.miss(tb, p, "%s is not installed: apt-get install %s", p, packages[p])
	}
}

// miss leaves a test out for want of a judge.
func (c *courtroom) miss(tb testing.TB, program, format string, args ...any) {
	tb.Helper()
	c.mu.Lock()
	if c.missing == nil {
		c.missing = map[string][]string{}
	}
	c.missing[program] = append(c.missing[program], tb.Name())
	c.mu.Unlock()
	leaveOut(tb, format, args...)
}

// report says in one line what was left out.
func (c *courtroom) report() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed != nil:
		fmt.Printf("LEFT OUT: all foreign judges, since no lab can be built: %v\n", c.closed)
	case len(c.missing) > 0:
		var programs, install []string
		tests := map[string]bool{}
		for p, names := range c.missing {
			programs = append(programs, p)
			install = append(install, packages[p])
			for _, n := range names {
				tests[n] = true
			}
		}
		slices.Sort(programs)
		slices.Sort(install)
		fmt.Printf("LEFT OUT: %d tests by foreign judges that are not installed (%s): apt-get install %s\n",
			len(tests), strings.Join(programs, ", "), strings.Join(slices.Compact(install), " "))
	}
}

// p2pmodel is the path of the program under judgement.
var p2pmodel string

// build compiles it into a directory that remove removes.
func build() (remove func() error, err error) {
	dir, err := os.MkdirTemp("", "p2pmodel-judged-")
	if err != nil {
		return nil, err
	}
	p2pmodel = filepath.Join(dir, "p2pmodel")
	remove = func() error { return os.RemoveAll(dir) }
	out, err := exec.Command("go", "build", "-o", p2pmodel, "p2pmodel/cmd/p2pmodel").CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		err = fmt.Errorf("build p2pmodel: %w: these tests compile the program that they judge; `go test` finds go by itself", err)
	case err != nil:
		err = fmt.Errorf("build p2pmodel: %w\n%s", err, out)
	}
	return remove, err
}
