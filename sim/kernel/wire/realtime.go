//go:build linux

package wire

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"

	"golang.org/x/sys/unix"
)

// memoryLimit is what a process of wires may use before garbage is collected, in
// bytes: a collection would stop the wires.
const memoryLimit = 256 << 20

// beRealtime makes all of this process run before others, where root or
// RLIMIT_RTPRIO permits it, and without stopping to collect garbage.
//
// Not only the scheduler's thread, since Go's runtime waits for its own threads by
// yielding: that thread, when it comes back from a system call, waits for the one
// that is about to take its slot away (casgstatus). Only threads of the same priority
// get the processor by that. One of no real-time priority had to wait until the
// kernel stepped in, after 0.95 s, if other work kept it from another processor; and
// so had all frames.
//
// Whatever is done here is done before the machine's other work, so it has to be
// little. What waits on links takes memory; when that is most of the limit,
// collections would follow each other, and leave 4 % of two processors to others. Then
// the process becomes a usual one.
func beRealtime() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	if schedule(unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}) == nil {
		afterCollection(giveWay)
	}
}

// giveWay ends that if too much is alive; it reports whether it did.
func giveWay() bool {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Uint64() < memoryLimit/2 {
		return false
	}
	debug.SetGCPercent(100)
	debug.SetMemoryLimit(math.MaxInt64)
	err := schedule(unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL})
	fmt.Fprintf(os.Stderr, "wire: %d MiB wait on the links of a lab, which go on without real-time priority and may be late; give them a rate or less delay\n", live[0].Value.Uint64()>>20)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}

// afterCollection calls f after each collection of garbage, until f returns true.
func afterCollection(f func() (done bool)) {
	garbage := new([64]byte) // more than what the runtime puts together in one block
	runtime.AddCleanup(garbage, func(f func() bool) {
		if !f() {
			afterCollection(f)
		}
	}, f)
}

// schedule has all threads of this process, and those that they start, scheduled in
// one way.
func schedule(attr unix.SchedAttr) error {
	// Threads start threads meanwhile, as they are themselves: once a pass finds
	// nothing to change, neither will the next.
	for changed := true; changed; {
		changed = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("wire: %w", err)
		}
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				return fmt.Errorf("wire: /proc/self/task: %w", err)
			}
			now, err := unix.SchedGetAttr(tid, 0)
			if err == nil && now.Policy == attr.Policy {
				continue
			}
			if err == nil {
				err = unix.SchedSetAttr(tid, &attr, 0)
			}
			if err != nil && err != unix.ESRCH { // ESRCH: it has ended
				return fmt.Errorf("wire: priority of thread %d: %w", tid, err)
			}
			changed = true
		}
	}
	return nil
}
