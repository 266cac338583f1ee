//go:build unix

package trial

import (
	"syscall"
	"time"
)

// cpuTime is the processor time of this process so far, the collector's included: on
// a machine with other work, the time that passes says nothing of a core's speed.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
