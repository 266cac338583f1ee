package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"p2pmodel/cmd/p2pmodel/play"
	"p2pmodel/core/freeport"
)

// What BenchmarkBots runs.
const (
	benchBots     = 2000
	benchBotsRamp = 20 * time.Second // 100 logins a second
	benchBotsStay = 25 * time.Second // longer than sessions are silent
	benchBotsEnd  = 2 * time.Minute
)

// BenchmarkBots gives the memory of both ends of 2,000 players who are logged in
// and wait in their rooms: one process of everything, one of bots. MiB-all and
// MiB-bots are the most that the processes ever had resident, MiB-together their
// sum; settled-MiB is what both have at the end of the wait. s-to-rooms counts
// from the first login until all are in their rooms; logins are spread over 20 s.
func BenchmarkBots(b *testing.B) {
	if testing.Short() {
		b.Skip("a minute of 2,000 bots")
	}
	binary, dir := build(b), b.TempDir()
	data, report := filepath.Join(dir, "data"), filepath.Join(dir, "report.json")
	all := spawn(b, "all", binary, "all", "--data-dir", data, "--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(freeport.Row(b, 2)), "--log-level", "warn")
	agent := awaitText(b, all.log, "  agent", all.ended)
	bots := spawn(b, "bots", binary, "play", "--agent", agent, "--ca-file", filepath.Join(data, "ca.crt"), "--account", "bot", "--bots", fmt.Sprint(benchBots),
		"--no-tick", "--room-size", "8", "--from", "127.1.0.0/16", "--ramp", benchBotsRamp.String(), "--duration", benchBotsStay.String(), "--report-file", report)
	begun := time.Now()
	var settled, most [2]float64
	entered := time.Duration(0)
	full := fmt.Sprintf("%d in rooms", benchBots)
	for code, running := 0, true; running; {
		select {
		case code = <-bots.ended:
			running = false
			if code != 0 {
				b.Errorf("bots: exit %d", code)
			}
		case code = <-all.ended:
			b.Fatalf("p2pmodel all has ended with %d", code)
		case <-time.After(250 * time.Millisecond):
			if time.Since(begun) > benchBotsEnd {
				b.Fatal("it takes too long")
			}
			for i, p := range []*process{bots, all} {
				if now, peak := memory(p); now > 0 {
					settled[i], most[i] = now, peak
				}
			}
			if entered == 0 && strings.Contains(bots.log.String(), full) {
				entered = time.Since(begun)
			}
		}
	}
	var s play.Summary
	text, err := os.ReadFile(report)
	if err != nil || json.Unmarshal(text, &s) != nil {
		b.Fatalf("report: %v\n%s", err, text)
	}
	failed := uint64(0)
	for what, n := range s.Failures {
		b.Errorf("%d requests failed: %s", n, what)
		failed += n
	}
	if s.InRooms != benchBots || s.Ended != 0 || s.AgentsLost != 0 {
		b.Errorf("%d of %d bots in rooms; %d sessions ended, %d connections lost", s.InRooms, benchBots, s.Ended, s.AgentsLost)
	}
	b.ReportMetric(0, "ns/op") // of the whole run; says nothing
	b.ReportMetric(most[0], "MiB-bots")
	b.ReportMetric(most[1], "MiB-all")
	b.ReportMetric(most[0]+most[1], "MiB-together")
	b.ReportMetric(settled[0]+settled[1], "settled-MiB")
	b.ReportMetric(entered.Seconds(), "s-to-rooms")
	b.ReportMetric(s.Requests["Login"].P99, "login-p99-ms")
	b.ReportMetric(s.Requests["JoinRoom"].P99, "join-p99-ms")
	b.ReportMetric(float64(failed), "failed")
	if err := all.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	if code := <-all.ended; code != 0 {
		b.Errorf("p2pmodel all: exit %d", code)
	}
}

// memory is what a process has resident, and the most that it ever had, in MiB; 0 if
// it has ended.
func memory(p *process) (now, most float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib / 1024
		case "VmHWM:":
			most = kib / 1024
		}
	}
	return now, most
}
