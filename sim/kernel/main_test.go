//go:build linux

package kernel_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/kernel/residue"
)

func TestMain(m *testing.M) {
	kernel.Init()
	if os.Getenv(victimEnv) != "" {
		beVictim()
	}
	if address := os.Getenv(dialerEnv); address != "" {
		beDialer(address)
	}
	leaveOutExamples()
	goleak.VerifyTestMain(m)
}

// leaveOutExamples keeps examples from being run where no lab can be built: unlike
// tests they cannot say so themselves.
func leaveOutExamples() {
	flag.Parse()
	skip := flag.Lookup("test.skip")
	if os.Geteuid() == 0 || skip.Value.String() != "" {
		return
	}
	fmt.Println("LEFT OUT: examples, which need root to make network namespaces: run `sudo make test`")
	if err := skip.Value.Set("^Example"); err != nil {
		panic(err)
	}
}

// needRoot skips tests that make networks where that is not possible.
func needRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root to make network namespaces: run `sudo make test`")
	}
}

// stand builds a lab from YAML; when the test ends it closes it and looks for
// what is left.
func stand(tb testing.TB, yaml string) *kernel.Network {
	tb.Helper()
	return standWith(tb, yaml, sim.Options{Seed: 1})
}

func standWith(tb testing.TB, yaml string, opt sim.Options) *kernel.Network {
	tb.Helper()
	needRoot(tb)
	before := leftovers(tb)
	network, err := kernel.Fabric{}.Build(context.Background(), parse(tb, yaml), opt)
	if err != nil {
		tb.Fatalf("build: %v", err)
	}
	tb.Cleanup(func() {
		if err := network.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
		sameAs(tb, before)
	})
	return network.(*kernel.Network)
}

func parse(tb testing.TB, yaml string) *sim.Lab {
	tb.Helper()
	lab, err := sim.ParseLab("lab.yaml", []byte(yaml))
	if err != nil {
		tb.Fatal(err)
	}
	return lab
}

// host gives a host of a lab, as what it is.
func host(tb testing.TB, n *kernel.Network, name string) *kernel.Host {
	tb.Helper()
	h, err := n.Host(name)
	if err != nil {
		tb.Fatal(err)
	}
	return h.(*kernel.Host)
}

func router(tb testing.TB, n *kernel.Network, name string) *kernel.Router {
	tb.Helper()
	r, err := n.Router(name)
	if err != nil {
		tb.Fatal(err)
	}
	return r.(*kernel.Router)
}

// leftovers are what a lab could leave in this process and its namespace:
// descriptors of namespaces, interfaces, and child processes.
func leftovers(tb testing.TB) residue.Snapshot {
	tb.Helper()
	found, err := residue.Look()
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// sameAs fails if something is there that was not there before.
func sameAs(tb testing.TB, before residue.Snapshot) {
	tb.Helper()
	for _, what := range leftovers(tb).Since(before) {
		tb.Errorf("left behind: %s", what)
	}
}

// soon waits until a condition holds.
func soon(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			tb.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// syncBuffer is a buffer that is written and read by different goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
