package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio/simnet"
)

// TestDeadRelayDelaysNothing: the relay is off before anyone starts.
func TestDeadRelayDelaysNothing(t *testing.T) {
	alive := newWorld(t, 1)
	a, b := alive.pair(restricted, portRestricted, Config{})
	alive.net.Until(10*time.Second, settled(a, b))
	_, with, _ := last[Settled](a)

	dead := newWorld(t, 1)
	dead.relay.SetLink(simnet.Link{Down: true})
	a, b = dead.pair(restricted, portRestricted, Config{})
	dead.net.Until(10*time.Second, settled(a, b))
	dead.want(a, b, Direct)
	if _, without, _ := last[Settled](a); without > with+10*ms {
		t.Errorf("without a relay settled after %v, with one after %v", without, with)
	}
}

// TestNoRelayAndNoWay: nothing connects, and that is said; then the relay comes
// up and everything works.
func TestNoRelayAndNoWay(t *testing.T) {
	w := newWorld(t, 1)
	w.relay.SetLink(simnet.Link{Down: true})
	a, b := w.pair(symmetric, symmetric, Config{})
	w.net.Until(20*time.Second, settled(a, b))
	w.want(a, b, NoPath)
	if err := a.send(b, "x"); !errors.Is(err, ErrNoPath) {
		t.Errorf("sending without a path: error %v, want ErrNoPath", err)
	}
	w.relay.SetLink(simnet.Link{})
	w.net.Run(60 * time.Second)
	w.want(a, b, Relay)
}

// TestLateRelay: the allocation comes after the introduction and is trickled.
func TestLateRelay(t *testing.T) {
	w := newWorld(t, 1)
	w.relay.SetLink(simnet.Link{Down: true})
	a, b := w.pair(symmetric, symmetric, Config{})
	w.net.Run(300 * ms)
	w.relay.SetLink(simnet.Link{})
	w.net.Run(5 * time.Second)
	w.want(a, b, Relay)
}

// TestOneRelayIsEnough: only the peer behind the symmetric NAT has a relay.
func TestOneRelayIsEnough(t *testing.T) {
	w := newWorld(t, 1)
	none := Config{Relay: &RelayConfig{Server: netip.MustParseAddrPort("198.18.0.99:3478")}}
	a, b := w.peer("a", symmetric, Config{}), w.peer("b", portRestricted, none)
	w.net.Run(500 * ms)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Relay)
	if atA, atB := w.exchange(a, b, 20, 50*ms); atA < 18 || atB < 18 {
		t.Errorf("of 20 datagrams each %d and %d arrived", atA, atB)
	}
	if w.direct != 0 {
		t.Errorf("%d frames went directly", w.direct)
	}
}

func TestRelayOnly(t *testing.T) {
	for _, both := range []bool{true, false} {
		w := newWorld(t, 1)
		only := Config{Techniques: Techniques{RelayOnly: true}}
		other := only
		if !both {
			other = Config{}
		}
		a, b := w.peer("a", fullCone, only), w.peer("b", fullCone, other)
		w.net.Run(500 * ms)
		a.connect(b)
		w.net.Until(10*time.Second, settled(a, b))
		w.net.Run(10 * time.Second)
		w.exchange(a, b, 20, 50*ms)
		w.want(a, b, Relay)
		if w.direct != 0 {
			t.Errorf("%d frames went directly although checks are disabled", w.direct)
		}
	}
}

func TestLossyLinks(t *testing.T) {
	for seed := range uint64(60) {
		for _, row := range []struct {
			a, b behaviour
			want PathKind
		}{{restricted, portRestricted, Direct}, {symmetric, symmetric, Relay}} {
			w := newWorld(t, seed)
			w.loss = 0.05 // on each access link and direction: a tenth end to end
			a, b := w.pair(row.a, row.b, Config{})
			if !w.net.Until(30*time.Second, settled(a, b)) {
				t.Fatalf("seed %d: not settled after 30 s", seed)
			}
			w.net.Run(20 * time.Second)
			w.want(a, b, row.want)
			if t.Failed() {
				t.Fatalf("seed %d, %s and %s", seed, row.a.name, row.b.name)
			}
		}
	}
}

// TestKeepalive: TC-05's first half. NATs forget after 2 s.
func TestKeepalive(t *testing.T) {
	for _, row := range []struct {
		a, b behaviour
		want PathKind
	}{{portRestricted, portRestricted, Direct}, {symmetric, symmetric, Relay}} {
		w := newWorld(t, 1)
		w.timeout = 2 * time.Second
		a, b := w.pair(row.a, row.b, laboratory)
		w.net.Until(10*time.Second, settled(a, b))
		w.net.Run(30 * time.Second) // fifteen timeouts without data
		w.want(a, b, row.want)
		if lost := count[PathLost](a) + count[PathLost](b); lost != 0 {
			t.Errorf("%s: lost %d paths in fifteen timeouts\n%s", row.a.name, lost, a.history())
		}
		before := len(a.got)
		if err := b.send(a, "still there?"); err != nil {
			t.Error(err)
		}
		w.net.Run(time.Second)
		if len(a.got) != before+1 {
			t.Errorf("%s: the peer's first datagram after fifteen timeouts did not arrive", row.a.name)
		}
	}
}

// TestSilence is its control: keepalive and consent off, two timeouts of
// silence, the peer sends first and nothing arrives, directly or relayed.
func TestSilence(t *testing.T) {
	for _, row := range []struct {
		a, b behaviour
		want PathKind
	}{{portRestricted, portRestricted, Direct}, {symmetric, symmetric, Relay}} {
		w := newWorld(t, 1)
		w.timeout = 2 * time.Second
		a, b := w.pair(row.a, row.b, Config{Keepalive: -1, Consent: -1})
		w.net.Until(10*time.Second, settled(a, b))
		w.net.Run(4 * time.Second) // the last checks and requests
		packets := 0
		w.net.Observe(func(simnet.Packet) { packets++ })
		w.net.Run(8 * time.Second)
		if packets != 0 {
			t.Errorf("%v: %d packets in the time of silence", row.want, packets)
		}
		w.want(a, b, row.want) // as far as they know
		before := len(a.got)
		if err := b.send(a, "still there?"); err != nil {
			t.Error(err)
		}
		w.net.Run(time.Second)
		if len(a.got) != before {
			t.Errorf("%v: a datagram arrived although a's mapping has expired", row.want)
		}
	}
}

// TestRebootOfTheNAT: TC-05's second half. Mappings are lost, ports are new, the
// session is the same.
func TestRebootOfTheNAT(t *testing.T) {
	for _, row := range []struct {
		a, b behaviour
		want PathKind
	}{
		{portRestricted, portRestricted, Direct}, {portRestricted, fullCone, Direct},
		{symmetric, restricted, Direct}, {symmetric, symmetric, Relay},
	} {
		for _, reverse := range []bool{false, true} {
			w := newWorld(t, 1)
			w.timeout = 2 * time.Second
			a, b := w.pair(row.a, row.b, laboratory)
			w.net.Until(10*time.Second, settled(a, b))
			w.net.Run(3 * time.Second)
			w.want(a, b, row.want)
			session, rebooted := a.session(b), a
			if reverse {
				rebooted = b
			}
			rebooted.nat.Reset()
			at := w.net.Now()
			events := len(a.events)
			recovered := false
			for w.net.Now().Sub(at) < 10*time.Second && !recovered {
				w.exchange(a, b, 1, 20*ms)
				recovered = countFrom[Settled](a, events) > 0 && a.path(b).Kind == row.want && b.path(a).Kind == row.want
			}
			if !recovered {
				t.Errorf("%s and %s, %s's NAT rebooted: not %v again after 10 s\n%s\n%s", row.a.name, row.b.name, rebooted.name, row.want, a.history(), b.history())
			}
			t.Logf("%s and %s, %s's NAT rebooted: settled again after %v", row.a.name, row.b.name, rebooted.name, w.net.Now().Sub(at))
			w.net.Run(2 * time.Second)
			if atA, atB := w.exchange(a, b, 10, 100*ms); atA < 8 || atB < 8 {
				t.Errorf("after the reboot %d and %d of 10 datagrams arrived", atA, atB)
			}
			if a.session(b) != session || b.session(a) != session {
				t.Errorf("session %v became %v and %v", session, a.session(b), b.session(a))
			}
		}
	}
}

func countFrom[E any](n *node, from int) (c int) {
	for _, e := range n.events[from:] {
		if _, ok := e.(E); ok {
			c++
		}
	}
	return c
}

// TestIdleExpiry: keepalives fail for longer than the mapping lives (a cut), then
// the same session goes on.
func TestIdleExpiry(t *testing.T) {
	w := newWorld(t, 1)
	w.timeout = 2 * time.Second
	a, b := w.pair(portRestricted, portRestricted, laboratory)
	w.net.Until(10*time.Second, settled(a, b))
	session, before := a.session(b), a.path(b).Mapped
	a.host.SetLink(simnet.Link{Down: true})
	w.net.Run(6 * time.Second)
	if a.path(b).Kind != NoPath || b.path(a).Kind != NoPath {
		t.Errorf("6 s after the cut the paths are %v and %v", a.path(b), b.path(a))
	}
	a.host.SetLink(simnet.Link{Delay: 20 * ms})
	w.net.Run(8 * time.Second)
	w.want(a, b, Direct)
	if a.path(b).Mapped == before {
		t.Errorf("a's mapping is still %v: nothing was lost", before)
	}
	if a.session(b) != session || b.session(a) != session {
		t.Error("the session changed")
	}
}

// TestRoaming: TC-06. A strict carrier, then Wi-Fi behind a port-restricted
// router, then the carrier again; datagrams flow all the time.
func TestRoaming(t *testing.T) {
	w := newWorld(t, 1)
	a := w.peer("mobile", symmetric, laboratory)
	b := w.peer("home", portRestricted, laboratory)
	carrier := a.segment
	_, wifi := w.home(portRestricted)
	w.net.Run(500 * ms)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Relay)
	session := a.session(b)
	phase := func(name string, to *simnet.Segment, addr string, want PathKind) {
		t.Helper()
		events, received := len(a.events), len(b.got)
		a.host.Move(to, netip.MustParseAddr(addr))
		moved := w.net.Now()
		var gap time.Duration
		for range 150 {
			_ = a.send(b, fmt.Sprintf("%s since %v: %v", name, moved, w.net.Now()))
			w.net.Run(20 * ms)
			if n := len(b.got); gap == 0 && n > received && strings.HasPrefix(b.got[n-1], name+" since") {
				gap = w.net.Now().Sub(moved)
			}
		}
		w.net.Until(10*time.Second, func() bool { return countFrom[Settled](a, events) > 0 })
		w.want(a, b, want)
		if gap == 0 || gap > time.Second {
			t.Errorf("%s: first datagram %v after the change, want within 1 s", name, gap)
		}
		t.Logf("%s: first datagram after %v, %d of 150 arrived", name, gap, len(b.got)-received)
		if a.session(b) != session || b.session(a) != session {
			t.Errorf("%s: the session changed", name)
		}
	}
	phase("wi-fi", wifi, "192.168.1.7", Direct)
	phase("4g again", carrier, "10.0.0.9", Relay)
	phase("wi-fi again", wifi, "192.168.1.7", Direct)
	sorted := slices.Clone(b.got)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(b.got) {
		t.Error("a datagram was delivered twice")
	}
}

// TestBothRoam at the same time.
func TestBothRoam(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(portRestricted, portRestricted, laboratory)
	w.net.Until(10*time.Second, settled(a, b))
	session := a.session(b)
	for i, n := range []*node{a, b} {
		w.peers = append(w.peers, n) // another external address
		_, to := w.home(portRestricted)
		n.host.Move(to, netip.AddrFrom4([4]byte{192, 168, 7, byte(3 + i)}))
	}
	w.net.Run(5 * time.Second)
	w.want(a, b, Direct)
	if a.session(b) != session || b.session(a) != session {
		t.Error("the session changed")
	}
}

// TestRendezvousOutage: live sessions do not need it.
func TestRendezvousOutage(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(portRestricted, portRestricted, laboratory)
	w.net.Until(10*time.Second, settled(a, b))
	w.rendezvous.SetLink(simnet.Link{Down: true})
	w.net.Run(60 * time.Second)
	w.want(a, b, Direct)
	if lost := count[PathLost](a) + count[PathLost](b); lost != 0 {
		t.Errorf("%d paths lost while the rendezvous was away", lost)
	}
	w.rendezvous.SetLink(simnet.Link{})
	w.net.Run(20 * time.Second)
	c := w.peer("c", fullCone, laboratory)
	w.net.Run(time.Second)
	a.connect(c)
	w.net.Run(3 * time.Second)
	w.want(a, c, Direct)
}

// TestRelayRestart: the relay forgets all allocations while it carries. It drops
// what comes for them without a word, so the peers have to ask.
func TestRelayRestart(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(symmetric, symmetric, Config{})
	w.net.Until(10*time.Second, settled(a, b))
	session, ready := a.session(b), count[RelayReady](a)
	w.relayServer.Stop()
	w.startRelay(4)
	w.net.Run(12 * time.Second)
	w.want(a, b, Relay)
	if a.session(b) != session || count[RelayReady](a) != ready+1 {
		t.Errorf("session %v → %v, %d new allocations, want the same session and one", session, a.session(b), count[RelayReady](a)-ready)
	}
}

// TestRelayOutage: the relay cannot be reached for a while, and remembers.
func TestRelayOutage(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.pair(symmetric, symmetric, laboratory)
	w.net.Until(10*time.Second, settled(a, b))
	session := a.session(b)
	w.relay.SetLink(simnet.Link{Down: true})
	w.net.Run(5 * time.Second)
	w.want(a, b, NoPath)
	w.relay.SetLink(simnet.Link{})
	w.net.Run(60 * time.Second)
	w.want(a, b, Relay)
	if a.session(b) != session {
		t.Error("the session changed")
	}
}

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
			if atA, atB := w.exchange(a, b, 3, 200*ms); atA != 3 || atB != 3 {
				t.Errorf("%s and %s: %d and %d of 3 datagrams arrived", a.name, b.name, atA, atB)
			}
		}
		if joined := count[MemberJoined](a); joined != 7 {
			t.Errorf("%s saw %d members join, want 7", a.name, joined)
		}
	}
	// One dies; the others do not notice but of that.
	peers[3].runner.Stop()
	w.net.Run(10 * time.Second)
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
