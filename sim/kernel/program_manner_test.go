//go:build linux

package kernel_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// output runs a program on a host and gives what it wrote.
func output(tb testing.TB, h *kernel.Host, p sim.Program) string {
	tb.Helper()
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	program, err := h.Start(tb.Context(), p)
	if err != nil {
		tb.Fatal(err)
	}
	if err := program.Wait(); err != nil {
		tb.Fatalf("%s: %v\n%s", p.Path, err, out.String())
	}
	return out.String()
}

// twoHomes has two hosts with one address, behind two NATs, and a server.
const twoHomes = `
lab:
  routers:
    home: {nat: symmetric}
    away: {nat: symmetric}
  hosts:
    a: {behind: home}
    next-door: {behind: home}
    b: {behind: away}
    server: {addresses: 2}
`

func TestProgramsKnowTheNamesOfTheLab(t *testing.T) {
	n := stand(t, twoHomes)
	before, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Skipf("this machine has no /etc/hosts: %v", err)
	}
	got := output(t, host(t, n, "a"), sim.Program{
		Path: "sh", Args: []string{"-c", "env | grep ^LAB | sort; cat /etc/hosts; ls /proc/self/cmdline"},
		Env: []string{"LAB_HOST=a", "PATH=" + os.Getenv("PATH")}, Hosts: sim.HostsFile(n, "a"),
	})
	want := `LAB_HOST=a
127.0.0.1	localhost
192.168.1.2	a
192.168.1.3	next-door
198.18.0.4	server
198.18.0.5	server
198.18.0.2	home
198.18.0.3	away
/proc/self/cmdline
`
	if got != want {
		t.Errorf("the program saw\n%swant\n%s", got, want)
	}
	if after, err := os.ReadFile("/etc/hosts"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the machine's own /etc/hosts has changed: %v\n%s", err, after)
	}
}

func TestTheTerminalControlsTheProgram(t *testing.T) {
	n := stand(t, lone)
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	p, err := host(t, n, "a").Start(t.Context(), sim.Program{
		Path: "sh", Args: []string{"-c", "trap 'echo interrupted; exit 9' INT; echo ready >/dev/tty; while :; do sleep 0.01; done"},
		Stdin: slave, Stdout: slave, Stderr: slave, Terminal: true,
	})
	slave.Close()
	if err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	b := make([]byte, 256)
	for !strings.Contains(seen.String(), "ready") {
		k, err := master.Read(b)
		if err != nil {
			t.Fatalf("after %q: %v", seen.String(), err)
		}
		seen.Write(b[:k])
	}
	if _, err := master.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 9 {
		t.Errorf("ended with %v, want exit code 9", err)
	}
	rest, _ := io.ReadAll(master) // EIO at the end
	if !strings.Contains(string(rest), "interrupted") {
		t.Errorf("the program wrote %q", rest)
	}
}
