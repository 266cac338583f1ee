//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"p2pmodel/sim/kernel/standing"
)

const labFile = `
lab:
  routers:
    home: {nat: symmetric}
    away: {nat: port-restricted-cone}
  hosts:
    a: {behind: home}
    b: {behind: away}
    server: {}
`

// bench is a folder of labs of a test's own.
type bench struct {
	*testing.T
	dir  string // of the labs' sockets
	lab  string // a file
	user *syscall.Credential
}

func newBench(t *testing.T) *bench {
	t.Helper()
	needLabs(t)
	return benchIn(t, t.TempDir(), nil)
}

func benchIn(t *testing.T, dir string, user *syscall.Credential) *bench {
	t.Helper()
	b := &bench{T: t, dir: filepath.Join(dir, "labs"), lab: filepath.Join(dir, "lab.yaml"), user: user}
	if err := os.WriteFile(b.lab, []byte(labFile), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.natlab("down", "--all")
		b.gone()
		b.forgotten()
	})
	return b
}

// command is natlab with these arguments, not yet started.
func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "natlab"
	cmd.Env = append(os.Environ(), commandEnv+"=1", standing.DirectoryEnv+"="+b.dir, "SHELL=/bin/sh", "ENV=", "PS1=",
		"GORACE=atexit_sleep_ms=0") // the race detector would wait a second at each end
	cmd.Dir = filepath.Dir(b.lab)
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.user}
	return cmd
}

// natlab runs it to its end.
func (b *bench) natlab(args ...string) (status int, stdout, stderr string) {
	b.Helper()
	return b.end(b.command(args...))
}

func (b *bench) end(cmd *exec.Cmd) (status int, stdout, stderr string) {
	b.Helper()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	ended := cmd.Run()
	if cmd.ProcessState == nil {
		b.Fatalf("natlab %v: %v", cmd.Args, ended)
	}
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// must runs it and wants the status 0.
func (b *bench) must(args ...string) (stdout string) {
	b.Helper()
	status, out, stderr := b.natlab(args...)
	if status != exitOK {
		b.Fatalf("natlab %s: status %d: %s%s", strings.Join(args, " "), status, out, stderr)
	}
	return out
}

// listed is what `ps --json` promises.
type listed struct {
	Labs []struct {
		Name  string
		Hosts []struct {
			Name      string
			Addresses []string
		}
		Routers []struct {
			Name      string
			Addresses []string
			NAT       string
		}
		PID      int
		Programs int
	}
}

func (b *bench) ps() (l listed) {
	b.Helper()
	out := b.must("ps", "--json")
	if err := json.Unmarshal([]byte(out), &l); err != nil || l.Labs == nil {
		b.Fatalf("%v in %s", err, out)
	}
	return l
}

// soon waits for a condition.
func (b *bench) soon(what string, holds func() bool) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("not within 30 s: %s", what)
		}
	}
}

// gone waits until no process of this bench's labs is left: holders and programs
// have its folder in their environments.
func (b *bench) gone() {
	b.Helper()
	b.soon("all processes have ended", func() bool { return len(b.processes()) == 0 })
}

// forgotten waits until nothing is left in the folder of labs. Who looks removes
// files of dead labs; one that is just dying may have its lock a moment longer
// than its memory.
func (b *bench) forgotten() {
	b.Helper()
	b.soon("the folder of labs is empty", func() bool {
		if n := len(b.ps().Labs); n > 0 {
			b.Errorf("%d labs are listed", n)
		}
		left, _ := os.ReadDir(b.dir)
		return len(left) == 0
	})
}

func (b *bench) processes() (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if env, err := os.ReadFile(f); err == nil && bytes.Contains(env, []byte(standing.DirectoryEnv+"="+b.dir+"\x00")) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

func TestALabStands(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	contains(t, b.must("ps"), "no lab stands")
	out := b.must("up", b.lab, "--detach")
	contains(t, out, "Lab lab stands: 3 hosts, 2 routers", "2 NATs measured as declared", "├── home", "natlab exec a -- COMMAND", "natlab down lab")

	l := b.ps().Labs
	if len(l) != 1 || l[0].Name != "lab" || len(l[0].Hosts) != 3 || len(l[0].Routers) != 2 {
		t.Fatalf("%+v", l)
	}
	if h := l[0].Hosts[0]; h.Name != "a" || len(h.Addresses) != 1 || h.Addresses[0] != "192.168.1.2" {
		t.Errorf("%+v", h)
	}
	if r := l[0].Routers[0]; r.Name != "home" || len(r.Addresses) != 1 || r.Addresses[0] != "198.18.0.2" || !strings.HasPrefix(r.NAT, "mapping=APDM") {
		t.Errorf("%+v", r)
	}
	contains(t, b.must("ps"), "lab  ", "  a  ", "behind home", "behind internet, mapping=EIM")

	// A name is one lab's, also while it is asked for again.
	status, _, stderr := b.natlab("up", b.lab, "-d")
	if status != exitUnable {
		t.Errorf("a second lab of the name: status %d", status)
	}
	contains(t, stderr, `a lab "lab" stands already (process `+strconv.Itoa(l[0].PID), "--name")

	contains(t, b.must("down"), "lab is down")
	b.gone()
	if l := b.ps().Labs; len(l) != 0 {
		t.Errorf("after down: %+v", l)
	}
	b.must("up", b.lab, "--detach", "--no-certify")
}

func TestExecEndsAsTheProgramDoes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("up", b.lab, "-d", "--no-certify")
	for _, tt := range []struct {
		args   []string
		status int
		stdout string
		stderr string
	}{
		{[]string{"a", "--", "sh", "-c", "echo out; echo err >&2; exit 7"}, 7, "out\n", "err\n"},
		{[]string{"a", "true"}, 0, "", ""},
		{[]string{"a", "--", "sh", "-c", "kill -TERM $$"}, 128 + 15, "", ""},
		{[]string{"a", "--", "sh", "-c", "kill -KILL $$"}, 128 + 9, "", ""},
		{[]string{"--lab", "lab", "b", "--", "sh", "-c", "echo $LAB_NAME $LAB_HOST $LAB_ADDR_SERVER $MINE; pwd"}, 0, "lab b 198.18.0.4\n" + filepath.Dir(b.lab) + "\n", ""},
		{[]string{"-e", "MINE=x y", "-w", "/usr", "a", "--", "sh", "-c", `echo "$MINE"; pwd`}, 0, "x y\n/usr\n", ""},
		{[]string{"a", "--", "getent", "hosts", "server"}, 0, "198.18.0.4      server\n", ""},
		{[]string{"a", "--", "getent", "hosts", "nobody.example"}, 2, "", ""}, // at once
		{[]string{"a", "--", "no-such-program"}, 127, "", "natlab: no-such-program: executable file not found in $PATH\n"},
		{[]string{"a", "--", "/etc/passwd"}, 126, "", "permission denied"},
		{[]string{"c", "--", "true"}, exitUnable, "", `natlab: lab lab has no host "c"; did you mean "a"?`},
		{[]string{"--lab", "lav", "a", "--", "true"}, exitUnable, "", `natlab: no lab "lav"; did you mean "lab"?`},
		{[]string{"a"}, exitUnable, "", "want natlab exec HOST -- COMMAND"},
		{[]string{"-e", "x", "a", "--", "true"}, exitUnable, "", "--env is KEY=VALUE"},
		{[]string{"-u", "no-such-user", "a", "--", "true"}, exitUnable, "", "user no-such-user"},
	} {
		status, stdout, stderr := b.natlab(append([]string{"exec"}, tt.args...)...)
		if status != tt.status || stdout != tt.stdout || !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
			t.Errorf("exec %v: status %d, %q, %q, want %d, %q, %q", tt.args, status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
		}
	}
	cmd := b.command("exec", "a", "--", "tr", "a-z", "A-Z")
	cmd.Stdin = strings.NewReader("shout")
	if status, out, stderr := b.end(cmd); status != 0 || out != "SHOUT" {
		t.Errorf("standard input: %d %q %q", status, out, stderr)
	}
	if os.Geteuid() == 0 && !inUserNamespace() {
		if out := b.must("exec", "-u", "nobody", "a", "--", "sh", "-c", "id -un; echo $HOME"); out != "nobody\n/nonexistent\n" {
			t.Errorf("as nobody: %q", out)
		}
	} else {
		status, _, stderr := b.natlab("exec", "-u", "nobody", "a", "--", "true")
		if status != exitUnable || !strings.Contains(stderr, "user namespace") {
			t.Errorf("as nobody without root: %d %s", status, stderr)
		}
	}
}

// started starts a command that says "ready".
func (b *bench) started(args ...string) (*exec.Cmd, io.ReadCloser) {
	b.Helper()
	cmd := b.command(args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	said := make([]byte, 6)
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "ready\n" {
		b.Fatalf("%v: %q %v", args, said, err)
	}
	return cmd, out
}

func TestSignalsAreTheProgramsNotTheLabs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("up", b.lab, "-d", "--no-certify")
	for sig, name := range map[syscall.Signal]string{syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP", syscall.SIGUSR1: "USR1"} {
		cmd, out := b.started("exec", "a", "--", "sh", "-c", "trap 'echo got "+name+"; exit 33' "+name+"; echo ready; while :; do sleep 0.01; done")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(out)
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 33 || string(rest) != "got "+name+"\n" {
			t.Errorf("%s: status %d, %q", name, cmd.ProcessState.ExitCode(), rest)
		}
	}
	// Who does not handle it, ends by it.
	cmd, _ := b.started("exec", "a", "--", "sh", "-c", "echo ready; exec sleep 1000")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+2 {
		t.Errorf("status %d, want 130", cmd.ProcessState.ExitCode())
	}
	// A client that is killed takes its program along.
	cmd, _ = b.started("exec", "a", "--", "sh", "-c", "echo ready; (setsid sleep 1000 &); sleep 1000")
	if l := b.ps().Labs; l[0].Programs != 1 {
		t.Errorf("%d programs, want 1", l[0].Programs)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	b.soon("the program has ended", func() bool { return b.ps().Labs[0].Programs == 0 && len(b.processes()) == 1 })
}

func TestAHolderThatIsKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("up", b.lab, "-d", "--no-certify")
	cmd, _ := b.started("exec", "a", "--", "sh", "-c", "echo ready; (setsid sleep 1000 &); sleep 1000")
	if err := syscall.Kill(b.ps().Labs[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != exitUnable {
		t.Errorf("exec ended with %d, want %d", status, exitUnable)
	}
	b.gone()
	if l := b.ps().Labs; len(l) != 0 {
		t.Errorf("a dead lab is listed: %+v", l)
	}
	b.forgotten()
	status, _, stderr := b.natlab("exec", "a", "--", "true")
	if status != exitUnable || !strings.Contains(stderr, "no lab stands") {
		t.Errorf("%d %s", status, stderr)
	}
	b.must("up", b.lab, "-d", "--no-certify") // at once
}

func TestTwoLabsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("up", b.lab, "-d", "--no-certify", "--name", "one")
	b.must("up", b.lab, "-d", "--no-certify", "--name", "two")
	status, _, stderr := b.natlab("exec", "a", "--", "true")
	if status != exitUnable || !strings.Contains(stderr, "several labs stand: say which one with --lab: one, two") {
		t.Errorf("%d %s", status, stderr)
	}
	if out := b.must("exec", "--lab", "two", "a", "--", "printenv", "LAB_NAME"); out != "two\n" {
		t.Errorf("%q", out)
	}
	// Completion knows them.
	if out := b.must("__complete", "exec", "--lab", ""); !strings.HasPrefix(out, "one\ntwo\n") {
		t.Errorf("labs: %q", out)
	}
	if out := b.must("__complete", "mappings", "--lab", "one", "h"); !strings.HasPrefix(out, "home\n") {
		t.Errorf("routers: %q", out)
	}
	contains(t, b.must("down", "--all"), "one is down", "two is down")
	if out := b.must("down", "--all"); out != "" {
		t.Errorf("%q", out)
	}
}

func TestUpInTheForeground(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	// A signal while it is built, certified, or stands.
	for _, wait := range []time.Duration{0, 20 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := b.command("up", b.lab)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait) // a moment, whatever happens in it
		_ = cmd.Process.Signal(os.Interrupt)
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		stop()
		cancel()
		if code := cmd.ProcessState.ExitCode(); code == 1 {
			t.Errorf("interrupted after %v: status %d: %s", wait, code, out.String())
		}
		b.gone()
		if left, _ := os.ReadDir(b.dir); wait > time.Second && len(left) > 0 {
			t.Errorf("interrupted after %v: left behind %v\n%s", wait, left, out.String())
		}
	}
	cmd := b.command("up", b.lab, "--no-certify")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.soon("the lab stands", func() bool { return len(b.ps().Labs) == 1 })
	contains(t, b.must("down"), "lab is down")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
	contains(t, out.String(), "Ctrl-C takes it down", "taken down by natlab down")
}

func TestUpOfWhatIsNoLab(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "labs")
	t.Setenv(standing.DirectoryEnv, dir)
	wrong := file(t, "wrong.yaml", strings.Replace(labFile, "behind: home", "behind: hone", 1))
	noEvent := file(t, "event.yaml", labFile+"events:\n  - {at: 1s, cut: {link: aa}}\n")
	scenario := file(t, "scenario.yaml", strings.Replace(good, "full-cone", "fullcone", 1))
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"up", wrong}, []string{wrong + ":7:17: ", `did you mean "home"?`}},
		{[]string{"up", wrong, "--detach"}, []string{wrong + ":7:17: "}},
		{[]string{"up", noEvent}, []string{noEvent + ":11:", `"aa"`}},
		{[]string{"up", scenario}, []string{scenario + ":4:"}},
		{[]string{"up", "none.yaml"}, []string{"there is no file none.yaml"}},
		{[]string{"up", "TC-91"}, []string{`did you mean "TC-01"?`}},
		{[]string{"up", "TC-01", "--name", "a/b"}, []string{`"a/b" cannot be a lab's name`}},
		{[]string{"up"}, []string{"up: want natlab up FILE, got no argument"}},
		{[]string{"ps", "x"}, []string{"ps takes no arguments"}},
		{[]string{"down"}, []string{"no lab stands"}},
		{[]string{"down", "x", "--all"}, []string{"--all takes every lab down"}},
		{[]string{"mappings", "x"}, []string{"no lab stands"}},
		{[]string{"rules", "x"}, []string{"no lab stands"}},
		{[]string{"capture", "x"}, []string{"no lab stands"}},
		{[]string{"event", "reboot", "x"}, []string{"no lab stands"}},
		{[]string{"diagram", "--format", "svgg", "TC-01"}, []string{`no format "svgg"; did you mean "svg"?`}},
	} {
		status, out, stderr := call(t.Context(), tt.args...)
		if status != exitUnable || out != "" {
			t.Errorf("%v: status %d: %s", tt.args, status, out)
		}
		contains(t, stderr, tt.want...)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestALabWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || inUserNamespace() {
		t.Skip("needs root to become somebody else; the other tests run without it then")
	}
	dir, err := os.MkdirTemp("", "rootless")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	b := benchIn(t, dir, &syscall.Credential{Uid: 65534, Gid: 65534})
	if status, _, stderr := b.natlab("up", b.lab, "--detach"); status != exitOK {
		if strings.Contains(stderr, "user namespaces are not permitted") {
			t.Skip(stderr)
		}
		t.Fatal(stderr)
	}
	// Programs are started in the holder's user namespace.
	if out := b.must("exec", "a", "--", "sh", "-c", "id -u; getent hosts server; cat /proc/net/fib_trie | grep -c 192.168.1.2"); !strings.HasPrefix(out, "0\n198.18.0.4") {
		t.Errorf("%q", out)
	}
	contains(t, b.must("mappings", "home"), "no mappings")
	pid := b.ps().Labs[0].PID
	b.must("down")
	b.gone()
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("process %d is still there after down: %s", pid, stat)
	}
	// Whichever of its processes is killed, all go.
	b.must("up", b.lab, "--detach", "--no-certify")
	if n := len(b.processes()); n != 2 {
		t.Errorf("%d processes hold the lab, want 2: %v", n, b.processes())
	}
	if err := syscall.Kill(b.ps().Labs[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.gone()
}
