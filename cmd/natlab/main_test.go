package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"p2pmodel/sim/kernel"
)

// commandEnv makes this test binary natlab: labs that stand have processes of
// their own, which only a program can start.
const commandEnv = "NATLAB_TEST_COMMAND"

// unable is why no labs can be built here; nil if they can.
var unable error

func TestMain(m *testing.M) {
	kernel.Init()
	if os.Getenv(commandEnv) != "" {
		main()
	}
	unable = kernel.Enter()
	// Labs wait most of the time, so more of them than processors stand at once.
	if flag.Parse(); !parallelIsSet() {
		_ = flag.Set("test.parallel", "6")
	}
	goleak.VerifyTestMain(m)
}

func parallelIsSet() (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	return set
}

// needLabs skips tests that build labs where that is not possible.
func needLabs(t *testing.T) {
	t.Helper()
	if unable != nil {
		t.Skipf("builds labs: %v", unable)
	}
}

// call runs natlab with these arguments.
func call(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

// file writes a file into a directory of the test's own.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// contains checks that a text has all of these.
func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
