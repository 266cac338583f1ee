package peer

import (
	"testing"
	"time"

	"p2pmodel/core/identity"
)

// Two who are told of each other by a game server are rarely told at once. However
// their lists and their introductions fall, they have one session.
func TestAllowedLittleLaterMakesOneSession(t *testing.T) {
	for _, later := range []time.Duration{0, 20 * ms, 100 * ms, 300 * ms, time.Second} {
		w := newWorld(t, 1)
		a, b := w.peer("a", fullCone, laboratory), w.peer("b", fullCone, laboratory)
		allow := func(n, o *node) {
			n.runner.Do(func(now time.Time) { n.machine.SetAllowed(now, []identity.ID{o.id()}) })
		}
		for _, n := range []*node{a, b} {
			n.runner.Do(func(now time.Time) { n.machine.SetAllowed(now, []identity.ID{}) })
		}
		w.net.Run(500 * ms)
		for _, n := range []*node{a, b} {
			n.do(func(now time.Time) error { return n.machine.Join(now, "room") })
		}
		first, second := a, b
		if a.id().Compare(b.id()) > 0 {
			first, second = b, a // the smaller id begins
		}
		w.net.Run(200 * ms)
		allow(first, second)
		w.net.Run(later)
		allow(second, first)
		w.net.Run(5 * time.Second)
		w.want(a, b, Direct)
		if n, m := count[Introduced](a), count[Introduced](b); n != 1 || m != 1 || a.session(b) != b.session(a) {
			t.Errorf("%v later: %d and %d sessions, want one\n%s\n%s", later, n, m, a.history(), b.history())
		}
	}
}
