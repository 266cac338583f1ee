package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/secure"
	"p2pmodel/core/stun"
)

func TestAttackSpoofedIntroduction(t *testing.T) {
	g := newTarget(t)
	session, path := g.b.session(g.a), g.b.path(g.a)
	introductions := g.ofRendezvous(introduceRequest)
	if len(introductions) == 0 {
		t.Fatal("no introduction was seen: the test proves nothing")
	}
	for name, change := range map[string]func([]byte){
		"another transaction": func(b []byte) { b[8] ^= 1 },
		"another peer":        func(b []byte) { b[30] ^= 1 },
		"another tag":         func(b []byte) { b[len(b)-12] ^= 1 },
	} {
		forged := bytes.Clone(introductions[0])
		change(forged)
		for _, from := range []netip.AddrPort{attacker, rendezvousAddr} {
			if out := g.attack(from, forged); out != 0 {
				t.Errorf("%s, from %v: answered with %d bytes", name, from, out)
			}
		}
	}
	if n := len(g.b.machine.Peers()); n != 1 {
		t.Errorf("%d sessions, want the one that was", n)
	}
	g.unharmed(session, path)
}

func TestAttackReplayedIntroduction(t *testing.T) {
	g := newTarget(t)
	introductions := g.ofRendezvous(introduceRequest)
	if len(introductions) == 0 {
		t.Fatal("no introduction was seen: the test proves nothing")
	}
	if out := g.attack(attacker, introductions...); out != 0 {
		t.Errorf("a copy from elsewhere is answered with %d bytes", out)
	}
	// Copies that forge the rendezvous' address are answered, and shorter, and change
	// nothing; also not when the session is over and forgotten.
	g.b.runner.Do(func(now time.Time) { g.b.machine.Close(now, g.a.id()) })
	for _, wait := range []time.Duration{0, 5 * time.Second, 10 * time.Minute} {
		g.net.Run(wait)
		in := 0
		for _, i := range introductions {
			in += len(i)
		}
		if out := g.attack(rendezvousAddr, introductions...); out > in {
			t.Errorf("after %v copies of %d bytes make b send %d", wait, in, out)
		}
		if n := len(g.b.machine.Peers()); n != 0 {
			t.Errorf("after %v a copy revives the session", wait)
		}
	}
	// Nor at a new process with the same key.
	key := g.b.machine.cfg.Key
	g.b.runner.Stop()
	again := &node{w: g.world, name: "b again", host: g.b.host, nat: g.b.nat, segment: g.b.segment}
	g.start(again, Config{Key: key})
	g.net.Run(time.Second)
	g.b = again
	g.attack(rendezvousAddr, introductions...)
	if n := len(again.machine.Peers()); n != 0 {
		t.Error("a copy begins a session at a new process")
	}
}

// TestAttackReplay: everything that b ever got, again, from elsewhere and from where
// it came: nothing is delivered twice, no keys change, no path moves, and what is
// answered is not longer than what asks.
func TestAttackReplay(t *testing.T) {
	g := newTarget(t)
	session, path := g.b.session(g.a), g.b.path(g.a)
	got, before, epoch := len(g.b.got), g.b.machine.Stats(), g.b.machine.sessionWith(g.a.id()).channel.Epoch()
	rides, frames := 0, 0
	for _, p := range slices.Clone(g.seen) {
		for _, from := range []netip.AddrPort{attacker, p.SeenSource} {
			if out := g.attack(from, p.Payload); out > len(p.Payload) && !asks(p.Payload) {
				t.Errorf("a copy of %d bytes from %v makes b send %d: %x", len(p.Payload), from, out, p.Payload)
			}
		}
		switch {
		case isFrame(p.Payload):
			frames++
		case bytes.Contains(p.Payload, []byte{0xff, 0xf2, 0, 56}):
			rides++
		}
	}
	if frames == 0 || rides == 0 {
		t.Fatalf("%d frames, %d messages of a handshake: the test proves nothing", frames, rides)
	}
	s := g.b.machine.Stats()
	if len(g.b.got) != got || s.Duplicates-before.Duplicates < uint64(frames) {
		t.Errorf("%d datagrams were delivered again, %d of %d copies noticed", len(g.b.got)-got, s.Duplicates-before.Duplicates, 2*frames)
	}
	if e := g.b.machine.sessionWith(g.a.id()).channel.Epoch(); e != epoch || s.Handshakes != before.Handshakes {
		t.Errorf("copies brought other keys: handshake %d, was %d", e, epoch)
	}
	g.net.Run(3 * time.Second)
	g.unharmed(session, path)
}

// asks reports whether a datagram is a check: one from a new address is answered, and
// that address is checked in turn, once, with a check that is not longer than it.
func asks(b []byte) bool { return stun.Is(b) && binary.BigEndian.Uint16(b) == 1 }

// TestAttackReflection: an introduction with a victim's addresses makes a peer send it
// a bounded number of checks, never data, and copies of checks from the victim's address
// never more bytes than they had until then.
func TestAttackReflection(t *testing.T) {
	n, sent := registered(t, Config{GiveUpAfter: -1})
	data := 0
	n.w.net.Observe(func(p simnet.Packet) {
		if p.SentDestination.Addr() == victim {
			*sent++
			if isFrame(p.Payload) {
				data++
			}
		}
	})
	n.introduce(strange(1, 0))
	n.runner.Do(func(now time.Time) {
		if err := n.machine.Send(now, strange(1, 0).Peer, []byte("to the victim")); !errors.Is(err, ErrNoPath) {
			t.Errorf("data to who has not answered: %v, want ErrNoPath", err)
		}
	})
	n.w.net.Run(5 * time.Minute)
	if *sent == 0 || *sent > 2*(strangerBurst+60*strangerRate) || data != 0 {
		t.Errorf("%d checks and %d frames to the victim, want some, bounded, and none", *sent, data)
	}

	g := newTarget(t)
	var checks [][]byte
	in := 0
	for _, p := range g.seen {
		if asks(p.Payload) && p.From == g.a.host {
			checks = append(checks, p.Payload)
			in += len(p.Payload)
		}
	}
	toVictim := 0
	g.net.Observe(func(p simnet.Packet) {
		if p.SentDestination.Addr() == victim && p.From == g.b.host {
			toVictim += len(p.Payload)
		}
	})
	spent := 0
	for i, c := range append(checks, checks...) { // each one twice
		g.attack(netip.AddrPortFrom(victim, 53), c)
		spent += len(c)
		for range 10 {
			_ = g.b.send(g.a, fmt.Sprint("for a, not for the victim", i))
		}
		g.net.Run(time.Duration(i%7) * 100 * ms)
		if toVictim > spent {
			t.Errorf("%d copies of checks, %d bytes, from a victim's address: %d bytes to it", i+1, spent, toVictim)
		}
	}
	g.net.Run(time.Minute)
	if in == 0 || toVictim == 0 || toVictim > spent {
		t.Errorf("%d copies of checks, %d bytes, from a victim's address: %d bytes to it, want some, and no more than came", 2*len(checks), spent, toVictim)
	}
}

func TestAttackFlood(t *testing.T) {
	g := newTarget(t)
	session, path := g.b.session(g.a), g.b.path(g.a)
	g.net.Run(5 * time.Second)
	flood := func(from, to int) (in, out int) {
		for n := from; n < to; n++ {
			source, b := g.forgeries(n)
			in += len(b)
			out += g.attack(source, b)
		}
		return in, out
	}
	flood(0, 1000) // what is allocated once is
	held, heap := g.b.machine.Held(), heapInUse()
	all := 100_000
	if raced {
		all = 20_000 // make unit plays all of it without the race detector
	}
	in, out := flood(1000, all)
	if out > in/100 {
		t.Errorf("%d forged bytes make b send %d", in, out)
	}
	if grown := int64(heapInUse()) - int64(heap); grown > 1<<20 {
		t.Errorf("%d forged datagrams leave %d bytes", all, grown)
	}
	if now := g.b.machine.Held(); now != held {
		t.Errorf("before the flood %+v, after it %+v", held, now)
	}
	s := g.b.machine.Stats()
	t.Logf("%d datagrams, %d bytes in, %d out; unauthentic %d, strange %d, checks %d", all, in, out, s.Unauthentic, s.Strange, s.Checks.Unauthentic)
	if s.Unauthentic == 0 || s.Strange == 0 || s.Checks.Unauthentic == 0 {
		t.Error("forgeries of some kind were not met: the test proves nothing")
	}
	g.unharmed(session, path)
}

func TestAttackOversized(t *testing.T) {
	g := newTarget(t)
	session, path := g.b.session(g.a), g.b.path(g.a)
	out := 0
	for n := range 256 {
		b := bytes.Repeat([]byte{byte(n)}, 65507)
		for _, from := range []netip.AddrPort{attacker, rendezvousAddr, relayAddr, path.Remote} {
			out += g.attack(from, b)
		}
	}
	for _, p := range slices.Clone(g.seen) {
		out += g.attack(p.SeenSource, append(bytes.Clone(p.Payload), make([]byte, 60000)...))
	}
	if out != 0 {
		t.Errorf("oversized datagrams make b send %d bytes", out)
	}
	if err := g.b.send(g.a, string(make([]byte, MaxPayload+1))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("sending one byte too many: %v, want ErrTooLarge", err)
	}
	g.unharmed(session, path)
}

// TestAttackStale: frames of keys that were replaced, and of a session that is over.
func TestAttackStale(t *testing.T) {
	g := newTarget(t)
	var held [][]byte // that never arrived
	g.a.runner.Do(func(time.Time) {
		s := g.a.machine.sessionWith(g.b.id())
		for i := range 3 {
			f, err := s.channel.Seal(byte(frameData), fmt.Append(nil, "held back ", i))
			if err != nil {
				t.Error(err)
			}
			held = append(held, f)
		}
	})
	epoch := g.b.machine.sessionWith(g.a.id()).channel.Epoch()
	g.attack(attacker, held[0])
	if got := g.b.got[len(g.b.got)-1]; got != "held back 0" {
		t.Fatalf("a late frame is lost: the last is %q", got)
	}
	g.net.Run(6 * time.Minute) // new keys
	if e := g.b.machine.sessionWith(g.a.id()).channel.Epoch(); e <= epoch {
		t.Fatalf("no new keys after 6 minutes: handshake %d", e)
	}
	got := len(g.b.got)
	g.attack(attacker, held[1])
	g.b.runner.Do(func(now time.Time) { g.b.machine.Close(now, g.a.id()) })
	g.attack(attacker, held[2])
	if len(g.b.got) != got {
		t.Errorf("stale frames were delivered: %q", g.b.got[got:])
	}
}

// TestAttackSessionIDGuessing: to know the session's id, its slot and both ufrags is to
// know nothing.
func TestAttackSessionIDGuessing(t *testing.T) {
	g := newTarget(t)
	session, path := g.b.session(g.a), g.b.path(g.a)
	slot := g.b.machine.sessions[0].slot
	own := identity.KeyFromSeed([identity.Size]byte{1: 0xad})
	// The attacker's own channel, of the right name, with its own key.
	channel, err := secure.New(secure.Config{Key: own, Peer: g.b.id(), Session: session, Slot: slot, Rand: random(1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = channel.Message(g.net.Now())
	if _, err := channel.Seal(byte(frameBye), nil); !errors.Is(err, secure.ErrNoKeys) {
		t.Errorf("the attacker has keys without the peer: %v", err)
	}
	before := g.b.machine.Stats()
	for n := range 256 { // each index, with numbers old, next and far
		for _, number := range []uint64{1, 4, 1000, 1 << 55} {
			b := make([]byte, secure.Overhead+10)
			binary.BigEndian.PutUint64(b[4:], number)
			b[0] = byte(frameBye)
			binary.BigEndian.PutUint32(b[1:], slot<<8|uint32(n))
			g.attack(path.Remote, b)
		}
	}
	s := g.b.machine.Stats()
	if s.Unauthentic == before.Unauthentic {
		t.Error("no guess met the session: the test proves nothing")
	}
	// A session of the same id with somebody else does not begin.
	e := strange(1, 0)
	e.Session = session
	g.b.introduce(e)
	if n := len(g.b.machine.Peers()); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	g.unharmed(session, path)
}

// TestDataOnlyGoesWhereChecksWereAnswered: whatever happens to the networks, a frame
// goes to no address but one that has proved that the peer is there, or is the peer's on
// our relay; to any other one no more than came from it.
func TestDataOnlyGoesWhereChecksWereAnswered(t *testing.T) {
	for _, kinds := range [][2]behaviour{{portRestricted, portRestricted}, {symmetric, restricted}, {symmetric, symmetric}, {fullCone, fullCone}} {
		w := newWorld(t, 1)
		w.timeout = 2 * time.Second
		type way struct {
			host *simnet.Host
			to   netip.AddrPort
		}
		asked := map[[12]byte]way{}
		proved := map[way]bool{}
		came := map[way]int{}
		frames, early := 0, map[way]int{}
		w.net.Observe(func(p simnet.Packet) {
			if p.To != nil {
				came[way{p.To, p.SeenSource}] += len(p.Payload)
			}
			switch {
			case stun.Is(p.Payload):
				id := [12]byte(p.Payload[8:20])
				switch kind := binary.BigEndian.Uint16(p.Payload); {
				case kind == 1:
					asked[id] = way{p.From, p.SentDestination}
				case kind == 0x101 && p.To != nil && asked[id].host == p.To:
					proved[asked[id]] = true
				}
			case isFrame(p.Payload) && p.From != w.relay:
				frames++
				to := way{p.From, p.SentDestination}
				if proved[to] || to.to.Addr() == relayAddr.Addr() {
					return
				}
				if early[to] += len(p.Payload); early[to] > came[to] {
					t.Errorf("%v: %s sends a frame to %v, which has not answered and sent %d bytes only", w.net.Now().Sub(simnet.Epoch), p.From.Name(), p.SentDestination, came[to])
				}
			}
		})
		a, b := w.pair(kinds[0], kinds[1], laboratory)
		w.exchange(a, b, 100, 20*ms)
		for _, n := range []*node{a, b} {
			n.nat.Reset()
			w.exchange(a, b, 100, 50*ms)
			w.peers = append(w.peers, n) // another external address
			var to *simnet.Segment
			n.nat, to = w.home(kinds[slices.Index([]*node{a, b}, n)])
			n.host.Move(to, netip.MustParseAddr("192.168.7.7"))
			w.exchange(a, b, 100, 50*ms)
		}
		if frames == 0 && kinds[0] != symmetric {
			t.Error("no frame went directly: the test proves nothing")
		}
	}
}

// FuzzMachine: whatever arrives at a peer with a session, from wherever, it goes on
// with that session and begins no other.
func FuzzMachine(f *testing.F) {
	g := newTarget(f)
	session, path := g.b.session(g.a), g.b.path(g.a)
	sources := []netip.AddrPort{attacker, rendezvousAddr, relayAddr, path.Remote}
	for i, p := range g.seen {
		if i%3 == 0 {
			f.Add(p.Payload, byte(i))
		}
	}
	delivered := len(g.b.got)
	f.Fuzz(func(t *testing.T, datagram []byte, from byte) {
		g.attack(sources[int(from)%len(sources)], datagram)
		if s := g.b.session(g.a); s != session || len(g.b.machine.Peers()) != 1 {
			t.Fatalf("%x from %v: sessions with %v", datagram, sources[int(from)%len(sources)], g.b.machine.Peers())
		}
		if len(g.b.got) != delivered {
			t.Fatalf("%x is delivered", datagram)
		}
	})
}
