package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/core/sansio"
)

// loopbackCertificate is one for the loopback address, and who trusts it.
func loopbackCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), relayAddr.AsSlice()}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

// startStreamServer is startServer with TCP and TLS.
func startStreamServer(t *testing.T) (*Server, *sansio.Loop, Listening, *x509.CertPool) {
	t.Helper()
	pair, roots := loopbackCertificate(t)
	any := netip.AddrPortFrom(loopback, 0)
	s, err := NewServer(ServerConfig{
		Listen: any, TCP: any, TLS: any, RelayAddress: loopback, Realm: "test",
		Authenticators: []Authenticator{Users{"alice": "secret"}, SharedSecret("north")},
		AllowPeers:     prefixes("127.0.0.0/8"), Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	listening := make(chan Listening, 1)
	machine := sansio.Streams(s, sansio.StreamConfig{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
	})
	l := runLoop(t, machine, func(e sansio.Event) {
		if e, ok := e.(Listening); ok {
			listening <- e
		}
	})
	return s, l, await(t, listening, "the relay to listen"), roots
}

// streamOwner is the least owner of a Client that goes by a stream. It connects
// again when that ends, or comes to nothing.
type streamOwner struct {
	*clientMachine
	transport sansio.Transport
	server    netip.AddrPort
	again     time.Time
}

const ownStream sansio.Socket = 1

func (m *streamOwner) connect() { m.Outbox.Connect(ownStream, m.transport, m.server, "") }

func (m *streamOwner) HandleBound(now time.Time, s sansio.Socket, _ netip.AddrPort, err error) {
	switch {
	case s != ownStream: // the socket of clientMachine, which is not needed here
	case err != nil:
		m.again = now.Add(50 * time.Millisecond)
	default:
		m.Start(now)
	}
}

func (m *streamOwner) HandleAccepted(time.Time, sansio.Socket, netip.AddrPort) {}

func (m *streamOwner) HandleClosed(now time.Time, _ sansio.Socket, _ netip.AddrPort, _ error) {
	m.again = now.Add(50 * time.Millisecond)
}

func (m *streamOwner) HandleTimeout(now time.Time) {
	m.Client.HandleTimeout(now)
	if due(now, m.again) {
		m.again = time.Time{}
		m.connect()
	}
}

func (m *streamOwner) PollTimeout() time.Time { return earlier(m.Client.PollTimeout(), m.again) }

func (m *streamOwner) PollTransmit() (sansio.Datagram, bool) {
	to, payload, ok := m.Client.PollTransmit()
	return sansio.Datagram{Socket: ownStream, Remote: to, Payload: payload}, ok
}

func startStreamClient(t *testing.T, tr sansio.Transport, server netip.AddrPort, roots *x509.CertPool) *runningClient {
	t.Helper()
	c := &runningClient{
		clientMachine: newClientMachine(server, "alice", "secret"),
		allocated:     make(chan Allocated, 1), permitted: make(chan Permitted, 16), data: make(chan Data, 1<<16),
	}
	m := &streamOwner{clientMachine: c.clientMachine, transport: tr, server: server}
	m.connect()
	c.loop = runLoop(t, sansio.Streams(m, sansio.StreamConfig{Roots: roots}), c.events(func(e sansio.Event) {
		t.Errorf("client at %s over %s: %T %+v", server, tr, e, e)
	}))
	return c
}

// TestRelayedOverStreams: each transport to each, indications and channels, sizes
// that are padded on a stream and that are not.
func TestRelayedOverStreams(t *testing.T) {
	server, loop, at, roots := startStreamServer(t)
	start := func(tr sansio.Transport) *runningClient {
		switch tr {
		case sansio.TCP:
			return startStreamClient(t, tr, at.TCP, roots)
		case sansio.TLS:
			return startStreamClient(t, tr, at.TLS, roots)
		}
		return startClient(t, at.Addr, "alice", "secret")
	}
	for _, row := range [][2]sansio.Transport{
		{sansio.TCP, sansio.TCP}, {sansio.TLS, sansio.TLS}, {sansio.TLS, sansio.UDP}, {sansio.TCP, sansio.TLS},
	} {
		t.Run(row[0].String()+" to "+row[1].String(), func(t *testing.T) {
			a, b := start(row[0]), start(row[1])
			relayedA, relayedB := await(t, a.allocated, "a's allocation").Relayed, await(t, b.allocated, "b's allocation").Relayed
			a.permit(t, relayedB)
			b.permit(t, relayedA)
			for _, size := range []int{1001, 1000, 5, 1200} {
				exchange(t, a, b, relayedA, relayedB, 100, size)
			}
			for _, c := range []*runningClient{a, b} {
				c.loop.Do(func(now time.Time) { c.Close(now) })
			}
		})
	}
	// What was given back, or closed, is no more.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		var st Stats
		loop.Do(func(time.Time) { st = server.Stats() })
		if st.Allocations == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d allocations are left", st.Allocations)
		}
	}
}

// TestAllocationEndsWithItsStream: but for one with a ticket.
func TestAllocationEndsWithItsStream(t *testing.T) {
	server, loop, at, _ := startStreamServer(t)
	c := startStreamClient(t, sansio.TCP, at.TCP, nil)
	await(t, c.allocated, "the allocation")
	var key flow
	loop.Do(func(time.Time) {
		for f, a := range server.allocations {
			key = f
			if a.via != tcpSocket || a.client.Addr() != loopback {
				t.Errorf("the allocation is of socket %d and %v", a.via, a.client)
			}
		}
		a := server.allocations[key]
		a.tickets[0] = ticket{1}
		server.HandleClosed(time.Now(), a.via, a.client, nil)
		if server.allocations[key] == nil {
			t.Error("an allocation with a ticket ended with its stream")
		}
		a.tickets[0] = ticket{}
		server.HandleClosed(time.Now(), a.via, a.client, nil)
		if server.allocations[key] != nil {
			t.Error("an allocation outlived its stream")
		}
	})
}
