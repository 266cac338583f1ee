package relay

import (
	"net/netip"
	"slices"
	"testing"

	pion "github.com/pion/stun/v3"
)

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
