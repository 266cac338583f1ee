package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/scenarios"
)

func TestDoctorFindsThisMachineAble(t *testing.T) {
	needLabs(t)
	status, out, stderr := call(t.Context(), "doctor")
	if status != exitOK {
		t.Errorf("status %d: %s", status, stderr)
	}
	contains(t, out, "✓ kernel", "nf_tables", "This machine can run the laboratory.")
}

func TestCertify(t *testing.T) {
	needLabs(t)
	status, out, stderr := call(t.Context(), "certify", "full-cone", "mapping=ADM,filtering=APDF,ports=random")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("want a line each:\n%s", out)
	}
	contains(t, lines[0], "✓ as declared  ", " s  declared mapping=EIM,filtering=EIF", "  measured mapping=EIM,filtering=EIF")
	contains(t, lines[1], "✓ as declared  ", "  declared mapping=ADM,filtering=APDF,ports=random", "  measured mapping=ADM,filtering=APDF,ports=random")
}

// results is what --format json must print.
type results struct {
	Schema    int
	Fabric    string
	Seed      uint64
	Scenarios []struct {
		ID, Title, Verdict string
		Seed               uint64
		Expected, Observed struct {
			Path        string
			FirstByteMS *float64 `json:"time_to_first_byte_ms"`
		}
		Controls   []struct{ Name, Verdict string }
		NATs       []struct{ Router, Declared, Measured string }
		DurationMS float64 `json:"duration_ms"`
	}
}

func TestRunAsJSON(t *testing.T) {
	needLabs(t)
	status, out, stderr := call(t.Context(), "run", "TC-01", "--skip-controls", "--format", "json", "--seed", "42")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if stderr != "" {
		t.Errorf("standard error: %s", stderr)
	}
	var got results
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != 1 || got.Fabric != "kernel" || got.Seed != 42 || len(got.Scenarios) != 1 {
		t.Fatalf("%+v", got)
	}
	sc := got.Scenarios[0]
	if sc.ID != "TC-01" || sc.Seed != 42 || sc.Verdict != "expected" || sc.Expected.Path != "direct" || sc.Observed.Path != "direct" ||
		len(sc.NATs) != 2 || sc.NATs[0].Declared != sc.NATs[0].Measured || sc.Controls == nil || sc.DurationMS <= 0 ||
		sc.Observed.FirstByteMS == nil || *sc.Observed.FirstByteMS < 0 {
		t.Errorf("%+v", sc)
	}
}

func TestRunRepeatedWithReport(t *testing.T) {
	needLabs(t)
	dir := filepath.Join(t.TempDir(), "report")
	mine := file(t, "mine.yaml", good)
	status, out, stderr := call(t.Context(), "run", "TC-01", mine, "--skip-controls", "--repeat", "2", "--report", dir)
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	contains(t, out, "TC-01   2/2 expected  direct", "MINE-1  2/2 expected  direct", "4 of 4 runs of 2 scenarios as expected",
		"report: "+filepath.Join(dir, "index.html"))
	if n := strings.Count(stderr, "✓"); n != 4 {
		t.Errorf("%d lines of progress, want 4:\n%s", n, stderr)
	}
	var got results
	data, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Scenarios) != 4 || got.Scenarios[0].Seed != 1 || got.Scenarios[2].Seed != 2 || got.Scenarios[2].ID != "TC-01" {
		t.Errorf("%+v", got)
	}
	captures, err := os.ReadDir(filepath.Join(dir, "captures"))
	if err != nil || len(captures) != 2 {
		t.Errorf("%d captures, want those of the first round: %v %v", len(captures), captures, err)
	}
}

func TestRunOfAWrongExpectation(t *testing.T) {
	needLabs(t)
	mine := file(t, "mine.yaml", strings.Replace(good, "path: direct", "path: none", 1))
	status, out, _ := call(t.Context(), "run", mine, "--capsules", noCapsules)
	if status != exitUnexpected {
		t.Errorf("status %d, want %d", status, exitUnexpected)
	}
	contains(t, out, "✗ MINE-1 is unexpected:", "direct, not none", "again: natlab run "+mine+" --seed 1", "0 of 1 scenario as expected, 1 unexpected")
}

// watched tells when what is written to it contains a text.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	want string
	seen chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if w.want != "" && strings.Contains(w.text.String(), w.want) {
		w.want = ""
		close(w.seen)
	}
	return len(p), nil
}

// patience is how long a lab may take on a busy machine.
const patience = 2 * time.Minute

// A failed lab stands until the user has seen enough; what he gets then is the
// outcome, not an interrupted run.
func TestKeep(t *testing.T) {
	needLabs(t)
	mine := file(t, "mine.yaml", strings.Replace(good, "path: direct", "path: none", 1))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stderr := &watched{want: "--net=/proc/", seen: make(chan struct{})}
	var out bytes.Buffer
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"run", mine, "--keep", "--parallel", "1", "--capsules", noCapsules}, &out, stderr)
	}()
	select {
	case <-stderr.seen:
	case <-ctx.Done():
		t.Fatalf("no lab was kept:\n%s", stderr.text.String())
	}
	text := stderr.text.String()
	contains(t, text, "MINE-1 is unexpected. Its lab stands until Ctrl-C", "  internet    nsenter --", "  nat-a       nsenter --", "  a           nsenter --")
	_, path, _ := strings.Cut(text, "--net=")
	path, _, _ = strings.Cut(path, "\n")
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the namespace is not where it is said to be: %v", err)
	}
	cancel()
	if got := <-status; got != exitUnexpected {
		t.Errorf("status %d, want %d", got, exitUnexpected)
	}
	contains(t, out.String(), "✗ MINE-1 is unexpected:")
}

func TestInterrupt(t *testing.T) {
	needLabs(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stderr := &watched{want: "TC-01", seen: make(chan struct{})}
	var out bytes.Buffer
	status := make(chan int, 1)
	capsules := filepath.Join(t.TempDir(), "capsules")
	// TC-05 takes long, so that it is under way when TC-01 has ended.
	go func() {
		status <- run(ctx, []string{"run", "TC-05", "TC-01", "--skip-controls", "--capsules", capsules}, &out, stderr)
	}()
	select {
	case <-stderr.seen:
	case <-ctx.Done():
		t.Fatal("TC-01 did not end")
	}
	cancel()
	if got := <-status; got != exitUnable {
		t.Errorf("status %d, want %d", got, exitUnable)
	}
	contains(t, stderr.text.String(), "interrupted: taking everything down", "natlab: interrupted; everything has been taken down\n")
	if out.Len() > 0 {
		t.Errorf("standard output of an interrupted run: %s", out.String())
	}
	if _, err := os.Stat(capsules); err == nil {
		t.Error("what was interrupted left a capsule")
	}
}

// A campaign keeps the records of the first round and of the first failures.
func TestForget(t *testing.T) {
	c := newCampaign(runFlags{parallel: 1, repeat: 100}, nil, nil)
	result := func(v scenarios.Verdict) *scenarios.Result {
		return &scenarios.Result{ID: "X", Verdict: v, Run: &scenarios.Run{}, Controls: []scenarios.ControlResult{
			{Verdict: scenarios.Expected, Run: &scenarios.Run{}}, {Verdict: scenarios.Unexpected, Run: &scenarios.Run{}},
		}}
	}
	kept := func(r *scenarios.Result) [3]bool {
		return [3]bool{r.Run != nil, r.Controls[0].Run != nil, r.Controls[1].Run != nil}
	}
	check := func(name string, round int, v scenarios.Verdict, want [3]bool) {
		t.Helper()
		r := result(v)
		c.forget(round, r)
		if kept(r) != want {
			t.Errorf("%s: kept %v, want %v", name, kept(r), want)
		}
	}
	check("first round", 0, scenarios.Expected, [3]bool{true, true, true})
	check("later", 1, scenarios.Expected, [3]bool{})
	for range keptFailures {
		check("a failure", 2, scenarios.Broken, [3]bool{true, false, true})
	}
	check("one failure too many", 3, scenarios.Broken, [3]bool{})
}
