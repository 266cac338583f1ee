package watch_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
	"p2pmodel/nat/watch"
)

var (
	epoch    = time.Unix(1_000_000, 0)
	external = []netip.Addr{netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.3")}
	insides  = []netip.AddrPort{ap("192.168.1.2:5000"), ap("192.168.1.2:5001"), ap("192.168.1.3:5000"), ap("192.168.1.3:2000")}
	remotes  = []netip.AddrPort{ap("198.18.0.9:3478"), ap("198.18.0.9:3479"), ap("198.18.0.10:3478")}
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func parse(t interface{ Fatal(...any) }, text string) nat.Behavior {
	b, err := nat.ParseBehavior(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// world is a NAT at work, and what is seen of it.
type world struct {
	nat   *table.Table
	watch *watch.Watch
	now   time.Time
	known []netip.AddrPort // external endpoints that were seen
}

func newWorld(t interface{ Fatal(...any) }, actual, declared nat.Behavior, addresses int, seed uint64) *world {
	n, err := table.New(actual, external[:addresses], rand.New(rand.NewPCG(seed, 1)))
	if err != nil {
		t.Fatal(err)
	}
	w, err := watch.New(declared, external[:addresses])
	if err != nil {
		t.Fatal(err)
	}
	return &world{nat: n, watch: w, now: epoch}
}

func (w *world) out(src, dst netip.AddrPort) *watch.Violation {
	p := table.Packet{Src: src, Dst: dst}
	v := w.nat.Outbound(w.now, p)
	o := watch.Observation{At: w.now, Packet: p}
	if v.Drop == table.Passed {
		o.Left, o.LeftInside = &v.Packet, v.Hairpin
		w.known = append(w.known, v.Packet.Src)
	} else {
		o.Dropped, o.Full = v.Drop.String(), v.Drop == table.TableFull || v.Drop == table.Exhausted
	}
	return w.watch.Observe(o)
}

func (w *world) in(src, dst netip.AddrPort) *watch.Violation {
	p := table.Packet{Src: src, Dst: dst}
	v := w.nat.Inbound(w.now, p)
	o := watch.Observation{At: w.now, Inbound: true, Packet: p}
	if v.Drop == table.Passed {
		o.Left, o.LeftInside = &v.Packet, true
	} else {
		o.Dropped = v.Drop.String()
	}
	return w.watch.Observe(o)
}

// step does something at random.
func (w *world) step(r *rand.Rand, idle time.Duration) *watch.Violation {
	w.now = w.now.Add(time.Duration(r.Int64N(int64(idle / 2))))
	switch n := r.IntN(10); {
	case n < 5 || len(w.known) == 0:
		return w.out(insides[r.IntN(len(insides))], remotes[r.IntN(len(remotes))])
	case n < 9:
		return w.in(remotes[r.IntN(len(remotes))], w.known[r.IntN(len(w.known))])
	}
	return w.out(insides[r.IntN(len(insides))], w.known[r.IntN(len(w.known))])
}

// honest are behaviours of all kinds.
var honest = []string{
	"full-cone", "mapping=EIM,filtering=ADF", "port-restricted-cone", "symmetric", "symmetric,ports=random",
	"mapping=ADM,filtering=ADF,ports=sequential,delta=3", "ports=preserve,fallback=random,filtering=APDF", "mapping=APDM,ports=preserve",
	"ports=block,block=64,filtering=APDF", "ports=random,parity=keep", "ports=sequential,parity=keep,delta=2,mapping=APDM",
	"scope=endpoint,mapping=APDM,filtering=ADF,ports=sequential", "hairpin=external,filtering=APDF", "hairpin=internal",
	"refresh=both,filtering=APDF", "refresh=inbound", "stream=900ms,filtering=APDF", "rotate=700ms,mapping=EIM,ports=random",
	"range=2000-2007,ports=sequential,mapping=APDM", "pooling=arbitrary,ports=random", "size=3,mapping=APDM,ports=sequential",
	"kind=masquerade", "kind=masquerade,early-inbound=accept", "kind=masquerade-random", "kind=masquerade-fully-random",
}

// TestAnHonestNATIsNeverAccused: whatever it does at random, be it near its timeouts.
func TestAnHonestNATIsNeverAccused(t *testing.T) {
	for _, text := range honest {
		t.Run(text, func(t *testing.T) {
			timeout := ",timeout=500ms"
			if strings.HasPrefix(text, "kind=") {
				timeout = ",timeout=1s,stream=3s" // of conntrack, whole seconds
			}
			b := parse(t, text+timeout)
			rapid.Check(t, func(t *rapid.T) {
				seed := rapid.Uint64().Draw(t, "seed")
				w := newWorld(t, b, b, 2, seed)
				r := rand.New(rand.NewPCG(seed, 2))
				for i := range 200 {
					if v := w.step(r, b.Timeout); v != nil {
						t.Fatalf("packet %d: %v", i, v)
					}
				}
			})
		})
	}
}

// TestAFlowThatMayHaveEndedSaysNothing: the latest flow of this world's 5000 ends just before the
// packet that draws a port.
func TestAFlowThatMayHaveEndedSaysNothing(t *testing.T) {
	const seed = 0x37f18
	b := parse(t, "kind=masquerade,timeout=1s,stream=3s")
	w, r := newWorld(t, b, b, 2, seed), rand.New(rand.NewPCG(seed, 2))
	for i := range 200 {
		if v := w.step(r, b.Timeout); v != nil {
			t.Fatalf("packet %d: %v", i, v)
		}
	}
}

// TestALiarIsCaught: a NAT that does something else than was declared.
func TestALiarIsCaught(t *testing.T) {
	for _, c := range []struct{ declared, actual, want string }{
		{"port-restricted-cone", "full-cone", "it has to be dropped: filtered"},
		{"full-cone", "port-restricted-cone", "it has to pass as"},
		{"full-cone", "mapping=APDM,filtering=EIF", "it has to become"},
		{"full-cone", "mapping=EIM,filtering=EIF,ports=random", "was not preserved"},
		{"mapping=EIM,ports=sequential,range=3000-4000", "mapping=EIM,ports=random,range=3000-4000", "with"},
		{"mapping=EIM,ports=sequential,delta=2", "mapping=EIM,ports=sequential,delta=1", "none of the sequence"},
		{"ports=random,range=3000-3100", "ports=random,range=5000-5100", "not in the range 3000-3100"},
		{"ports=random,parity=keep", "ports=random", "parity"},
		{"pooling=paired,ports=random", "pooling=arbitrary,ports=random", "pooling is paired"},
		{"ports=block,block=64", "ports=random", "block"},
		{"timeout=500ms", "timeout=5s", "it has to be dropped: mapping expired"},
		{"filtering=EIF,timeout=5s", "filtering=EIF,timeout=500ms", "it has to pass as"},
		{"refresh=both,timeout=500ms,filtering=EIF", "refresh=outbound,timeout=500ms,filtering=EIF", "it has to"},
		{"hairpin=none", "hairpin=external", "it has to be dropped: hairpin refused"},
		{"hairpin=external", "hairpin=none", "it has to"},
		{"rotate=700ms,ports=random,timeout=500ms", "ports=random,timeout=500ms", "it has to"},
		{"kind=masquerade", "kind=masquerade-random", "was free towards"},
		{"kind=masquerade", "port-restricted-cone,ports=preserve,timeout=5s", "it has to"},
	} {
		t.Run(c.declared+" is "+c.actual, func(t *testing.T) {
			declared, actual := parse(t, c.declared), parse(t, c.actual)
			idle := min(declared.Resolved().Timeout, actual.Resolved().Timeout, time.Second)
			w := newWorld(t, actual, declared, 2, 1)
			r := rand.New(rand.NewPCG(1, 2))
			var all []string
			for range 4000 {
				if v := w.step(r, idle); v != nil {
					if all = append(all, v.String()); strings.Contains(v.Why, c.want) {
						return
					}
				}
			}
			t.Errorf("no violation says %q; there were %d: %.300s", c.want, len(all), all)
		})
	}
}

// TestChanges: what the NAT forgets on purpose is not held against it.
func TestChanges(t *testing.T) {
	b := parse(t, "port-restricted-cone")
	for _, c := range []struct {
		name   string
		change func(w *world)
	}{
		{"reboot", func(w *world) { w.nat.Reboot(); w.watch.Reboot(w.now) }},
		{"reboot with another address", func(w *world) { w.nat.Reboot(external[1]); w.watch.Reboot(w.now, external[1]) }},
		{"flush", func(w *world) { w.nat.Reboot(); w.watch.Flush(w.now) }},
	} {
		w := newWorld(t, b, b, 1, 1)
		if v := w.out(insides[0], remotes[0]); v != nil {
			t.Fatal(v)
		}
		c.change(w)
		w.now = w.now.Add(time.Second)
		if v := w.in(remotes[0], w.known[0]); v != nil {
			t.Errorf("%s: what was in flight: %v", c.name, v)
		}
		if v := w.out(insides[0], remotes[0]); v != nil {
			t.Errorf("%s: what came after: %v", c.name, v)
		}
	}
	w := newWorld(t, parse(t, "full-cone"), b, 1, 1)
	if err := w.watch.Swap(w.now, parse(t, "full-cone")); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Second)
	w.out(insides[0], remotes[0])
	if v := w.in(remotes[2], w.known[0]); v != nil {
		t.Errorf("after the swap: %v", v)
	}
}

// TestRebind: the port that was preserved is held, so that another one is right.
func TestRebind(t *testing.T) {
	w := newWorld(t, parse(t, "port-restricted-cone"), parse(t, "port-restricted-cone"), 1, 1)
	w.out(insides[0], remotes[0])
	w.watch.Rebind(w.now, w.now)
	w.now = w.now.Add(time.Second)
	p := table.Packet{Src: insides[0], Dst: remotes[0]}
	kept, fresh := p, p
	kept.Src, fresh.Src = netip.AddrPortFrom(external[0], 5000), netip.AddrPortFrom(external[0], 1024)
	if v := w.watch.Observe(watch.Observation{At: w.now, Packet: p, Left: &fresh}); v != nil {
		t.Errorf("another port after the rebinding: %v", v)
	}
	w = newWorld(t, parse(t, "port-restricted-cone"), parse(t, "port-restricted-cone"), 1, 1)
	w.out(insides[0], remotes[0])
	w.watch.Rebind(w.now, w.now)
	w.now = w.now.Add(time.Second)
	if v := w.watch.Observe(watch.Observation{At: w.now, Packet: p, Left: &kept}); v == nil || !strings.Contains(v.Why, "belongs to") {
		t.Errorf("the old port after the rebinding: %v", v)
	}
}
