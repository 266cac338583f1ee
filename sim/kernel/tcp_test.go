//go:build linux

package kernel_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// certificate makes one for an address.
func certificate(tb testing.TB, addr netip.Addr) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agent"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{addr.AsSlice()}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TLS works from behind every NAT to a server behind a firewall, and carries
// more than a window.
func TestTLSThroughNATsAndFirewalls(t *testing.T) {
	for _, p := range nat.Presets() {
		t.Run(p.Name, func(t *testing.T) {
			n := stand(t, fmt.Sprintf(`
lab:
  routers:
    home: {nat: %s}
    dmz: {firewall: {inbound: replies, allow: [{to: agent, tcp: [443]}], outbound: none}}
  hosts:
    client: {behind: home}
    agent: {behind: dmz}
  links:
    home: {delay: 5ms, jitter: 1ms}
`, p.Name))
			addr := addressOf(n, "agent")
			cert, roots := certificate(t, addr)
			l, err := host(t, n, "agent").Listen(t.Context(), "tcp4", ":443")
			if err != nil {
				t.Fatal(err)
			}
			server := tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
			go func() {
				for {
					conn, err := server.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						_, _ = io.Copy(conn, conn)
					}()
				}
			}()
			raw, err := host(t, n, "client").Dial(t.Context(), "tcp4", netip.AddrPortFrom(addr, 443).String())
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: addr.String()})
			defer conn.Close()
			const size = 4 << 20
			go func() { _, _ = conn.Write(make([]byte, size)) }()
			_ = conn.SetReadDeadline(time.Now().Add(4 * patient))
			if got, err := io.CopyN(io.Discard, conn, size); err != nil {
				t.Errorf("%d of %d bytes came back: %v", got, size, err)
			}
		})
	}
}

// An idle connection outlives the timeout of the NAT's UDP mappings (RFC 5382
// REQ-5).
func TestIdleConnectionsOutliveTheTimeout(t *testing.T) {
	n := stand(t, `
lab:
  routers:
    home: {nat: {preset: symmetric, timeout: 200ms}}
  hosts: {client: {behind: home}, server: }
`)
	tcpServer(t, host(t, n, "server"), 4222)
	conn := connection(t, n, "client", "server")
	time.Sleep(600 * time.Millisecond)
	if err := converse(conn, patient); err != nil {
		t.Errorf("after three timeouts of silence: %v", err)
	}
}

// TCP is fast over a link that delays and loses little.
func TestStreamsOverImpairedLinks(t *testing.T) {
	n := stand(t, `
lab:
  hosts: {client: , server: }
  links:
    client: {delay: 10ms, jitter: 2ms, loss: 0.1%, rate: 100Mbit}
`)
	tcpServer(t, host(t, n, "server"), 4222)
	conn := connection(t, n, "client", "server")
	const size = 8 << 20
	began := time.Now()
	go func() { _, _ = conn.Write(make([]byte, size)) }()
	_ = conn.SetDeadline(time.Now().Add(6 * patient))
	if _, err := io.CopyN(io.Discard, conn, size); err != nil {
		t.Fatal(err)
	}
	rate := float64(size) * 8 / 1e6 / time.Since(began).Seconds()
	t.Logf("%.1f Mbit/s there and back", rate)
	if rate < 5 {
		t.Errorf("%.1f Mbit/s over 100 Mbit with 20 ms and 0.1%% loss", rate)
	}
}

const wanderer = `
lab:
  routers:
    house: {nat: port-restricted-cone}
    carrier: {nat: symmetric}
  hosts:
    phone: {uplinks: {wifi: {behind: house}, 4g: {behind: carrier}}, active: wifi}
    server:
`

// Who moves loses the connections of the address that is gone at once, as on a
// phone; a new one works.
func TestConnectionsEndWithTheirAddress(t *testing.T) {
	n := stand(t, wanderer)
	tcpServer(t, host(t, n, "server"), 4222)
	conn := connection(t, n, "phone", "server")
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	phone := host(t, n, "phone")
	if err := phone.Move("4g"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-read:
		if !errors.Is(err, unix.ECONNABORTED) {
			t.Errorf("who reads gets %v, want ECONNABORTED", err)
		}
	case <-time.After(patient):
		t.Error("who reads was not told that the address is gone")
	}
	after := connection(t, n, "phone", "server")
	if err := phone.Move("4g"); err != nil { // to where it is
		t.Fatal(err)
	}
	if err := converse(after, patient); err != nil {
		t.Errorf("a connection of the present address: %v", err)
	}
}

// Many who dial what does not answer are let go when their contexts end, and
// leave nothing.
func TestDialsEndWithTheirContext(t *testing.T) {
	n := stand(t, pair)
	nobody := netip.AddrPortFrom(addressOf(n, "relay"), 443).String()
	l, err := n.Link(sim.LinkID{Node: "relay"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Cut(); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	var dials sync.WaitGroup
	for range 100 {
		dials.Go(func() {
			conn, err := host(t, n, "a").Dial(ctx, "tcp4", nobody)
			if err == nil {
				conn.Close()
				t.Error("a connection over a cut link")
			}
		})
	}
	began := time.Now()
	dials.Wait()
	if took := time.Since(began); took > patient {
		t.Errorf("dials ended %v after they began, and their context after %v", took, brief)
	}
	soon(t, "the goroutines of the dials are gone", func() bool { return runtime.NumGoroutine() <= before })
}
