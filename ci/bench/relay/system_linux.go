package relay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/bench/forward"
	"p2pmodel/ci/bench/network"
)

// System is a program that is measured.
type System struct {
	Name    string
	Command []string
	// Turn says that it is a relay; else it forwards whatever comes.
	Turn bool
	// Says is a line's beginning once it is ready; empty: it answers requests then.
	Says string
	// Env is what its environment has besides ours.
	Env []string
	// Rules are set in its namespace before it starts, and removed once it has ended; nil: none.
	Rules func() (remove func() error, err error)
}

// port is where systems listen.
const port = 3478

// user is who may allocate, and the password.
const user = "bench"

// Programs are the files of what is measured.
type Programs struct {
	P2PModel, PionTurn, Coturn, Bench string
	// Baseline is p2pmodel of another commit; empty: none.
	Baseline, BaselineName string
	// Without are offloads that p2pmodel is measured without, too: gso, gro, off for both.
	Without []string
	// Kernel: measure p2pmodel with the kernel's fast path, too.
	Kernel bool
	// Dir is for files of the systems.
	Dir string
}

// Systems are all that there are.
func (p *Programs) Systems() ([]System, error) {
	credentials := filepath.Join(p.Dir, "users.txt")
	if err := os.WriteFile(credentials, []byte(user+":"+user+"\n"), 0o600); err != nil {
		return nil, err
	}
	at := network.System.String()
	listen := at + ":" + strconv.Itoa(port)
	ours := func(program string) []string {
		return []string{program, "relay", "--listen", listen, "--relay-address", at, "--ports", "10000-65535", "--realm", user,
			"--credentials-file", credentials, "--max-allocations-per-user", "50000", "--log-level", "error"}
	}
	forwarder := func(name, manner string, more ...string) System {
		return System{Name: name, Says: "listening", Command: append([]string{p.Bench, "forward", "--manner", manner,
			"--listen", listen, "--relayed", at, "--to", peer.String()}, more...)}
	}
	systems := []System{{Name: Ours, Turn: true, Says: "relay listening", Command: ours(p.P2PModel)}}
	if p.Kernel {
		systems = append(systems, System{Name: Kernel, Turn: true, Says: "relay listening", Command: append(ours(p.P2PModel), "--fast-path", "on")})
	}
	for _, offload := range p.Without {
		systems = append(systems, System{Name: Ours + " without " + offload, Turn: true, Says: "relay listening", Command: ours(p.P2PModel),
			Env: []string{"P2PMODEL_OFFLOAD_OFF=" + offload}})
	}
	if p.Baseline != "" {
		systems = append(systems, System{Name: p.BaselineName, Turn: true, Says: "relay listening", Command: ours(p.Baseline)})
	}
	if p.Coturn != "" {
		systems = append(systems, System{Name: Coturn, Turn: true, Command: []string{p.Coturn, "-n", "-m", "1", "-L", at, "-E", at,
			"-p", strconv.Itoa(port), "-a", "-u", user + ":" + user, "-r", user, "--min-port", "10000", "--max-port", "65535",
			"--no-tcp", "--no-tls", "--no-dtls", "--no-cli", "--no-tcp-relay", "--no-rfc5780", "--no-stdout-log", "--simple-log", "-l", "/dev/null",
			"--userdb", filepath.Join(p.Dir, "turndb"), "--pidfile", filepath.Join(p.Dir, "turnserver.pid")}})
	}
	if p.PionTurn != "" {
		systems = append(systems, System{Name: PionTurn, Turn: true, Says: "listening", Command: []string{p.PionTurn, "server",
			"--listen", listen, "--user", user, "--password", user, "--realm", user}})
	}
	rules := forwarder(RulesName, "offloaded", "--one-socket", "--ports")
	rules.Rules = forward.Rules
	return append(systems,
		forwarder(PlainName, "plain"),
		forwarder(BatchName, "batched"),
		forwarder(GSOName, "offloaded"),
		forwarder(OneName, "offloaded", "--one-socket"),
		rules,
	), nil
}

// running is a system that has been started.
type running struct {
	cmd   *exec.Cmd
	ended chan error
	log   *bytes.Buffer // only for reading once ended
	undo  func()        // what was done for it before
}

// start starts a system where it is measured.
func start(s System, on *network.Thread) (*running, error) {
	r := &running{cmd: exec.Command(s.Command[0], s.Command[1:]...), ended: make(chan error, 1), log: new(bytes.Buffer), undo: func() {}}
	r.cmd.Stderr = r.log
	r.cmd.Env = append(os.Environ(), s.Env...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if s.Rules != nil {
		var remove func() error
		if err := on.Do(func() (err error) { remove, err = s.Rules(); return err }); err != nil {
			return nil, fmt.Errorf("start %s: %w", s.Name, err)
		}
		r.undo = func() { _ = on.Do(remove) } // the namespace ends soon, with what is left in it
	}
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		err = on.Do(r.cmd.Start)
	}
	if err != nil {
		r.undo()
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	said := make(chan struct{})
	go func() {
		lines, first := bufio.NewScanner(out), true
		for lines.Scan() {
			if first && s.Says != "" && strings.HasPrefix(lines.Text(), s.Says) {
				close(said)
				first = false
			}
		}
		r.ended <- r.cmd.Wait()
	}()
	if s.Says == "" {
		return r, nil
	}
	select {
	case <-said:
		return r, nil
	case err := <-r.ended:
		r.undo()
		return nil, fmt.Errorf("%s ended at once: %w: %s", s.Name, cmpErr(err), strings.TrimSpace(r.log.String()))
	case <-time.After(20 * time.Second):
		r.stop()
		return nil, fmt.Errorf("%s is not ready after 20 s", s.Name)
	}
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("with code 0")
	}
	return err
}

// stop ends it.
func (r *running) stop() {
	_ = r.cmd.Process.Kill()
	<-r.ended
	r.undo()
}

// processorTime is what all its threads have had.
func (r *running) processorTime() (time.Duration, error) {
	tasks := fmt.Sprintf("/proc/%d/task", r.cmd.Process.Pid)
	entries, err := os.ReadDir(tasks)
	if err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	sum := time.Duration(0)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(tasks, e.Name(), "schedstat"))
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time: %w", err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// tick is the unit of /proc/stat.
const tick = 10 * time.Millisecond

// busyTime is what a processor has spent otherwise than idly, than on work that gives way to all
// others, and than for another guest of its host. The kernel knows idle time by a clock; what
// a processor was busy with it knows by looking at each tick, and packets come with ticks or
// between them.
func busyTime(cpu int) (time.Duration, error) {
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != "cpu"+strconv.Itoa(cpu) {
			continue
		}
		busy := time.Duration(clock.Nano())
		for _, i := range []int{2, 4, 5, 8} { // nice, idle, iowait, steal
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("processor time: %w", err)
			}
			busy -= time.Duration(n) * tick
		}
		return busy, nil
	}
	return 0, fmt.Errorf("processor time: /proc/stat has no processor %d", cpu)
}

// resident is the memory of the process.
func (r *running) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", r.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("memory: %w", err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("memory: statm says %q", text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
