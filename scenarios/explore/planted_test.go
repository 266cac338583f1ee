package explore

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/virtual"
)

// plantedRun is the variable that makes of this test binary an explorer: the
// scenario, how many runs, and the seed.
const plantedRun = "P2PMODEL_EXPLORE_PLANTED"

var allPlanted = flag.Bool("explore.planted", false, "plant all bugs, each of which takes a build, and not only the first")

func TestMain(m *testing.M) {
	if spec := os.Getenv(plantedRun); spec != "" {
		os.Exit(explorePlanted(spec))
	}
	flag.Parse()
	os.Exit(m.Run())
}

// explorePlanted explores until something is found, and prints the report.
func explorePlanted(spec string) int {
	words := strings.Fields(spec)
	runs, _ := strconv.Atoi(words[1])
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	all, err := scenarios.Catalogue()
	if err != nil {
		panic(err)
	}
	for _, sc := range all {
		if sc.ID != words[0] {
			continue
		}
		x := &Explorer{Scenario: sc, Fabric: virtual.Fabric{}, Bounds: scenarios.DefaultBounds(), Runs: runs, Seed: 1, Cases: 1, Workers: 1}
		x.Progress = func(_, broken int) {
			if broken > 0 {
				cancel() // it has been shrunk by now
			}
		}
		r, err := x.Run(ctx)
		if err != nil {
			panic(err)
		}
		if json.NewEncoder(os.Stdout).Encode(r) != nil {
			return 1
		}
	}
	return 0
}

// Bugs that are planted in the core have to be found. The code is changed in what
// the compiler reads (-overlay) and nowhere else.
func TestPlantedBugsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a program for each of the bugs")
	}
	for i, bug := range []struct {
		name     string
		file     string
		old, new string
		scenario string
		runs     int // within which it has to be found
		want     Invariant
		entries  int // that the shrunk case has at most
	}{
		{"a timer that is over comes again", "core/punch/select.go",
			"	if !at.After(a.stepped) {\n		return time.Time{}\n	}\n	return at", "	return at", "TC-01", 60, Storm, 1},
		{"a dead path is never noticed", "core/punch/agent.go",
			"	given := cfg.Timing\n", "	given := cfg.Timing\n	given.Consent = -1\n", "TC-03", 200, WrongPath, 2},
		{"the newest frame is not remembered", "core/secure/window.go",
			"		w.newest = number\n", "		w.newest = number\n		return true\n", "TC-01", 60, Twice, 1},
		{"a relayed session never looks for a direct path again", "core/peer/introduce.go",
			"	s.upgrades++\n	s.retryAt = now.Add(wait)", "	s.upgrades++\n	_ = wait", "TC-02", 60, WrongPath, 1},
		{"a server pays for strangers", "core/budget/credit.go",
			"	if !c.advances {\n		return false\n	}\n", "	if !c.advances {\n		return true\n	}\n", "TC-01", 100, Amplified, 1},
		{"a peer pays for strangers", "core/punch/credit.go",
			"	return p.got - p.spent\n", "	return 1 << 30\n", "TC-01", 300, Amplified, 1},
	} {
		if i > 0 && !*allPlanted {
			t.Log("the other bugs are planted by `make planted`")
			break
		}
		t.Run(bug.name, func(t *testing.T) {
			binary := planted(t, bug.file, bug.old, bug.new)
			cmd := exec.CommandContext(t.Context(), binary)
			cmd.Env = append(os.Environ(), plantedRun+"="+bug.scenario+" "+strconv.Itoa(bug.runs))
			cmd.Stderr = os.Stderr
			began := time.Now()
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("explore: %v\n%s", err, out)
			}
			var r Report
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatal(err)
			}
			for _, c := range r.Cases {
				if !c.Shrunk {
					continue
				}
				t.Logf("found in run %d, after %v; shrunk from %d to %d disturbances by %d runs, all in %v: %s\n%s",
					c.Run, c.Found.Round(time.Millisecond), c.Drawn, len(c.Entries), r.Tries, time.Since(began).Round(time.Millisecond), c.Findings[0], strings.Join(c.Entries, "\n"))
				if c.Findings[0].Invariant != bug.want {
					t.Errorf("it broke %s, want %s", c.Findings[0].Invariant, bug.want)
				}
				if len(c.Entries) > bug.entries {
					t.Errorf("%d disturbances are left, want at most %d", len(c.Entries), bug.entries)
				}
				return
			}
			t.Errorf("not found in %d runs", r.Runs)
		})
	}
}

// planted builds this package's tests with one piece of the core's code changed.
func planted(t *testing.T, file, old, new string) (binary string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	original := filepath.Join(root, file)
	code, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(code), old) != 1 {
		t.Fatalf("%s has %q %d times, want it once: mend the test", file, old, strings.Count(string(code), old))
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(code), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "explore.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build with the bug: %v\n%s", err, out)
	}
	return binary
}
