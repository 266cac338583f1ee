//go:build linux

package wire_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
)

// TestAProcessIsAsAThread: what a link does and tells is the same from another
// process, to which its sockets, impairments and traces go.
func TestAProcessIsAsAThread(t *testing.T) {
	slow, err := link.ParseTrace("slow", []byte(strings.Repeat("1\n", 50)+"2\n"))
	must(t, err)
	p, err := wire.StartProcess(processName)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	c, ends := newEnds(t)
	remote, err := p.Add(ends[0], ends[1], link.Impairment{Delay: 5 * time.Millisecond, Trace: slow}, link.Impairment{}, 42)
	must(t, err)
	c.link = remote
	to := c.udp(t, 1)
	from := c.dial(t, 0, to)
	arrivals := sendPaced(t, c, from, to, 100, 64, time.Millisecond)
	if took := delays(arrivals); len(took) != 100 || took[0] < 5*time.Millisecond {
		t.Fatalf("%d of 100 arrived, after %v", len(arrivals), took)
	}
	if late, _ := remote.Late(); late.Packets != 100 {
		t.Errorf("lateness %+v of 100 packets", late)
	}
	must(t, remote.Set(link.Impairment{Loss: 1}, link.Impairment{}))
	_, err = from.Write([]byte("lost"))
	must(t, err)
	c.waitFor(t, "it is lost", func(now wire.Counters) bool { return now.By[link.Loss] == 1 })
	if drops, missed := remote.Drops(); len(drops) != 1 || missed != 0 || drops[0].Reason != link.Loss || !strings.HasSuffix(string(drops[0].Head), "lost") {
		t.Errorf("drops %+v, %d missed", drops, missed)
	}
	must(t, remote.Cut(true))
	_, err = from.Write([]byte("cut"))
	must(t, err)
	c.waitFor(t, "it is cut", func(now wire.Counters) bool { return now.By[link.Cut] == 1 })
	var axis *link.AxisError
	if err := remote.Set(link.Impairment{Loss: 2}, link.Impairment{}); !errors.As(err, &axis) {
		t.Errorf("a loss of 2 was accepted: %v", err)
	}
	must(t, remote.Err())
	must(t, remote.Close())
	if err := remote.Cut(false); !errors.Is(err, wire.ErrClosed) {
		t.Errorf("Cut of a closed link: %v", err)
	}
	must(t, p.Close())
	must(t, p.Close())
	if up, _ := remote.Counters(); up.By[link.Loss] != 1 {
		t.Errorf("counts are lost with the process: %+v", up)
	}
	if err := remote.Set(link.Impairment{}, link.Impairment{}); !errors.Is(err, wire.ErrClosed) {
		t.Errorf("Set after the process was closed: %v", err)
	}
}

// TestALostProcessIsAFault: a lab whose wires are gone must not look like one with
// lossy wires.
func TestALostProcessIsAFault(t *testing.T) {
	p, err := wire.StartProcess(processName)
	must(t, err)
	_, ends := newEnds(t)
	remote, err := p.Add(ends[0], ends[1], link.Impairment{}, link.Impairment{}, 42)
	must(t, err)
	process, err := os.FindProcess(p.PID())
	must(t, err)
	must(t, process.Kill())
	for deadline := time.Now().Add(patience); remote.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a process that was killed is no fault")
		}
	}
	if err := remote.Cut(true); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("Cut by a process that is gone: %v", err)
	}
	if err := p.Close(); err == nil {
		t.Error("Close of a process that was killed finds nothing wrong")
	}
}
