//go:build linux

package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"p2pmodel/sim"
)

const lone = `
lab:
  hosts:
    a: {}
`

func TestProgramsRunInTheHostsNetwork(t *testing.T) {
	n := stand(t, lone)
	var out bytes.Buffer
	p, err := host(t, n, "a").Start(t.Context(), sim.Program{
		Path: "sh", Args: []string{"-c", "read line; echo $line $WORD $$; pwd; cat /proc/net/fib_trie; ls -d /proc/[0-9]* | wc -l"},
		Env: []string{"WORD=there", "PATH=" + os.Getenv("PATH")}, Dir: "/usr",
		Stdin: strings.NewReader("hello\n"), Stdout: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if !strings.HasPrefix(lines[0], "hello there ") {
		t.Errorf("stdin and environment: %q", lines[0])
	}
	if pid, _ := strconv.Atoi(strings.Fields(lines[0])[2]); pid > 20 {
		t.Errorf("the program's own PID is %d: it is in no PID namespace of its own", pid)
	}
	if lines[1] != "/usr" {
		t.Errorf("working directory %q", lines[1])
	}
	if addr := addressOf(n, "a").String(); !strings.Contains(out.String(), addr) {
		t.Errorf("the program does not see the host's address %s:\n%s", addr, out.String())
	}
	if last := lines[len(lines)-1]; len(last) > 1 {
		t.Errorf("the program sees %s processes in /proc", last)
	}
}

func TestProgramsThatCannotBeStartedSayWhy(t *testing.T) {
	n := stand(t, lone)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(data, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		program sim.Program
		is      error
		says    string
	}{
		{sim.Program{Path: "no-such-command"}, exec.ErrNotFound, "no-such-command"},
		{sim.Program{Path: "/no/such/file"}, fs.ErrNotExist, "/no/such/file"},
		{sim.Program{Path: data}, fs.ErrPermission, data},
		{sim.Program{Path: text}, syscall.ENOEXEC, text},
		{sim.Program{Path: "true", Dir: "/no/such/directory"}, fs.ErrNotExist, "directory"},
	} {
		_, err := host(t, n, "a").Start(t.Context(), tt.program)
		if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), "host a: start ") {
			t.Errorf("%+v: error %v, want %v with %q in it", tt.program, err, tt.is, tt.says)
		}
	}
}

func TestExitCodes(t *testing.T) {
	n := stand(t, lone)
	for script, want := range map[string]int{"exit 0": 0, "exit 3": 3, "kill -TERM $$": 128 + 15} {
		p, err := host(t, n, "a").Start(t.Context(), sim.Program{Path: "sh", Args: []string{"-c", script}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // Wait may be called several times
			err = p.Wait()
			var exit *exec.ExitError
			switch {
			case want == 0 && err != nil:
				t.Errorf("%s: %v", script, err)
			case want != 0 && (!errors.As(err, &exit) || exit.ExitCode() != want):
				t.Errorf("%s: %v, want exit code %d", script, err, want)
			}
		}
	}
}

func TestSignalsReachTheProgram(t *testing.T) {
	n := stand(t, lone)
	out := new(syncBuffer)
	p, err := host(t, n, "a").Start(t.Context(), sim.Program{
		Path: "sh", Args: []string{"-c", "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.01; done"}, Stdout: out,
	})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the program is ready", func() bool { return strings.Contains(out.String(), "ready") })
	if comm, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/comm"); err != nil || strings.TrimSpace(string(comm)) != "sh" {
		t.Errorf("process %d is %q (%v), and the program is sh", p.PID(), comm, err)
	}
	if err := p.Signal(int(syscall.SIGUSR1)); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 || !strings.Contains(out.String(), "got it") {
		t.Errorf("ended with %v and said %q", err, out.String())
	}
	if err := p.Signal(int(syscall.SIGUSR1)); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal after the end: %v, want os.ErrProcessDone", err)
	}
}

// tree is a program that forks a daemon away twice and prints the PID that the
// daemon has inside.
var tree = sim.Program{Path: "sh", Args: []string{"-c", "(setsid sh -c 'sleep 1000 & sleep 1000' &); echo up; exec sleep 1000"}}

func TestADaemonOfTwoForksDiesWithTheProgram(t *testing.T) {
	n := stand(t, lone)
	path, err := n.NamespacePath("a")
	if err != nil {
		t.Fatal(err)
	}
	inode, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	inside := func() (processes []string) {
		for _, p := range processesIn(t, []string{inode}) {
			if strings.HasSuffix(p, "/ns/net") && !strings.HasPrefix(p, "/proc/"+strconv.Itoa(os.Getpid())+"/") {
				processes = append(processes, p)
			}
		}
		return processes
	}
	p, err := host(t, n, "a").Start(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "init, program, and daemons run", func() bool { return len(inside()) >= 4 })
	first := p.PID()
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.PID() == first {
		t.Error("the program has the same PID after a restart")
	}
	soon(t, "they run again, once", func() bool { return len(inside()) == 5 })
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if left := inside(); len(left) > 0 {
		t.Errorf("after Kill there are %v", left)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Errorf("a restart after Kill: %v", err)
	}
}

func TestTheContextEndsTheProgram(t *testing.T) {
	n := stand(t, lone)
	ctx, cancel := context.WithCancel(t.Context())
	p, err := host(t, n, "a").Start(ctx, tree)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) {
		t.Errorf("ended with %v, want that it was killed", err)
	}
	if _, err := host(t, n, "a").Start(ctx, tree); !errors.Is(err, context.Canceled) {
		t.Errorf("a start with a dead context: %v", err)
	}
}

func TestCloseEndsPrograms(t *testing.T) {
	n := stand(t, lone)
	p, err := host(t, n, "a").Start(context.Background(), tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(p.PID())); err == nil {
		t.Errorf("process %d lives on", p.PID())
	}
	if err := p.Restart(context.Background()); err == nil {
		t.Error("a program was started on a closed lab")
	}
}
