package peer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/core/sansio/simnet"
)

// rebooted has one of two NATs give other ports in the middle of a session, and gives for
// how long then nothing arrived at whoever was spoken to. a, b, or both speak each 20 ms.
func rebooted(w *world, a, b *node, aSpeaks, bSpeaks bool, of *node) (gap time.Duration) {
	last := map[*node]time.Time{}
	speak := func(d time.Duration) {
		for end := w.net.Now().Add(d); w.net.Now().Before(end); {
			before := map[*node]int{a: len(a.got), b: len(b.got)}
			if aSpeaks {
				_ = a.send(b, "a")
			}
			if bSpeaks {
				_ = b.send(a, "b")
			}
			w.net.Run(20 * ms)
			for n, got := range before {
				if len(n.got) > got {
					if at, ok := last[n]; ok {
						gap = max(gap, w.net.Now().Sub(at))
					}
					last[n] = w.net.Now()
				}
			}
		}
		for n, at := range last {
			if n == b && aSpeaks || n == a && bSpeaks {
				gap = max(gap, w.net.Now().Sub(at))
			}
		}
	}
	speak(3 * time.Second)
	gap = 0
	of.nat.Reset()
	speak(7 * time.Second)
	return gap
}

// TestRebindingIsNoticed: a NAT gives other ports, and the session goes on by the signs of
// that: data from a new address where the other NAT lets it in, a talker's silence where it
// does not. Without them it took 420 to 720 ms where both speak, and up to 4 s where only
// the one behind the other NAT does. 80 ms of round trip between the peers.
func TestRebindingIsNoticed(t *testing.T) {
	const heard, silent = 200 * ms, 600 * ms
	for _, row := range []struct {
		rebooted, other  behaviour
		speaks, isSpoken bool // the one behind the NAT that is rebooted, the other one
		most             time.Duration
	}{
		{portRestricted, fullCone, true, true, heard},
		{portRestricted, restricted, true, true, heard},
		{symmetric, fullCone, true, true, heard},
		{portRestricted, portRestricted, true, true, silent},
		{portRestricted, portRestricted, true, false, silent},
		{portRestricted, fullCone, false, true, silent},
		{portRestricted, portRestricted, false, true, silent},
		{symmetric, restricted, false, true, silent},
	} {
		for _, second := range []bool{false, true} {
			for _, wait := range []time.Duration{0, 2193 * ms} { // a check may be on its way at that moment
				w := newWorld(t, 1)
				var a, b *node
				if kinds := []behaviour{row.rebooted, row.other}; second { // the other role
					b, a = w.peer("b", kinds[1], Config{}), w.peer("a", kinds[0], Config{})
				} else {
					a, b = w.peer("a", kinds[0], Config{}), w.peer("b", kinds[1], Config{})
				}
				w.net.Run(500 * ms)
				a.connect(b)
				w.net.Until(10*time.Second, settled(a, b))
				w.net.Run(wait)
				session := a.session(b)
				gap := rebooted(w, a, b, row.speaks, row.isSpoken, a)
				if name := fmt.Sprintf("%s rebooted, the other one %s, speaking %v and %v", row.rebooted.name, row.other.name, row.speaks, row.isSpoken); gap > row.most {
					t.Errorf("%s: a gap of %v, want %v at most\n%s\n%s", name, gap, row.most, a.history(), b.history())
				} else {
					t.Logf("%s: a gap of %v", name, gap)
				}
				w.want(a, b, Direct)
				if a.session(b) != session || b.session(a) != session {
					t.Error("the session changed")
				}
			}
		}
	}
}

// TestAttackResourcedFrames: somebody on the path gives the peer's frames other source
// addresses, each another one. Only a few of these are sent anything, checks and no more bytes
// than came; the session stays where it is.
// Copies of frames that have arrived are nothing at all.
func TestAttackResourcedFrames(t *testing.T) {
	g := newTarget(t)
	session, path := g.b.session(g.a), g.b.path(g.a)
	got, sent, checks := map[netip.AddrPort]int{}, map[netip.AddrPort]int{}, map[netip.AddrPort]int{}
	g.net.Observe(func(p simnet.Packet) {
		to := p.SentDestination
		if p.From != g.b.host || to.Addr() != attacker.Addr() {
			return
		}
		sent[to] += len(p.Payload)
		if checks[to]++; !asks(p.Payload) {
			t.Errorf("%v is sent something else than a check: % x", to, p.Payload[:20])
		}
	})
	own := g.a.machine.sessionWith(g.b.id())
	var last []byte
	for i := range 3000 { // a minute
		frame, err := own.channel.Seal(byte(frameData), make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
		from := netip.AddrPortFrom(attacker.Addr(), uint16(10000+i/2)) // each twice
		got[from] += len(frame)
		g.attack(from, frame)
		last = frame
		g.net.Run(20 * ms)
	}
	if len(sent) == 0 || len(sent) > 16 {
		t.Errorf("%d of 1500 addresses are sent checks, want some, and 16 at most", len(sent))
	}
	for to, bytes := range sent {
		if bytes > got[to] {
			t.Errorf("%v sent %d bytes and is sent %d in %d checks", to, got[to], bytes, checks[to])
		}
	}
	g.unharmed(session, path)
	before := len(sent)
	g.net.Run(time.Minute)
	if g.attack(netip.AddrPortFrom(attacker.Addr(), 9), last); len(sent) != before {
		t.Error("a copy of a frame has a new address checked")
	}
	if lost := count[PathLost](g.b); lost > 0 {
		t.Errorf("%d times the path was taken for lost", lost)
	}
}
