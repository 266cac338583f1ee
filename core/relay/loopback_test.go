package relay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
)

func TestMain(m *testing.M) {
	siege.Enter()
	goleak.VerifyTestMain(m)
}

var loopback = netip.MustParseAddr("127.0.0.1")

// runLoop runs a machine over real sockets until the test ends.
func runLoop(t *testing.T, m sansio.Machine, onEvent func(sansio.Event)) *sansio.Loop {
	t.Helper()
	l := sansio.NewLoop(m, sansio.System(), func(_ time.Time, e sansio.Event) { onEvent(e) })
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Errorf("loop: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return l
}

// startServer runs a relay on a loopback port and gives its address.
func startServer(t *testing.T) (*Server, *sansio.Loop, netip.AddrPort) {
	t.Helper()
	s, err := NewServer(ServerConfig{
		Listen:         netip.AddrPortFrom(loopback, 0),
		RelayAddress:   loopback,
		Realm:          "test",
		Authenticators: []Authenticator{Users{"alice": "secret"}, SharedSecret("north")},
		AllowPeers:     prefixes("127.0.0.0/8"),
		DontFragment:   sansio.DontFragment,
		Rand:           rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	listening := make(chan netip.AddrPort, 1)
	l := runLoop(t, s, func(e sansio.Event) {
		switch e := e.(type) {
		case Listening:
			listening <- e.Addr
		case ListenFailed:
			t.Errorf("listen: %v", e.Err)
			close(listening)
		}
	})
	return s, l, await(t, listening, "the relay to listen")
}

// await receives from c, or fails after a time that no loopback needs.
func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatalf("waiting for %s: it failed", what)
		}
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited a minute for %s", what)
	}
	panic("not reached")
}

// clientMachine is the least owner of a Client: one socket, nothing else on it.
type clientMachine struct {
	sansio.Outbox
	*Client
}

func newClientMachine(server netip.AddrPort, user, password string) *clientMachine {
	m := &clientMachine{Client: NewClient(ClientConfig{
		Server: server, Username: user, Password: password, Rand: rand.Reader, Keepalive: time.Second,
	})}
	m.Bind(0, netip.AddrPortFrom(loopback, 0))
	return m
}

func (m *clientMachine) HandleBound(now time.Time, _ sansio.Socket, _ netip.AddrPort, err error) {
	if err != nil {
		m.Emit(AllocateFailed{Err: err})
		return
	}
	m.Start(now)
}

func (m *clientMachine) HandleDatagram(now time.Time, d sansio.Datagram) {
	m.Client.HandleDatagram(now, d.Remote, d.Payload)
}

func (m *clientMachine) HandleInterfaces(time.Time, []netip.Addr) {}

func (m *clientMachine) PollTransmit() (sansio.Datagram, bool) {
	to, payload, ok := m.Client.PollTransmit()
	return sansio.Datagram{Remote: to, Payload: payload}, ok
}

func (m *clientMachine) PollEvent() (sansio.Event, bool) {
	if e, ok := m.Outbox.PollEvent(); ok {
		return e, true
	}
	return m.Client.PollEvent()
}

// runningClient is a client over a real socket, its events sorted by kind.
type runningClient struct {
	*clientMachine
	loop      *sansio.Loop
	allocated chan Allocated
	permitted chan Permitted
	data      chan Data
}

func startClient(t *testing.T, server netip.AddrPort, user, password string) *runningClient {
	t.Helper()
	c := &runningClient{
		clientMachine: newClientMachine(server, user, password),
		allocated:     make(chan Allocated, 1),
		permitted:     make(chan Permitted, 16),
		data:          make(chan Data, 1<<16),
	}
	c.loop = runLoop(t, c.clientMachine, c.events(func(e sansio.Event) { t.Errorf("client at %s: %T %+v", server, e, e) }))
	return c
}

// events hands on what the client tells, what a test does not wait for to other.
func (c *runningClient) events(other func(sansio.Event)) func(sansio.Event) {
	return func(e sansio.Event) {
		switch e := e.(type) {
		case Allocated:
			c.allocated <- e
		case Permitted:
			c.permitted <- e
		case Data:
			c.data <- e
		default:
			other(e)
		}
	}
}

func (c *runningClient) permit(t *testing.T, peer netip.AddrPort) {
	t.Helper()
	c.loop.Do(func(now time.Time) { c.Permit(now, peer) })
	await(t, c.permitted, fmt.Sprintf("the permission of %s", peer))
}

// window is how many bytes are on their way at a time: no socket's buffer overflows,
// nor coturn's, which drops what comes for a client by TCP while 32 KiB wait for it.
const window = 16 << 10

// exchange sends numbered datagrams both ways, a window at a time, and checks that
// each arrives once. UDP keeps no order, not even on a loopback whose senders change
// processors.
func exchange(t *testing.T, a, b *runningClient, relayedA, relayedB netip.AddrPort, count, size int) {
	t.Helper()
	for start := 0; start < count; {
		n := min(window/size, 32, count-start)
		for _, way := range []struct {
			from *runningClient
			to   netip.AddrPort
		}{{a, relayedB}, {b, relayedA}} {
			way.from.loop.Do(func(now time.Time) {
				for i := range n {
					if err := way.from.Client.Send(now, way.to, numbered(start+i, size)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for _, way := range []struct {
			at   *runningClient
			from netip.AddrPort
		}{{b, relayedA}, {a, relayedB}} {
			missing := map[string]bool{}
			for i := range n {
				missing[string(numbered(start+i, size))] = true
			}
			for len(missing) > 0 {
				d := await(t, way.at.data, fmt.Sprintf("%d datagrams of %d to %d from %s", len(missing), start, start+n-1, way.from))
				if d.From != way.from || !missing[string(d.Payload)] {
					t.Fatalf("got %d bytes %x… from %s, want one of the datagrams %d to %d from %s that did not come yet", len(d.Payload), d.Payload[:min(4, len(d.Payload))], d.From, start, start+n-1, way.from)
				}
				delete(missing, string(d.Payload))
			}
		}
		start += n
	}
}

func numbered(n, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

func TestRelayOverRealSockets(t *testing.T) {
	server, loop, addr := startServer(t)
	user, password := SharedSecret("north").Credentials("bob", time.Now().Add(time.Hour))
	a, b := startClient(t, addr, "alice", "secret"), startClient(t, addr, user, password)
	relayedA, relayedB := await(t, a.allocated, "a's allocation").Relayed, await(t, b.allocated, "b's allocation").Relayed
	a.permit(t, relayedB)
	b.permit(t, relayedA)
	exchange(t, a, b, relayedA, relayedB, 2000, 1200)

	loop.Do(func(time.Time) {
		st := server.Stats()
		// Each datagram passes two allocations: out of one, into the other.
		if st.ToPeers != 4000 || st.ToClients != 4000 || st.ToClientsBytes != 4000*1200 || st.Channels != 2 {
			t.Errorf("%+v, want 4000 datagrams each way and two channels", st)
		}
	})
	a.loop.Do(func(now time.Time) { a.Close(now) })
	for deadline := time.Now().Add(time.Minute); ; {
		left := 0
		loop.Do(func(time.Time) { left = server.Stats().Allocations })
		if left == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d allocations after a's Close, want 1", left)
		}
	}
}

func TestRelayedSocketThatIsBusy(t *testing.T) {
	// Another program owns one of two ports: the relay takes the other one.
	network := sansio.System()
	taken, err := network.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := netip.MustParseAddrPort(taken.LocalAddr().String()).Port()
	s, err := NewServer(ServerConfig{
		Listen: netip.AddrPortFrom(loopback, 0), RelayAddress: loopback,
		PortLow: busy, PortHigh: busy + 1, Realm: "test",
		Authenticators: []Authenticator{Users{"alice": "secret"}}, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	listening := make(chan netip.AddrPort, 1)
	runLoop(t, s, func(e sansio.Event) {
		if l, ok := e.(Listening); ok {
			listening <- l.Addr
		}
	})
	// The next port may be somebody else's by chance; then 508 is right.
	m := newClientMachine(await(t, listening, "the relay to listen"), "alice", "secret")
	result := make(chan sansio.Event, 8)
	runLoop(t, m, func(e sansio.Event) { result <- e })
	switch e := await(t, result, "the allocation").(type) {
	case Allocated:
		if e.Relayed.Port() != busy+1 {
			t.Errorf("relayed port %d, want %d", e.Relayed.Port(), busy+1)
		}
	case AllocateFailed:
		probe, err := network.ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(loopback, busy+1).String())
		if err == nil {
			probe.Close()
			t.Errorf("allocation failed (%v) though port %d is free", e.Err, busy+1)
		}
	default:
		t.Errorf("%T %+v", e, e)
	}
}

func TestListenFailureIsAnEvent(t *testing.T) {
	taken, err := sansio.System().ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s, err := NewServer(ServerConfig{
		Listen: netip.MustParseAddrPort(taken.LocalAddr().String()), RelayAddress: loopback,
		Authenticators: []Authenticator{Users{"alice": "secret"}}, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	runLoop(t, s, func(e sansio.Event) {
		if f, ok := e.(ListenFailed); ok {
			failed <- f.Err
		}
	})
	if err := await(t, failed, "the failure"); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the reason", err)
	}
}
