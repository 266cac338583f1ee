//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// typed types what a page of the documents tells people to type, from its first
// block to its last, in one shell that ends with the first command that fails. The
// folder is where the shell begins. It gives what was printed.
func typed(b *bench, natlab, page, folder string, replace ...string) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		b.Fatal(err)
	}
	var script strings.Builder
	// Jobs are numbered, as in a person's shell.
	script.WriteString("set -e -m\n")
	blocks := shellBlock.FindAllStringSubmatch(string(text), -1)
	for _, block := range blocks {
		script.WriteString(block[1])
	}
	if len(blocks) < 5 {
		b.Fatalf("only %d blocks in %s: are they spelt otherwise?", len(blocks), page)
	}
	bin := b.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "natlab"), []byte("#!/bin/sh\nexec '"+natlab+"' \"$@\"\n"), 0o755); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", strings.NewReplacer(replace...).Replace(script.String()))
	cmd.Env = append(b.command().Env, "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Dir = folder
	// A command that fails ends the script, and what it began in the background still
	// has our pipe.
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%s: %v\n%s", page, err, out)
	}
	return string(out)
}

func TestLaboratoryPageWorks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "curl", "python3"} {
		needProgram(t, name)
	}
	b := newBench(t)
	capture := filepath.Join(t.TempDir(), "home.pcapng")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := typed(b, self, "laboratory.md", "../..", "/tmp/home.pcapng", capture)
	contains(t, out, "Lab lab stands: 3 hosts, 2 routers", "tcp 192.168.1.2:", "home rebooted and forgot ",
		"I am phone, and the server is 198.18.0.5", "lab is down")
	if info, err := os.Stat(capture); err != nil || info.Size() < 1000 {
		t.Errorf("the capture: %v, %v", info, err)
	}
}

// The tutorial ends as it says, step by step. Who types it has some seconds from one
// command to the next until the NAT of its lab forgets, and no natlab with the race
// detector, which is several times slower to begin.
func TestTutorialWorks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "go"} {
		needProgram(t, name)
	}
	b := newBench(t)
	natlab := filepath.Join(t.TempDir(), "natlab")
	if out, err := exec.Command("go", "build", "-o", natlab, ".").CombinedOutput(); err != nil {
		t.Fatalf("build natlab: %v\n%s", err, out)
	}
	out := typed(b, natlab, "tutorial.md", t.TempDir())
	for _, want := range []string{
		"server: hello from 127.0.0.1:", "phone: wake up", "server: the phone is awake",
		"Lab lab stands: 2 hosts, 1 router",
		"server: hello from 198.18.0.2:", "udp 192.168.1.2:", "the server ended with status 1", "no mappings",
		"full cone: still broken", "one minute: it works", "lab is down",
		"PAGER is unexpected", "natlab ended with status 1", `3             "cause": "expired mapping",`,
		"PAGER  expected", "1/1", "PAGER is unexpected", `"cause": "mapping lost in a reset",`, "PAGER  expected", "1/1",
	} {
		_, rest, found := strings.Cut(out, want)
		if !found {
			t.Fatalf("the tutorial does not come to %q; what is left of its output:\n%s", want, out)
		}
		out = rest
	}
}
