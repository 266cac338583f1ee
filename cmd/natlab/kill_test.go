//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/sim/kernel/residue"
)

// everything is a lab with all that has processes, threads or sockets: wires, a
// captive portal, several uplinks.
const everything = `
lab:
  routers:
    home: {nat: symmetric}
    hotel: {nat: port-restricted-cone, firewall: captive-portal}
  hosts:
    a: {behind: home}
    b: {behind: hotel}
    phone: {uplinks: {wifi: {behind: home}, 4g: {}}}
    server: {}
  links:
    a: {delay: 5ms, jitter: 1ms, loss: 1%}
    hotel: wifi
    phone/4g: 4g
`

// Whenever natlab is killed, nothing stays: no process, of programs, their
// daemons, inits and wires; so nothing that would hold a namespace; no interface;
// no file.
func TestKilledAtAnyMomentNothingIsLeft(t *testing.T) {
	needLabs(t)
	rounds, longest := 20, 3*time.Second // the shortest of them takes longer
	if testing.Short() {
		rounds = 4
	}
	before, err := residue.Look()
	if err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	t.Run("rounds", func(t *testing.T) {
		for round := range rounds {
			t.Run(fmt.Sprint(round), func(t *testing.T) {
				t.Parallel()
				killedAt(t, round, rand.N(longest), temporary)
			})
		}
	})
	// A folder with the programs' files stays; its lock is free, and the next run
	// removes it.
	b := newBench(t)
	cmd := b.command("run", "EV-05", "--skip-controls")
	cmd.Env = append(cmd.Env, "TMPDIR="+temporary)
	if status, out, stderr := b.end(cmd); status != exitOK {
		t.Errorf("status %d: %s%s", status, out, stderr)
	}
	left, err := os.ReadDir(temporary)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range left {
		t.Errorf("left behind: %s", l.Name())
	}
	after, err := residue.Look()
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range after.Since(before) {
		if strings.HasPrefix(left, "interface ") {
			t.Errorf("left behind: %s", left)
		}
	}
}

func killedAt(t *testing.T, round int, moment time.Duration, temporary string) {
	b := newBench(t)
	if err := os.WriteFile(b.lab, []byte(everything), 0o644); err != nil {
		t.Fatal(err)
	}
	args := [][]string{
		{"up", b.lab, "--name", "lab"},
		{"run", "FW-04", "--skip-controls"}, // a captive portal
		{"run", "EV-05", "--skip-controls"}, // programs that are paused
		{"run", "EV-04", "--skip-controls"}, // a timeline
	}[round%4]
	cmd := b.command(args...)
	cmd.Env = append(cmd.Env, "TMPDIR="+temporary)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(moment)
	var client sync.WaitGroup
	defer client.Wait()
	if args[0] == "up" {
		// With a program that has a daemon, as soon as the lab stands.
		client.Go(func() {
			for time.Now().Before(deadline) {
				_ = b.command("exec", "a", "--", "sh", "-c", "(setsid sleep 1000 &); sleep 1000").Run()
			}
		})
	}
	time.Sleep(time.Until(deadline))
	alive := len(b.processes())
	_ = cmd.Process.Kill()
	if _ = cmd.Wait(); cmd.ProcessState.Exited() {
		t.Errorf("natlab %v ended by itself: %v: %s", args, cmd.ProcessState, said.Bytes())
	}
	b.gone()
	b.forgotten()
	t.Logf("natlab %s: killed after %v with %d processes; %v", args[0]+" "+filepath.Base(args[1]), moment.Round(time.Millisecond), alive, cmd.ProcessState)
}
