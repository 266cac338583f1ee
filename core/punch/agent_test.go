package punch

import (
	"fmt"
	"testing"
	"time"
)

// TestClassicPairs is the 16 cells of the four classic NATs: only the pairs
// that need a guessed port are relayed.
func TestClassicPairs(t *testing.T) {
	relayedPairs := map[[2]string]bool{
		{"port-restricted", "symmetric"}: true,
		{"symmetric", "port-restricted"}: true,
		{"symmetric", "symmetric"}:       true,
	}
	for _, a := range classic {
		for _, b := range classic {
			want := Direct
			if relayedPairs[[2]string{a.name(), b.name()}] {
				want = ViaRelay
			}
			t.Run(fmt.Sprintf("%s and %s", a, b), func(t *testing.T) {
				n := newNetwork(t, a, b, options{})
				n.runUntil(10*time.Second, n.settled)
				n.want(want)
				rtt := 2 * n.delay
				for _, s := range []*side{n.a, n.b} {
					if bound := SettleAfter(4*rtt) + rtt; s.settledAt > bound {
						t.Errorf("%s settled after %v, want at most %v", s.name, s.settledAt, bound)
					}
					if want == Direct && s.directAt > 5*rtt/2 {
						t.Errorf("%s direct after %v, want at most 2.5 round trips of %v", s.name, s.directAt, rtt)
					}
				}
				n.run(30 * time.Second)
				n.want(want)
			})
		}
	}
}

// TestWithoutRelay: a relay that is dead delays nothing.
func TestWithoutRelay(t *testing.T) {
	for _, b := range classic[:3] {
		n := newNetwork(t, portRestricted, b, options{noRelay: true})
		n.runUntil(10*time.Second, n.settled)
		n.want(Direct)
		if n.a.directAt > 200*time.Millisecond {
			t.Errorf("port-restricted and %s: direct after %v without a relay, want at most 2.5 round trips", b, n.a.directAt)
		}
	}
	n := newNetwork(t, symmetric, symmetric, options{noRelay: true})
	n.runUntil(20*time.Second, n.settled)
	n.want(NoPath)
	if !n.settled() {
		t.Error("two symmetric NATs without a relay never settle")
	}
}

func TestRelayFirstThenDirect(t *testing.T) {
	n := newNetwork(t, portRestricted, portRestricted, options{})
	blocked := true
	for _, s := range []*side{n.a, n.b} {
		s.muted = func(x Transmit) bool { return blocked && x.Base == socketBase && x.Remote.Addr() != n.a.relay.Addr() }
	}
	n.run(700 * time.Millisecond)
	n.want(ViaRelay)
	blocked = false
	n.runUntil(10*time.Second, n.settled)
	n.want(Direct)
}

func TestRelayOnly(t *testing.T) {
	n := newNetwork(t, fullCone, fullCone, options{relayOnly: true})
	n.run(5 * time.Second)
	n.want(ViaRelay)
	if n.direct != 0 {
		t.Errorf("%d packets went directly between peers that may only relay", n.direct)
	}
}

func TestLossyLinks(t *testing.T) {
	for seed := range uint64(200) {
		n := newNetwork(t, restricted, portRestricted, options{loss: 0.1, seed: seed})
		n.runUntil(10*time.Second, n.settled)
		n.want(Direct)
		n = newNetwork(t, symmetric, symmetric, options{loss: 0.1, seed: seed})
		n.runUntil(10*time.Second, n.settled)
		n.want(ViaRelay)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
