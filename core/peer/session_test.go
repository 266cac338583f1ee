package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio/simnet"
)

// TestGlare: both connect at once, and there is one session.
func TestGlare(t *testing.T) {
	for _, skew := range []time.Duration{0, 5 * ms, 19 * ms, 40 * ms, 60 * ms, 90 * ms, 200 * ms, 1500 * ms} {
		for _, reverse := range []bool{false, true} {
			w := newWorld(t, 1)
			a, b := w.peer("a", portRestricted, Config{}), w.peer("b", portRestricted, Config{})
			w.net.Run(500 * ms)
			one, two := a, b
			if reverse {
				one, two = b, a
			}
			one.connect(two)
			w.net.Run(skew)
			two.connect(one)
			w.net.Run(10 * time.Second)
			w.want(a, b, Direct)
			if a.session(b) != b.session(a) {
				t.Errorf("skew %v: sessions %v and %v\n%s\n%s", skew, a.session(b), b.session(a), a.history(), b.history())
			}
			if atA, atB := w.exchange(a, b, 10, 50*ms); atA < 8 || atB < 8 {
				t.Errorf("skew %v: %d and %d of 10 datagrams arrived", skew, atA, atB)
			}
		}
	}
}

// TestRestartedPeer: the same key, another process. The old session is replaced,
// whichever side notices.
func TestRestartedPeer(t *testing.T) {
	for _, who := range []string{"new process connects", "old process notices"} {
		w := newWorld(t, 1)
		key := identity.KeyFromSeed([identity.Size]byte{1: 77})
		a := w.peer("a", portRestricted, laboratory)
		old := laboratory
		old.Key = key
		b := w.peer("b", portRestricted, old)
		w.net.Run(500 * ms)
		a.connect(b)
		w.net.Until(10*time.Second, settled(a, b))
		first := a.session(b)
		b.runner.Stop()
		w.net.Run(200 * ms)
		again := &node{w: w, name: "b again", host: b.host, nat: b.nat, segment: b.segment}
		w.start(again, old)
		w.net.Run(300 * ms)
		if who == "new process connects" {
			again.connect(a)
		}
		w.net.Run(15 * time.Second)
		w.want(a, again, Direct)
		if s := a.session(again); s == first || s != again.session(a) {
			t.Errorf("%s: sessions %v and %v after %v\n%s\n%s", who, s, again.session(a), first, a.history(), again.history())
		}
		if atA, atB := w.exchange(a, again, 10, 50*ms); atA < 8 || atB < 8 {
			t.Errorf("%s: %d and %d of 10 datagrams arrived", who, atA, atB)
		}
	}
}

func TestClose(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(portRestricted, portRestricted, laboratory)
	w.net.Until(10*time.Second, settled(a, b))
	a.runner.Do(func(now time.Time) { a.machine.Close(now, b.id()) })
	w.net.Run(time.Second)
	if e, _, ok := last[Closed](b); !ok || !errors.Is(e.Err, ErrClosedByPeer) {
		t.Errorf("b was told %+v, %v; want ErrClosedByPeer", e, ok)
	}
	if e, _, ok := last[Closed](a); !ok || e.Err != nil {
		t.Errorf("a was told %+v, %v; want no error", e, ok)
	}
	if err := a.send(b, "x"); !errors.Is(err, ErrNoSession) {
		t.Errorf("sending in a closed session: error %v, want ErrNoSession", err)
	}
	w.net.Run(10 * time.Second)
	if count[Introduced](a) != 1 || count[Introduced](b) != 1 {
		t.Error("the session came back")
	}
	b.connect(a)
	w.net.Run(3 * time.Second)
	w.want(a, b, Direct)
}

func TestUnknownPeer(t *testing.T) {
	w := newWorld(t, 1)
	a := w.peer("a", portRestricted, laboratory)
	w.net.Run(500 * ms)
	key := identity.KeyFromSeed([identity.Size]byte{1: 99})
	a.runner.Do(func(now time.Time) {
		if err := a.machine.Connect(now, key.ID()); err != nil {
			t.Error(err)
		}
		if err := a.machine.Connect(now, a.id()); !errors.Is(err, ErrSelf) {
			t.Errorf("connecting to oneself: error %v, want ErrSelf", err)
		}
		if err := a.machine.Connect(now, identity.ID{}); !errors.Is(err, identity.ErrUnusable) {
			t.Errorf("connecting to the zero id: error %v, want ErrUnusable", err)
		}
	})
	w.net.Run(3 * time.Second)
	if e, _, ok := last[Failed](a); !ok || !errors.Is(e.Err, ErrUnknownPeer) || e.Peer != key.ID() {
		t.Errorf("a was told %+v, want ErrUnknownPeer", e)
	}
	cfg := laboratory
	cfg.Key = key
	late := w.peer("late", portRestricted, cfg)
	w.net.Run(10 * time.Second)
	w.want(a, late, Direct) // it went on trying
}

func TestGivesUp(t *testing.T) {
	w := newWorld(t, 1)
	cfg := laboratory
	cfg.GiveUpAfter = 10 * time.Second
	a, b := w.pair(portRestricted, portRestricted, cfg)
	w.net.Until(10*time.Second, settled(a, b))
	b.runner.Stop()
	w.net.Run(20 * time.Second)
	if e, _, ok := last[Closed](a); !ok || !errors.Is(e.Err, ErrGivenUp) {
		t.Errorf("a was told %+v, want ErrGivenUp", e)
	}
}

// TestMesh: the seed's full mesh of eight behind mixed NATs.
func TestMesh(t *testing.T) {
	w := newWorld(t, 1)
	for i := range 8 {
		w.peer(fmt.Sprintf("p%d", i), classic[i%4], laboratory)
	}
	peers := slices.Clone(w.peers)
	w.net.Run(500 * ms)
	for _, n := range peers {
		n.runner.Do(func(now time.Time) {
			if err := n.machine.Join(now, "game"); err != nil {
				t.Error(err)
			}
		})
		w.net.Run(30 * ms)
	}
	w.net.Run(6 * time.Second)
	for i, a := range peers {
		for j, b := range peers {
			if i >= j {
				continue
			}
			if a.session(b).IsZero() || a.session(b) != b.session(a) {
				t.Errorf("%s and %s: sessions %v and %v", a.name, b.name, a.session(b), b.session(a))
			}
			want := Direct
			if hard := func(n int) bool { return n%4 == 3 }; hard(i) && j%4 >= 2 || hard(j) && i%4 >= 2 {
				want = Relay
			}
			w.want(a, b, want)
			_ = a.send(b, a.name)
			_ = b.send(a, b.name)
		}
	}
	w.net.Run(time.Second)
	for _, a := range peers {
		slices.Sort(a.got)
		if got := slices.Compact(slices.Clone(a.got)); len(a.got) != 7 || len(got) != 7 {
			t.Errorf("%s has heard of %q, want one datagram of each of the others", a.name, a.got)
		}
		if joined := count[MemberJoined](a); joined != 7 {
			t.Errorf("%s saw %d members join, want 7", a.name, joined)
		}
	}
	// One dies; the others do not notice but of that.
	peers[3].runner.Stop()
	w.net.Run(5 * time.Second)
	for i, a := range peers {
		if i == 3 {
			continue
		}
		for j, b := range peers {
			if j != i && j != 3 && a.path(b).Kind == NoPath {
				t.Errorf("%s lost %s when %s died", a.name, b.name, peers[3].name)
			}
		}
	}
	// One leaves; sessions with it end.
	leaver := peers[0]
	leaver.runner.Do(func(now time.Time) { leaver.machine.Leave(now, "game") })
	w.net.Run(2 * time.Second)
	for _, n := range peers[1:3] {
		if !n.session(leaver).IsZero() {
			t.Errorf("%s still has a session with %s, which left", n.name, leaver.name)
		}
		if e, _, ok := last[MemberLeft](n); !ok || e.Peer != leaver.id() {
			t.Errorf("%s was not told that %s left", n.name, leaver.name)
		}
	}
}

// TestDuplicates: every packet arrives twice, none is delivered twice.
func TestDuplicates(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(fullCone, fullCone, laboratory)
	w.net.Until(10*time.Second, settled(a, b))
	var frames [][]byte
	w.net.Observe(func(p simnet.Packet) {
		if p.To == b.host && isFrame(p.Payload) {
			frames = append(frames, slices.Clone(p.Payload))
		}
	})
	w.exchange(a, b, 20, 10*ms)
	w.net.Run(time.Second)
	got := len(b.got)
	replay := slices.Clone(frames)
	b.runner.Do(func(now time.Time) {
		for _, f := range replay {
			b.machine.receive(now, socketBase, netip.MustParseAddrPort("203.0.113.66:6666"), f)
		}
	})
	if len(b.got) != got || b.machine.Stats().Duplicates < uint64(len(replay)) {
		t.Errorf("%d of %d replayed frames were delivered again", len(b.got)-got, len(replay))
	}
	if b.path(a).Remote.Addr() == netip.MustParseAddr("203.0.113.66") {
		t.Error("a replay moved the path")
	}
}
