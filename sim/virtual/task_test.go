package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
)

const pair = `lab: {hosts: {a: , b: }}`

// diary notes what happens when, in the lab's time.
type diary struct {
	n     *virtual.Network
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf("%v %s", d.n.Now().Sub(virtual.Epoch), fmt.Sprintf(format, args...)))
}

func (d *diary) check(t *testing.T, want ...string) {
	t.Helper()
	equal(t, "what happened", strings.Join(d.lines, "\n"), strings.Join(want, "\n"))
}

// TestTasksTakeTurns: one runs until it waits, those who are ready come in the
// order in which they began to wait, and time passes only when all wait.
func TestTasksTakeTurns(t *testing.T) {
	n := build(t, pair)
	d := &diary{n: n}
	ctx := context.Background()
	slow := n.Go(func() {
		d.note("slow begins")
		d.note("slow: %v", n.Wait(ctx, nil, 3*time.Second))
	})
	fast := n.Go(func() {
		d.note("fast begins")
		d.note("fast: %v", n.Wait(ctx, slow, time.Second))
		d.note("fast: %v", n.Wait(ctx, slow, sim.Forever))
	})
	d.note("the builder goes on")
	if err := sim.WaitAll(n, slow, fast); err != nil {
		t.Fatal(err)
	}
	d.note("all are done")
	d.check(t, "0s the builder goes on", "0s slow begins", "0s fast begins", "1s fast: sim: the time is over",
		"3s slow: sim: the time is over", "3s fast: <nil>", "3s all are done")
}

// TestWaitsEnd: a wait ends by its channel, by its time or by its context, and a
// channel that is ready goes before all.
func TestWaitsEnd(t *testing.T) {
	n := build(t, pair)
	d := &diary{n: n}
	closed := make(chan struct{})
	close(closed)
	full := make(chan struct{}, 1)
	full <- struct{}{}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	ctx := context.Background()

	d.note("closed: %v", n.Wait(over, closed, 0))
	d.note("received: %v", n.Wait(ctx, full, time.Second))
	d.note("received before: %v", n.Wait(ctx, full, time.Second))
	d.note("context: %v", n.Wait(over, nil, time.Second))
	d.note("no time: %v", n.Wait(ctx, nil, 0))
	d.check(t, "0s closed: <nil>", "0s received: <nil>", "1s received before: sim: the time is over",
		"1s context: context canceled", "1s no time: sim: the time is over")
}

// TestNothingCanHappen: who waits for what nobody can do any more is told so at
// once, the one who waits for longest first.
func TestNothingCanHappen(t *testing.T) {
	n := build(t, pair)
	d := &diary{n: n}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	task := n.Go(func() { d.note("task: %v", n.Wait(ctx, make(chan struct{}), sim.Forever)) })
	d.note("builder: %v", n.Wait(context.Background(), make(chan struct{}), sim.Forever))
	d.note("builder: %v", n.Wait(context.Background(), task, sim.Forever))
	d.check(t, "0s builder: "+sim.ErrStuck.Error(), "0s task: "+sim.ErrStuck.Error(), "0s builder: <nil>")
}

// TestContextsOfTheLab: what a task ends is noticed before anything else happens.
func TestContextsOfTheLab(t *testing.T) {
	n := build(t, pair)
	d := &diary{n: n}
	ctx, cancel := context.WithCancel(context.Background())
	waits := n.Go(func() { d.note("waits: %v", n.Wait(ctx, nil, time.Hour)) })
	n.Go(func() {
		_ = sim.Sleep(context.Background(), n, time.Second)
		d.note("cancels")
		cancel()
	})
	if err := sim.WaitAll(n, waits); err != nil {
		t.Fatal(err)
	}
	d.check(t, "1s cancels", "1s waits: context canceled")
}

// restless is a machine that has something to do every millisecond, for ever.
type restless struct {
	talker
	calls int
	each  time.Duration
}

func (m *restless) HandleTimeout(now time.Time)                    { m.calls++; m.wake = now.Add(m.each) }
func (m *restless) HandleInterfaces(now time.Time, _ []netip.Addr) { m.wake = now }

// TestInterruptsAreNoticed: a lab that would play for ever ends soon when its
// context does, from outside.
func TestInterruptsAreNoticed(t *testing.T) {
	n := build(t, pair)
	h, _ := n.Host("a")
	m := &restless{each: ms}
	if _, err := h.Run(context.Background(), m, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*ms)
	defer cancel()
	began := time.Now()
	if err := n.Wait(ctx, nil, sim.Forever); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the wait ends with %v", err)
	}
	if took := time.Since(began); took > 5*time.Second || m.calls == 0 {
		t.Errorf("it took %v and %d calls", took, m.calls)
	}
}

// TestAMachineThatIsNeverContent is a fault of the lab, and no endless loop.
func TestAMachineThatIsNeverContent(t *testing.T) {
	lab, err := sim.ParseLab("lab.yaml", []byte(pair))
	if err != nil {
		t.Fatal(err)
	}
	n, err := virtual.Fabric{}.Build(t.Context(), lab, sim.Options{Unrecorded: true})
	if err != nil {
		t.Fatal(err)
	}
	h, _ := n.Host("a")
	if _, err := h.Run(context.Background(), &restless{}, nil); err != nil {
		t.Fatal(err)
	}
	err = n.Wait(context.Background(), nil, time.Second)
	if err == nil || !strings.Contains(err.Error(), "without time passing") || n.Err() == nil || n.Close() == nil {
		t.Errorf("the wait ends with %v, the lab's fault is %v", err, n.Err())
	}
}

// TestCloseEndsWaits: tasks that wait when the lab is closed are told, and Close
// returns when they are gone.
func TestCloseEndsWaits(t *testing.T) {
	n := build(t, pair)
	d := &diary{n: n}
	n.Go(func() {
		defer d.note("first is gone")
		d.note("first: %v", n.Wait(context.Background(), nil, time.Hour))
		d.note("first again: %v", n.Wait(context.Background(), nil, time.Hour))
	})
	elapse(t, n, time.Second)
	n.Go(func() { d.note("second: %v", sim.Sleep(context.Background(), n, time.Hour)) })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	d.note("closed")
	d.check(t, "1s first: the lab is closed", "1s first again: the lab is closed", "1s first is gone", "1s second: the lab is closed", "1s closed")
	if err := n.Wait(context.Background(), nil, time.Hour); err == nil {
		t.Error("who waits in a closed lab hears of no error")
	}
	h, _ := n.Host("a")
	if _, err := h.Run(context.Background(), &talker{}, nil); err == nil {
		t.Error("a closed lab runs machines")
	}
}

// TestATaskClosesTheLab: whoever built it is told, too.
func TestATaskClosesTheLab(t *testing.T) {
	n := build(t, pair)
	n.Go(func() {
		_ = sim.Sleep(context.Background(), n, time.Second)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Wait(context.Background(), nil, time.Hour); err == nil || errors.Is(err, sim.ErrTimeout) {
		t.Errorf("the wait ends with %v", err)
	}
}

// TestMachinesEndWithTheirContext, and then have no sockets.
func TestMachinesEndWithTheirContext(t *testing.T) {
	n := build(t, pair)
	h, _ := n.Host("a")
	ctx, cancel := context.WithCancel(context.Background())
	m := &talker{}
	running, err := h.Run(ctx, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	running.Do(func(time.Time) { m.Bind(1, addrPort("0.0.0.0:700")) })
	if bound, _ := h.Bound("udp", 700); !bound {
		t.Error("its port is not bound")
	}
	cancel()
	elapse(t, n, ms)
	if bound, _ := h.Bound("udp", 700); bound {
		t.Error("its port is bound after its end")
	}
	if running.Do(func(time.Time) { t.Error("it is called after its end") }) {
		t.Error("Do says that it was called")
	}
	var _ sansio.Machine = m
}

// TestWhoPanicsIsNotWaitedFor: a lab can be closed when whoever waited in it has
// left by a panic.
func TestWhoPanicsIsNotWaitedFor(t *testing.T) {
	n := build(t, pair)
	h, _ := n.Host("a")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("nobody panicked")
			}
		}()
		m := &talker{wake: virtual.Epoch.Add(time.Second)}
		if _, err := h.Run(t.Context(), m, func(time.Time, sansio.Event) { panic("a fault of the test") }); err != nil {
			t.Fatal(err)
		}
		elapse(t, n, time.Minute)
	}()
	n.Go(func() { _ = sim.Sleep(context.Background(), n, time.Hour) })
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
