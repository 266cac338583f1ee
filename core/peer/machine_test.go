package peer

import (
	"fmt"
	"testing"
	"time"

	"p2pmodel/core/punch"
)

// TestClassicPairs: the outcome of every pair of classic NATs, with a real
// rendezvous and a real relay.
func TestClassicPairs(t *testing.T) {
	viaRelay := map[[2]string]bool{
		{"port-restricted", "symmetric"}: true,
		{"symmetric", "port-restricted"}: true,
		{"symmetric", "symmetric"}:       true,
	}
	for _, ba := range classic {
		for _, bb := range classic {
			want := Direct
			if viaRelay[[2]string{ba.name, bb.name}] {
				want = Relay
			}
			t.Run(fmt.Sprintf("%s and %s", ba.name, bb.name), func(t *testing.T) {
				w := newWorld(t, 1)
				a, b := w.pair(ba, bb, Config{})
				if !w.net.Until(20*time.Second, settled(a, b)) {
					t.Fatalf("not settled after 20 s\n%s\n%s", a.history(), b.history())
				}
				w.want(a, b, want)
				if a.session(b) != b.session(a) || a.session(b).IsZero() {
					t.Errorf("sessions %v and %v, want one", a.session(b), b.session(a))
				}
				w.direct, w.relayed = 0, 0
				if atA, atB := w.exchange(a, b, 20, 20*ms); atA < 18 || atB < 18 {
					t.Errorf("of 20 datagrams each %d arrived at a and %d at b, want at least 18 before the links are empty", atA, atB)
				}
				if want == Direct && (w.direct == 0 || w.relayed != 0) || want == Relay && w.direct != 0 {
					t.Errorf("path %v, but %d frames went directly and %d over the relay's sockets", want, w.direct, w.relayed)
				}
				for _, n := range []*node{a, b} {
					introduced, _ := first(n, func(Introduced) bool { return true })
					some, _ := first(n, func(e PathChanged) bool { return true })
					kind, _ := first(n, func(e PathChanged) bool { return e.New.Kind == want })
					_, over, _ := last[Settled](n)
					t.Logf("%s: first path %v, %v path %v, settled %v after the introduction", n.name, some-introduced, want, kind-introduced, over-introduced)
					if some-introduced > 120*ms || kind-introduced > 200*ms {
						t.Errorf("%s: first path after %v, %v path after %v; want at most 1.5 and 2.5 round trips of 80 ms", n.name, some-introduced, want, kind-introduced)
					}
					if bound := punch.SettleAfter(160*ms) + 160*ms; over-introduced > bound {
						t.Errorf("%s settled %v after the introduction, want at most %v", n.name, over-introduced, bound)
					}
				}
			})
		}
	}
}
