package peer

import (
	"testing"
	"time"

	"p2pmodel/core/sansio/simnet"
)

// TestDeadPathIsNoticed: while data flows, a direct path that dies without a word is
// lost within 3 s on any link; and on links that lose packets a path that lives is
// not taken for dead. Loss is that of both directions of both access links, as in
// the profiles of the laboratory.
func TestDeadPathIsNoticed(t *testing.T) {
	const tries = 6
	watch := 10 * time.Minute
	if raced {
		watch = time.Minute
	}
	for _, link := range []struct {
		name  string
		delay time.Duration
		loss  float64
		// alarms is how many there may be in the time, within that bound.
		alarms int
	}{
		{"cable", 14 * ms, 0, 0},
		{"Wi-Fi", 5 * ms, 0.02, 0},
		{"4G", 30 * ms, 0.01, 0},
		{"3G", 100 * ms, 0.03, 0},
		{"one packet of ten, each way of each link", 30 * ms, 0.10, 2}, // of sixteen seeds two at most, 0.4 on average; without hurrying eight and 4.3
	} {
		t.Run(link.name, func(t *testing.T) {
			w := newWorld(t, 7)
			w.delay, w.loss = link.delay, link.loss
			a, b := w.pair(portRestricted, portRestricted, Config{})
			w.net.Until(20*time.Second, func() bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct })
			w.want(a, b, Direct)
			alarms := func() int { return count[PathLost](a) + count[PathLost](b) }
			talk := func(d time.Duration, dead func() bool) bool {
				for end := w.net.Now().Add(d); w.net.Now().Before(end); w.net.Run(20 * ms) {
					_ = a.send(b, "a")
					_ = b.send(a, "b")
					if dead() {
						return true
					}
				}
				return false
			}
			before := alarms()
			talk(watch, func() bool { return false })
			false10 := alarms() - before
			worst := time.Duration(0)
			for range tries {
				alive := simnet.Link{Delay: link.delay, Loss: link.loss}
				lost := count[PathLost](a)
				b.host.SetLink(simnet.Link{Delay: link.delay, Down: true})
				died := w.net.Now()
				noticed := talk(10*time.Second, func() bool { return count[PathLost](a) > lost })
				took := w.net.Now().Sub(died)
				worst = max(worst, took)
				if !noticed || took > 3*time.Second {
					t.Errorf("a dead path was noticed after %v (%v), want 3 s at most", took, noticed)
				}
				b.host.SetLink(alive)
				w.net.Until(60*time.Second, func() bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct })
				w.want(a, b, Direct)
				talk(3*time.Second, func() bool { return false })
			}
			t.Logf("noticed within %v at most; %d false alarms of two peers in %v", worst, false10, watch)
			if false10 > link.alarms {
				t.Errorf("%d times in %v a path that lives was taken for dead, want %d at most", false10, watch, link.alarms)
			}
		})
	}
}
