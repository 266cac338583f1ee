package relay

import (
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

func TestQuotas(t *testing.T) {
	at := func(a byte, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 7, a}), port)
	}
	w := newWorld(t, func(c *ServerConfig) { c.MaxAllocationsPerAddress, c.MaxAllocations = 2, 4 })
	w.user(at(1, 1), "alice", "secret-a").allocate()
	u := w.user(at(1, 2), "bob", "secret-b")
	u.want(486, u.do(pion.MethodAllocate, wantUDP, attribute(pion.AttrEvenPort, 0x80))) // two
	u.allocate()
	v := w.user(at(1, 3), "bob", "secret-b")
	v.want(486, v.do(pion.MethodAllocate, wantUDP)) // the address', whoever asks
	w.user(at(2, 1), "alice", "secret-a").allocate()
	w.user(at(2, 2), "alice", "secret-a").allocate()
	x := w.user(at(3, 1), "alice", "secret-a")
	x.want(508, x.do(pion.MethodAllocate, wantUDP)) // the server's
	u.want(0, u.do(pion.MethodRefresh, lifetime(0)))
	x.allocate()
	checkTables(t, w.server)
	w.pass(DefaultLifetime + time.Second)
	checkTables(t, w.server)
	if len(w.server.sources) != 0 || w.server.charged != 0 {
		t.Errorf("charged %d, sources %v after all have expired", w.server.charged, w.server.sources)
	}
	if sourceOf(netip.MustParseAddr("2a00:1:2:3::1")) != sourceOf(netip.MustParseAddr("2a00:1:2:3:4::9")) {
		t.Error("two addresses of one IPv6 network have quotas of their own")
	}
}

// TestRates: what passes in ten seconds is what a rate allows, and one user's excess
// costs another nothing.
func TestRates(t *testing.T) {
	const size = 1000
	for _, c := range []struct {
		name  string
		rates Rates
		want  [2]int64 // bytes a second of alice's two allocations together, and of bob's
	}{
		{"of an allocation", Rates{Allocation: 100_000}, [2]int64{200_000, 100_000}},
		{"of a user", Rates{User: 100_000}, [2]int64{100_000, 100_000}},
		{"of the server", Rates{Server: 150_000}, [2]int64{}},
		{"none", Rates{}, [2]int64{2_000_000, 1_000_000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(cfg *ServerConfig) { cfg.Rates = c.rates })
			peers := [3]netip.AddrPort{peerX, netip.MustParseAddrPort("198.18.3.4:1"), netip.MustParseAddrPort("198.18.3.5:1")}
			users := [3]*user{w.user(clientA, "alice", "secret-a"), w.user(netip.AddrPortFrom(clientA.Addr(), 9), "alice", "secret-a"), w.user(clientB, "bob", "secret-b")}
			for i, u := range users {
				u.allocate()
				u.want(0, u.permit(peers[i]))
			}
			data := string(make([]byte, size))
			const seconds = 10
			for range seconds * 1000 {
				w.now = w.now.Add(time.Millisecond)
				for i, u := range users {
					u.indicate(peers[i], data)
				}
			}
			burst := max(c.rates.Allocation, c.rates.User, c.rates.Server, maxRelayedPayload)
			var got [2]int64
			for i := range users {
				got[i/2] += int64(len(w.take(peers[i]))) * size
			}
			total := got[0] + got[1]
			for i, want := range c.want {
				if low, high := want*seconds*9/10, want*seconds*11/10+2*burst; c.rates.Server == 0 && (got[i] < low || got[i] > high) {
					t.Errorf("user %d: %d bytes in %d s, want %d to %d", i, got[i], seconds, low, high)
				}
			}
			if c.rates.Server > 0 && (total < c.rates.Server*seconds || total > c.rates.Server*seconds+burst) {
				t.Errorf("%d bytes in %d s, want %d and the burst", total, seconds, c.rates.Server*seconds)
			}
			st := w.server.Stats()
			if st.ToPeers+st.DroppedRate != 3*seconds*1000 || (st.DroppedRate == 0) != !c.rates.any() {
				t.Errorf("%d passed, %d dropped, want them to be all", st.ToPeers, st.DroppedRate)
			}
		})
	}
}

func TestBucketKeepsFractions(t *testing.T) {
	b := newBucket(maxRelayedPayload * 10)
	at := epoch.UnixNano()
	b.has(at, 0)
	b.bytes = 0
	for range 1_000_000 { // a second, in steps of less than a byte
		at += 1000
		b.has(at, 0)
	}
	if want := b.rate; b.bytes < want*95/100 && b.bytes > want {
		t.Errorf("%d bytes after a second, want %d", b.bytes, want)
	}
	if b.has(at-int64(time.Hour), b.rate*2) {
		t.Error("a clock that steps back brings bytes")
	}
}

// TestDrain: no new allocations, the old ones go on until their end or the deadline.
func TestDrain(t *testing.T) {
	elsewhere := netip.MustParseAddrPort("198.18.0.21:3478")
	w := newWorld(t, nil)
	u, v := w.user(clientA, "alice", "secret-a"), w.user(clientB, "bob", "secret-b")
	u.allocate()
	v.allocate()
	w.server.Drain(w.now, w.now.Add(5*time.Minute))
	w.drain()
	x := w.user(netip.MustParseAddrPort("198.18.9.9:9"), "alice", "secret-a")
	x.want(508, x.do(pion.MethodAllocate, wantUDP))
	w.server.Drain(w.now, w.now.Add(5*time.Minute), elsewhere)
	answer := x.want(300, x.do(pion.MethodAllocate, wantUDP))
	if got, err := stun.GetAddress(answer, pion.AttrAlternateServer); err != nil || got != elsewhere {
		t.Errorf("ALTERNATE-SERVER %v (%v), want %v", got, err, elsewhere)
	}
	eve := w.user(netip.MustParseAddrPort("198.18.9.9:10"), "alice", "guess")
	eve.want(401, eve.do(pion.MethodAllocate, wantUDP)) // where to go is told to users
	u.want(0, u.do(pion.MethodRefresh, lifetime(1200)))
	u.want(0, u.permit(peerX))
	u.indicate(peerX, "on")
	if len(w.take(peerX)) != 1 {
		t.Error("an allocation does not go on while the server drains")
	}
	v.want(0, v.do(pion.MethodRefresh, lifetime(0)))
	w.events = nil
	w.pass(5*time.Minute + time.Second)
	if len(w.events) != 2 || w.events[1] != (Drained{}) {
		t.Errorf("events %+v, want the last one's end and Drained", w.events)
	}
	if st := w.server.Stats(); st.Allocations != 0 || st.TurnedAway != 2 || len(w.sockets) != 1 {
		t.Errorf("%d allocations, %d turned away, %d sockets", st.Allocations, st.TurnedAway, len(w.sockets))
	}
	checkTables(t, w.server)
	// An empty one is drained at once, and told so once.
	w = newWorld(t, nil)
	w.server.Drain(w.now, w.now.Add(time.Hour))
	w.server.Drain(w.now, w.now.Add(2*time.Hour))
	w.drain()
	if len(w.events) != 1 || !w.server.Draining() {
		t.Errorf("events %+v, want Drained once", w.events)
	}
}

// TestClientGoesWhereItIsSent, a bounded number of times and nowhere absurd.
func TestClientGoesWhereItIsSent(t *testing.T) {
	second := netip.MustParseAddrPort("198.18.0.21:3478")
	w := newWorld(t, nil)
	w.server.Drain(w.now, w.now.Add(time.Hour), second)
	asked := 0
	w.hosts[second] = func(from netip.AddrPort, payload []byte) { asked++ }
	h := w.client(clientA, nil).start()
	if h.Server() != second || asked == 0 {
		t.Errorf("the client is at %v, and %d requests came to %v", h.Server(), asked, second)
	}
	// There and back for ever: it gives up, and begins anew where it was told to.
	w.hosts[second] = func(from netip.AddrPort, payload []byte) {
		back, _ := stun.Build(pion.MethodAllocate, pion.ClassErrorResponse, [12]byte(payload[8:20]),
			pion.ErrorCodeAttribute{Code: 300}, stun.Address{Type: pion.AttrAlternateServer, Address: serverAddr})
		h.HandleDatagram(w.now, second, back.Raw)
	}
	h.pass(time.Second)
	events := h.takeEvents()
	if len(events) != 1 || h.Server() != serverAddr {
		t.Fatalf("events %+v at %v, want AllocateFailed at %v", events, h.Server(), serverAddr)
	}
	for _, absurd := range []string{"198.18.0.20:3478", "0.0.0.0:1", "224.0.0.1:1", "198.18.0.9:0", "10.0.0.1:3478", "127.0.0.1:53", "[2a00::1]:1"} {
		h := w.client(clientB, nil)
		h.Start(w.now)
		_, request, _ := h.PollTransmit()
		answer, _ := stun.Build(pion.MethodAllocate, pion.ClassErrorResponse, [12]byte(request[8:20]),
			pion.ErrorCodeAttribute{Code: 300}, stun.Address{Type: pion.AttrAlternateServer, Address: netip.MustParseAddrPort(absurd)})
		h.HandleDatagram(w.now, serverAddr, answer.Raw)
		if e, ok := h.PollEvent(); !ok || h.Server() != serverAddr {
			t.Errorf("sent to %s: %+v, at %v", absurd, e, h.Server())
		}
	}
}
