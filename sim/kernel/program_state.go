//go:build linux

package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
)

// State implements sim.RunningProgram.
func (p *Program) State() sim.ProgramState {
	run := p.current()
	select {
	case <-run.done:
	default:
		run.sample()
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	state := run.taken
	select {
	case <-run.done:
		if state.Code = run.cmd.ProcessState.ExitCode(); state.Code < 0 {
			state.Code = exitSignalled + int(unix.SIGKILL) // the init was killed
		}
	default:
		state.Running = true
	}
	return state
}

// sample notes what the program has taken so far. Of one that has ended nothing
// can be read any more.
func (r *incarnation) sample() {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.pid))
	if err != nil {
		return
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid))
	if err != nil {
		return
	}
	taken, ok := parseTaken(stat, status)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = taken
}

// ticks is how many steps of processor time a second has in /proc (USER_HZ).
const ticks = 100

// parseTaken reads what a process has taken from its files in /proc: processor
// time from stat, the most memory from status. A process that has ended and was
// not waited for has no memory any more.
func parseTaken(stat, status []byte) (taken sim.ProgramState, ok bool) {
	end := bytes.LastIndexByte(stat, ')') // of the name, which may have any character
	if end < 0 {
		return taken, false
	}
	const utime, stime = 14 - 3, 15 - 3 // fields count from 1, the third follows the name
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= stime {
		return taken, false
	}
	for at, to := range map[int]*time.Duration{utime: &taken.User, stime: &taken.System} {
		n, err := strconv.ParseInt(string(fields[at]), 10, 64)
		if err != nil {
			return taken, false
		}
		*to = time.Duration(n) * time.Second / ticks
	}
	_, peak, found := bytes.Cut(status, []byte("\nVmHWM:"))
	if !found {
		return taken, false
	}
	kib, _, _ := bytes.Cut(peak, []byte("kB"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(kib)), 10, 64)
	taken.MaxRSS = n << 10
	return taken, err == nil
}

// learnUsage reads what the init said last. An init that was killed has said
// nothing.
func (r *incarnation) learnUsage() {
	if r.control.SetReadDeadline(time.Now().Add(outputPatience)) != nil {
		return
	}
	b := make([]byte, 64)
	n, _, _, _, err := r.control.ReadMsgUnix(b, make([]byte, unix.CmsgSpace(unix.SizeofUcred)))
	if err != nil || n != 1+3*8 || b[0] != spent {
		return
	}
	number := func(i int) int64 { return int64(binary.NativeEndian.Uint64(b[1+8*i:])) }
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = sim.ProgramState{
		MaxRSS: number(0) << 10,
		User:   time.Duration(number(1)),
		System: time.Duration(number(2)),
	}
}
