package peer

import (
	"net/netip"
	"testing"
	"time"
)

// TestAnOfferThatCrossesTheIntroduction: the rendezvous introduces b with the offer
// that it has, while b's next one, with the relayed candidate, is under way to it.
// b has no session yet when the candidate comes, so that there is nobody to tell of
// it; a must get to know it all the same, and not by a retry seconds later.
func TestAnOfferThatCrossesTheIntroduction(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.peer("a", symmetric, laboratory), w.peer("b", symmetric, laboratory)
	w.net.Run(500 * ms)
	var relayed netip.AddrPort
	b.runner.Do(func(now time.Time) { // as if the relay had not answered yet
		relayed, b.machine.relays[0].relayed = b.machine.relays[0].relayed, netip.AddrPort{}
		b.machine.updateOffer(now)
	})
	w.net.Run(500 * ms)

	a.connect(b)
	w.net.Run(30 * ms) // the rendezvous has introduced them, and b does not know
	if b.machine.sessionWith(a.id()) != nil {
		t.Fatal("b has a session already: nothing crosses anything")
	}
	b.runner.Do(func(now time.Time) {
		b.machine.relays[0].relayed = relayed
		b.machine.trickle(now)
	})
	w.net.Run(100 * ms)
	s := a.machine.sessionWith(b.id())
	if s == nil {
		t.Fatal("a has no session")
	}
	if s.remoteGeneration != b.machine.generation {
		t.Errorf("a knows b's offer %d, the present one is %d", s.remoteGeneration, b.machine.generation)
	}
	if n := b.machine.Stats().Introductions; n != 1 {
		t.Errorf("b asked to be introduced %d times, want once", n)
	}
}
