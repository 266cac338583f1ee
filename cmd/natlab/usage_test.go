package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"p2pmodel/scenarios"
	"p2pmodel/sim/kernel"
)

func TestHelpAndVersion(t *testing.T) {
	status, out, _ := call(t.Context())
	if status != exitOK {
		t.Errorf("status %d", status)
	}
	contains(t, out, "natlab builds networks", "certify", "doctor", "list", "rootless", "run", "schema", "show")
	status, out, _ = call(t.Context(), "--version")
	if status != exitOK || !strings.HasPrefix(out, "natlab ") || strings.Count(out, "\n") != 1 {
		t.Errorf("status %d: %q", status, out)
	}
}

func TestList(t *testing.T) {
	status, out, _ := call(t.Context(), "list")
	if status != exitOK {
		t.Errorf("status %d", status)
	}
	contains(t, out, "TC-01", "TC-07", "relay → direct ×2 → relay", "4G ↔ Wi-Fi")
}

func TestShow(t *testing.T) {
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range all {
		status, out, stderr := call(t.Context(), "show", strings.ToLower(sc.ID))
		if status != exitOK {
			t.Errorf("%s: status %d: %s", sc.ID, status, stderr)
		}
		contains(t, out, sc.ID+"  "+sc.Title, "internet", "What must happen", "Controls", "natlab run "+sc.ID)
	}
}

func TestSchema(t *testing.T) {
	status, out, _ := call(t.Context(), "schema")
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != exitOK {
		t.Fatalf("status %d: %v", status, err)
	}
	if v["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("it is no schema of draft 2020-12: %v", v["$schema"])
	}
}

// good is the least scenario.
const good = `id: MINE-1
title: mine
lab:
  routers: {nat-a: {nat: full-cone}, nat-b: {nat: full-cone}}
  hosts: {a: {behind: nat-a}, b: {behind: nat-b}, rendezvous: {addresses: 2}}
rendezvous: rendezvous
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
expect: {path: direct}
`

// What is wrong with the input is said at once, all of it, with the way out; the
// status is 2, and nothing is printed as if it were a result.
func TestBadInput(t *testing.T) {
	mine := file(t, "mine.yaml", good)
	double := file(t, "double.yaml", strings.Replace(good, "MINE-1", "tc-01", 1))
	wrong := file(t, "wrong.yaml", strings.NewReplacer("behind: nat-a", "behind: nat-z", "title:", "titel:").Replace(good))
	notYAML := file(t, "not.yaml", "id: [")
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"unknown command", []string{"rum"}, []string{`no command "rum"; did you mean "run"?`}},
		{"unknown flag", []string{"run", "--sed", "1"}, []string{"unknown flag: --sed; did you mean --seed?", "natlab run --help"}},
		{"unknown short flag", []string{"run", "-x"}, []string{"unknown shorthand flag", "natlab run --help"}},
		{"bad number", []string{"run", "--seed", "x"}, []string{`--seed: want a whole number from 0, got "x"`}},
		{"bad duration", []string{"sweep", "--rtt", "5"}, []string{`--rtt: want a duration, as 20ms, 5s or 1m30s, got "5"`}},
		{"argument too many", []string{"ps", "all"}, []string{`ps takes no arguments, got "all"`}},
		{"arguments too many", []string{"diagram", "a", "b"}, []string{`diagram: want natlab diagram [FILE|ID], got "a" "b"`}},
		{"unknown id", []string{"run", "TC-91"}, []string{`no scenario "TC-91" in the catalogue; did you mean "TC-01"?`}},
		{"unknown id to show", []string{"show", "TC-91"}, []string{`did you mean "TC-01"?`}},
		{"id like nothing", []string{"run", "zzzzzzzz"}, []string{"known: TC-01, TC-02"}},
		{"no such file", []string{"run", "dir/none.yaml"}, []string{"there is no file dir/none.yaml"}},
		{"directory", []string{"run", "./"}, []string{"./ is a directory"}},
		{"wrong file", []string{"run", wrong}, []string{wrong + ":2:1: unknown key \"titel\"; did you mean \"title\"?", wrong + ":5:", `did you mean "nat-a"?`}},
		{"no YAML", []string{"show", notYAML}, []string{notYAML + ":1:"}},
		{"the same id twice", []string{"run", "TC-01", "tc-01"}, []string{"the id TC-01 is there twice, from TC-01 and from tc-01"}},
		{"the same id from a file", []string{"run", "TC-01", double}, []string{"the id tc-01 is there twice, from TC-01 and from " + double}},
		{"several at once", []string{"run", "--format", "xml", "--parallel", "0", "--repeat", "0", mine, wrong, "TC-91"}, []string{
			`--format is text or json, not "xml"`, "--parallel must be at least 1", "--repeat must be 1", wrong + ":2:1:", `no scenario "TC-91"`}},
		{"keep and repeat", []string{"run", "--keep", "--repeat", "2"}, []string{"--keep waits"}},
		{"report into a file", []string{"run", "--report", mine}, []string{"--report: " + mine + " is not a directory"}},
		{"nothing to certify", []string{"certify"}, []string{"certify: want natlab certify BEHAVIOUR …, got no argument"}},
		{"unknown behaviours", []string{"certify", "fullcone", "mapping=XYZ"}, []string{`behaviour "fullcone"`, `did you mean`, `behaviour "mapping=XYZ"`}},
		{"certify none at once", []string{"certify", "full-cone", "--parallel", "0"}, []string{"--parallel must be at least 1"}},
		{"nothing to classify by", []string{"classify"}, []string{"--server names a STUN server"}},
		{"a server without a name", []string{"classify", "--server", "no.such.host.invalid"}, []string{"--server no.such.host.invalid:"}},
		{"a lifetime too long", []string{"classify", "--server", "127.0.0.1", "--lifetime", "2h"}, []string{"not up to 2h0m0s"}},
		{"list with arguments", []string{"list", "TC-01"}, []string{"list takes no arguments"}},
		{"nothing to run rootless", []string{"rootless"}, []string{"rootless: want natlab rootless -- COMMAND"}},
		{"unknown program", []string{"rootless", "no-such-program", "-x"}, []string{"no-such-program"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, out, stderr := call(t.Context(), tt.args...)
			if status != exitUnable {
				t.Errorf("status %d, want %d", status, exitUnable)
			}
			if out != "" {
				t.Errorf("standard output: %s", out)
			}
			contains(t, stderr, tt.want...)
			for _, line := range strings.Split(strings.TrimSpace(stderr), "\n") {
				if placeInFile.MatchString(line) && !strings.HasPrefix(line, string(os.PathSeparator)) {
					t.Errorf("a place in a file must begin its line: %s", line)
				}
			}
		})
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(mine), "captures")); err == nil {
		t.Error("something was written")
	}
}

// placeInFile is FILE:LINE.
var placeInFile = regexp.MustCompile(`\.yaml:[0-9]`)

func TestDiagnose(t *testing.T) {
	var b strings.Builder
	checks := []kernel.Check{
		{Name: "kernel", State: kernel.Ready, Detail: "Linux 6.18"},
		{Name: "user namespaces", State: kernel.Limited, Detail: "not permitted", Fix: "sudo sysctl x=1"},
	}
	if err := diagnose(&b, checks); err != nil {
		t.Error(err)
	}
	contains(t, b.String(), "✓ kernel", "○ user namespaces", "→ sudo sysctl x=1", "This machine can run the laboratory.")
	b.Reset()
	if err := diagnose(&b, append(checks, kernel.Check{Name: "veth", State: kernel.Missing, Fix: "sudo modprobe veth"})); err == nil {
		t.Error("a machine without veth was found able")
	}
	contains(t, b.String(), "✗ veth", "→ sudo modprobe veth")
}
