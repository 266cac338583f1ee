package relay

import (
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

var (
	relayAddr6 = netip.MustParseAddr("2a00:1::20")
	peer6      = netip.MustParseAddrPort("[2a00:3::3]:6000")
)

func bothFamilies(c *ServerConfig) { c.RelayAddress6 = relayAddr6 }

func onlyIPv6(c *ServerConfig) { c.RelayAddress, c.RelayAddress6 = netip.Addr{}, relayAddr6 }

func wants(family byte) pion.Setter {
	return attribute(pion.AttrRequestedAddressFamily, family, 0, 0, 0)
}

var additional = attribute(stun.AttrAdditionalAddressFamily, familyIPv6, 0, 0, 0)

// relayedOf are all relayed addresses of an answer.
func relayedOf(t *testing.T, m *pion.Message) (as []netip.AddrPort) {
	t.Helper()
	for _, raw := range m.Attributes {
		if raw.Type == pion.AttrXORRelayedAddress {
			a, ok := parseXORAddress(m.TransactionID, raw.Value)
			if !ok {
				t.Fatalf("XOR-RELAYED-ADDRESS %x", raw.Value)
			}
			as = append(as, a)
		}
	}
	return as
}

// TestServerFamilies: RFC 8656 section 7.2, 440 and 443 among it.
func TestServerFamilies(t *testing.T) {
	for _, c := range []struct {
		name   string
		server func(*ServerConfig)
		ask    []pion.Setter
		code   int
		want   []netip.Addr
		family byte // of ADDRESS-ERROR-CODE; 0: none
		why    int
	}{
		{"IPv4 by default", bothFamilies, nil, 0, []netip.Addr{relayAddr}, 0, 0},
		{"IPv4 by name", bothFamilies, []pion.Setter{wants(familyIPv4)}, 0, []netip.Addr{relayAddr}, 0, 0},
		{"IPv6 by name", bothFamilies, []pion.Setter{wants(familyIPv6)}, 0, []netip.Addr{relayAddr6}, 0, 0},
		{"IPv6 with an even port", bothFamilies, []pion.Setter{wants(familyIPv6), attribute(pion.AttrEvenPort, 0)}, 0, []netip.Addr{relayAddr6}, 0, 0},
		{"both", bothFamilies, []pion.Setter{additional}, 0, []netip.Addr{relayAddr, relayAddr6}, 0, 0},
		{"both, by coturn's number", bothFamilies, []pion.Setter{attribute(stun.AttrDraftAdditionalFamily, familyIPv6, 0, 0, 0)}, 0, []netip.Addr{relayAddr, relayAddr6}, 0, 0},
		{"both, by either number", bothFamilies, []pion.Setter{additional, attribute(stun.AttrDraftAdditionalFamily, familyIPv6, 0, 0, 0)}, 0, []netip.Addr{relayAddr, relayAddr6}, 0, 0},
		{"both, of a server of IPv4", nil, []pion.Setter{additional}, 0, []netip.Addr{relayAddr}, familyIPv6, 440},
		{"both, of a server of IPv6", onlyIPv6, []pion.Setter{additional}, 0, []netip.Addr{relayAddr6}, familyIPv4, 440},
		{"IPv6 of a server of IPv4", nil, []pion.Setter{wants(familyIPv6)}, 440, nil, 0, 0},
		{"nothing named, of a server of IPv6", onlyIPv6, nil, 440, nil, 0, 0},
		{"a family that there is not", bothFamilies, []pion.Setter{wants(3)}, 440, nil, 0, 0},
		{"additional IPv4", bothFamilies, []pion.Setter{attribute(stun.AttrAdditionalAddressFamily, familyIPv4, 0, 0, 0)}, 400, nil, 0, 0},
		{"additional of the wrong size", bothFamilies, []pion.Setter{attribute(stun.AttrAdditionalAddressFamily, familyIPv6)}, 400, nil, 0, 0},
		{"requested and additional", bothFamilies, []pion.Setter{wants(familyIPv6), additional}, 400, nil, 0, 0},
		{"additional and a pair of ports", bothFamilies, []pion.Setter{additional, attribute(pion.AttrEvenPort, 0x80)}, 400, nil, 0, 0},
		{"additional and a token", bothFamilies, []pion.Setter{additional, attribute(pion.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)}, 400, nil, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.server)
			u := w.user(clientA, "alice", "secret-a")
			answer := u.want(c.code, u.do(pion.MethodAllocate, append([]pion.Setter{wantUDP}, c.ask...)...))
			got := relayedOf(t, answer)
			if len(got) != len(c.want) || w.server.charged != len(c.want) {
				t.Fatalf("relayed at %v and charged %d, want %v", got, w.server.charged, c.want)
			}
			for i := range got {
				if got[i].Addr() != c.want[i] {
					t.Errorf("relayed at %v, want %v", got, c.want)
				}
			}
			if number, code, has := addressErrorCodeOf(answer.Attributes); has != (c.why != 0) || number != c.family || code != c.why {
				t.Errorf("ADDRESS-ERROR-CODE %d of family %d, want %d of %d", code, number, c.why, c.family)
			}
			checkTables(t, w.server)
		})
	}
}

// TestServerRelaysBothFamilies: each peer is reached from the address of its family,
// and each family can be given up alone.
func TestServerRelaysBothFamilies(t *testing.T) {
	w := newWorld(t, bothFamilies)
	u := w.user(clientA, "alice", "secret-a")
	got := relayedOf(t, u.want(0, u.do(pion.MethodAllocate, wantUDP, additional)))
	u.want(0, u.permit(peerX, peer6))
	u.want(0, u.bindChannel(0x4000, peer6))
	for i, peer := range []netip.AddrPort{peerX, peer6} {
		u.indicate(peer, "out")
		if a := w.take(peer); len(a) != 1 || a[0].from != got[i] {
			t.Errorf("%v got %v, want out from %v", peer, a, got[i])
		}
		w.send(peer, got[i], []byte("in"))
		if a := w.take(clientA); len(a) != 1 || isChannelData(a[0].payload) != (i == 1) {
			t.Errorf("the client got %v from %v", a, peer)
		}
	}
	w.send(clientA, serverAddr, appendChannelData(nil, 0x4000, []byte("out")))
	if a := w.take(peer6); len(a) != 1 || a[0].from != got[1] {
		t.Errorf("%v got %v by the channel", peer6, a)
	}
	u.want(403, u.permit(got[1])) // its own address is no peer, of either family
	u.want(443, u.do(pion.MethodRefresh, lifetime(0), wants(3)))
	u.want(0, u.do(pion.MethodRefresh, lifetime(0), wants(familyIPv6)))
	u.want(443, u.permit(peer6))
	u.want(443, u.bindChannel(0x4001, peer6))
	u.want(443, u.do(pion.MethodRefresh, wants(familyIPv6)))
	u.indicate(peer6, "out")
	w.send(clientA, serverAddr, appendChannelData(nil, 0x4000, []byte("out")))
	if a := w.take(peer6); len(a) != 0 {
		t.Errorf("%v got %v from a family that was given up", peer6, a)
	}
	u.indicate(peerX, "still")
	if a := w.take(peerX); len(a) != 1 || w.server.charged != 1 {
		t.Errorf("the other family got %v, %d charged", a, w.server.charged)
	}
	checkTables(t, w.server)
	u.want(0, u.do(pion.MethodRefresh, lifetime(0), wants(familyIPv4)))
	if w.server.Stats().Allocations != 0 {
		t.Error("the allocation outlives its last address")
	}
	checkTables(t, w.server)
}

func TestServerHalfOfWhatWasWanted(t *testing.T) {
	w := newWorld(t, func(c *ServerConfig) { bothFamilies(c); c.PortLow, c.PortHigh = 50000, 50000 })
	w.user(clientB, "bob", "secret-b").allocate()
	u := w.user(clientA, "alice", "secret-a")
	answer := u.want(0, u.do(pion.MethodAllocate, wantUDP, additional))
	number, code, _ := addressErrorCodeOf(answer.Attributes)
	if got := relayedOf(t, answer); len(got) != 1 || got[0].Addr() != relayAddr6 || number != familyIPv4 || code != 508 {
		t.Errorf("relayed at %v, error %d of family %d; want IPv6 alone, and 508 of IPv4", got, code, number)
	}
	checkTables(t, w.server)
	v := w.user(netip.AddrPortFrom(clientB.Addr(), 5001), "bob", "secret-b")
	v.want(508, v.do(pion.MethodAllocate, wantUDP, additional))
	checkTables(t, w.server)
}

func TestClientOfBothFamilies(t *testing.T) {
	for _, c := range []struct {
		server        func(*ServerConfig)
		wants         Families
		first, second netip.Addr
		why           int
	}{
		{bothFamilies, BothFamilies, relayAddr, relayAddr6, 0},
		{bothFamilies, IPv6Family, relayAddr6, netip.Addr{}, 0},
		{nil, BothFamilies, relayAddr, netip.Addr{}, 440},
	} {
		w := newWorld(t, c.server)
		h := w.client(clientA, func(cfg *ClientConfig) { cfg.Families = c.wants }).start()
		a, ok := h.takeEvents()[0].(Allocated)
		if !ok || a.Relayed.Addr() != c.first || a.Other.Addr() != c.second || (c.why != 0) != stun.IsCode(a.OtherErr, c.why) {
			t.Errorf("%+v, want %v and %v (%d)", a, c.first, c.second, c.why)
		}
		if c.second.IsValid() {
			h.do(func(c *Client, now time.Time) { c.Permit(now, peer6); _ = c.Send(now, peer6, []byte("x")) })
			if got := w.take(peer6); len(got) != 1 || got[0].from != a.Other {
				t.Errorf("the IPv6 peer got %v", got)
			}
		}
	}
}

// TestDontFragmentIsHonouredOrRefused: 420 where the driver cannot, RFC 8656 section 14.
func TestDontFragmentIsHonouredOrRefused(t *testing.T) {
	w := newWorld(t, func(c *ServerConfig) { c.DontFragment = true })
	u := w.user(clientA, "alice", "secret-a")
	u.allocate(attribute(pion.AttrDontFragment))
	u.want(0, u.permit(peerX))
	u.indicate(peerX, "whole", attribute(pion.AttrDontFragment))
	u.indicate(peerX, "as it comes")
	if got := w.take(peerX); len(got) != 2 || w.whole != 1 {
		t.Errorf("%d datagrams, %d of them whole; want 2 and 1", len(got), w.whole)
	}
	h := w.client(clientB, func(c *ClientConfig) { c.DontFragment = true })
	h.mustAllocate()
	h.do(func(c *Client, now time.Time) {
		c.Permit(now, peerX)
		if err := c.SendWhole(now, peerX, []byte("x")); err != nil {
			t.Error(err)
		}
	})
	if w.whole != 2 {
		t.Errorf("%d datagrams were left whole, want 2", w.whole)
	}
	w = newWorld(t, nil)
	h = w.client(clientB, func(c *ClientConfig) { c.DontFragment = true })
	h.mustAllocate() // although it is refused
	if err := h.SendWhole(w.now, peerX, []byte("x")); err == nil {
		t.Error("a server that does not know DONT-FRAGMENT is asked to honour it")
	}
	u = w.user(clientA, "alice", "secret-a")
	u.allocate()
	u.want(0, u.permit(peerX))
	u.indicate(peerX, "whole", attribute(pion.AttrDontFragment))
	if got := w.take(peerX); len(got) != 0 {
		t.Errorf("the peer got %v, which was to be left whole", got)
	}
}

// TestICMPIsToldToTheClient: RFC 8656 section 11.5.
func TestICMPIsToldToTheClient(t *testing.T) {
	w := newWorld(t, bothFamilies)
	h := w.client(clientA, func(c *ClientConfig) { c.Families = BothFamilies })
	h.mustAllocate()
	for _, p := range []netip.AddrPort{peerX, peer6} {
		h.do(func(c *Client, now time.Time) { c.Permit(now, p) })
	}
	h.takeEvents()
	a := w.server.allocations[flowOf(listenSocket, clientA)]
	tell := func(u sansio.Undeliverable) []sansio.Event {
		u.Socket = a.to(u.Remote.Addr()).socket
		w.server.HandleUndeliverable(w.now, u)
		w.drain()
		return h.takeEvents()
	}
	for _, u := range []sansio.Undeliverable{
		{Remote: peerX, Type: 3, Code: 3}, {Remote: peerX, Type: 3, Code: 4, MTU: 1280}, {Remote: peerX, Type: 11},
		{Remote: peer6, Type: 1, Code: 4}, {Remote: peer6, Type: 2, MTU: 1300}, {Remote: peer6, Type: 3},
	} {
		want := Unreachable{Peer: u.Remote, Type: u.Type, Code: u.Code, MTU: u.MTU}
		if got := tell(u); len(got) != 1 || got[0] != want {
			t.Errorf("%+v: %+v, want %+v", u, got, want)
		}
	}
	for _, u := range []sansio.Undeliverable{
		{Remote: peerX, Type: 5}, {Remote: peerX, Type: 0}, {Remote: peer6, Type: 11}, {Remote: peer6, Type: 4},
		{Remote: netip.MustParseAddrPort("198.18.66.66:6"), Type: 3},
	} {
		if got := tell(u); len(got) != 0 {
			t.Errorf("%+v: the client was told %+v", u, got)
		}
	}
	if st := w.server.Stats(); st.ICMP != 6 || st.DroppedMalformed != 4 || st.DroppedNoPermission != 1 {
		t.Errorf("%+v, want 6 errors told, 4 of types that are not, 1 about a stranger", st)
	}
}
