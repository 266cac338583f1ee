package relay

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/freeport"
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
	c.loop = runLoop(t, sansio.Streams(m, sansio.StreamConfig{Roots: roots}), func(e sansio.Event) {
		switch e := e.(type) {
		case Allocated:
			c.allocated <- e
		case Permitted:
			c.permitted <- e
		case Data:
			c.data <- e
		default:
			t.Errorf("client at %s over %s: %T %+v", server, tr, e, e)
		}
	})
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
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
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

// TestCoturnClientOverStreams holds both transports against coturn's client.
func TestCoturnClientOverStreams(t *testing.T) {
	uclient := coturn(t, "turnutils_uclient")
	for _, c := range []struct {
		name   string
		secure bool
		args   []string
	}{
		{"TCP, channels", false, []string{"-t", "-y", "-c"}},
		{"TCP, indications", false, []string{"-t", "-y", "-c", "-s"}},
		{"TCP, padded by the client", false, []string{"-t", "-y", "-c", "-D"}},
		{"TLS, channels", true, []string{"-t", "-S", "-y", "-c"}},
		{"TLS, indications", true, []string{"-t", "-S", "-y", "-c", "-s"}},
		{"TLS, with RTCP connections", true, []string{"-t", "-S", "-y"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, loop, at, _ := startStreamServer(t)
			addr := at.TCP
			if c.secure {
				addr = at.TLS
			}
			const clients, messages = 2, 50
			args := append(c.args, "-u", "alice", "-w", "secret", "-p", strconv.Itoa(int(addr.Port())), "-m", strconv.Itoa(clients),
				"-n", strconv.Itoa(messages), "-l", "171", addr.Addr().String())
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, uclient, args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", uclient, strings.Join(args, " "), err, out)
			}
			if lost := uclientLoss.FindSubmatch(out); lost == nil || string(lost[1]) != "0" {
				t.Errorf("%s %s lost packets:\n%s", uclient, strings.Join(args, " "), out)
			}
			loop.Do(func(time.Time) {
				if st := server.Stats(); st.ToPeers < clients*messages || st.ToClients < clients*messages {
					t.Errorf("%d datagrams to peers and %d to clients, want at least %d each", st.ToPeers, st.ToClients, clients*messages)
				}
			})
		})
	}
}

// TestOurClientThroughCoturnOverStreams is the other way round.
func TestOurClientThroughCoturnOverStreams(t *testing.T) {
	turnserver := coturn(t, "turnserver")
	pair, roots := loopbackCertificate(t)
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tcp, secure := freeport.Of(t), freeport.Of(t)
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, turnserver, "-n", "--no-cli", "--no-dtls",
		"--listening-ip", tcp.Addr().String(), "--listening-port", strconv.Itoa(int(tcp.Port())), "--tls-listening-port", strconv.Itoa(int(secure.Port())),
		"--cert", filepath.Join(dir, "cert.pem"), "--pkey", filepath.Join(dir, "key.pem"),
		"--relay-ip", tcp.Addr().String(), "--allow-loopback-peers",
		"--lt-cred-mech", "--user", "alice:secret", "--realm", "test", "--log-file", "stdout",
		"--userdb", filepath.Join(dir, "turndb"), "--pidfile", filepath.Join(dir, "pid"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ends by the signal
		if t.Failed() {
			t.Logf("coturn said:\n%s", &log)
		}
	})
	for _, row := range []struct {
		tr sansio.Transport
		at netip.AddrPort
	}{{sansio.TCP, tcp}, {sansio.TLS, secure}} {
		t.Run(row.tr.String(), func(t *testing.T) {
			// They connect again until coturn is up.
			a, b := startStreamClient(t, row.tr, row.at, roots), startStreamClient(t, row.tr, row.at, roots)
			relayedA, relayedB := await(t, a.allocated, "a's allocation").Relayed, await(t, b.allocated, "b's allocation").Relayed
			a.permit(t, relayedB)
			b.permit(t, relayedA)
			exchange(t, a, b, relayedA, relayedB, 300, 1001)
			for _, c := range []*runningClient{a, b} {
				c.loop.Do(func(now time.Time) { c.Close(now) })
			}
		})
	}
}
