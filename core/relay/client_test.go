package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

func TestClientAllocates(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil).start()
	if want := []string{"Allocate request", "Allocate request"}; !slices.Equal(h.sent, want) {
		t.Errorf("sent %q, want %q: without credentials, then with", h.sent, want)
	}
	events := h.takeEvents()
	if len(events) != 1 {
		t.Fatalf("events %v, want one Allocated", events)
	}
	got, ok := events[0].(Allocated)
	relayed, live := h.Relayed()
	if !ok || got.Reflexive != clientA || got.Lifetime != 600*time.Second || got.Relayed != relayed || !live || relayed.Addr() != relayAddr {
		t.Errorf("%T %+v, Relayed() = %v, %v", events[0], got, relayed, live)
	}
}

func TestClientMeasuresTheRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name string
		wait time.Duration
		want time.Duration
	}{
		{"one round trip", 80 * time.Millisecond, 80 * time.Millisecond},
		{"retransmitted: unknown", 700 * time.Millisecond, 0},
	} {
		w := newWorld(t, nil)
		h := w.client(clientA, nil)
		h.do((*Client).Start) // challenged
		h = w.client(clientB, nil)
		h.realm, h.nonce = []byte("test"), []byte("x")
		h.identify()
		h.Start(w.now)
		_, request, _ := h.PollTransmit()
		h.HandleTimeout(w.now.Add(c.wait))
		reply, err := stun.Build(pion.MethodAllocate, pion.ClassSuccessResponse, [12]byte(request[8:20]),
			stun.XORAddress{Type: pion.AttrXORRelayedAddress, Address: netip.AddrPortFrom(relayAddr, 50000)},
			stun.XORAddress{Type: pion.AttrXORMappedAddress, Address: clientB}, lifetime(600), stun.Integrity(h.as.signer.key))
		if err != nil {
			t.Fatal(err)
		}
		h.HandleDatagram(w.now.Add(c.wait), serverAddr, reply.Raw)
		e, _ := h.PollEvent()
		if a, ok := e.(Allocated); !ok || a.RTT != c.want {
			t.Errorf("%s: %T %+v, want RTT %v", c.name, e, e, c.want)
		}
	}
}

func TestClientAllocateFails(t *testing.T) {
	t.Run("wrong password", func(t *testing.T) {
		w := newWorld(t, nil)
		h := w.client(clientA, func(c *ClientConfig) { c.Password = "wrong" }).start()
		if f, ok := h.events[0].(AllocateFailed); !ok || !errors.Is(f.Err, ErrCredentials) {
			t.Errorf("%T %+v, want ErrCredentials", h.events[0], h.events[0])
		}
	})
	t.Run("another realm than before", func(t *testing.T) {
		w := newWorld(t, nil)
		h := w.client(clientA, nil)
		h.realm, h.nonce = []byte("before"), []byte("x")
		h.identify()
		if h.start(); len(h.events) != 1 {
			t.Fatalf("events %v, want one", h.events)
		}
		if _, ok := h.events[0].(Allocated); !ok {
			t.Errorf("%T %+v, want Allocated: the password is right in the realm that the server asks for", h.events[0], h.events[0])
		}
	})
	t.Run("quota", func(t *testing.T) {
		w := newWorld(t, func(c *ServerConfig) { c.MaxAllocationsPerUser = 1 })
		w.client(clientA, nil).mustAllocate()
		h := w.client(clientB, nil).start()
		if f, ok := h.events[0].(AllocateFailed); !ok || !stun.IsCode(f.Err, 486) {
			t.Errorf("%T %+v, want 486", h.events[0], h.events[0])
		}
		if !h.PollTimeout().IsZero() {
			t.Error("after the failure the client still wants to be woken")
		}
	})
	t.Run("silence", func(t *testing.T) {
		w := newWorld(t, nil)
		h := w.client(clientA, nil)
		h.lose = func([]byte) bool { return true }
		h.start()
		h.pass(39400 * time.Millisecond)
		if len(h.events) != 0 || len(h.sent) != 7 {
			t.Fatalf("after 39.4 s: events %v, %d sent; want none and 7", h.events, len(h.sent))
		}
		h.pass(200 * time.Millisecond)
		if f, ok := h.events[0].(AllocateFailed); !ok || !errors.Is(f.Err, ErrNoAnswer) {
			t.Errorf("%T %+v, want ErrNoAnswer", h.events[0], h.events[0])
		}
		h.lose, h.events = nil, nil
		h.start() // it may be tried again
		if _, ok := h.events[0].(Allocated); !ok {
			t.Errorf("second Start: %T %+v, want Allocated", h.events[0], h.events[0])
		}
	})
}

func TestClientSurvivesLoss(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	n := 0
	h.lose = func([]byte) bool { n++; return n%3 != 0 } // two of three are lost
	h.start()
	h.pass(10 * time.Second)
	h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) })
	h.pass(10 * time.Second)
	var got []string
	for _, e := range h.events {
		got = append(got, fmt.Sprintf("%T", e))
	}
	if want := []string{"relay.Allocated", "relay.Permitted"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestClientKeepsEverythingAlive(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	relayed := h.mustAllocate()
	h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) })
	for range 3 {
		h.do(func(c *Client, now time.Time) { _ = c.Send(now, peerX, []byte("x")) })
	}
	w.take(peerX)
	h.takeEvents()
	h.pass(3 * time.Hour)
	if e := h.takeEvents(); len(e) != 0 {
		t.Errorf("three quiet hours gave the events %v", e)
	}
	h.takeSent()
	h.do(func(c *Client, now time.Time) { _ = c.Send(now, peerX, []byte("still here")) })
	if got := w.take(peerX); len(got) != 1 || got[0].from != relayed {
		t.Errorf("after three hours the peer got %v, want one datagram from %v", got, relayed)
	}
	if got := h.takeSent(); !slices.Equal(got, []string{"ChannelData"}) {
		t.Errorf("after three hours sent %q, want ChannelData", got)
	}
	h.Forget(peerX)
	h.pass(11 * time.Minute)
	if st := w.server.Stats(); st.Permissions+st.Channels != 0 || st.Allocations != 1 {
		t.Errorf("after Forget: %+v, want the allocation alone", st)
	}
}

func TestClientKeepalive(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, func(c *ClientConfig) { c.Keepalive = 2 * time.Second })
	h.mustAllocate()
	h.takeSent()
	h.pass(7 * time.Second)
	if got, want := h.takeSent(), slices.Repeat([]string{"Binding request"}, 3); !slices.Equal(got, want) {
		t.Errorf("in 7 s sent %q, want %q", got, want)
	}

	// The NAT forgets: the server sees another port. The next keepalive tells.
	h.plug(netip.AddrPortFrom(clientA.Addr(), 4444))
	h.pass(2 * time.Second)
	if err := lostEvent(h.takeEvents()); !errors.Is(err, ErrAddressChanged) {
		t.Fatalf("lost: %v, want ErrAddressChanged", err)
	}
	h.do((*Client).Rebind)
	events := h.takeEvents()
	if a, ok := events[len(events)-1].(Allocated); !ok || a.Reflexive.Port() != 4444 {
		t.Errorf("events %v, want Allocated as seen at port 4444", events)
	}

	// The server falls silent.
	h.lose = func([]byte) bool { return true }
	h.pass(42 * time.Second)
	if err := lostEvent(h.takeEvents()); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("lost: %v, want ErrNoAnswer", err)
	}
}

// TestClientProbe: a server that answers and sees us as before may have
// forgotten the allocation all the same.
func TestClientProbe(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	h.mustAllocate()
	h.takeSent()
	h.do((*Client).Probe)
	if got, want := h.takeSent(), []string{"Binding request", "Refresh request"}; !slices.Equal(got, want) {
		t.Errorf("a probe sends %q, want %q", got, want)
	}
	if events := h.takeEvents(); len(events) != 0 {
		t.Errorf("all is well, and there are events %v", events)
	}

	// Somebody else at our address deletes the allocation.
	w.client(clientA, func(c *ClientConfig) { c.Rand = seeded(77) }).start().do((*Client).Close)
	h.plug(clientA)
	h.do((*Client).Probe)
	if err := lostEvent(h.takeEvents()); !errors.Is(err, ErrForgotten) {
		t.Fatalf("lost: %v, want ErrForgotten", err)
	}
	h.do((*Client).Rebind)
	if events := h.takeEvents(); len(events) != 1 {
		t.Errorf("events %v, want Allocated", events)
	}
}

func TestClientAllocatesWhereAnEarlierLifeStillHasAnAllocation(t *testing.T) {
	w := newWorld(t, nil)
	w.client(clientA, nil).mustAllocate()
	h := w.client(clientA, func(c *ClientConfig) { c.Rand = seeded(77) }).start() // the program restarted
	if _, ok := h.events[0].(Allocated); !ok || len(h.events) != 1 {
		t.Errorf("events %v, want Allocated: the old one is deleted first", h.events)
	}
	if st := w.server.Stats(); st.Allocations != 1 || st.Deleted != 1 {
		t.Errorf("%d allocations, %d deleted, want 1 and 1", st.Allocations, st.Deleted)
	}
	// Rebind although nothing changed: the same.
	h.takeEvents()
	h.do((*Client).Rebind)
	if _, ok := h.events[0].(Allocated); !ok {
		t.Errorf("events %v, want Allocated", h.events)
	}
}

func TestClientLosesItsAllocation(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	h.mustAllocate()
	// The server restarts and knows nothing.
	w.server.expire(w.server.allocations[flowOf(listenSocket, clientA)])
	w.drain()
	h.pass(10 * time.Minute)
	if err := lostEvent(h.takeEvents()); !stun.IsCode(err, 437) {
		t.Errorf("lost: %v, want 437", err)
	}
	if !h.PollTimeout().IsZero() {
		t.Error("without an allocation the client wants to be woken")
	}
}

func TestClientClose(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	h.mustAllocate()
	h.do((*Client).Close)
	if n := w.server.Stats().Deleted; n != 1 {
		t.Errorf("%d allocations deleted, want 1", n)
	}
	h.do((*Client).Start)
	h.do((*Client).Rebind)
	h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) })
	if got := h.takeEvents(); len(got) != 0 || !h.PollTimeout().IsZero() {
		t.Errorf("a closed client goes on: %v", got)
	}
}

func TestClientLeavesWhatIsNotItsOwn(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	h.mustAllocate()
	binding, _ := stun.Build(pion.MethodBinding, pion.ClassSuccessResponse, [12]byte{9},
		stun.XORAddress{Type: pion.AttrXORMappedAddress, Address: clientA})
	request, _ := stun.Build(pion.MethodBinding, pion.ClassRequest, [12]byte{9})
	data, _ := stun.Build(pion.MethodData, pion.ClassIndication, [12]byte{9},
		stun.XORAddress{Type: pion.AttrXORPeerAddress, Address: peerX}, stun.Attribute{Type: pion.AttrData, Value: []byte("forged")})
	for _, c := range []struct {
		name    string
		from    netip.AddrPort
		payload []byte
		want    bool
	}{
		{"a response to the owner's own request", serverAddr, binding.Raw, false},
		{"a request", serverAddr, request.Raw, false},
		{"data from elsewhere", peerX, data.Raw, false},
		{"channel data from elsewhere", peerX, appendChannelData(nil, 0x4000, []byte("x")), false},
		{"noise", serverAddr, []byte{0xff, 1, 2}, false},
		{"nothing", serverAddr, nil, false},
		{"data of a peer that we never permitted", serverAddr, data.Raw, true},
		{"channel data on a channel that we never bound", serverAddr, appendChannelData(nil, 0x4000, []byte("x")), true},
	} {
		if got := h.HandleDatagram(w.now, c.from, c.payload); got != c.want {
			t.Errorf("%s: consumed %v, want %v", c.name, got, c.want)
		}
		if e, ok := h.PollEvent(); ok {
			t.Errorf("%s: event %v", c.name, e)
		}
	}
}

func TestClientRefusesUnsignedSuccess(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	h.mustAllocate()
	h.Permit(w.now, peerX)
	_, request, _ := h.PollTransmit()
	id := [12]byte(request[8:20])
	for _, key := range []pion.Setter{nil, stun.LongTerm("alice", "test", "guess")} {
		attributes := []pion.Setter{}
		if key != nil {
			attributes = append(attributes, key)
		}
		forged, _ := stun.Build(pion.MethodCreatePermission, pion.ClassSuccessResponse, id, attributes...)
		h.HandleDatagram(w.now, serverAddr, forged.Raw)
		if e, ok := h.PollEvent(); ok {
			t.Errorf("a forged success gave %v", e)
		}
	}
	w.send(clientA, serverAddr, request) // the true answer still counts
	h.drain()
	if len(h.events) != 1 || h.events[0] != (Permitted{peerX}) {
		t.Errorf("events %v, want Permitted", h.events)
	}
}

func TestClientIsDeterministic(t *testing.T) {
	run := func() (trace []string) {
		w := newWorld(t, nil)
		h := w.client(clientA, func(c *ClientConfig) { c.Keepalive = 5 * time.Second })
		h.lose = func(payload []byte) bool { trace = append(trace, string(payload)); return len(trace)%5 == 0 }
		h.start()
		for i := range 20 {
			peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 3, byte(i)}), 1)
			h.do(func(c *Client, now time.Time) { c.Permit(now, peer) })
			h.do(func(c *Client, now time.Time) { _ = c.Send(now, peer, []byte("x")) })
		}
		h.pass(30 * time.Minute)
		return append(trace, fmt.Sprint(h.events))
	}
	if first, second := run(), run(); !slices.Equal(first, second) {
		t.Error("two equal runs sent different datagrams")
	}
}
