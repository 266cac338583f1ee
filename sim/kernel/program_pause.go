//go:build linux

package kernel

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
)

// Pause implements sim.RunningProgram. The init stops all processes of its
// namespace but itself at once, so that none starts another one that is missed.
func (p *Program) Pause(ctx context.Context) error {
	return p.all(ctx, "pause", unix.SIGSTOP, func(q sim.Process) bool { return q.Stopped || q.State == 'Z' || q.State == 'X' })
}

// Resume implements sim.RunningProgram.
func (p *Program) Resume(ctx context.Context) error {
	return p.all(ctx, "resume", unix.SIGCONT, func(q sim.Process) bool { return !q.Stopped })
}

// stopPatience bounds how long processes may take to stop or to go on. In the
// kernel one may be busy for long, with a disk that does not answer.
const stopPatience = 5 * time.Second

// all signals all processes, and waits until each is as it is to be.
func (p *Program) all(ctx context.Context, verb string, signal unix.Signal, done func(sim.Process) bool) error {
	doing := verb + " " + p.Name()
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	run := p.current()
	if err := run.signal(int(signal) | everyone); err != nil {
		return p.host.errorf(doing, err)
	}
	for {
		processes, err := run.processes()
		if err != nil {
			return p.host.errorf(doing, err)
		}
		i := slices.IndexFunc(processes, func(q sim.Process) bool { return !done(q) })
		switch {
		case len(processes) == 0:
			return p.host.errorf(doing, os.ErrProcessDone)
		case i < 0:
			p.host.network.log("host %s: %s (%d processes) %sd", p.host.lab.Name, p.Name(), len(processes), verb)
			return nil
		}
		if err := p.host.network.pause(ctx, time.Millisecond); err != nil {
			q := processes[i]
			return p.host.errorf(doing, fmt.Errorf("process %d (%s) is in state %c: %w", q.PID, q.Name, q.State, err))
		}
	}
}

// Processes implements sim.RunningProgram.
func (p *Program) Processes() ([]sim.Process, error) {
	found, err := p.current().processes()
	if err != nil {
		return nil, p.host.errorf("list the processes of "+p.Name(), err)
	}
	return found, nil
}

// processes are those in the PID namespace but its init. Those that begin and end
// meanwhile may be missed.
func (r *incarnation) processes() ([]sim.Process, error) {
	select {
	case <-r.done:
		return nil, nil
	default:
	}
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", r.cmd.Process.Pid))
	if err != nil {
		return nil, fmt.Errorf("read the PID namespace of its init: %w", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []sim.Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == r.cmd.Process.Pid {
			continue
		}
		if ns, err := os.Readlink("/proc/" + e.Name() + "/ns/pid"); err != nil || ns != own {
			continue // or it has ended
		}
		status, err := os.ReadFile("/proc/" + e.Name() + "/status")
		if err != nil {
			continue
		}
		q := parseProcess(status)
		q.PID = pid
		found = append(found, q)
	}
	slices.SortStableFunc(found, func(a, b sim.Process) int {
		switch {
		case a.PID == r.pid:
			return -1
		case b.PID == r.pid:
			return 1
		}
		return a.PID - b.PID
	})
	return found, nil
}

// parseProcess reads a process's status file (proc(5)).
func parseProcess(status []byte) (q sim.Process) {
	var pending uint64
	for line := range bytes.Lines(status) {
		key, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":\t"))
		switch string(key) {
		case "Name":
			q.Name = string(value)
		case "State":
			if len(value) > 0 {
				q.State = value[0]
			}
		case "SigPnd", "ShdPnd": // those of the thread and of the process
			mask, _ := strconv.ParseUint(string(value), 16, 64)
			pending |= mask
		}
	}
	stops := pending&(1<<(unix.SIGSTOP-1)) != 0
	q.Stopped = q.State == 'T' || q.State == 'D' && stops
	return q
}
