package peer

import (
	"testing"
	"time"
)

// What a machine keeps is told, and is gone with the session but for its
// tombstone.
func TestHeld(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(restricted, portRestricted, Config{})
	w.net.Until(10*time.Second, settled(a, b))
	held := a.machine.Held()
	if held.Sessions != 1 || held.Pairs == 0 || held.MostPairs != held.Pairs || held.Permissions == 0 || held.Buried != 0 {
		t.Errorf("with one session: %+v", held)
	}
	w.net.Run(15 * time.Second)
	if held := a.machine.Held(); held.Requests != 0 {
		t.Errorf("nothing is asked of a server, yet %+v", held)
	}
	a.machine.Close(w.net.Now(), b.id())
	if held := a.machine.Held(); held.Sessions != 0 || held.Pairs != 0 || held.Buried != 1 {
		t.Errorf("without a session: %+v", held)
	}
}
