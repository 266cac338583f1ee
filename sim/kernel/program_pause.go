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
	return p.all(ctx, "pause", unix.SIGSTOP, stopped)
}

// Resume implements sim.RunningProgram.
func (p *Program) Resume(ctx context.Context) error {
	return p.all(ctx, "resume", unix.SIGCONT, func(q sim.Process) bool { return q.State != stateStopped })
}

// stateStopped is the state of a process that a signal has stopped (proc(5)).
const stateStopped = 'T'

// stopped reports whether a process runs no more for now, or ever.
func stopped(q sim.Process) bool { return q.State == stateStopped || q.State == 'Z' || q.State == 'X' }

// all signals all processes, and waits until each is as it is to be.
func (p *Program) all(ctx context.Context, verb string, signal unix.Signal, done func(sim.Process) bool) error {
	doing := verb + " " + p.Name()
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
		if p.host.network.pause(ctx, time.Millisecond) != nil {
			q := processes[i]
			return p.host.errorf(doing, fmt.Errorf("process %d (%s) is in state %c: %w", q.PID, q.Name, q.State, context.Cause(ctx)))
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
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if q, ok := parseProcess(stat); err == nil && ok {
			q.PID = pid
			found = append(found, q)
		}
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

// parseProcess reads name and state from a process's stat file.
func parseProcess(stat []byte) (q sim.Process, ok bool) {
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')') // the name may have any character
	if begin < 0 || end < begin || len(stat) < end+3 {
		return q, false
	}
	return sim.Process{Name: string(stat[begin+1 : end]), State: stat[end+2]}, true
}
