package relay

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/stun"
)

func TestClientPermitsAndSends(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	if err := h.Send(w.now, peerX, nil); !errors.Is(err, ErrNotAllocated) {
		t.Errorf("Send before Start: %v, want ErrNotAllocated", err)
	}
	h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) }) // remembered
	relayed := h.mustAllocate()
	if _, ok := w.server.allocations[flowOf(listenSocket, clientA)].permissions[hostOf(peerX.Addr())]; !ok {
		t.Fatal("what was asked for before the allocation was not permitted on it")
	}
	h.takeSent()

	// Two Send indications, then a channel.
	for i := range 4 {
		data := fmt.Sprintf("packet %d", i)
		h.do(func(c *Client, now time.Time) {
			if err := c.Send(now, peerX, []byte(data)); err != nil {
				t.Error(err)
			}
		})
		if got := w.take(peerX); len(got) != 1 || string(got[0].payload) != data || got[0].from != relayed {
			t.Errorf("the peer got %v, want %q from %v", got, data, relayed)
		}
	}
	want := []string{"Send indication", "Send indication", "ChannelBind request", "ChannelData", "ChannelData"}
	if got := h.takeSent(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}

	// From the bound peer, and from another port of its address.
	for _, from := range []netip.AddrPort{peerX, netip.AddrPortFrom(peerX.Addr(), 1)} {
		w.send(from, relayed, []byte("answer"))
		events := h.takeEvents()
		if len(events) != 1 {
			t.Fatalf("events %v, want one Data", events)
		}
		if d, ok := events[0].(Data); !ok || d.From != from || string(d.Payload) != "answer" {
			t.Errorf("%T %+v, want answer from %v", events[0], events[0], from)
		}
	}
	if err := h.Send(w.now, peerX, make([]byte, 65001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("65001 bytes: %v, want ErrTooLarge", err)
	}
}

func TestClientPermitEvents(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	h.mustAllocate()
	other := netip.AddrPortFrom(peerX.Addr(), 9)
	private := netip.MustParseAddrPort("10.0.0.1:9")
	for _, p := range []netip.AddrPort{peerX, other, private} {
		h.do(func(c *Client, now time.Time) { c.Permit(now, p) })
	}
	events := h.takeEvents()
	if len(events) != 3 {
		t.Fatalf("events %v, want three", events)
	}
	if events[0] != (Permitted{peerX}) || events[1] != (Permitted{other}) {
		t.Errorf("events %v, want both ports of one address permitted", events[:2])
	}
	if f, ok := events[2].(PermitFailed); !ok || f.Peer != private || !stun.IsCode(f.Err, 403) {
		t.Errorf("%T %+v, want 403", events[2], events[2])
	}
	if n := len(h.permissions); n != 1 {
		t.Errorf("%d permissions kept, want the granted one", n)
	}
	if got := h.takeSent(); len(got) != 4 { // two Allocates, two CreatePermissions
		t.Errorf("sent %q: one address must be asked for once", got)
	}
}

func TestClientRebindCarriesItsPeersOver(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, func(c *ClientConfig) { c.NoMobility = true })
	old := h.mustAllocate()
	h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) })
	for range 3 {
		h.do(func(c *Client, now time.Time) { _ = c.Send(now, peerX, []byte("x")) })
	}
	h.takeEvents()
	h.plug(clientB) // 4G to Wi-Fi
	w.take(peerX)
	h.do((*Client).Rebind)
	events := h.takeEvents()
	if len(events) != 2 {
		t.Fatalf("events %v, want Allocated and Permitted", events)
	}
	a, ok := events[0].(Allocated)
	if !ok || a.Relayed == old || a.Reflexive != clientB || events[1] != (Permitted{peerX}) {
		t.Errorf("events %+v, want a new allocation seen from %v, and the peer permitted", events, clientB)
	}
	w.send(peerX, a.Relayed, []byte("hello again"))
	if events = h.takeEvents(); len(events) != 1 || string(events[0].(Data).Payload) != "hello again" {
		t.Errorf("events %v, want the peer's data", events)
	}
	h.takeSent()
	h.do(func(c *Client, now time.Time) { _ = c.Send(now, peerX, []byte("y")) })
	if got := h.takeSent(); !slices.Equal(got, []string{"Send indication"}) {
		t.Errorf("sent %q: the old allocation's channel must not be used on the new one", got)
	}
}

// Data on a channel may come before the answer that binds it: no datagram is lost.
func TestDataOvertakesTheAnswerThatBindsItsChannel(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, nil)
	h.do(func(c *Client, now time.Time) { c.Permit(now, peerX) })
	relayed := h.mustAllocate()
	late, hold := [][]byte{}, true
	w.hosts[clientA] = func(from netip.AddrPort, payload []byte) {
		if hold && !isChannelData(payload) {
			late = append(late, bytes.Clone(payload))
			return
		}
		h.HandleDatagram(w.now, from, payload)
		h.drain()
	}
	for range 2 { // enough for a channel
		h.do(func(c *Client, now time.Time) { _ = c.Send(now, peerX, []byte("for x")) })
	}
	h.takeEvents()
	w.send(peerX, relayed, []byte("early"))
	events := h.takeEvents()
	if len(late) != 1 || len(events) != 1 {
		t.Fatalf("%d datagrams wait, events %v; want the answer, and data", len(late), events)
	}
	if d, ok := events[0].(Data); !ok || d.From != peerX || string(d.Payload) != "early" {
		t.Errorf("got %+v, want the data of %v", events[0], peerX)
	}
	hold = false
	w.send(serverAddr, clientA, late[0])
	h.takeSent()
	h.do(func(c *Client, now time.Time) { _ = c.Send(now, peerX, []byte("for x")) })
	if got := h.takeSent(); !slices.Equal(got, []string{"ChannelData"}) {
		t.Errorf("after the answer sent %q, want ChannelData", got)
	}
}

// Who roams there and back sends from its first address again before it knows. The
// server still has the allocation made from there: what it has under the channel's
// number must be the same peer.
func TestAChannelIsThePeersOnEveryAllocation(t *testing.T) {
	w := newWorld(t, nil)
	h := w.client(clientA, func(c *ClientConfig) { c.NoMobility = true })
	h.mustAllocate()
	peerY := netip.MustParseAddrPort("198.18.3.4:6000")
	say := func(to netip.AddrPort) {
		for range 4 { // enough for a channel
			h.do(func(c *Client, now time.Time) { _ = c.Send(now, to, []byte("for "+to.String())) })
		}
	}
	for _, peer := range []netip.AddrPort{peerX, peerY} {
		h.do(func(c *Client, now time.Time) { c.Permit(now, peer) })
		say(peer)
	}
	h.plug(clientB)
	h.do((*Client).Rebind)
	say(peerY) // the other one comes first now
	say(peerX)
	w.take(peerX)
	w.take(peerY)
	h.plug(clientA) // back, and nobody has told us
	say(peerY)
	say(peerX)
	for _, peer := range []netip.AddrPort{peerX, peerY} {
		got := w.take(peer)
		for _, a := range got {
			if string(a.payload) != "for "+peer.String() {
				t.Errorf("%v got %q", peer, a.payload)
			}
		}
		if len(got) == 0 {
			t.Errorf("%v got nothing: the test shows nothing", peer)
		}
	}
}

func TestTwoClientsMeetOverTheRelay(t *testing.T) {
	w := newWorld(t, nil)
	a := w.client(clientA, nil)
	b := w.client(clientB, func(c *ClientConfig) { c.Username, c.Password = "bob", "secret-b" })
	relayedA, relayedB := a.mustAllocate(), b.mustAllocate()
	a.do(func(c *Client, now time.Time) { c.Permit(now, relayedB) })
	b.do(func(c *Client, now time.Time) { c.Permit(now, relayedA) })
	a.takeEvents()
	b.takeEvents()
	for i := range 10 {
		data := bytes.Repeat([]byte{byte(i)}, 1200)
		a.do(func(c *Client, now time.Time) { _ = c.Send(now, relayedB, data) })
		b.do(func(c *Client, now time.Time) { _ = c.Send(now, relayedA, data) })
		for _, x := range []struct {
			h    *clientHost
			from netip.AddrPort
		}{{a, relayedB}, {b, relayedA}} {
			events := x.h.takeEvents()
			if len(events) != 1 {
				t.Fatalf("round %d: events %v, want one Data", i, events)
			}
			if d, ok := events[0].(Data); !ok || d.From != x.from || !bytes.Equal(d.Payload, data) {
				t.Errorf("round %d: %T from %v, want %d bytes from %v", i, events[0], d.From, len(data), x.from)
			}
		}
	}
}
