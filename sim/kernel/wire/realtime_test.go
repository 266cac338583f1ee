//go:build linux

package wire_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
)

// threads gives how many threads a process has, and how many of them have real-time
// priority; each is visited.
func threads(tb testing.TB, pid int, visit func(tid int)) (all, realtime int) {
	tb.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	must(tb, err)
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		must(tb, err)
		attr, err := unix.SchedGetAttr(tid, 0)
		if err == unix.ESRCH { // it has ended
			continue
		}
		must(tb, err)
		all++
		if attr.Policy == unix.SCHED_RR {
			realtime++
		}
		visit(tid)
	}
	return all, realtime
}

// startRealtime starts a process of wires with one link, at real-time priority.
func startRealtime(tb testing.TB, up link.Impairment) (*wire.Process, *cable) {
	tb.Helper()
	p, err := wire.StartProcess(processName)
	must(tb, err)
	tb.Cleanup(func() { must(tb, p.Close()) })
	c, ends := newEnds(tb)
	c.link, err = p.Add(ends[0], ends[1], up, link.Impairment{}, 42)
	must(tb, err)
	// It answered: its priorities are set.
	switch all, realtime := threads(tb, p.PID(), func(int) {}); realtime {
	case all:
	case 0:
		tb.Skip("needs real-time priority: run as root, or raise RLIMIT_RTPRIO (ulimit -r 1)")
	default:
		tb.Fatalf("%d of %d threads have real-time priority; a thread that has waits for ever for one that has not", realtime, all)
	}
	return p, c
}

// TestBusyWorkDoesNotStopAWire: programs that never sleep, on the one processor
// that wires have, too. When the scheduler's thread alone had real-time priority, each
// of four wires stood still for a second within 20 s, in Go's runtime: it waited by
// yielding for a thread that the programs kept from running.
func TestBusyWorkDoesNotStopAWire(t *testing.T) {
	const (
		wires  = 4
		length = 8 * time.Second
		bound  = 500 * time.Millisecond
	)
	var mine, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &mine))
	for cpu := 0; one.Count() == 0; cpu++ {
		if mine.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	var cables [wires]*cable
	var sockets [wires]interface{ Write([]byte) (int, error) }
	for i := range cables {
		p, c := startRealtime(t, link.Impairment{Delay: 5 * time.Millisecond})
		threads(t, p.PID(), func(tid int) {
			if err := unix.SchedSetaffinity(tid, &one); err != unix.ESRCH {
				must(t, err)
			}
		})
		cables[i], sockets[i] = c, c.dial(t, 0, c.udp(t, 1))
	}
	for range 2 {
		busy := exec.Command("/bin/sh", "-c", "while :; do :; done")
		must(t, busy.Start())
		t.Cleanup(func() {
			_ = busy.Process.Kill()
			_ = busy.Wait() // killed
		})
		must(t, unix.SchedSetaffinity(busy.Process.Pid, &one))
	}
	var senders sync.WaitGroup
	for i := range cables {
		senders.Go(func() {
			for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if _, err := sockets[i].Write([]byte("x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
	for i, c := range cables {
		late, _ := c.link.Late()
		t.Logf("wire %d: %+v", i, late)
		if late.Packets < 1000 || late.Max >= bound {
			t.Errorf("wire %d stood still: %+v, want all packets within %v", i, late, bound)
		}
	}
}

// TestAFullWireGivesWay: what collects garbage all the time has no real-time
// priority, which would keep everybody else from running.
func TestAFullWireGivesWay(t *testing.T) {
	p, c := startRealtime(t, link.Impairment{Delay: time.Minute, Duplicate: 1})
	to := c.dial(t, 0, c.udp(t, 1))
	for sent, deadline := 0, time.Now().Add(patience); ; sent++ {
		_, err := to.Write([]byte("waits for a minute, twice"))
		must(t, err)
		if sent%10_000 != 0 {
			continue
		}
		if _, realtime := threads(t, p.PID(), func(int) {}); realtime == 0 {
			t.Logf("after %d datagrams", sent)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d datagrams wait on a wire, and it has real-time priority still", sent)
		}
	}
	must(t, c.link.Err())
}
