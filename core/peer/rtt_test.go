package peer

import (
	"testing"
	"time"
)

func TestRTTIsThePresentPaths(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(fullCone, fullCone, Config{})
	if rtt, ok := a.machine.RTT(b.id()); ok {
		t.Errorf("round trip of %v before there is a path", rtt)
	}
	if !w.net.Until(20*time.Second, settled(a, b)) {
		t.Fatalf("not settled after 20 s\n%s\n%s", a.history(), b.history())
	}
	for _, c := range []struct{ from, to *node }{{a, b}, {b, a}} {
		if rtt, ok := c.from.machine.RTT(c.to.id()); !ok || rtt < 4*w.delay || rtt > 4*w.delay+5*ms {
			t.Errorf("%s measures %v, %v; want four times the link's delay of %v\n%s", c.from.name, rtt, ok, w.delay, c.from.history())
		}
	}
	a.runner.Do(func(now time.Time) { a.machine.Close(now, b.id()) })
	if rtt, ok := a.machine.RTT(b.id()); ok {
		t.Errorf("round trip of %v after the session's end", rtt)
	}
}
