package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/laboratory.md tells people to type is typed here, from its first block
// to its last, in one shell that ends with the first command that fails.
func TestTheTutorialWorks(t *testing.T) {
	for _, name := range []string{"bash", "curl", "python3"} {
		needProgram(t, name)
	}
	b := newBench(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "laboratory.md"))
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	// Jobs are numbered, as in a person's shell.
	script.WriteString("set -e -m\n")
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	for _, block := range blocks {
		script.WriteString(block[1])
	}
	if len(blocks) < 5 {
		t.Fatalf("only %d blocks: are they spelt otherwise?", len(blocks))
	}
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "natlab"), []byte("#!/bin/sh\nexec '"+self+"' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(script.String(), "/tmp/home.pcapng", filepath.Join(bin, "home.pcapng"))
	cmd := exec.Command("bash", "-c", text)
	cmd.Env = append(b.command().Env, "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, string(out), "Lab lab stands: 3 hosts, 2 routers", "tcp 192.168.1.2:", "home rebooted and forgot ",
		"I am phone, and the server is 198.18.0.5", "lab is down")
	if info, err := os.Stat(filepath.Join(bin, "home.pcapng")); err != nil || info.Size() < 1000 {
		t.Errorf("the capture: %v, %v", info, err)
	}
}
