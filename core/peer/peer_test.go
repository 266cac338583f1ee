package peer_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
)

func TestMain(m *testing.M) {
	siege.Enter()
	goleak.VerifyTestMain(m)
}

// servers are a rendezvous and a relay on the loopback interface.
type servers struct {
	rendezvous, relay netip.AddrPort
	stop              func()
}

// startServers runs both until stop is called.
func startServers(ctx context.Context) (s servers, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	s.stop = func() { cancel(); running.Wait() }
	run := func(m sansio.Machine, listening func(sansio.Event) (netip.AddrPort, error)) (netip.AddrPort, error) {
		type result struct {
			addr netip.AddrPort
			err  error
		}
		ready := make(chan result, 1)
		loop := sansio.NewLoop(m, sansio.System(), func(_ time.Time, e sansio.Event) {
			if addr, err := listening(e); addr.IsValid() || err != nil {
				ready <- result{addr, err}
			}
		})
		running.Add(1)
		go func() {
			defer running.Done()
			if err := loop.Run(ctx); err != nil {
				ready <- result{err: err}
			}
		}()
		r := <-ready
		return r.addr, r.err
	}
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		return s, err
	}
	introducer, err := rendezvous.NewServer(rendezvous.ServerConfig{Listen: loopback, Key: key, Rand: rand.Reader})
	if err != nil {
		return s, err
	}
	turn, err := relay.NewServer(relay.ServerConfig{
		Listen: loopback, RelayAddress: loopback.Addr(), Rand: rand.Reader,
		Authenticators: []relay.Authenticator{relay.Users{"user": "secret"}},
		AllowPeers:     []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		return s, err
	}
	s.rendezvous, err = run(introducer, func(e sansio.Event) (netip.AddrPort, error) {
		switch e := e.(type) {
		case rendezvous.Listening:
			return e.Listen, nil
		case rendezvous.ListenFailed:
			return netip.AddrPort{}, e.Err
		}
		return netip.AddrPort{}, nil
	})
	if err != nil {
		return s, err
	}
	s.relay, err = run(turn, func(e sansio.Event) (netip.AddrPort, error) {
		switch e := e.(type) {
		case relay.Listening:
			return e.Addr, nil
		case relay.ListenFailed:
			return netip.AddrPort{}, e.Err
		}
		return netip.AddrPort{}, nil
	})
	return s, err
}

// loopbackOnly is the machine's network without addresses but the loopback's,
// so that tests do not depend on where they run.
type loopbackOnly struct{ sansio.Network }

func (loopbackOnly) Addresses() ([]netip.Addr, error) { return nil, nil }

// start runs a peer at the servers.
func (s servers) start(ctx context.Context, change func(*peer.Config)) (*peer.Peer, error) {
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	cfg := peer.Config{
		Key: key, Rand: rand.Reader, Rendezvous: s.rendezvous,
		Relay: &peer.RelayConfig{Server: s.relay, Username: "user", Password: "secret"},
	}
	if change != nil {
		change(&cfg)
	}
	return peer.New(ctx, cfg, loopbackOnly{sansio.System()})
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (s servers) mustStart(t *testing.T, change func(*peer.Config)) *peer.Peer {
	t.Helper()
	p, err := s.start(testContext(t), change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func mustServers(t *testing.T) servers {
	t.Helper()
	s, err := startServers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// TestOverLoopback: real sockets, real servers, datagrams both ways, each path.
func TestOverLoopback(t *testing.T) {
	s := mustServers(t)
	for _, want := range []peer.PathKind{peer.Direct, peer.Relay} {
		t.Run(want.String(), func(t *testing.T) {
			ctx := testContext(t)
			techniques := func(c *peer.Config) { c.Techniques.RelayOnly = want == peer.Relay }
			a, b := s.mustStart(t, techniques), s.mustStart(t, techniques)
			type accepted struct {
				c   *peer.Conn
				err error
			}
			incoming := make(chan accepted, 1)
			go func() {
				c, err := b.Accept(ctx)
				incoming <- accepted{c, err}
			}()
			ca, err := a.Dial(ctx, b.ID())
			if err != nil {
				t.Fatal(err)
			}
			in := <-incoming
			if in.err != nil {
				t.Fatal(in.err)
			}
			cb := in.c
			if cb.Peer() != a.ID() || ca.Session() != cb.Session() {
				t.Errorf("accepted %v in session %v, dialled by %v in %v", cb.Peer(), cb.Session(), a.ID(), ca.Session())
			}
			waitForPath(ctx, t, ca, want)
			waitForPath(ctx, t, cb, want)
			for i := range 50 {
				text := fmt.Sprintf("datagram %d", i)
				if err := ca.Send([]byte(text)); err != nil {
					t.Fatal(err)
				}
				got, err := cb.Receive(ctx)
				if err != nil || string(got) != text {
					t.Fatalf("received %q, %v; want %q", got, err, text)
				}
				if err := cb.Send(got); err != nil {
					t.Fatal(err)
				}
				if got, err := ca.Receive(ctx); err != nil || string(got) != text {
					t.Fatalf("received %q, %v; want the answer %q", got, err, text)
				}
			}
			if again, err := a.Dial(ctx, b.ID()); err != nil || again != ca {
				t.Errorf("dialling again gives another connection (%v)", err)
			}
			ca.Close()
			if _, err := cb.Receive(ctx); !errors.Is(err, peer.ErrClosedByPeer) {
				t.Errorf("after the peer closed: error %v, want ErrClosedByPeer", err)
			}
			if err := ca.Send(nil); !errors.Is(err, peer.ErrClosed) {
				t.Errorf("sending on a closed connection: error %v, want ErrClosed", err)
			}
		})
	}
}

// waitForPath waits until checks are over, with a path of the wanted kind.
func waitForPath(ctx context.Context, t *testing.T, c *peer.Conn, want peer.PathKind) {
	t.Helper()
	for {
		select {
		case e, open := <-c.Events():
			if !open {
				t.Fatal("the connection ended")
			}
			if settled, ok := e.(peer.Settled); ok {
				if settled.Path.Kind != want || c.Path().Kind != want {
					t.Fatalf("settled with %v, the path is %v; want %v", settled.Path, c.Path(), want)
				}
				return
			}
		case <-ctx.Done():
			t.Fatalf("no path of kind %v: %v; the path is %v", want, ctx.Err(), c.Path())
		}
	}
}

func TestDialErrors(t *testing.T) {
	s := mustServers(t)
	p := s.mustStart(t, nil)
	nobody, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = p.Dial(ctx, nobody.ID())
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, peer.ErrUnknownPeer) {
		t.Errorf("dialling nobody: error %v, want DeadlineExceeded and ErrUnknownPeer", err)
	}
	if _, err := p.Dial(t.Context(), p.ID()); !errors.Is(err, peer.ErrSelf) {
		t.Errorf("dialling oneself: error %v, want ErrSelf", err)
	}
	if _, err := p.Join(t.Context(), ""); err == nil {
		t.Error("joining a room without a name: no error")
	}
	p.Close()
	if _, err := p.Dial(t.Context(), nobody.ID()); !errors.Is(err, peer.ErrClosed) {
		t.Errorf("dialling with a closed peer: error %v, want ErrClosed", err)
	}
	if _, err := p.Accept(t.Context()); !errors.Is(err, peer.ErrClosed) {
		t.Errorf("accepting with a closed peer: error %v, want ErrClosed", err)
	}
}

func TestNewErrors(t *testing.T) {
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := peer.Config{Key: key, Rand: rand.Reader, Rendezvous: netip.MustParseAddrPort("127.0.0.1:9")}
	for name, change := range map[string]func(*peer.Config){
		"no key":        func(c *peer.Config) { c.Key = identity.Key{} },
		"no rendezvous": func(c *peer.Config) { c.Rendezvous = netip.AddrPort{} },
		"empty relay":   func(c *peer.Config) { c.Relay = &peer.RelayConfig{} },
	} {
		cfg := good
		change(&cfg)
		if _, err := peer.New(t.Context(), cfg, sansio.System()); !errors.Is(err, peer.ErrConfig) {
			t.Errorf("%s: error %v, want ErrConfig", name, err)
		}
	}
	plain := good // the system's randomness and network
	plain.Rand, plain.Listen = nil, netip.MustParseAddrPort("127.0.0.1:0")
	p, err := peer.New(t.Context(), plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	cfg := good
	cfg.Listen = netip.MustParseAddrPort("240.0.0.7:0") // nobody's, in the network of siege neither
	if p, err := peer.New(t.Context(), cfg, sansio.System()); err == nil {
		p.Close()
		t.Error("listening on a foreign address: no error")
	}
}

// TestContextEndsEverything: whoever waits is woken.
func TestContextEndsEverything(t *testing.T) {
	s := mustServers(t)
	ctx, cancel := context.WithCancel(t.Context())
	a, err := s.start(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := s.mustStart(t, nil)
	c, err := a.Dial(testContext(t), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Accept(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := c.Receive(t.Context()); !errors.Is(err, peer.ErrClosed) {
		t.Errorf("receiving when the context ended: error %v, want ErrClosed", err)
	}
	if _, err := other.Receive(testContext(t)); !errors.Is(err, peer.ErrClosedByPeer) {
		t.Errorf("the peer was told %v, want ErrClosedByPeer", err)
	}
	a.Close()
}

func TestMeshOverLoopback(t *testing.T) {
	s := mustServers(t)
	ctx := testContext(t)
	const size = 4
	var rooms []*peer.Room
	for range size {
		p := s.mustStart(t, nil)
		r, err := p.Join(ctx, "game")
		if err != nil {
			t.Fatal(err)
		}
		rooms = append(rooms, r)
	}
	for _, r := range rooms {
		for range size - 1 {
			if _, err := r.Next(ctx); err != nil {
				t.Fatalf("%d members connected: %v", len(r.Conns()), err)
			}
		}
		if err := r.Send([]byte("hello")); err != nil {
			t.Error(err)
		}
	}
	for _, r := range rooms {
		if len(r.Conns()) != size-1 || len(r.Members()) != size-1 {
			t.Errorf("%d connections and %d members, want %d", len(r.Conns()), len(r.Members()), size-1)
		}
		for _, c := range r.Conns() {
			if got, err := c.Receive(ctx); err != nil || string(got) != "hello" {
				t.Errorf("received %q, %v", got, err)
			}
		}
	}
	last := rooms[0].Conns()[0]
	rooms[0].Leave()
	if _, err := last.Receive(ctx); err == nil {
		t.Error("a connection of a room that was left still gives datagrams")
	}
	if _, err := rooms[0].Next(ctx); !errors.Is(err, peer.ErrClosed) {
		t.Errorf("next member of a room that was left: error %v, want ErrClosed", err)
	}
}
