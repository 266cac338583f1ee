//go:build linux

package standing

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

var pid = os.Getpid()

// parentEnv tells a holder in a user namespace the process that accompanies it
// there (kernel.Enter), which ends right after it.
const parentEnv = "NATLAB_HOLDER"

// MarkHolder is to be called before kernel.Enter by a process that will hold a
// lab: what becomes of it afterwards knows its PID.
func MarkHolder() error {
	if os.Getenv(parentEnv) != "" {
		return nil
	}
	return os.Setenv(parentEnv, strconv.Itoa(pid))
}

// holderPID is the process that was told to hold the lab: ours, or the one that
// accompanies us.
func holderPID() int {
	if n, err := strconv.Atoi(os.Getenv(parentEnv)); err == nil && n > 0 {
		return n
	}
	return pid
}

// lastBreath bounds how long the end of a process is waited for that has nothing
// left to do.
const lastBreath = 5 * time.Second

// exits are processes whose end is awaited.
type exits struct{ fds []int }

// watchExit looks at the process at the other end of a connection, and at the one
// that accompanies it.
func watchExit(c *conn) *exits {
	e := &exits{}
	who, err := c.peer()
	if err != nil || int(who.Pid) == pid {
		return e
	}
	e.add(int(who.Pid))
	return e
}

func (e *exits) add(process int) {
	if process <= 0 || process == pid {
		return
	}
	if fd, err := unix.PidfdOpen(process, 0); err == nil {
		e.fds = append(e.fds, fd)
	}
}

// wait returns when they have ended, or would not.
func (e *exits) wait() {
	for deadline := time.Now().Add(lastBreath); len(e.fds) > 0; {
		poll := []unix.PollFd{{Fd: int32(e.fds[0]), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, int(max(time.Until(deadline).Milliseconds(), 0)))
		switch {
		case err == unix.EINTR:
			continue
		case n > 0:
			_ = unix.Close(e.fds[0])
			e.fds = e.fds[1:]
		default:
			return
		}
	}
}

func (e *exits) close() {
	for _, fd := range e.fds {
		_ = unix.Close(fd)
	}
	e.fds = nil
}
