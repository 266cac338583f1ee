package rendezvous

import (
	"context"
	"crypto/rand"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/freeport"
	"p2pmodel/core/identity"
	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
	"p2pmodel/core/stun"
)

func TestMain(m *testing.M) {
	siege.Enter()
	goleak.VerifyTestMain(m)
}

const patience = time.Minute

// real is a machine on this computer's loopback.
type real struct {
	*sansio.Loop
	events chan sansio.Event
}

func runReal(t *testing.T, m sansio.Machine) real {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := real{events: make(chan sansio.Event, 100)}
	r.Loop = sansio.NewLoop(m, sansio.System(), func(_ time.Time, e sansio.Event) { r.events <- e })
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return r
}

// next waits for an event of a type.
func next[E any](t *testing.T, r real) E {
	t.Helper()
	for {
		select {
		case e := <-r.events:
			if e, ok := e.(E); ok {
				return e
			}
		case <-time.After(patience):
			var none E
			t.Fatalf("no %T came", none)
			return none
		}
	}
}

// startReal starts a rendezvous on loopback; a port that was taken meanwhile, or is
// by somebody of 127.0.0.2, makes it try others.
func startReal(t *testing.T) (address netip.AddrPort, key identity.ID) {
	t.Helper()
	for range 10 {
		listen, alternate := freeport.Of(t), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), freeport.Of(t).Port())
		k, err := identity.NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(ServerConfig{Listen: listen, Alternate: alternate, Key: k, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		r := runReal(t, s)
		select {
		case e := <-r.events:
			if l, ok := e.(Listening); ok {
				return l.Listen, s.ID()
			}
		case <-time.After(patience):
			t.Fatal("the server does not start")
		}
	}
	t.Fatal("found no free ports on 127.0.0.1 and 127.0.0.2")
	return
}

// The same machines as in simulated time, over the kernel's sockets.
func TestOverRealSockets(t *testing.T) {
	server, serverKey := startReal(t)
	var peers []*peer
	var loops []real
	for range 2 {
		key, err := identity.NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{client: NewClient(ClientConfig{Server: server, ServerKey: &serverKey, Key: key, Rand: rand.Reader})}
		r := runReal(t, p)
		r.Do(func(now time.Time) {
			_ = p.client.SetOffer(now, []byte("hello"))
			p.Bind(0, netip.MustParseAddrPort("127.0.0.1:0"))
		})
		if e := next[Registered](t, r); e.Reflexive.Addr() != netip.MustParseAddr("127.0.0.1") || e.RTT <= 0 {
			t.Errorf("registered: %+v", e)
		}
		peers, loops = append(peers, p), append(loops, r)
	}
	session := SessionID{1, 2, 3}
	loops[0].Do(func(now time.Time) {
		peers[0].client.Connect(now, peers[1].client.cfg.Key.ID(), session)
		peers[0].drain()
	})
	for i, r := range loops {
		e := next[Introduced](t, r)
		if e.Session != session || string(e.Offer) != "hello" || e.Peer != peers[1-i].client.cfg.Key.ID() || e.Initiator != (i == 0) {
			t.Errorf("peer %d: %+v", i, e)
		}
	}
	d := runReal(t, NewDiscovery(server, rand.Reader, stun.Schedule{}))
	if e := next[Discovered](t, d); e.Err != nil || e.Mapping != EndpointIndependent || e.Filtering != EndpointIndependent {
		t.Errorf("discovery on loopback: %+v", e)
	}
}
