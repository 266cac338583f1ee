package punch

import (
	"net/netip"
	"testing"
	"time"
)

// TestNothingEarlyByWhatFellSilent: a relay dies under a pair of symmetric NATs and its
// relayed addresses become somebody else's. What was heard from there before tells
// nothing: once the path is in doubt, and when it is lost, data leaves by no way on which
// nothing has come since. It leaves early again as soon as a check comes by a new address.
func TestNothingEarlyByWhatFellSilent(t *testing.T) {
	n := newNetwork(t, symmetric, symmetric, options{timing: laboratory})
	for _, s := range []*side{n.a, n.b} {
		s.agent.SetRelays([]netip.Addr{server.Addr()})
	}
	n.runUntil(10*time.Second, n.settled)
	n.want(ViaRelay)
	n.a.relayDead, n.b.relayDead = true, true
	died := n.now
	speak := func(s *side, stale bool) (early int) {
		for _, way := range s.agent.Early(n.now, 50) {
			if early++; stale {
				t.Fatalf("%s says something to %v, %v after the relay died", s.name, way.Remote, n.now.Sub(died))
			}
		}
		s.agent.NoteSent(n.now)
		return early
	}
	for n.now.Sub(died) < 10*time.Second {
		n.run(20 * ms)
		// What was on its way arrives a round trip later at the most.
		stale := n.now.Sub(died) > DefaultDeadAfter+160*ms
		speak(n.a, stale)
		speak(n.b, stale)
	}
	if a, b := count[PathLost](n.a), count[PathLost](n.b); a == 0 || b == 0 {
		t.Fatalf("%d and %d paths lost, want the relayed one of each side", a, b)
	}
	n.want(NoPath)

	for _, s := range []*side{n.a, n.b} {
		s.relayDead = false
		s.relay = netip.AddrPortFrom(s.relay.Addr(), s.relay.Port()+100)
	}
	n.introduce(n.a, n.b)
	n.introduce(n.b, n.a)
	early := 0
	for range 400 {
		n.run(5 * ms)
		early += speak(n.a, false) + speak(n.b, false)
	}
	n.want(ViaRelay)
	if early == 0 {
		t.Error("nobody says anything early after new checks have come")
	}
}
