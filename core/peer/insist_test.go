package peer

import (
	"testing"
	"time"
)

// TestBuriedSessionIsInsistedOn: one side goes on with a session that the other has replaced
// by an older one. Neither knows the other's, and a third ends that.
func TestBuriedSessionIsInsistedOn(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(portRestricted, portRestricted, laboratory)
	w.net.Run(2 * time.Second)
	w.want(a, b, Direct)
	b.runner.Do(func(now time.Time) {
		b.machine.end(now, b.machine.sessionWith(a.id()), ErrReplaced)
		if _, err := b.machine.begin(now, a.id(), SessionID{1}, false); err != nil {
			t.Error(err)
		}
	})
	again := func() bool {
		return a.path(b).Kind == Direct && b.path(a).Kind == Direct && a.session(b) == b.session(a)
	}
	if again() || !w.net.Until(tombstoneLife/2, again) {
		t.Errorf("they do not meet again\n%s\n%s", a.history(), b.history())
	}
}
