//go:build linux

package foreign_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/sim"
)

var quicConfig = &quic.Config{InitialPacketSize: peer.MaxPayload, DisablePathMTUDiscovery: true, KeepAlivePeriod: time.Second}

// quicTLS proves nothing: the connection beneath does.
func quicTLS(t *testing.T) *tls.Config {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, NextProtos: []string{"file"}, InsecureSkipVerify: true}
}

// TestQUICOverConn: quic-go carries a file between two peers behind NATs, directly and
// over the relay, and one router reboots meanwhile; and what an application says
// without QUIC is in no packet either.
func TestQUICOverConn(t *testing.T) {
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	for _, c := range []struct {
		nat  string
		want peer.PathKind
	}{{"port-restricted", peer.Direct}, {"symmetric", peer.Relay}} {
		t.Run(c.nat, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			l := stand(t, fmt.Sprintf(`
lab:
  routers: {nat-a: {nat: %[1]s}, nat-b: {nat: %[1]s}}
  hosts: {a: {behind: nat-a}, b: {behind: nat-b}, rendezvous: {addresses: 2}, relay: {}}
  links: {a: {delay: 5ms}, b: {delay: 5ms}}
`, c.nat))
			_, introducer := l.rendezvous("rendezvous")
			_, turn := l.relay("relay")
			start := func(name string) *peer.Peer {
				host, err := l.Host(name)
				if err != nil {
					t.Fatal(err)
				}
				key, err := identity.NewKey(rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				p, err := peer.New(ctx, peer.Config{
					Key: key, Rendezvous: introducer,
					Relay:     &peer.RelayConfig{Server: turn, Username: turnUser, Password: turnPassword},
					Keepalive: 500 * time.Millisecond, Consent: 500 * time.Millisecond, DeadAfter: time.Second,
					Techniques: peer.Plain,
				}, host)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.Close)
				return p
			}
			a, b := start("a"), start("b")
			accepted := make(chan *peer.Conn, 1)
			go func() {
				conn, _ := b.Accept(ctx)
				accepted <- conn
			}()
			out, err := a.Dial(ctx, b.ID())
			if err != nil {
				t.Fatal(err)
			}
			in := <-accepted
			if in == nil {
				t.Fatal("nothing was accepted")
			}
			plain := []byte("what the application says, in plain words")
			if err := out.Send(plain); err != nil {
				t.Fatal(err)
			}
			if got, err := in.Receive(ctx); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("received %q, %v", got, err)
			}

			file := make([]byte, 4<<20)
			_, _ = rand.Read(file)
			halfway := make(chan struct{})
			sent := make(chan error, 1)
			server := &quic.Transport{Conn: in}
			listener, err := server.Listen(quicTLS(t), quicConfig)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				sent <- func() error {
					session, err := listener.Accept(ctx)
					if err != nil {
						return err
					}
					stream, err := session.OpenUniStreamSync(ctx)
					if err != nil {
						return err
					}
					if _, err := stream.Write(file[:len(file)/2]); err != nil {
						return err
					}
					close(halfway)
					if _, err := stream.Write(file[len(file)/2:]); err != nil {
						return err
					}
					return stream.Close()
				}()
			}()
			client := &quic.Transport{Conn: out}
			session, err := client.Dial(ctx, out.RemoteAddr(), quicTLS(t), quicConfig)
			if err != nil {
				t.Fatal(err)
			}
			stream, err := session.AcceptUniStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan []byte, 1)
			go func() {
				b, err := io.ReadAll(stream)
				if err != nil {
					t.Error(err)
				}
				got <- b
			}()
			<-halfway
			if _, err := sim.NewDirector(l.Network).Apply(ctx, sim.Event{Kind: sim.EventReboot, Router: "nat-a"}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(<-got, file) {
				t.Error("the file is not what it was")
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if kind := out.Path().Kind; kind != c.want {
				t.Errorf("the path is %v, want %v", kind, c.want)
			}
			_ = session.CloseWithError(0, "")
			_ = client.Close()
			_ = server.Close()
			for _, p := range l.Packets() {
				if bytes.Contains(p.Payload, plain[:16]) {
					t.Fatalf("%v can be read on the wire", p)
				}
			}
			if len(l.Packets()) == 0 {
				t.Error("no packet was captured: the test proves nothing")
			}
		})
	}
}
