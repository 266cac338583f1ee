package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"p2pmodel/scenarios"
)

// What anybody runs, on any system: the same seed writes the same bytes, however many
// labs stand at once.
func TestRunInVirtualTime(t *testing.T) {
	var written [2]string
	for i, processors := range []string{"1", "5"} {
		dir := filepath.Join(t.TempDir(), "report")
		status, out, stderr := call(t.Context(), "run", "TC-02", "EV-03", "FW-03", "--fabric", "virtual", "--report", dir, "--parallel", processors)
		if status != exitOK {
			t.Fatalf("status %d: %s%s", status, out, stderr)
		}
		contains(t, out, "✓  TC-02", "✓  EV-03", "3 of 3 scenarios as expected")
		data, err := os.ReadFile(filepath.Join(dir, "results.json"))
		if err != nil {
			t.Fatal(err)
		}
		written[i] = string(data)
	}
	if written[0] != written[1] {
		t.Error("two runs with one seed wrote different results.json")
	}
	contains(t, written[0], `"fabric": "virtual"`, `"started": "2030-01-01T00:00:00Z"`)
}

func TestWhatNeedsTheKernelIsSkipped(t *testing.T) {
	status, out, stderr := call(t.Context(), "run", "--fabric", "virtual", "--format", "json", "--skip-controls")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var got struct {
		Fabric    string
		Scenarios []struct{ ID, Verdict string }
		Skipped   []struct{ ID, Reason string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	ran := map[string]bool{}
	for _, s := range got.Scenarios {
		ran[s.ID] = true
	}
	if got.Fabric != "virtual" || !ran["TC-06"] || !ran["FW-04"] || !ran["EV-04"] {
		t.Errorf("ran %v on %s", ran, got.Fabric)
	}
	for _, s := range got.Skipped {
		if family, _, _ := strings.Cut(s.ID, "-"); family != "SH" && family != "PRG" && s.ID != "EV-05" && s.ID != "TC-04B" || s.Reason == "" || ran[s.ID] {
			t.Errorf("skipped %+v", s)
		}
	}
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Skipped)+len(ran) != len(all) {
		t.Errorf("%d of %d ran, and %d are skipped: %v", len(ran), len(all), len(got.Skipped), got.Skipped)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "SH-01", "TC-01"}, "SH-01: its servers (system:) are processes"},
		{[]string{"run", "PRG-04"}, "PRG-04: it runs programs (signal, a, b)"},
		{[]string{"run", "TC-01", "EV-05", "PRG-01"}, "EV-05: it runs programs (echo, client)"},
		{[]string{"run", "TC-01", "--keep"}, "--keep leaves a lab standing"},
		{[]string{"run", "TC-01", "--links", "netem"}, "--links chooses"},
		{[]string{"matrix", "--classic", "--scenario", "PRG-04"}, "PRG-04: it runs programs"},
	} {
		status, out, stderr := call(t.Context(), append(c.args, "--fabric", "virtual")...)
		if status != exitUnable || out != "" {
			t.Errorf("%v: status %d, output %q", c.args, status, out)
		}
		contains(t, stderr, c.want)
	}
	status, _, stderr = call(t.Context(), "run", "TC-01", "--fabric", "virtuel")
	if status != exitUnable {
		t.Errorf("status %d", status)
	}
	contains(t, stderr, "--fabric", "virtual")
}

// A capsule of a virtual run is run again in virtual time, and comes to the same.
func TestACapsuleKnowsItsFabric(t *testing.T) {
	dir := t.TempDir()
	mine := file(t, "mine.yaml", failing)
	status, out, stderr := call(t.Context(), "run", mine, "--fabric", "virtual", "--seed", "42", "--capsules", dir)
	if status != exitUnexpected {
		t.Fatalf("status %d: %s%s", status, out, stderr)
	}
	contains(t, out, "again: natlab run "+mine+" --seed 42 --fabric virtual")
	path := filepath.Join(dir, "capsule-MINE-1.tar.zst")
	entries := entriesOf(t, path)
	contains(t, entries["capsule.json"], `"fabric": "virtual"`)
	contains(t, entries["results.json"], `"fabric": "virtual"`)
	contains(t, entries["README.md"], "on the virtual fabric, times divided by 2", "the seed fixes everything")
	status, out, stderr = call(t.Context(), "run", path, "--format", "json")
	if status != exitUnexpected {
		t.Fatalf("status %d: %s", status, stderr)
	}
	contains(t, out, `"fabric": "virtual"`, `"seed": 42`)
	status, out, stderr = call(t.Context(), "run", path)
	if status != exitUnexpected {
		t.Fatalf("status %d: %s", status, stderr)
	}
	contains(t, out, path+": unexpected again")
	status, _, stderr = call(t.Context(), "run", "TC-01", path)
	if status != exitUnable {
		t.Errorf("status %d", status)
	}
	contains(t, stderr, "say --fabric for all")
}

// A grid in virtual time is the same from run to run, whichever cell is faster.
func TestMatrixInVirtualTime(t *testing.T) {
	var written [2]string
	for i, processors := range []string{"1", "7"} {
		status, out, stderr := call(t.Context(), "matrix", "--classic", "--fabric", "virtual", "--format", "json", "--repeat", "2", "--parallel", processors)
		if status != exitOK {
			t.Fatalf("status %d: %s", status, stderr)
		}
		written[i] = out
	}
	if written[0] != written[1] {
		t.Error("two grids with one seed differ")
	}
	var res struct {
		Fabric string
		Cells  []struct {
			Runs       int
			AsExpected int `json:"as_expected"`
		}
	}
	if err := json.Unmarshal([]byte(written[0]), &res); err != nil || res.Fabric != "virtual" || len(res.Cells) != 16 {
		t.Fatalf("%v: %d cells on %s", err, len(res.Cells), res.Fabric)
	}
	for i, c := range res.Cells {
		if c.Runs != 2 || c.AsExpected != 2 {
			t.Errorf("cell %d: %+v", i, c)
		}
	}
}

func TestWhatAgreeRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"PRG-01"}, "PRG-01: it runs programs"},
		{[]string{"TC-99"}, "TC-99"},
		{[]string{"--axes", "TC-01"}, "exclude each other"},
		{[]string{"--seeds", "0"}, "--seeds must be"},
		{[]string{"--format", "xml"}, "text, json or csv"},
	} {
		status, out, stderr := call(t.Context(), append([]string{"agree"}, c.args...)...)
		if status != exitUnable || out != "" {
			t.Errorf("%v: status %d, output %q", c.args, status, out)
		}
		contains(t, stderr, c.want)
	}
}

// One scenario on both fabrics.
func TestAgree(t *testing.T) {
	needLabs(t)
	dir := filepath.Join(t.TempDir(), "report")
	status, out, stderr := call(t.Context(), "agree", "TC-01", "--seeds", "2", "--skip-controls", "--report", dir)
	if status != exitOK {
		t.Fatalf("status %d: %s%s", status, out, stderr)
	}
	contains(t, out, "✓  TC-01  2/2", "2 of 2 runs agree in verdict and path on kernel and virtual", "report: "+filepath.Join(dir, "index.html"))
	for _, name := range []string{"index.html", "agreement.json", "agreement.csv"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
