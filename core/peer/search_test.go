package peer

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/search"
	"p2pmodel/core/stun"
)

// lottery is a TestNAT whose ports are drawn at random, each once.
type lottery struct {
	*simnet.TestNAT
	rand         *rand.Rand
	drawn, given map[uint16]uint16 // by the TestNAT's port, and by the drawn one
	// closed: nothing passes but to and from servers.
	closed bool
}

func (l *lottery) Outbound(now time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	m, ok := l.TestNAT.Outbound(now, source, destination)
	if !ok || l.closed && !isServer(destination) {
		return m, false
	}
	q, known := l.drawn[m.Port()]
	for !known {
		q = uint16(search.FirstPort + l.rand.IntN(search.Ports))
		if _, taken := l.given[q]; !taken {
			l.drawn[m.Port()], l.given[q], known = q, m.Port(), true
		}
	}
	return netip.AddrPortFrom(m.Addr(), q), true
}

func (l *lottery) Inbound(now time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	p, known := l.given[destination.Port()]
	if !known || l.closed && !isServer(source) {
		return netip.AddrPort{}, false
	}
	return l.TestNAT.Inbound(now, source, netip.AddrPortFrom(destination.Addr(), p))
}

func isServer(a netip.AddrPort) bool {
	return a.Addr() == rendezvousAddr.Addr() || a.Addr() == relayAddr.Addr()
}

// drawing starts a peer behind a symmetric NAT that draws ports.
func (w *world) drawing(name string, cfg Config) (*node, *lottery) {
	w.t.Helper()
	n := &node{w: w, name: name}
	external := netip.AddrFrom4([4]byte{198, 18, byte(10 + len(w.peers)), 1})
	n.nat = &simnet.TestNAT{External: external, Mapping: simnet.AddressPort, Filtering: simnet.AddressPort, Timeout: w.timeout}
	l := &lottery{
		TestNAT: n.nat, rand: rand.New(rand.NewPCG(w.seed, uint64(len(w.peers)))),
		drawn: map[uint16]uint16{}, given: map[uint16]uint16{},
	}
	n.segment = w.net.Internet().Behind(l, external)
	n.host = n.segment.Host(name, netip.MustParseAddr("192.168.1.2"))
	w.start(n, cfg)
	return n, l
}

// probed records the checks that a host sends to the addresses of another's NAT, each
// port's first one.
type probed struct {
	at    []time.Time
	again int
}

func (w *world) watchProbes(from *node, to netip.Addr) *probed {
	p, seen := &probed{}, map[uint16]bool{}
	w.net.Observe(func(packet simnet.Packet) {
		switch port := packet.SentDestination.Port(); {
		case packet.From != from.host || packet.SentDestination.Addr() != to || !stun.Is(packet.Payload):
		case seen[port]:
			p.again++
		default:
			seen[port] = true
			p.at = append(p.at, packet.At)
		}
	})
	return p
}

// most is how many came within a time.
func (p *probed) most(within time.Duration) (most int) {
	for i, first := 0, 0; i < len(p.at); i++ {
		for p.at[i].Sub(p.at[first]) >= within {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// searchers are a pair of whom the first one's ports are drawn.
func (w *world) searchers(hard, easy Config) (a, b *node, nat *lottery, probes *probed) {
	w.t.Helper()
	w.guesses = true
	a, nat = w.drawing("a", hard)
	b = w.peer("b", portRestricted, easy)
	probes = w.watchProbes(b, nat.External)
	w.net.Run(500 * ms)
	a.connect(b)
	return a, b, nat, probes
}

// TestSearch: the socket that is hit carries the session, the others are closed; probes
// keep their pace, go to each port once, and stop at the hit.
func TestSearch(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, seed+1)
		a, b, _, probes := w.searchers(Config{Keepalive: 500 * ms}, Config{Keepalive: 500 * ms})
		direct := func() bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct }
		if !w.net.Until(20*time.Second, direct) {
			t.Fatalf("seed %d: no direct path\n%s\n%s", seed+1, a.history(), b.history())
		}
		hit := len(probes.at)
		if n := probes.most(time.Second); n > int(time.Second/search.ProbeEvery)+10 { // and the checks of plain punching
			t.Errorf("seed %d: %d probes within a second", seed+1, n)
		}
		if atA, atB := w.exchange(a, b, 100, 100*ms); atA < 99 || atB < 99 {
			t.Errorf("seed %d: of 100 datagrams %d and %d arrived", seed+1, atA, atB)
		}
		w.want(a, b, Direct)
		if n := len(probes.at) - hit; n != 0 {
			t.Errorf("seed %d: %d probes after the hit", seed+1, n)
		}
		if na, nb := len(a.machine.extras), len(b.machine.extras); na != 1 || nb != 0 {
			t.Errorf("seed %d: %d and %d sockets are left, want 1 and 0", seed+1, na, nb)
		}
		attempt, _, _ := last[Attempted](a)
		if !attempt.Direct || attempt.Technique != Birthday || attempt.Sockets != search.Sockets {
			t.Errorf("seed %d: %+v", seed+1, attempt)
		}
		ha, hb := a.machine.Stats().Hard, b.machine.Stats().Hard
		if ha.Found != 1 || hb.Found != 1 || hb.Probes == 0 || hb.Probes > search.Probes || hb.Sockets != 0 {
			t.Errorf("seed %d: %+v and %+v", seed+1, ha, hb)
		}
		a.machine.Close(w.net.Now(), b.id())
		w.net.Run(time.Second)
		if n := len(a.machine.extras); n != 0 {
			t.Errorf("seed %d: %d sockets outlive the session", seed+1, n)
		}
	}
}

// TestSearchIsLeftOut: if either side opts out, or both draw, no socket is opened and no
// port probed.
func TestSearchIsLeftOut(t *testing.T) {
	out := Config{Techniques: Techniques{NoBirthday: true}}
	for _, row := range []struct {
		name       string
		hard, easy Config
		both       bool
	}{{"the hard side", out, Config{}, false}, {"the easy side", Config{}, out, false}, {"both draw", Config{}, Config{}, true}} {
		w := newWorld(t, 1)
		w.guesses = true
		a, _ := w.drawing("a", row.hard)
		var b *node
		if row.both {
			b, _ = w.drawing("b", row.easy)
		} else {
			b = w.peer("b", portRestricted, row.easy)
		}
		w.net.Run(500 * ms)
		a.connect(b)
		w.net.Run(30 * time.Second)
		w.want(a, b, Relay)
		for _, n := range []*node{a, b} {
			if h := n.machine.Stats().Hard; h.Sockets+h.Probes+h.Searches != 0 {
				t.Errorf("%s: %s did %+v", row.name, n.name, h)
			}
		}
	}
}

// TestSearchInVain ends after its probes: sockets are returned, the relay carries the
// session all the time, and after a second one it is left alone, however often the
// session looks for a direct path again.
func TestSearchInVain(t *testing.T) {
	w := newWorld(t, 1)
	a, b, nat, probes := w.searchers(Config{}, Config{})
	nat.closed = true
	if !w.net.Until(3*LongestBirthday, settled(a, b)) {
		t.Fatalf("not settled\n%s", a.history())
	}
	if h := b.machine.Stats().Hard; h.Probes != search.Probes || len(probes.at) < search.Probes || len(probes.at) > search.Probes+100 {
		t.Errorf("%d probes by its own account, %d ports, want %d\n%s\n%s", h.Probes, len(probes.at), search.Probes, a.history(), b.history())
	}
	if n := probes.most(time.Second); n > int(time.Second/search.ProbeEvery)+10 {
		t.Errorf("%d probes within a second", n)
	}
	if n := len(a.machine.extras) + len(b.machine.extras); n != 0 {
		t.Errorf("%d sockets are left", n)
	}
	after := len(probes.at)
	if atA, atB := w.exchange(a, b, 600, 500*ms); atA < 590 || atB < 590 {
		t.Errorf("of 600 datagrams %d and %d arrived", atA, atB)
	}
	w.want(a, b, Relay)
	if n := len(probes.at) - after; n > search.Probes+search.Probes/20 { // plain punching goes on
		t.Errorf("%d more ports were probed", n)
	}
	if h := a.machine.Stats().Hard; h.Searches != 2 || h.Found != 0 {
		t.Errorf("%+v", h)
	}
	if e := a.machine.Experiences(); len(e) != 1 || e[0].Worked || e[0].Failures != 2 || e[0].Technique != Birthday {
		t.Errorf("remembered: %+v", e)
	}
}

// TestSearchForAPeerThatHasMoved: that a search has been is forgotten when the peer is
// somewhere else.
func TestSearchForAPeerThatHasMoved(t *testing.T) {
	w := newWorld(t, 3)
	a, b, _, _ := w.searchers(laboratory, laboratory)
	_, next := w.home(portRestricted)
	direct := func() bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct }
	if !w.net.Until(20*time.Second, direct) {
		t.Fatalf("no direct path\n%s\n%s", a.history(), b.history())
	}
	w.net.Run(time.Second)
	b.host.Move(next, netip.MustParseAddr("192.168.1.7"))
	again := func() bool { return direct() && a.machine.Stats().Hard.Found == 2 }
	if !w.net.Until(30*time.Second, again) {
		t.Errorf("no direct path after a move\n%s\n%s", a.history(), b.history())
	}
}

// TestForgedHints: without the session's keys nobody makes us probe, and is told nothing; nor
// does a copy of a hint begin its search again.
func TestForgedHints(t *testing.T) {
	w := newWorld(t, 1)
	w.guesses = true
	a, _ := w.drawing("a", Config{})
	b := w.peer("b", portRestricted, Config{})
	type sent struct {
		from, to netip.AddrPort
		payload  []byte
	}
	var hints []sent
	w.net.Observe(func(p simnet.Packet) {
		if p.To == b.host && isHint(p.Payload) {
			hints = append(hints, sent{p.SeenSource, p.SeenDestination, append([]byte(nil), p.Payload...)})
		}
	})
	heard := func(payload []byte) {
		b.runner.Do(func(now time.Time) { b.machine.handleHint(now, socketBase, a.path(b).Remote, payload) })
	}
	w.net.Run(500 * ms)
	a.connect(b)
	told := func() bool { return b.machine.Stats().Hard.Searches > 0 }
	if !w.net.Until(5*time.Second, func() bool { return b.path(a).Kind == Relay && a.path(b).Kind == Relay }) || told() {
		t.Fatal("no relayed path before the search")
	}
	s := b.machine.sessionWith(a.id())
	before := s.hard.heard
	forged := stun.Write(stun.MethodHint, pion.ClassRequest, [pion.TransactionIDSize]byte{1}, 256)
	forged.Text(pion.AttrUsername, s.local.ufrag, ":", s.remote.ufrag)
	forged.Bytes(stun.AttrHint, hint{Kind: hintSearch, Number: 99, Accepts: acceptsBirthday}.encode())
	forged.Sign(stun.ShortTerm("not the password of anybody here"))
	forged.Fingerprint()
	unauthentic := b.machine.Stats().Unauthentic
	heard(forged.Raw())
	if b.machine.Stats().Unauthentic != unauthentic+1 || s.hard.heard != before || s.hard.attempt != nil || told() {
		t.Errorf("a forged hint was heard: %+v", s.hard)
	}
	if !w.net.Until(20*time.Second, func() bool { return b.path(a).Kind == Direct }) {
		t.Fatalf("no direct path\n%s", b.history())
	}
	searches := b.machine.Stats().Hard
	for _, h := range hints {
		heard(h.payload)
	}
	w.net.Run(5 * time.Second)
	if now := b.machine.Stats().Hard; now.Searches != searches.Searches || now.Probes != searches.Probes {
		t.Errorf("copies of %d hints: %+v became %+v", len(hints), searches, now)
	}
}

// TestOneSearchAtATime: a peer that is asked to search for two does so for one. The
// other one is not told that it was in vain, and has its turn later.
func TestOneSearchAtATime(t *testing.T) {
	w := newWorld(t, 1)
	w.guesses = true
	a, _ := w.drawing("a", Config{})
	c, _ := w.drawing("c", Config{})
	b := w.peer("b", portRestricted, Config{})
	w.net.Run(500 * ms)
	a.connect(b)
	c.connect(b)
	most := 0
	both := func() bool {
		n := 0
		for _, s := range b.machine.sessions {
			if _, ok := s.hard.attempt.(*searching); ok {
				n++
			}
		}
		most = max(most, n)
		return b.path(a).Kind == Direct && b.path(c).Kind == Direct
	}
	if !w.net.Until(2*time.Minute, both) {
		t.Errorf("not both are direct after two minutes\n%s\n%s\n%s", a.history(), b.history(), c.history())
	}
	if most != 1 {
		t.Errorf("%d searches at once", most)
	}
}

// TestRoamingFromASearchedSocket: a session that a socket of a search carries goes on while
// its host changes networks, with and without an overlap, and the socket is closed.
func TestRoamingFromASearchedSocket(t *testing.T) {
	for _, overlap := range []bool{true, false} {
		w := newWorld(t, 3)
		a, b, _, _ := w.searchers(laboratory, laboratory)
		_, next := w.home(fullCone)
		if !w.net.Until(20*time.Second, func() bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct }) {
			t.Fatalf("no direct path\n%s\n%s", a.history(), b.history())
		}
		w.net.Run(time.Second)
		session := a.session(b)
		var gap time.Duration
		if overlap {
			a.host.Overlap(next, netip.MustParseAddr("192.168.1.7"))
			gap = w.chat(a, b, 2*time.Second)
			a.host.Leave()
		} else {
			a.host.Move(next, netip.MustParseAddr("192.168.1.7"))
		}
		gap = max(gap, w.chat(a, b, 10*time.Second))
		t.Logf("overlap %v: silent for %v", overlap, gap)
		if overlap && gap > 60*ms || gap > time.Second {
			t.Errorf("overlap %v: silent for %v\n%s\n%s", overlap, gap, a.history(), b.history())
		}
		w.want(a, b, Direct)
		if a.session(b) != session || b.session(a) != session {
			t.Errorf("overlap %v: another session", overlap)
		}
		if n := len(a.machine.extras); n != 0 {
			t.Errorf("overlap %v: %d sockets of the former network are left\n%s", overlap, n, a.history())
		}
	}
}
