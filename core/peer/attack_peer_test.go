package peer

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/secure"
	"p2pmodel/core/stun"
)

// The attacks of this file are by a peer with a session, who knows its keys.

// check is one of a's, with what rides on it; nil: nothing. A nomination has a number.
func (g *target) check(n uint32, ride []byte, nomination uint32) []byte {
	s := g.b.machine.sessionWith(g.a.id())
	var id [12]byte
	binary.BigEndian.PutUint32(id[:], n)
	w := stun.Write(pion.MethodBinding, pion.ClassRequest, id, 400)
	w.Text(pion.AttrUsername, s.local.ufrag, ":", s.remote.ufrag)
	w.Uint32(pion.AttrPriority, 1)
	role := pion.AttrICEControlled
	if g.a.id().Compare(g.b.id()) < 0 {
		role = pion.AttrICEControlling
	}
	w.Uint64(role, 1)
	if nomination != 0 {
		w.Bytes(pion.AttrUseCandidate)
		w.Uint32(nominates, nomination)
	}
	if ride != nil {
		w.Bytes(rides, ride)
	}
	w.Bytes(stun.AttrPad, make([]byte, 200)) // pays for the answer, and for a check in return
	w.Sign(stun.ShortTerm(s.local.pwd))
	w.Fingerprint()
	return w.Raw()
}

// rides is the attribute in which handshakes ride, nominates the one that has the number
// of a nomination (docs/protocol.md).
const (
	rides     pion.AttrType = 0xFFF2
	nominates pion.AttrType = 0xC001
)

// TestAttackHandshakes: a peer that asks for a handshake with each of its checks, in
// either role, gets a few at once and then one a second. If it starts anew meanwhile,
// it is back at once.
func TestAttackHandshakes(t *testing.T) {
	attacked := func(responder bool) *target {
		g := newTarget(t)
		if (g.a.id().Compare(g.b.id()) < 0) != responder {
			g.a, g.b = g.b, g.a // the smaller id begins handshakes
		}
		return g
	}
	for _, responder := range []bool{true, false} {
		g := attacked(responder)
		at := g.b.path(g.a).Remote
		s := g.b.machine.sessionWith(g.a.id())
		made := map[[56]byte]bool{} // messages of handshakes
		heard := s.channel.Epoch()  // the number of the last one
		g.net.Observe(func(p simnet.Packet) {
			if i := bytes.Index(p.Payload, []byte{0xff, 0xf2, 0, 56}); i >= 0 && p.From == g.b.host {
				made[[56]byte(p.Payload[i+4:])] = true
				heard = binary.BigEndian.Uint32(p.Payload[i+4:])
			}
		})
		mad, err := secure.New(secure.Config{Key: g.a.machine.cfg.Key, Peer: g.b.id(), Session: s.id, Rand: random(1, 3)})
		if err != nil {
			t.Fatal(err)
		}
		const seconds, each = 10, 100
		for n := range uint32(seconds * each) {
			forgotten := binary.BigEndian.AppendUint32(make([]byte, 4), heard) // said by a responder
			ride := forgotten
			if responder {
				later := simnet.Epoch.Add(time.Duration(n) * time.Minute) // a's own patience is not asked
				ride = bytes.Clone(mad.Message(later))
				_, _ = mad.HandleMessage(later, append(make([]byte, 4), ride[:4]...))
			}
			g.attack(at, g.check(n, ride, 0))
			g.net.Run(time.Second / each)
		}
		if n := len(made); n < seconds || n > seconds+5 {
			t.Errorf("responder %v: %d checks have %d handshakes computed, want one a second and a few", responder, seconds*each, n)
		}

		if calm, took := attacked(responder).anew(), g.anew(); took > calm+50*ms {
			t.Errorf("responder %v: the peer starts anew, and is back after %v, without the attack after %v", responder, took, calm)
		}
	}
}

// anew has a start anew, and gives how long it takes until b gets data of a's again.
func (g *target) anew() time.Duration {
	g.t.Helper()
	g.a.runner.Stop()
	again := &node{w: g.world, name: "a again", host: g.a.host, nat: g.a.nat, segment: g.a.segment}
	g.start(again, Config{Key: g.a.machine.cfg.Key})
	if !g.net.Until(10*time.Second, func() bool { return count[Registered](again) > 0 }) {
		g.t.Fatal("a does not register again")
	}
	began := g.net.Now()
	again.connect(g.b)
	if !g.net.Until(10*time.Second, func() bool { return again.send(g.b, "back") == nil && g.b.got[len(g.b.got)-1] == "back" }) {
		g.t.Fatal("a does not come back")
	}
	return g.net.Now().Sub(began)
}

// TestAttackNominatedStrangers: a peer whose checks always come from another of a victim's
// ports, and nominate each of them, has a few ports checked; no port gets more bytes than
// came in its name, and none a datagram of the application's.
func TestAttackNominatedStrangers(t *testing.T) {
	g := newTarget(t)
	if g.a.id().Compare(g.b.id()) > 0 {
		g.a, g.b = g.b, g.a // the smaller id nominates
	}
	session, path := g.b.session(g.a), g.b.path(g.a)
	in, out, checked := map[uint16]int{}, map[uint16]int{}, map[uint16]bool{}
	g.net.Observe(func(p simnet.Packet) {
		if p.SentDestination.Addr() != victim || p.From != g.b.host {
			return
		}
		port := p.SentDestination.Port()
		out[port] += len(p.Payload)
		checked[port] = checked[port] || asks(p.Payload)
		if isFrame(p.Payload) {
			t.Error("data goes to the victim")
		}
	})
	const seconds, each = 20, 50
	for n := range uint16(seconds * each) {
		from := netip.AddrPortFrom(victim, 1000+n)
		check := g.check(uint32(n), nil, 1000+uint32(n))
		in[from.Port()] += len(check)
		g.attack(from, check)
		_ = g.b.send(g.a, "for a")
		g.net.Run(time.Second / each)
	}
	g.net.Run(20 * time.Second)
	checks := 0
	for port, is := range checked {
		if is {
			checks++
		}
		if out[port] > in[port] {
			t.Errorf("port %d: %d bytes for %d", port, out[port], in[port])
		}
	}
	if checks == 0 || checks > 24 {
		t.Errorf("%d of %d ports are checked, want some, and two dozens at most", checks, seconds*each)
	}
	g.unharmed(session, path)
}
