package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/sansio/simnet"
)

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

// TestBothRoam at the same time: one hears the other again two round trips of 80 ms
// later, and what a datagram each 5 ms adds to that, the other one half of one more.
func TestBothRoam(t *testing.T) {
	w := newWorld(t, 1)
	w.guesses = true // and split paths
	a, b := w.pair(portRestricted, portRestricted, laboratory)
	w.net.Until(10*time.Second, settled(a, b))
	session := a.session(b)
	for i, n := range []*node{a, b} {
		w.peers = append(w.peers, n) // another external address
		_, to := w.home(portRestricted)
		n.host.Move(to, netip.AddrFrom4([4]byte{192, 168, 7, byte(3 + i)}))
	}
	moved, heard := w.net.Now(), map[*node]time.Duration{}
	for i := range 200 {
		_ = a.send(b, fmt.Sprint("roamed", i))
		_ = b.send(a, fmt.Sprint("roamed", i))
		w.net.Run(5 * ms)
		for _, n := range []*node{a, b} {
			if heard[n] == 0 && slices.ContainsFunc(n.got, func(s string) bool { return strings.HasPrefix(s, "roamed") }) {
				heard[n] = w.net.Now().Sub(moved)
			}
		}
	}
	if first, last := min(heard[a], heard[b]), max(heard[a], heard[b]); first > 180*ms || last > 220*ms {
		t.Errorf("they hear each other again after %v and %v, want two and two and a half round trips of 80 ms", first, last)
	}
	for _, n := range []*node{a, b} {
		got := slices.Clone(n.got)
		slices.Sort(got)
		if len(heard) != 2 || len(slices.Compact(got)) != len(n.got) {
			t.Errorf("%s: %d heard, or a datagram was delivered twice", n.name, len(heard))
		}
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
