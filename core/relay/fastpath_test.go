package relay

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"
)

// NewKernelPath makes the kernel's fast path, and what ends it. Its package imports this
// one, so that the tests in package relay_test set it.
var NewKernelPath func(t *testing.T) (FastPath, func(), error)

// flows is a fast path that remembers its flows, and knows what is to become of
// datagrams. Next, if there is one, does it.
type flows struct {
	next  FastPath
	open  []Flow
	calls int
}

// same reports whether two are one flow.
func same(a, b Flow) bool {
	return a.Listen == b.Listen && a.Client == b.Client && a.Channel == b.Channel && a.Relayed == b.Relayed && a.Peer == b.Peer
}

func (f *flows) Open(now time.Time, flow Flow) {
	f.calls++
	f.open = append(slices.DeleteFunc(f.open, func(other Flow) bool { return same(flow, other) }), flow)
	if f.next != nil {
		f.next.Open(now, flow)
	}
}

func (f *flows) Close(flow Flow) {
	f.calls++
	f.open = slices.DeleteFunc(f.open, func(other Flow) bool { return same(flow, other) })
	if f.next != nil {
		f.next.Close(flow)
	}
}

func (f *flows) Passed() (none Passed) {
	if f.next != nil {
		return f.next.Passed()
	}
	return none
}

// pass says to whom a datagram is passed on.
func (f *flows) pass(now time.Time, from, to netip.AddrPort, payload []byte) (at netip.AddrPort, ok bool) {
	number, data, isData := parseChannelData(payload)
	for _, flow := range f.open {
		switch {
		case len(payload) > 2000: // more than the kernel moves
		case flow.Client == from && flow.Listen == to:
			padding := len(payload) - channelHeaderSize - len(data)
			if !isData || number != flow.Channel || !now.Before(flow.ToPeer) || padding > 3 || slices.ContainsFunc(payload[len(payload)-padding:], func(b byte) bool { return b != 0 }) {
				continue
			}
			if !flow.Relay {
				return flow.Peer, true
			}
			return f.pass(now, flow.Relayed, flow.Peer, data)
		case flow.Peer == from && flow.Relayed == to && now.Before(flow.ToClient):
			return flow.Client, true
		}
	}
	return at, false
}

// hasten gives a world that runs the kernel's fast path.
func hasten(t *testing.T) (f *flows, shut func()) {
	t.Helper()
	if NewKernelPath == nil {
		t.Skip("LEFT OUT, attacks on the kernel's fast path: it is not on this system")
	}
	next, shut, err := NewKernelPath(t)
	if err != nil {
		t.Skipf("LEFT OUT, attacks on the kernel's fast path: %v", err)
	}
	return &flows{next: next}, shut
}

// TestFlowsAreWhatMayPass: the fast path knows of a channel from when it is bound, and of its end
// from when the server knows it.
func TestFlowsAreWhatMayPass(t *testing.T) {
	fast := &flows{}
	w := newWorld(t, func(cfg *ServerConfig) { cfg.FastPath = fast })
	u, other := w.user(clientA, "alice", "secret-a"), w.user(clientB, "bob", "secret-b")
	relayed, elsewhere := u.allocate(), other.allocate()
	ends := func(want ...time.Duration) {
		t.Helper()
		if len(want) == 0 {
			if len(fast.open) != 0 {
				t.Fatalf("flows %+v, want none", fast.open)
			}
			return
		}
		f := fast.open[len(fast.open)-1]
		if a, b := f.ToPeer.Sub(w.now), f.ToClient.Sub(w.now); a != want[0] || b != want[1] {
			t.Fatalf("it may pass for %v to the peer and %v to the client, want %v and %v", a, b, want[0], want[1])
		}
	}
	ends()
	u.want(0, u.bindChannel(0x4000, peerX))
	if f := fast.open[0]; f != (Flow{Listen: serverAddr, Client: clientA, Relayed: relayed, Peer: peerX, Channel: 0x4000, ToPeer: f.ToPeer, ToClient: f.ToClient}) {
		t.Errorf("flow %+v", f)
	}
	ends(10*time.Minute, 5*time.Minute)
	w.pass(4 * time.Minute)
	ends(6*time.Minute, time.Minute)
	u.permit(peerX) // told when it matters
	ends(6*time.Minute, time.Minute)
	w.pass(time.Minute)
	w.send(peerX, relayed, []byte("who tells the server that it goes on"))
	ends(5*time.Minute, 4*time.Minute)
	calls := fast.calls
	w.send(peerX, relayed, []byte("what it knows"))
	if fast.calls != calls {
		t.Error("told once more of what it knows")
	}
	u.do(pion.MethodRefresh, lifetime(3600))
	u.want(0, u.bindChannel(0x4000, peerX))
	ends(10*time.Minute, 5*time.Minute)

	u.want(0, u.bindChannel(0x4001, elsewhere))
	if f := fast.open[1]; !f.Relay || f.Peer != elsewhere {
		t.Errorf("flow %+v, want one to another relayed address", f)
	}
	// An address of this host is the policy's, each time.
	w.server.HandleInterfaces(w.now, []netip.Addr{relayAddr, peerX.Addr()})
	if len(fast.open) != 1 || fast.open[0].Peer != elsewhere {
		t.Errorf("flows %+v, want none to an address of ours", fast.open)
	}
	w.server.HandleInterfaces(w.now, []netip.Addr{relayAddr})
	if len(fast.open) != 2 {
		t.Errorf("flows %+v, want two again", fast.open)
	}
	u.do(pion.MethodRefresh, lifetime(0))
	ends()
	u.allocate()
	w.pass(6 * time.Minute)
	u.want(0, u.bindChannel(0x4000, peerX))
	ends(4*time.Minute, 4*time.Minute) // that of the allocation
	u.do(pion.MethodRefresh, lifetime(600))
	u.want(0, u.bindChannel(0x4000, peerX))
	ends(10*time.Minute, 5*time.Minute)
}

// TestNoFlowsOfWhatHasARate: the server alone can hold it.
func TestNoFlowsOfWhatHasARate(t *testing.T) {
	fast := &flows{}
	w := newWorld(t, func(cfg *ServerConfig) { cfg.FastPath = fast; cfg.Rates.User = 1000 })
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	u.want(0, u.bindChannel(0x4000, peerX))
	if fast.calls != 0 {
		t.Errorf("flows %+v, want none", fast.open)
	}
}

// shifted has the fast path know that its server's clock has been put forward.
func (w *world) shifted() {
	if w.fast == nil {
		return
	}
	w.field.Do(func(now time.Time) {
		for _, f := range slices.Clone(w.fast.open) {
			w.fast.next.Open(now, f)
		}
	})
}
