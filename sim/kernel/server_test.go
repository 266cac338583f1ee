//go:build linux

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// shell is a program that runs a script.
func shell(script string) sim.Program {
	return sim.Program{Path: "sh", Args: []string{"-c", script}}
}

func started(tb testing.TB, h *kernel.Host, p sim.Program) sim.RunningProgram {
	tb.Helper()
	running, err := h.Start(tb.Context(), p)
	if err != nil {
		tb.Fatal(err)
	}
	return running
}

// said collects the lines of a program.
type said struct {
	mu    sync.Mutex
	lines []sim.Line
}

func (s *said) line(l sim.Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, l)
}

// text joins the lines of one output.
func (s *said) text(stderr bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, l := range s.lines {
		if l.Stderr == stderr {
			lines = append(lines, l.Text)
		}
	}
	return strings.Join(lines, "|")
}

func TestLinesComeWithTheirTime(t *testing.T) {
	n := stand(t, lone)
	out, lines := new(syncBuffer), new(said)
	p := shell("echo one; echo no >&2; printf 'tw'; sleep 0.05; printf 'o\\n\\nrest'; printf oops >&2")
	p.OnLine, p.Stdout = lines.line, out
	before := n.Now()
	running := started(t, host(t, n, "a"), p)
	<-running.Done()
	after := n.Now()
	if got := lines.text(false); got != "one|two||rest" {
		t.Errorf("standard output in lines: %q", got)
	}
	if got := lines.text(true); got != "no|oops" {
		t.Errorf("standard error in lines: %q", got)
	}
	if got := out.String(); got != "one\ntwo\n\nrest" {
		t.Errorf("standard output as written: %q", got)
	}
	for i, l := range lines.lines {
		if l.At.Before(before) || l.At.After(after) || i > 0 && l.At.Before(lines.lines[i-1].At) {
			t.Errorf("line %q has the time %v, between %v and %v", l.Text, l.At, before, after)
		}
	}
}

func TestLongLinesComeInPieces(t *testing.T) {
	n := stand(t, lone)
	lines := new(said)
	p := shell("head -c 200000 /dev/zero | tr '\\0' x; echo; echo short")
	p.OnLine = lines.line
	<-started(t, host(t, n, "a"), p).Done()
	total := 0
	for _, l := range lines.lines {
		if total += len(l.Text); len(l.Text) > 64<<10 {
			t.Errorf("a piece of %d bytes", len(l.Text))
		}
	}
	if last := lines.lines[len(lines.lines)-1].Text; total != 200000+len("short") || last != "short" {
		t.Errorf("%d bytes in lines, the last is %q", total, last)
	}
}

func TestStopLetsAProgramEnd(t *testing.T) {
	n := stand(t, lone)
	lines := new(said)
	p := shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done")
	p.OnLine = lines.line
	running := started(t, host(t, n, "a"), p)
	soon(t, "it is up", func() bool { return lines.text(false) == "up" })
	if s := running.State(); !s.Running || s.MaxRSS < 100<<10 {
		t.Errorf("while it runs its state is %+v", s)
	}
	if err := running.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, s := lines.text(false), running.State(); got != "up|bye" || s.Running || s.Code != 3 || s.MaxRSS < 100<<10 {
		t.Errorf("it said %q and ended as %+v", got, s)
	}
	if err := running.Stop(t.Context()); err != nil {
		t.Errorf("stopped again: %v", err)
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	n := stand(t, lone)
	lines := new(said)
	p := shell("trap '' TERM; (trap '' TERM; sleep 1000) & echo up; while :; do sleep 0.01; done")
	p.OnLine = lines.line
	running := started(t, host(t, n, "a"), p)
	soon(t, "it is up", func() bool { return lines.text(false) == "up" })
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	if err := running.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "it was killed") {
		t.Errorf("stop: %v", err)
	}
	if s := running.State(); s.Running || s.Code != 128+int(syscall.SIGKILL) || s.MaxRSS == 0 {
		t.Errorf("its state is %+v, and it was killed", s)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", running.PID())); err == nil {
		t.Error("it lives on")
	}
	if err := running.Restart(t.Context()); err != nil || !running.State().Running {
		t.Errorf("after a restart its state is %+v (%v)", running.State(), err)
	}
}

func TestWhatAProgramTook(t *testing.T) {
	n := stand(t, lone)
	// 100 MB in memory at once, and some work.
	const script = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; "
	for end, code := range map[string]int{"exit 4": 4, "kill -9 $$": 137, "sleep 1000": 137} {
		lines := new(said)
		p := shell(script + end)
		p.OnLine = lines.line
		running := started(t, host(t, n, "a"), p)
		soon(t, "it has worked", func() bool { return lines.text(false) == "done" })
		if strings.HasPrefix(end, "sleep") {
			if err := running.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		<-running.Done()
		s := running.State()
		if s.Code != code || s.MaxRSS < 100_000_000 || s.MaxRSS > 1<<30 || s.User+s.System < 20*time.Millisecond || s.User+s.System > time.Minute {
			t.Errorf("%s: %+v, want code %d, more than 100 MB and some time", end, s, code)
		}
	}
}
