package relay

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

func TestServerPermissions(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()

	u.indicate(peerX, "before")
	w.send(peerX, relayed, []byte("before"))
	if got := w.take(peerX); len(got) != 0 {
		t.Errorf("the peer got %v without a permission", got)
	}
	if got := w.take(clientA); len(got) != 0 {
		t.Errorf("the client got %v without a permission", got)
	}

	second := netip.MustParseAddrPort("198.18.4.4:7000")
	u.want(0, u.permit(peerX, second))
	samePeerOtherPort := netip.AddrPortFrom(peerX.Addr(), 6001)
	for _, peer := range []netip.AddrPort{peerX, second, samePeerOtherPort} {
		u.indicate(peer, "hello")
		if got := w.take(peer); len(got) != 1 || string(got[0].payload) != "hello" || got[0].from != relayed {
			t.Errorf("%v got %v, want hello from %v", peer, got, relayed)
		}
		w.send(peer, relayed, []byte("world"))
		got := w.take(clientA)
		if len(got) != 1 {
			t.Fatalf("the client got %d datagrams from %v, want 1", len(got), peer)
		}
		m, err := stun.Parse(got[0].payload)
		if err != nil || m.Type != pion.NewType(pion.MethodData, pion.ClassIndication) {
			t.Fatalf("the client got %x (%v), want a Data indication", got[0].payload, err)
		}
		data, _ := m.Get(pion.AttrData)
		from, _ := stun.GetXORAddress(m, pion.AttrXORPeerAddress)
		if string(data) != "world" || from != peer {
			t.Errorf("the client got %q from %v, want world from %v", data, from, peer)
		}
	}

	w.pass(299 * time.Second)
	u.indicate(peerX, "late")
	if got := w.take(peerX); len(got) != 1 {
		t.Error("the permission ended before 300 s")
	}
	w.pass(time.Second) // sending does not refresh it
	u.indicate(peerX, "too late")
	w.send(peerX, relayed, []byte("too late"))
	if got := append(w.take(peerX), w.take(clientA)...); len(got) != 0 {
		t.Errorf("the permission outlived 300 s: %v", got)
	}
	u.want(400, u.permit())
	u.want(400, u.do(pion.MethodCreatePermission, attribute(pion.AttrXORPeerAddress, 0, 1, 2)))
	u.want(443, u.permit(netip.MustParseAddrPort("[2a00::1]:7000")))
}

func TestServerChannels(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	other := netip.MustParseAddrPort("198.18.4.4:7000")
	for _, n := range []uint16{0x0000, 0x3fff, 0x8000, 0xffff} {
		u.want(400, u.bindChannel(n, peerX))
	}
	u.want(0, u.bindChannel(0x7fff, peerX))
	u.want(0, u.bindChannel(0x7fff, peerX)) // refreshing is fine
	u.want(400, u.bindChannel(0x7fff, other))
	u.want(400, u.bindChannel(0x4000, peerX))
	u.want(0, u.bindChannel(0x4000, other))
	u.want(400, u.bindChannel(0x4000, peerX))
	u.want(400, u.do(pion.MethodChannelBind, peerAttribute(peerX)))
	u.want(400, u.do(pion.MethodChannelBind, attribute(pion.AttrChannelNumber, 0x40, 1, 0, 0)))

	// Data both ways; the binding made the permission.
	w.send(clientA, serverAddr, appendChannelData(nil, 0x7fff, []byte("ping")))
	if got := w.take(peerX); len(got) != 1 || string(got[0].payload) != "ping" || got[0].from != relayed {
		t.Errorf("the peer got %v, want ping from %v", got, relayed)
	}
	w.send(peerX, relayed, []byte("pong"))
	if got := w.take(clientA); len(got) != 1 || !bytes.Equal(got[0].payload, []byte("\x7f\xff\x00\x04pong")) {
		t.Errorf("the client got %v, want ChannelData with pong", got)
	}
	// Bytes past the length are padding.
	w.send(clientA, serverAddr, append(appendChannelData(nil, 0x7fff, []byte("ping!")), 0, 0, 0))
	if got := w.take(peerX); len(got) != 1 || string(got[0].payload) != "ping!" {
		t.Errorf("the peer got %v, want ping!", got)
	}
	w.send(clientA, serverAddr, appendChannelData(nil, 0x4001, []byte("unbound")))
	if n := w.server.Stats().DroppedNoChannel; n != 1 {
		t.Errorf("%d datagrams on unbound channels, want 1", n)
	}

	// From other ports of the peer's address: permitted, but no channel.
	w.send(netip.AddrPortFrom(peerX.Addr(), 9), relayed, []byte("x"))
	if got := w.take(clientA); len(got) != 1 || isChannelData(got[0].payload) {
		t.Errorf("the client got %v, want a Data indication", got)
	}

	// The permission ends after 300 s, the channel after 600 s.
	w.pass(301 * time.Second)
	w.send(peerX, relayed, []byte("pong"))
	if got := w.take(clientA); len(got) != 0 {
		t.Errorf("the client got %v after the permission's end", got)
	}
	u.want(400, u.bindChannel(0x7fff, other)) // still bound
	u.want(0, u.do(pion.MethodRefresh))
	w.pass(300 * time.Second)
	u.want(0, u.bindChannel(0x4000, other))
}

// An expired binding holds its number and its peer for 300 s more: what is still on
// its way under that number reaches nobody else (RFC 8656 section 12).
func TestServerHoldsChannels(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.allocate(lifetime(3600))
	other := netip.MustParseAddrPort("198.18.4.4:7000")
	u.want(0, u.bindChannel(0x4000, peerX))
	w.pass(ChannelLifetime)
	u.want(0, u.permit(peerX, other))
	late := appendChannelData(nil, 0x4000, []byte("late"))
	w.send(clientA, serverAddr, late)
	u.want(400, u.bindChannel(0x4000, other))
	u.want(400, u.bindChannel(0x4001, peerX))
	w.pass(ChannelHold - time.Second)
	u.want(400, u.bindChannel(0x4000, other))
	u.want(400, u.bindChannel(0x4001, peerX))
	w.send(clientA, serverAddr, late)
	if got := append(w.take(peerX), w.take(other)...); len(got) != 0 {
		t.Errorf("%v arrived by a channel that has expired", got)
	}
	u.want(0, u.bindChannel(0x4000, peerX)) // to each other at any time
	w.pass(ChannelLifetime + ChannelHold)
	u.want(0, u.bindChannel(0x4000, other))
	u.want(0, u.bindChannel(0x4001, peerX))
	w.pass(ChannelLifetime + ChannelHold + 2*sweepInterval)
	if n := w.server.Stats().Channels; n != 0 {
		t.Errorf("%d channels are remembered after their hold", n)
	}
}

func TestServerStrictChannels(t *testing.T) {
	w := newWorld(t, func(c *ServerConfig) { c.StrictChannels = true })
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	u.want(0, u.bindChannel(0x4fff, peerX))
	u.want(400, u.bindChannel(0x5000, netip.MustParseAddrPort("198.18.4.4:7000")))
}

func TestServerRelaysBetweenItsOwnAllocations(t *testing.T) {
	w := newWorld(t, nil)
	a := w.user(clientA, "alice", "secret-a")
	b := w.user(clientB, "bob", "secret-b")
	relayedA, relayedB := a.allocate(), b.allocate()
	a.want(0, a.permit(relayedB))
	b.want(0, b.bindChannel(0x4000, relayedA))
	a.indicate(relayedB, "hi bob")
	if got := w.take(clientB); len(got) != 1 || string(got[0].payload[4:]) != "hi bob" {
		t.Errorf("bob got %v, want ChannelData with hi bob", got)
	}
	w.send(clientB, serverAddr, appendChannelData(nil, 0x4000, []byte("hi alice")))
	if got := w.take(clientA); len(got) != 1 || !bytes.Contains(got[0].payload, []byte("hi alice")) {
		t.Errorf("alice got %v, want hi alice", got)
	}
	// Once bob is gone, his address is one of our own and nobody's peer.
	b.want(0, b.do(pion.MethodRefresh, lifetime(0)))
	a.indicate(relayedB, "still there?")
	if n := w.server.Stats().DroppedForbidden; n != 1 {
		t.Errorf("%d datagrams to a dead relayed address refused, want 1", n)
	}
	a.want(403, a.permit(relayedB))
}
