package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/pflag"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/capsule"
)

// failing is a scenario that fails, and so does one of its controls.
var failing = strings.Replace(good, "path: direct}\n", `path: none}
settings: {scale: 2}
controls:
  - {name: one side, why: it fails too, nats: {nat-a: symmetric}, expect: {path: none}}
`, 1)

// entriesOf reads a capsule as any program does.
func entriesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	zr, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	entries := map[string]string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		entries[h.Name] = string(text)
	}
}

// A scenario that fails leaves a capsule, which the report links to; run again from
// there alone, it fails again.
func TestACapsuleIsRunAgain(t *testing.T) {
	needLabs(t)
	dir := filepath.Join(t.TempDir(), "report")
	mine := file(t, "mine.yaml", failing)
	status, out, stderr := call(t.Context(), "run", mine, "--report", dir, "--seed", "42")
	path := filepath.Join(dir, "capsule-MINE-1.tar.zst")
	if status != exitUnexpected {
		t.Fatalf("status %d: %s%s", status, out, stderr)
	}
	contains(t, out, "capsule: "+path)
	page, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(page), `<a href="capsule-MINE-1.tar.zst">`)

	entries := entriesOf(t, path)
	if entries["scenario.yaml"] != failing {
		t.Errorf("the scenario is not as it was read:\n%s", entries["scenario.yaml"])
	}
	contains(t, entries["README.md"], "# MINE-1 is unexpected", "natlab run capsule-MINE-1.tar.zst", "with seed 42, times divided by 2.")
	for _, name := range []string{"packets.pcapng", "ladder.html", "log.txt", "drops.json", "diagram.svg", "diagram.mmd"} {
		if entries["runs/own/"+name] == "" || entries["runs/control-one-side/"+name] == "" {
			t.Errorf("the capsule has no %s of both runs", name)
		}
	}
	contains(t, entries["runs/own/rules/nat-a.txt"], "table", "chain")
	contains(t, entries["runs/own/mappings/nat-a.txt"], "udp", "192.168.1.2", "198.18.0.")
	contains(t, entries["runs/own/log.txt"], "registered")
	var rep scenarios.Report
	if err := json.Unmarshal([]byte(entries["results.json"]), &rep); err != nil || rep.Scenarios[0].Verdict != scenarios.Unexpected {
		t.Errorf("results.json: %v", err)
	}
	var lives struct{ Mappings []capsule.Mapping }
	if err := json.Unmarshal([]byte(entries["runs/own/mappings.json"]), &lives); err != nil || len(lives.Mappings) == 0 {
		t.Errorf("mappings.json: %v", err)
	}
	for _, m := range lives.Mappings {
		if m.Out == 0 || m.Ended == "" || len(m.Remotes) == 0 {
			t.Errorf("a mapping that nothing is known of: %+v", m)
		}
	}

	// What was left is all that there is, under any name.
	moved := file(t, "odd-name", "")
	if err := errors.Join(os.Rename(path, moved), os.Remove(mine)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	status, out, stderr = call(t.Context(), "run", moved)
	if status != exitUnexpected {
		t.Fatalf("status %d: %s%s", status, out, stderr)
	}
	contains(t, out, "again: natlab run "+moved+" --seed 42", moved+": unexpected again", "direct, not none", "  0/1  ")
	if left, _ := filepath.Glob("*"); len(left) > 0 {
		t.Errorf("a capsule that was run leaves %v", left)
	}
	status, out, _ = call(t.Context(), "run", moved, "--seed", "7", "--skip-controls", "--format", "json", "--capsules", "out")
	var got results
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != exitUnexpected {
		t.Fatalf("status %d: %v", status, err)
	}
	if got.Seed != 7 || got.Scenarios[0].Seed != 7 || len(got.Scenarios[0].Controls) != 0 {
		t.Errorf("flags that are given do not win: %+v", got)
	}
	second, err := capsule.Load("out/capsule-MINE-1.tar.zst")
	if err != nil || second.Seed != 7 || !second.SkipControls {
		t.Fatalf("the capsule of a replay: %v", err)
	}
	status, out, _ = call(t.Context(), "show", moved)
	if status != exitOK {
		t.Errorf("status %d", status)
	}
	contains(t, out, "MINE-1  mine", "natlab run "+moved)
}

// Each seed has a capsule of its own; --capsules none leaves none; and where none
// can be written the verdict stands.
func TestWhereCapsulesGo(t *testing.T) {
	needLabs(t)
	mine := file(t, "mine.yaml", failing)
	t.Chdir(t.TempDir())
	left := func() string {
		names, err := filepath.Glob("*")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(names, " ")
	}
	run := func(args ...string) string {
		t.Helper()
		status, out, stderr := call(t.Context(), append([]string{"run", mine, "--skip-controls"}, args...)...)
		if status != exitUnexpected {
			t.Errorf("%v: status %d: %s%s", args, status, out, stderr)
		}
		return stderr
	}
	run("--capsules", "none")
	if got := left(); got != "" {
		t.Errorf("with none there are %s", got)
	}
	run("--seed", "5", "--repeat", "2")
	if got, want := left(), "capsule-MINE-1-seed5.tar.zst capsule-MINE-1-seed6.tar.zst"; got != want {
		t.Errorf("of two seeds: %s, want %s", got, want)
	}
	// A folder stands where the capsule is to be.
	if err := os.MkdirAll("taken/capsule-MINE-1.tar.zst/x", 0o755); err != nil {
		t.Fatal(err)
	}
	contains(t, run("--capsules", "taken"), "natlab: the capsule of MINE-1 was not written: ")
}

func TestCapsulesThatCannotBeRun(t *testing.T) {
	mine, err := scenarios.Load(file(t, "mine.yaml", good))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	save := func(name string, o capsule.Origin) string {
		t.Helper()
		o.Name = name
		sc := *mine
		sc.Source = []byte(strings.Replace(good, "MINE-1", strings.ToUpper(name), 1))
		path, err := capsule.Save(dir, &scenarios.Result{ID: strings.ToUpper(name), Verdict: scenarios.Broken, Scenario: &sc}, o)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain, bare, slow := save("plain", capsule.Origin{}), save("bare", capsule.Origin{SkipControls: true}), save("slow", capsule.Origin{RealTime: true})
	data, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	cut := file(t, "cut.tar.zst", string(data[:len(data)/2]))
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"cut off", []string{"run", cut}, cut + ": the capsule is cut off"},
		{"cut off, to be shown", []string{"show", cut}, cut + ": the capsule is cut off"},
		{"no capsule", []string{"run", file(t, "x.tar.zst", "text")}, "x.tar.zst: not a capsule"},
		{"not there", []string{"run", "capsule-X.tar.zst"}, "there is no file capsule-X.tar.zst"},
		{"twice", []string{"run", plain, plain}, "the id PLAIN is there twice"},
		{"with and without controls", []string{"run", plain, bare}, "run with --skip-controls and others without: run them apart, or say --skip-controls or --skip-controls=false for all"},
		{"with and without real time", []string{"run", slow, "TC-01"}, "run with --real-time and others without"},
		{"a result over its own capsule", []string{"run", plain, "--report", dir}, "what comes of " + plain + " would be written over it"},
		{"into the capsule's folder", []string{"run", plain, "--capsules", dir}, "would be written over it"},
		{"capsules into a file", []string{"run", "TC-01", "--capsules", cut}, "--capsules: " + cut + " is not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out, stderr := call(t.Context(), tt.args...)
			if status != exitUnable || out != "" {
				t.Errorf("status %d, want %d; %s", status, exitUnable, out)
			}
			contains(t, stderr, tt.want)
		})
	}
}

// What capsules say holds where no flag does.
func TestHowACapsuleIsRun(t *testing.T) {
	a, b := &scenarios.Scenario{ID: "A"}, &scenarios.Scenario{ID: "B"}
	from := replays{a: {Manifest: capsule.Manifest{Seed: 9, Fabric: kernelFabric, RealTime: true, SkipControls: true}}}
	for _, tt := range []struct {
		name               string
		args               []string
		list               []*scenarios.Scenario
		seedA, seedB       uint64
		realTime, controls bool
		fails              bool
	}{
		{name: "as it says", list: []*scenarios.Scenario{a}, seedA: 9, realTime: true},
		{name: "flags win", args: []string{"--seed", "4", "--real-time=false", "--skip-controls=false"}, list: []*scenarios.Scenario{a, b}, seedA: 4, seedB: 4, controls: true},
		{name: "each with its seed", args: []string{"--real-time", "--skip-controls"}, list: []*scenarios.Scenario{b, a}, seedA: 9, seedB: 1, realTime: true},
		{name: "they do not agree", list: []*scenarios.Scenario{b, a}, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, flags := &runFlags{}, pflag.NewFlagSet("run", pflag.ContinueOnError)
			f.add(flags)
			if err := flags.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			err := f.adopt(tt.list, from, flags)
			if tt.fails || err != nil {
				if (err != nil) != tt.fails {
					t.Error(err)
				}
				return
			}
			if f.seedOf(a) != tt.seedA || tt.seedB != 0 && f.seedOf(b) != tt.seedB || f.realTime != tt.realTime || f.skipControls == tt.controls {
				t.Errorf("seeds %d and %d, %+v", f.seedOf(a), f.seedOf(b), f)
			}
		})
	}
}
