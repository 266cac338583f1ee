package relay

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// Each test here is an attack that some relay has fallen to.

// refusesPeer checks that a peer is refused in all three ways to reach it.
func refusesPeer(t *testing.T, w *world, u *user, peer netip.AddrPort) {
	t.Helper()
	u.want(403, u.permit(peer))
	u.want(403, u.bindChannel(0x4abc, peer))
	sent := w.stats().ToPeers
	u.indicate(peer, "through")
	w.send(u.addr, serverAddr, appendChannelData(nil, 0x4abc, []byte("through")))
	if n := w.stats().ToPeers - sent; n != 0 {
		t.Errorf("%d datagrams went to %v", n, peer)
	}
}

func TestAttack01PeerIsLoopbackUnspecifiedOrTheRelayItself(t *testing.T) {
	everywhere(t, everyWay, attack01)
}

func attack01(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	elsewhere := netip.MustParseAddr("198.18.0.77") // another address of the relay's host
	w.inside(func(s *Server) { s.HandleInterfaces(w.now, []netip.Addr{relayAddr, elsewhere}) })
	u := w.user(clientA, "alice", "secret-a")
	self := u.allocate()
	for _, peer := range []string{
		"127.0.0.1:80", "127.255.255.254:80", "0.0.0.0:80", "0.1.2.3:80", "[::1]:80", "[::]:80",
		"198.18.0.20:3478", // the listening socket
		"198.18.0.20:22",   // another service of the relay's host
		"198.18.0.77:80",
	} {
		refusesPeer(t, w, u, netip.MustParseAddrPort(peer))
	}
	refusesPeer(t, w, u, self)
}

func TestAttack02IPv4HiddenInIPv6(t *testing.T) {
	everywhere(t, everyWay, attack02)
}

func attack02(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	for _, peer := range []string{
		"[::ffff:127.0.0.1]:80",        // mapped
		"[::ffff:198.18.3.3]:80",       // mapped, and public: an IPv4 peer is written as IPv4
		"[::ffff:0:127.0.0.1]:80",      // translated
		"[::127.0.0.1]:80",             // compatible
		"[2002:7f00:1::]:80",           // 6to4 of 127.0.0.1
		"[2001:0:7f00:1::1]:80",        // Teredo
		"[64:ff9b::7f00:1]:80",         // NAT64
		"[64:ff9b:1::7f00:1]:80",       // NAT64, local use
		"[fe80::1]:80", "[fc00::1]:80", // link-local, ULA
		"[ff02::1]:80", "[fec0::1]:80", // multicast, site-local
		"[fd00:ec2::254]:80", // metadata
		"169.254.169.254:80", // metadata
		"10.0.0.1:80", "172.31.255.255:80", "192.168.1.1:80", "100.64.0.1:80",
		"224.0.0.1:80", "255.255.255.255:80",
	} {
		refusesPeer(t, w, u, netip.MustParseAddrPort(peer))
	}
	// Own backends, by the operator's word.
	w = newWorld(t, func(c *ServerConfig) { c.DenyPeers = prefixes("198.18.3.0/24") })
	u = w.user(clientA, "alice", "secret-a")
	u.allocate()
	refusesPeer(t, w, u, peerX)
}

func TestAttack03RangesAreComparedAsNumbers(t *testing.T) {
	everywhere(t, everyWay, attack03)
}

func attack03(t *testing.T, newWorld worldMaker) {
	allow, deny := prefixes("10.2.0.0/16", "fd12::/16"), prefixes("10.2.3.0/24")
	w := newWorld(t, func(c *ServerConfig) { c.AllowPeers, c.DenyPeers = allow, deny })
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	p := peerPolicy{
		listen: []netip.AddrPort{serverAddr}, relays: []netip.Addr{relayAddr}, live: func(netip.AddrPort) bool { return false },
		allow: allow, deny: deny,
	}
	for _, c := range []struct {
		peer string
		want bool
	}{
		{"9.255.255.255", true}, {"10.0.0.0", false}, {"10.255.255.255", false}, {"11.0.0.0", true},
		{"100.63.255.255", true}, {"100.64.0.0", false}, {"100.127.255.255", false}, {"100.128.0.0", true},
		{"172.15.255.255", true}, {"172.16.0.0", false}, {"172.31.255.255", false}, {"172.32.0.0", true},
		{"198.18.3.3", true}, {"223.255.255.255", true}, {"224.0.0.0", false},
		{"10.2.0.0", true}, {"10.2.3.4", false}, {"10.20.0.0", false}, {"10.3.0.0", false},
		{"2000::1", true}, {"2001:1::", true}, {"2001:0:ffff::", false}, {"2003::", true}, {"2002:ffff::", false},
		{"9::1", true}, {"fbff:ffff::", true}, {"fc00::", false}, {"fdff:ffff::", false}, {"fe00::", true},
		{"fe7f::", true}, {"fe80::", false}, {"febf::", false}, {"fec0::", false},
		{"fd12:1::", true}, {"fd13::", false}, {"fd1::", true}, {"::fffe:0:0", true}, {"::1:0:0:0", true},
	} {
		peer := netip.AddrPortFrom(netip.MustParseAddr(c.peer), 80)
		if got := p.permits(netip.AddrPort{}, peer); got != c.want {
			t.Errorf("%s: permitted %v, want %v", c.peer, got, c.want)
		}
		code := map[bool]int{true: 0, false: 403}[c.want]
		if peer.Addr().Is6() && c.want {
			code = 443 // the policy would, but nothing is relayed from IPv6 here
		}
		u.want(code, u.permit(peer))
	}
}

func TestAttack04PolicyHoldsOnEveryWay(t *testing.T) {
	everywhere(t, everyWay, attack04)
}

func attack04(t *testing.T, newWorld worldMaker) {
	// The permission is for an address; the ports of our own address differ in
	// what they are, so each Send is checked, too.
	w := newWorld(t, func(c *ServerConfig) { c.AllowPeers = prefixes("198.18.0.20/32") })
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	neighbour := netip.AddrPortFrom(relayAddr, 22) // allowed by the operator
	u.want(0, u.permit(neighbour))
	u.indicate(neighbour, "fine")
	if got := w.take(neighbour); len(got) != 1 {
		t.Fatalf("an allowed peer got %v, want one datagram", got)
	}
	u.indicate(serverAddr, "to the relay's own socket, under that permission")
	if st := w.stats(); st.ToPeers != 1 || st.DroppedForbidden != 1 {
		t.Errorf("%d sent, %d refused, want 1 and 1", st.ToPeers, st.DroppedForbidden)
	}
	u.want(403, u.bindChannel(0x4000, serverAddr))
	// Connect (RFC 6062) is not offered at all.
	if answer := u.do(pion.MethodConnect, peerAttribute(peerX)); answer != nil {
		t.Errorf("Connect was answered with %v", answer)
	}
}

func TestAttack05AttributesAfterIntegrityAreIgnored(t *testing.T) {
	everywhere(t, everyWay, attack05)
}

func attack05(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	request := u.request(u.id(), pion.MethodCreatePermission, peerAttribute(peerX))
	m := &pion.Message{Raw: bytes.Clone(request)}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	smuggled := netip.MustParseAddrPort("198.18.66.66:66")
	addXORAddress(m, pion.AttrXORPeerAddress, smuggled)
	u.want(0, u.raw(m.Raw))
	u.indicate(smuggled, "x")
	if st := w.stats(); st.Permissions != 1 || st.DroppedNoPermission != 1 {
		t.Errorf("%d permissions, %d refused, want 1 and 1: an unsigned attribute counted", st.Permissions, st.DroppedNoPermission)
	}
	// Nor does one make a request fail.
	m = &pion.Message{Raw: bytes.Clone(u.request(u.id(), pion.MethodRefresh))}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	m.Add(0x7abc, []byte{1})
	u.want(0, u.raw(m.Raw))
}

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

func TestAttack10LengthsThatLie(t *testing.T) {
	everywhere(t, datagrams, attack10)
}

func attack10(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	u.want(0, u.bindChannel(0x4000, peerX))
	good := u.request(u.id(), pion.MethodCreatePermission, peerAttribute(netip.MustParseAddrPort("198.18.5.5:5")))
	for n := range good {
		if answer := u.raw(good[:n]); answer != nil {
			t.Fatalf("a request cut to %d of %d bytes was answered with %v", n, len(good), answer)
		}
	}
	for _, change := range []struct {
		name   string
		at     int
		values []byte
	}{
		{"message length too small", 2, []byte{0, 4}},
		{"message length too large", 2, []byte{0xff, 0xfc}},
		{"message length misaligned", 2, []byte{0, byte(len(good) - 19)}},
		{"attribute length too large", 22, []byte{0xff, 0xff}},
	} {
		bad := bytes.Clone(good)
		copy(bad[change.at:], change.values)
		if answer := u.raw(bad); answer != nil {
			t.Errorf("%s: answered with %v", change.name, answer)
		}
	}
	channel := appendChannelData(nil, 0x4000, []byte("abcd"))
	for _, bad := range [][]byte{channel[:1], channel[:3], channel[:7], {0x40, 0, 0xff, 0xff, 1}} {
		w.send(clientA, serverAddr, bad)
	}
	if got := w.take(peerX); len(got) != 0 {
		t.Errorf("the peer got %v", got)
	}
	w.send(clientA, serverAddr, nil)
	w.send(clientA, serverAddr, channel[:4]) // announces four bytes and has none
	w.send(clientA, serverAddr, []byte{0x40, 0, 0, 0})
	if got := w.take(peerX); len(got) != 1 || len(got[0].payload) != 0 {
		t.Errorf("the peer got %v, want one empty datagram", got)
	}
	// The largest datagram that a peer can send does not fit and does no harm.
	w.sendOversized(peerX, relayed, make([]byte, 65507))
	w.send(peerX, relayed, []byte("small"))
	if got := w.take(clientA); len(got) != 1 || !bytes.HasSuffix(got[0].payload, []byte("small")) {
		t.Errorf("a datagram of %d bytes was framed into 16 bits of length", 65507)
	}
}

func TestAttack11NothingOfMemoryOrOfStrangersLeaksOut(t *testing.T) {
	everywhere(t, everyWay, attack11)
}

func attack11(t *testing.T, newWorld worldMaker) {
	// Padding is zero, even in a buffer that held something else before.
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	u.want(0, u.permit(peerX))
	w.send(peerX, relayed, bytes.Repeat([]byte{0xee}, 64))
	w.take(clientA)
	for n := 1; n < 8; n++ {
		w.send(peerX, relayed, bytes.Repeat([]byte{0xaa}, n))
		got := w.take(clientA)
		if len(got) != 1 {
			t.Fatalf("%d datagrams, want 1", len(got))
		}
		padding := -n & 3
		if tail := got[0].payload[len(got[0].payload)-padding:]; !bytes.Equal(tail, make([]byte, padding)) {
			t.Errorf("%d bytes of data are padded with %x, want zeros", n, tail)
		}
	}
	// What strangers say never comes back or into events; what users say is
	// marked as theirs, and an error prints it quoted.
	evil := "%n%s\x1b[2J\r\nadmin logged in"
	v := w.user(clientB, evil, "x")
	w.inside(func(*Server) { w.events = nil })
	answer := v.do(pion.MethodAllocate, wantUDP)
	w.inside(func(*Server) {
		if bytes.Contains(answer.Raw, []byte("admin")) || len(w.events) != 0 {
			t.Errorf("a stranger's name came out: %x, %v", answer.Raw, w.events)
		}
	})
	c := NewClient(ClientConfig{Server: serverAddr, Username: evil, Rand: seeded(1)})
	c.realm, c.nonce = []byte("r"), []byte("n")
	c.identify()
	c.Start(epoch)
	_, request, _ := c.PollTransmit()
	reply, _ := stun.Build(pion.MethodAllocate, pion.ClassErrorResponse, [12]byte(request[8:20]),
		pion.ErrorCodeAttribute{Code: 401, Reason: []byte(evil)})
	c.HandleDatagram(epoch, serverAddr, reply.Raw)
	e, _ := c.PollEvent()
	if s := fmt.Sprint(e); strings.ContainsAny(s, "\x1b\r\n") {
		t.Errorf("control bytes in %q", s)
	}
}

func TestAttack12PermissionsAreBounded(t *testing.T) {
	everywhere(t, everyWay, attack12)
}

func attack12(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	same := make([]netip.AddrPort, 90) // which fit into a datagram that any path carries
	for i := range same {
		same[i] = netip.AddrPortFrom(peerX.Addr(), uint16(i))
	}
	for range 20 {
		u.want(0, u.permit(same...))
	}
	if n := w.stats().Permissions; n != 1 {
		t.Fatalf("%d permissions for one address named 1800 times, want 1", n)
	}
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}), 7)
	}
	many := make([]netip.AddrPort, maxPermissions)
	for i := range many {
		many[i] = at(i)
	}
	permit := func(peers []netip.AddrPort) {
		t.Helper()
		for some := range slices.Chunk(peers, len(same)) {
			u.want(0, u.permit(some...))
		}
	}
	permit(many[1:])
	u.want(508, u.permit(many[:len(same)]...)) // one too many, and not one of them
	u.want(508, u.permit(many[0]))
	u.want(508, u.bindChannel(0x4000, many[0]))
	permit(many[1:]) // refreshing needs no room
	if n := w.stats().Permissions; n != maxPermissions {
		t.Errorf("%d permissions, want %d", n, maxPermissions)
	}
	w.pass(PermissionLifetime + 2*sweepInterval)
	permit(many) // the old ones gave way
	for i := range maxChannels {
		u.want(0, u.bindChannel(uint16(minChannel+i), netip.AddrPortFrom(many[0].Addr(), uint16(1+i))))
	}
	u.want(508, u.bindChannel(minChannel+maxChannels, netip.AddrPortFrom(many[0].Addr(), 9999)))
}

func TestAttack13ErrorsAnswerNoErrorsAndNothingLoops(t *testing.T) {
	everywhere(t, everyWay, attack13)
}

func attack13(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	for _, class := range []pion.MessageClass{pion.ClassErrorResponse, pion.ClassSuccessResponse, pion.ClassIndication} {
		for _, method := range []pion.Method{pion.MethodAllocate, pion.MethodRefresh, pion.MethodBinding, pion.MethodSend, pion.MethodData, 0xeee} {
			m, _ := stun.Build(method, class, u.id(), pion.ErrorCodeAttribute{Code: 401, Reason: []byte("x")})
			if answer := u.raw(m.Raw); answer != nil {
				t.Errorf("%v was answered with %v", m.Type, answer)
			}
		}
	}
	unknown, _ := stun.Build(0xeee, pion.ClassRequest, u.id(), wantUDP)
	if answer := u.raw(unknown.Raw); answer != nil {
		t.Errorf("an unknown method was answered with %v", answer)
	}
	// A request forged in the name of a relayed address gets nothing: its
	// answer would arrive at the relay itself.
	before := w.stats()
	ask, _ := stun.Build(pion.MethodBinding, pion.ClassRequest, u.id())
	w.forge(relayed, serverAddr, ask.Raw)
	if after := w.stats(); after.DroppedNoPermission != before.DroppedNoPermission || after.ToClients != before.ToClients {
		t.Error("the relay answered its own relayed address")
	}
	u.want(403, u.permit(relayed)) // nor may an allocation be its own peer
}

// countingAuthenticator counts who is asked for.
type countingAuthenticator struct {
	Users
	asked int
}

func (c *countingAuthenticator) Password(now time.Time, name string) (string, bool) {
	c.asked++
	return c.Users.Password(now, name)
}

func TestAttack14IntegrityComesBeforeQuotaAndState(t *testing.T) {
	everywhere(t, everyWay, attack14)
}

func attack14(t *testing.T, newWorld worldMaker) {
	users := &countingAuthenticator{Users: Users{"alice": "secret-a"}}
	w := newWorld(t, func(c *ServerConfig) {
		c.MaxAllocationsPerUser = 1
		c.Authenticators = []Authenticator{users}
	})
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()

	// With the quota used up and the 5-tuple taken, a wrong password still
	// learns nothing of either: 401 before 486, 437, 441, 420 and 400.
	for _, at := range []netip.AddrPort{clientA, clientB} {
		eve := w.user(at, "alice", "guess")
		for _, attributes := range [][]pion.Setter{
			{wantUDP}, {}, {attribute(0x7abc)}, {attribute(pion.AttrReservationToken, 1)},
		} {
			eve.want(401, eve.do(pion.MethodAllocate, attributes...))
			eve.want(401, eve.do(pion.MethodRefresh, attributes...))
		}
	}
	// Any single wrong bit of the HMAC is as wrong as any other.
	good := u.request(u.id(), pion.MethodRefresh)
	for bit := range 160 {
		bad := bytes.Clone(good)
		bad[len(bad)-20+bit/8] ^= 1 << (bit % 8)
		u.want(401, u.raw(bad))
	}
	u.want(0, u.raw(good))
	// A stale nonce is refused before any password is looked up.
	asked := users.asked
	u.nonce = []byte("AAAAAAAAAAAAAAAAAAAAAA")
	u.want(438, u.do(pion.MethodRefresh))
	if users.asked != asked {
		t.Error("a password was looked up for a nonce that is not ours")
	}
	if st := w.stats(); st.Created != 1 || st.Allocations != 1 {
		t.Errorf("%d allocations, want the one", st.Created)
	}
}

func TestAttackIntegrityOfWrongSizeIsDropped(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.login()
	for _, size := range []int{0, 4, 16, 19, 21, 32} {
		m, _ := stun.Build(pion.MethodRefresh, pion.ClassRequest, u.id(),
			stun.Attribute{Type: pion.AttrUsername, Value: []byte("alice")},
			stun.Attribute{Type: pion.AttrRealm, Value: []byte(u.realm)},
			stun.Attribute{Type: pion.AttrNonce, Value: u.nonce},
			stun.Attribute{Type: pion.AttrMessageIntegrity, Value: make([]byte, size)})
		if answer := u.raw(m.Raw); answer != nil {
			t.Errorf("MESSAGE-INTEGRITY of %d bytes was answered with %v", size, answer)
		}
	}
}
