package relay

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

func TestAttack06UnauthenticatedFlood(t *testing.T) {
	everywhere(t, datagrams, attack06)
}

func attack06(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	ask, _ := stun.Build(pion.MethodAllocate, pion.ClassRequest, [12]byte{1}, wantUDP)
	bare, _ := stun.Build(pion.MethodAllocate, pion.ClassRequest, [12]byte{2})
	binding, _ := stun.Build(pion.MethodBinding, pion.ClassRequest, [12]byte{3})

	if len(bare.Raw) != headerSize {
		t.Fatal("not a bare header")
	}
	w.send(clientB, serverAddr, bare.Raw)
	if got := w.take(clientB); len(got) != 0 {
		t.Errorf("a bare header was answered with %v", got)
	}

	// One source, thousands of datagrams in a second: it gets no more bytes than it sent.
	in, out := 0, 0
	for i := range 3000 {
		m := [][]byte{ask.Raw, binding.Raw}[i%2]
		in += len(m)
		w.send(clientA, serverAddr, m)
		w.pass(100 * time.Microsecond)
		for _, a := range w.take(clientA) {
			out += len(a.payload)
		}
		if out > in {
			t.Fatalf("after %d requests %d bytes had come and %d left", i+1, in, out)
		}
	}
	if out < in/2 || w.stats().DroppedBudget == 0 {
		t.Errorf("%d bytes came and %d left, %d answers were held back: want some of both", in, out, w.stats().DroppedBudget)
	}
	// Another source is served meanwhile: at once if it pays at once.
	paid, _ := stun.Build(pion.MethodAllocate, pion.ClassRequest, [12]byte{4}, wantUDP, pad)
	w.send(clientB, serverAddr, paid.Raw)
	if got := w.take(clientB); len(got) != 1 || len(got[0].payload) > len(paid.Raw) {
		t.Errorf("a request of %d bytes was answered with %v", len(paid.Raw), got)
	}

	// Many sources: nothing is remembered of any.
	for i := range 5000 {
		w.forge(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}), 1), serverAddr, ask.Raw)
	}
	w.inside(func(s *Server) {
		remembersNobody(t, s)
		if at := s.PollTimeout(); !at.IsZero() {
			t.Errorf("strangers made the server want to be woken at %v", at)
		}
	})
	// A nonce is worth nothing to anybody else.
	u := w.user(clientA, "alice", "secret-a")
	u.login()
	thief := w.user(clientB, "alice", "secret-a")
	thief.nonce, thief.realm = u.nonce, u.realm
	thief.want(438, thief.do(pion.MethodAllocate, wantUDP))
}

func TestAttack07SiblingOfAnEvenPortIsNotLeaked(t *testing.T) {
	everywhere(t, everyWay, attack07)
}

func attack07(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, func(c *ServerConfig) { c.PortLow, c.PortHigh = 50000, 50001 })
	u := w.user(clientA, "alice", "secret-a")
	answer := u.want(0, u.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrEvenPort, 0x80)))
	tok, _ := answer.Get(pion.AttrReservationToken)
	tok = bytes.Clone(tok)
	sibling := netip.AddrPortFrom(relayAddr, u.relayed(answer).Port()+1)

	v := w.user(clientB, "bob", "secret-b")
	v.want(508, v.do(pion.MethodAllocate, wantUDP)) // not by chance
	v.want(508, v.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrReservationToken, tok...)))
	if n := w.stats().Reservations; n != 1 {
		t.Fatalf("%d reservations after another user tried the token, want 1", n)
	}
	// What comes to it meanwhile reaches nobody, and it is nobody's peer.
	w.send(peerX, sibling, []byte("early"))
	u.want(403, u.permit(sibling))
	if got := w.take(clientA); len(got) != 0 {
		t.Errorf("the client got %v from a reserved port", got)
	}
	// Deleting the first does not free the second for others before its time.
	u.want(0, u.do(pion.MethodRefresh, lifetime(0)))
	v.allocate()
	v2 := w.user(netip.AddrPortFrom(clientB.Addr(), 5001), "bob", "secret-b")
	v2.want(508, v2.do(pion.MethodAllocate, wantUDP))
}

func TestAttack08MobilityIsTheOwnersAndHoldsTheQuota(t *testing.T) {
	everywhere(t, everyWay, attack08)
}

func attack08(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, func(c *ServerConfig) { c.MaxAllocationsPerUser, c.MaxAllocationsPerAddress = 1, 2 })
	u := w.user(clientA, "alice", "secret-a")
	request := u.request(u.id(), pion.MethodAllocate, wantUDP, attribute(stun.AttrMobilityTicket))
	answer := u.want(0, u.raw(request))
	relayed, ticket := u.relayed(answer), ticketOf(t, answer)

	// The very same request from elsewhere: its nonce is not this source's.
	thief := w.user(clientB, "alice", "secret-a")
	thief.nonce, thief.realm = u.nonce, u.realm
	thief.want(438, thief.raw(request))
	// With the ticket and no password, or another user's: not theirs, and still there.
	move := func(u *user, ticket []byte) *pion.Message {
		return u.do(pion.MethodRefresh, lifetime(600), attribute(stun.AttrMobilityTicket, ticket...))
	}
	eve := w.user(clientB, "alice", "guess")
	eve.want(401, move(eve, ticket))
	bob := w.user(clientB, "bob", "secret-b")
	bob.want(441, move(bob, ticket))
	// The owner, with tickets that are none: no allocation, no leak of another one.
	alice := w.user(clientB, "alice", "secret-a")
	alice.want(400, move(alice, nil))
	alice.want(400, move(alice, ticket[:15]))
	alice.want(400, move(alice, append(bytes.Clone(ticket), 0)))
	wrong := bytes.Clone(ticket)
	wrong[0] ^= 1
	alice.want(437, move(alice, wrong))
	alice.want(437, move(alice, make([]byte, len(ticket)))) // what an empty slot would hold
	alice.want(437, alice.do(pion.MethodRefresh, lifetime(0)))
	// Moving is not having two.
	second := ticketOf(t, alice.want(0, move(alice, ticket)))
	w.inside(func(s *Server) {
		if s.accounts["alice"] != 1 || s.sources[hostOf(clientB.Addr())] != 1 || len(s.sources) != 1 {
			t.Errorf("accounts %v, sources %v: want one of alice, at her new address", s.accounts, s.sources)
		}
	})
	third := w.user(netip.AddrPortFrom(clientB.Addr(), 5001), "alice", "secret-a")
	third.want(486, third.do(pion.MethodAllocate, wantUDP))
	u.want(437, u.do(pion.MethodRefresh)) // the former address has nothing left
	// Nor into a 5-tuple where there is one already, nor past the quota of an address.
	bob.addr = netip.AddrPortFrom(clientA.Addr(), 4001)
	bob.nonce = nil
	bobs := ticketOf(t, bob.want(0, bob.do(pion.MethodAllocate, wantUDP, attribute(stun.AttrMobilityTicket))))
	bob.addr, bob.nonce = clientB, nil
	bob.want(437, move(bob, bobs))
	w.inside(func(s *Server) { s.cfg.MaxAllocationsPerAddress = 1 })
	bob.addr, bob.nonce = netip.AddrPortFrom(clientB.Addr(), 5002), nil
	bob.want(486, move(bob, bobs))
	// Tickets die with the allocation.
	alice.want(0, alice.do(pion.MethodRefresh, lifetime(0)))
	for _, old := range [][]byte{ticket, second} {
		alice.want(437, move(alice, old))
	}
	w.inside(func(s *Server) {
		if len(s.byTicket) != 1 || s.live(relayed) {
			t.Errorf("%d tickets are left, want bob's", len(s.byTicket))
		}
	})
	// Where an operator wants none: 405, on both requests.
	w = newWorld(t, func(c *ServerConfig) { c.NoMobility = true })
	u = w.user(clientA, "alice", "secret-a")
	u.want(405, u.do(pion.MethodAllocate, wantUDP, attribute(stun.AttrMobilityTicket)))
	u.want(405, move(u, ticket))
}

func TestAttack09PortsTokensAndNoncesAreNotGuessable(t *testing.T) {
	everywhere(t, datagrams, attack09)
}

func attack09(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, func(c *ServerConfig) { c.PortLow, c.PortHigh = 49152, 65535 })
	ports, nonces := make(map[uint16]bool), make(map[string]bool)
	last, neighbours, low := 0, 0, 0
	const n = 200
	for i := range n {
		u := w.user(netip.AddrPortFrom(clientA.Addr(), uint16(4000+i)), "alice", "secret-a")
		p := int(u.allocate().Port())
		if d := p - last; d >= -2 && d <= 2 {
			neighbours++
		}
		if p < 49152+8192 {
			low++
		}
		last = p
		ports[uint16(p)], nonces[string(u.nonce)] = true, true
	}
	if len(ports) != n || len(nonces) != n {
		t.Errorf("%d ports and %d nonces differ, want %d", len(ports), len(nonces), n)
	}
	if neighbours > 3 {
		t.Errorf("%d of %d ports lie next to their predecessor", neighbours, n)
	}
	if low < n/4 || low > 3*n/4 {
		t.Errorf("%d of %d ports are in the lower half of the range", low, n)
	}
	// Equal seeds, equal ports: nothing but the given source decides.
	for _, seed := range []uint64{1, 2} {
		a, b := newPortRange(49152, 65535, seeded(seed)), newPortRange(49152, 65535, seeded(seed))
		for range 10 {
			p, _, _ := a.draw(anyPort)
			if q, _, _ := b.draw(anyPort); p != q {
				t.Fatalf("seed %d: %d and %d", seed, p, q)
			}
		}
	}
}
