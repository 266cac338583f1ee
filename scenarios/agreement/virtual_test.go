package agreement_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/grid"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/virtual"
)

// printEnv has this test binary be a process that runs the catalogue and writes the
// results to the file that it names.
const printEnv = "P2PMODEL_PRINT_CATALOGUE"

// seed is that of the catalogue in these tests.
const seed = 3

func TestMain(m *testing.M) {
	kernel.Init()
	if file := os.Getenv(printEnv); file != "" {
		results, err := play(context.Background(), virtualCatalogue(), runner.Runner{Seed: seed})
		if err == nil {
			var text []byte
			if text, err = marshal(results); err == nil {
				err = os.WriteFile(file, text, 0o600)
			}
		}
		if err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// virtualCatalogue is what of the catalogue runs in virtual time.
func virtualCatalogue() (list []*scenarios.Scenario) {
	all, err := scenarios.Catalogue()
	if err != nil {
		panic(err) // it is embedded
	}
	for _, sc := range all {
		if runner.NeedsKernel(sc) == nil {
			list = append(list, sc)
		}
	}
	return list
}

// play runs scenarios in virtual time, all at once, and gives their results in order.
func play(ctx context.Context, list []*scenarios.Scenario, r runner.Runner) ([]*scenarios.Result, error) {
	r.Fabric, r.Slots = virtual.Fabric{}, runner.NewSlots(4)
	results, errs := make([]*scenarios.Result, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	for i, sc := range list {
		wg.Go(func() { results[i], errs[i] = r.Run(ctx, sc) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}

// marshal writes results as results.json has them.
func marshal(results []*scenarios.Result) ([]byte, error) {
	return json.MarshalIndent(&scenarios.Report{Schema: 1, Fabric: "virtual", Seed: seed, Started: virtual.Fabric{}.Now(), Scenarios: results}, "", "  ")
}

// The whole catalogue but for what needs processes, with all controls, wherever Go
// runs; and one seed, one outcome: byte by byte, in this process and in others with
// one processor and with two.
func TestTheCatalogueInVirtualTime(t *testing.T) {
	list := virtualCatalogue()
	if len(list) < 16 {
		t.Fatalf("%d scenarios run in virtual time, want TC-01 to TC-07, EV-01 to EV-04, FW-01 to FW-04 and MESH-8 at least", len(list))
	}
	results, err := play(t.Context(), list, runner.Runner{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	for i, res := range results {
		if res.Verdict != scenarios.Expected {
			t.Errorf("%s is %s: %s", res.ID, res.Verdict, res.Reason)
		}
		if len(res.Controls) != len(list[i].Controls) {
			t.Errorf("%s ran %d controls, want %d", res.ID, len(res.Controls), len(list[i].Controls))
		}
	}
	first, err := marshal(results)
	if err != nil {
		t.Fatal(err)
	}
	for _, processors := range []string{"1", "2"} {
		file := filepath.Join(t.TempDir(), "results.json")
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), printEnv+"="+file, "GOMAXPROCS="+processors)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("GOMAXPROCS=%s: %v\n%s", processors, err, out)
		}
		other, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "GOMAXPROCS="+processors, first, other)
	}
}

// same tells where the results of two runs begin to differ.
func same(t *testing.T, where string, first, other []byte) {
	t.Helper()
	if bytes.Equal(first, other) {
		return
	}
	a, b := strings.Split(string(first), "\n"), strings.Split(string(other), "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Errorf("%s: line %d differs:\n%s\n%s", where, i+1, a[i], b[i])
			return
		}
	}
	t.Errorf("%s: %d lines, and %d", where, len(a), len(b))
}

// Twice in one process, and with another seed.
func TestASeedFixesEverything(t *testing.T) {
	list := slices.DeleteFunc(virtualCatalogue(), func(sc *scenarios.Scenario) bool {
		return !slices.Contains([]string{"TC-06", "TC-07", "EV-04", "FW-04"}, sc.ID)
	})
	var outcomes [3][]byte
	for i, seed := range []uint64{seed, seed, seed + 1} {
		results, err := play(t.Context(), list, runner.Runner{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if outcomes[i], err = marshal(results); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "once more", outcomes[0], outcomes[1])
	if bytes.Equal(outcomes[0], outcomes[2]) {
		t.Error("another seed came to the same")
	}
}

// classic are TC-01 to TC-07.
func classic(t testing.TB) (list []*scenarios.Scenario) {
	for _, sc := range virtualCatalogue() {
		if "TC-01" <= sc.ID && sc.ID <= "TC-07" && len(sc.ID) == len("TC-01") {
			list = append(list, sc)
		}
	}
	if len(list) != 7 {
		t.Fatalf("%d scenarios are called TC-01 to TC-07", len(list))
	}
	return list
}

// Timeouts of 30 s and 120 s, as the files have them, in no time: a second on a quiet
// machine (BenchmarkRealTimeouts), and a lavish bound on a busy one.
func TestRealTimeoutsTakeNoTime(t *testing.T) {
	const bound = time.Minute // with the race detector, beside other tests
	began := time.Now()
	results, err := play(t.Context(), classic(t), runner.Runner{Seed: 1, RealTime: true})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > bound {
		t.Errorf("TC-01 to TC-07 with real timeouts took %v, want %v at most", took, bound)
	}
	longest := 0.0
	for _, res := range results {
		if res.Verdict != scenarios.Expected {
			t.Errorf("%s in real time is %s: %s", res.ID, res.Verdict, res.Reason)
		}
		longest = max(longest, res.DurationMS)
	}
	if longest < float64(2*time.Minute/time.Millisecond) {
		t.Errorf("the longest took %.0f ms of its lab's time: nothing has waited for a timeout of 120 s", longest)
	}
}

func BenchmarkRealTimeouts(b *testing.B) {
	list := classic(b)
	for b.Loop() {
		results, err := play(b.Context(), list, runner.Runner{Seed: 1, RealTime: true})
		if err != nil {
			b.Fatal(err)
		}
		for _, res := range results {
			if res.Verdict != scenarios.Expected {
				b.Fatalf("%s is %s: %s", res.ID, res.Verdict, res.Reason)
			}
		}
	}
}

// The grid of all pairs of mapping and filtering, each NAT of each cell certified.
func BenchmarkGrid(b *testing.B) {
	template, err := grid.DefaultTemplate()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		g := &grid.Grid{Template: template, Sides: grid.Axes(), Fabric: virtual.Fabric{}, Seed: 1, Repeat: 1, Parallel: 4}
		res, err := g.Run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if !res.OK() {
			b.Fatal(res.Summary())
		}
	}
}
