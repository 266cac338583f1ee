//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// sends has a host send a datagram from a port to the server.
func (b *bench) sends(host, port string) {
	b.Helper()
	b.must("exec", host, "--", "bash", "-c", "exec 3<>/dev/udp/$LAB_ADDR_SERVER/"+port+"; echo -n hello >&3")
}

func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("LEFT OUT: needs %s", name)
	}
}

func TestWhatRoutersKnow(t *testing.T) {
	t.Parallel()
	needProgram(t, "bash")
	b := newBench(t)
	b.must("up", b.lab, "-d", "--no-certify")
	contains(t, b.must("mappings", "home"), "no mappings")
	watch := b.command("mappings", "home", "--watch")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	line := func(want string) {
		t.Helper()
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
			t.Fatalf("the watch says %q, want %q", lines.Text(), want)
		}
	}
	b.sends("a", "9")
	line("+ udp 192.168.1.2:")
	contains(t, b.must("mappings", "home"), "→ 198.18.0.2:1024 (to 198.18.0.4:9) expires ")
	contains(t, b.must("event", "reboot", "home", "new-address=true"), "✓ ", "home rebooted and forgot 1 mapping", "[198.18.0.2] → [198.18.0.5]")
	line("- udp 192.168.1.2:")
	if err := watch.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("the watch ended with %v", err)
	}
	if got := b.ps().Labs[0].Routers[0].Addresses; len(got) != 1 || got[0] != "198.18.0.5" {
		t.Errorf("after the reboot the router has %v", got)
	}
	contains(t, b.must("rules", "home"), "table nat", "chain ")
	for _, args := range [][]string{{"mappings", "hom"}, {"rules", "hom"}, {"event", "reboot", "hom"}} {
		status, _, stderr := b.natlab(args...)
		if status != exitUnable || !strings.Contains(stderr, `did you mean "home"?`) {
			t.Errorf("%v: %d %s", args, status, stderr)
		}
	}
}

func TestEventsOfALab(t *testing.T) {
	t.Parallel()
	needProgram(t, "bash")
	b := newBench(t)
	timed := filepath.Join(filepath.Dir(b.lab), "timed.yaml")
	if err := os.WriteFile(timed, []byte(labFile+"events:\n  - {at: 10ms, cut: {link: b, for: 20ms}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.must("up", timed, "-d", "--no-certify")
	b.soon("the timeline's event is done", func() bool { return strings.Contains(b.must("event"), "cut link=b for=20ms") })
	contains(t, b.must("event", "cut", "a"), "… ", "in force")
	b.sends("a", "9")
	contains(t, b.must("event", "restore", "a"), "✓ ", "took 1 packet")
	var h struct {
		Event string
		Proof struct{ State string }
	}
	cmd, _ := b.started("exec", "server", "--", "sh", "-c", "echo ready; exec sleep 1000")
	if err := json.Unmarshal([]byte(b.must("event", "--json", "kill", "sh")), &h); err != nil || h.Event != "kill program=sh" || h.Proof.State != "proved" {
		t.Errorf("%+v %v", h, err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 137 {
		t.Errorf("the killed program's client ended with %d", cmd.ProcessState.ExitCode())
	}
	status, _, stderr := b.natlab("event", "cutt", "a")
	if status != exitUnable || !strings.Contains(stderr, `unknown event "cutt"; did you mean "cut"?`) {
		t.Errorf("%d %s", status, stderr)
	}
}

// capturing starts a capture and returns when it has begun.
func (b *bench) capturing(stdout io.Writer, args ...string) *exec.Cmd {
	b.Helper()
	cmd := b.command(append([]string{"capture"}, args...)...)
	cmd.Stdout = stdout
	said, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); !strings.HasPrefix(line, "natlab: capturing at ") {
		b.Fatalf("%q %v", line, err)
	}
	return cmd
}

func TestCaptures(t *testing.T) {
	t.Parallel()
	needProgram(t, "bash")
	b := newBench(t)
	b.must("up", b.lab, "-d", "--no-certify")
	var text bytes.Buffer
	lines := b.capturing(&text, "home", "--count", "4")
	path := filepath.Join(filepath.Dir(b.lab), "a.pcapng")
	file := b.capturing(nil, "a", "--write", path)
	b.sends("a", "9")
	if err := lines.Wait(); err != nil {
		t.Fatal(err)
	}
	// There and back: nobody listens at the server.
	got := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(got) != 4 {
		t.Fatalf("%d lines:\n%s", len(got), text.String())
	}
	contains(t, got[0], "home:to a → in ", "192.168.1.2:", " > 198.18.0.4:9  UDP 5 B payload")
	contains(t, got[1], "home:uplink out →", "198.18.0.2:1024 > 198.18.0.4:9")
	contains(t, got[2], "ICMP port unreachable")
	if err := file.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := file.Wait(); err != nil {
		t.Errorf("Ctrl-C ended it with %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(data, []byte{0x0a, 0x0d, 0x0d, 0x0a}) || !bytes.Contains(data, []byte("hello")) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	for want, args := range map[string][]string{
		`did you mean "home"?`:             {"capture", "hom"},
		`no interface "uplnk"; did you me`: {"capture", "home", "-i", "uplnk"},
		"no such file or directory":        {"capture", "home", "-w", "/no/such/folder/x"},
		"are not negative":                 {"capture", "home", "-c", "-1"},
	} {
		status, _, stderr := b.natlab(args...)
		if status != exitUnable || !strings.Contains(stderr, want) {
			t.Errorf("%v: %d %s", args, status, stderr)
		}
	}

	needProgram(t, "tshark")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	live := b.capturing(w, "home", "-i", "uplink", "-c", "2", "-w", "-")
	w.Close()
	shark := exec.Command("tshark", "-r", "-", "-T", "fields", "-e", "ip.src", "-e", "ip.dst", "-e", "frame.interface_name")
	shark.Stdin = r
	var dissected bytes.Buffer
	shark.Stdout = &dissected
	if err := shark.Start(); err != nil {
		t.Fatal(err)
	}
	b.sends("a", "9")
	if err := live.Wait(); err != nil {
		t.Error(err)
	}
	if err := shark.Wait(); err != nil {
		t.Error(err)
	}
	contains(t, dissected.String(), "198.18.0.2\t198.18.0.4\thome:uplink")
}

func TestDiagrams(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("up", b.lab, "-d", "--no-certify")
	for format, want := range map[string]string{"terminal": "├── home", "mermaid": "flowchart TD", "svg": "<svg "} {
		standing, ofFile := b.must("diagram", "--format", format), b.must("diagram", b.lab, "--format", format)
		contains(t, standing, want, "192.168.1.2")
		if standing != ofFile {
			t.Errorf("%s: the lab and its file are drawn otherwise:\n%s\n%s", format, standing, ofFile)
		}
	}
}

// dialogue is a command on a terminal.
type dialogue struct {
	*bench
	cmd  *exec.Cmd
	tty  *os.File
	seen strings.Builder
}

func (b *bench) talk(args ...string) *dialogue {
	b.Helper()
	return b.onTerminal(b.command(args...))
}

// onTerminal starts a command with a terminal of its own.
func (b *bench) onTerminal(cmd *exec.Cmd) *dialogue {
	b.Helper()
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	tty, err := pty.StartWithAttrs(cmd, &pty.Winsize{Rows: 33, Cols: 77}, cmd.SysProcAttr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tty.Close() })
	return &dialogue{bench: b, cmd: cmd, tty: tty}
}

// hears reads until a text comes.
func (d *dialogue) hears(want string) {
	d.Helper()
	p := make([]byte, 1024)
	for !strings.Contains(d.seen.String(), want) {
		n, err := d.tty.Read(p)
		if err != nil {
			d.Fatalf("no %q in %q: %v", want, d.seen.String(), err)
		}
		d.seen.Write(p[:n])
	}
	_, rest, _ := strings.Cut(d.seen.String(), want)
	d.seen.Reset()
	d.seen.WriteString(rest)
}

func (d *dialogue) says(text string) {
	d.Helper()
	if _, err := d.tty.WriteString(text); err != nil {
		d.Fatal(err)
	}
}

func (d *dialogue) ends(status int) {
	d.Helper()
	go func() { _, _ = io.Copy(io.Discard, d.tty) }()
	if _ = d.cmd.Wait(); d.cmd.ProcessState.ExitCode() != status {
		d.Errorf("ended with status %d, want %d", d.cmd.ProcessState.ExitCode(), status)
	}
}

func TestTerminals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must("up", b.lab, "-d", "--no-certify")

	d := b.talk("exec", "a", "--", "sh", "-c", "tty; stty size; trap 'echo size now $(stty size)' WINCH; echo ready; while read l; do echo got $l; done; exit 4")
	d.hears("/dev/pts/")
	d.hears("33 77")
	d.hears("ready")
	if err := pty.Setsize(d.tty, &pty.Winsize{Rows: 20, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	d.says("x\r") // shells run traps when a command has ended
	d.hears("size now 20 60")
	d.says("\x04") // the end of a file
	d.ends(4)

	// Ctrl-C is the program's.
	d = b.talk("exec", "a", "--", "sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.01; done")
	d.hears("ready")
	d.says("\x03")
	d.hears("caught")
	d.ends(5)
	d = b.talk("exec", "a", "--", "sleep", "1000")
	b.soon("it runs", func() bool { return b.ps().Labs[0].Programs == 1 })
	d.says("\x03")
	d.ends(128 + int(syscall.SIGINT))

	// A shell has job control, and the host's name in its prompt.
	d = b.talk("shell", "server")
	d.hears("(server) ")
	d.says("echo $LAB_HOST: $((6*7))\r")
	d.hears("server: 42")
	d.says("sleep 1000\r")
	d.hears("sleep 1000")
	b.soon("it sleeps", func() bool { return runs(b, "sleep\x001000\x00") })
	d.says("\x1a") // Ctrl-Z
	d.hears("Stopped")
	d.says("kill %1; fg; exit 6\r")
	d.ends(6)

	// A terminal that is hung up ends the program.
	d = b.talk("exec", "a", "--", "sleep", "1000")
	b.soon("it runs", func() bool { return b.ps().Labs[0].Programs == 1 })
	d.tty.Close()
	b.soon("it has ended", func() bool { return b.ps().Labs[0].Programs == 0 })
	_ = d.cmd.Wait()

	// A job in the background gets none: asking for one would stop it.
	if bash, err := exec.LookPath("bash"); err == nil {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := b.command()
		cmd.Path, cmd.Args = bash, []string{"bash", "-mc", self + " exec a -- sh -c 'echo it runs; exit 7' & wait $!"}
		d = b.onTerminal(cmd)
		d.hears("it runs")
		d.ends(7)
	}

	// Without a terminal there is none, but on demand.
	if out := b.must("exec", "a", "--", "sh", "-c", "tty || true"); out != "not a tty\n" {
		t.Errorf("%q", out)
	}
	if out := b.must("exec", "-t", "a", "--", "tty"); !strings.HasPrefix(out, "/dev/pts/") && !strings.Contains(out, "/dev/pts/") {
		t.Errorf("%q", out)
	}
}

// runs reports whether a program of the bench's labs has these arguments.
func runs(b *bench, arguments string) bool {
	for _, pid := range b.processes() {
		if args, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && string(args) == arguments {
			return true
		}
	}
	return false
}
