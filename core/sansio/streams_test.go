package sansio

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"p2pmodel/core/freeport"
)

// switchboard is echo with streams.
type switchboard struct {
	echo
	mute bool // answers nothing
}

type acceptedEvent struct {
	socket Socket
	remote netip.AddrPort
}

type closedEvent struct {
	socket Socket
	remote netip.AddrPort
	err    error
}

type heardEvent struct {
	transport Transport
	remote    netip.AddrPort
	payload   string
}

func (s *switchboard) HandleAccepted(_ time.Time, k Socket, remote netip.AddrPort) {
	s.Emit(acceptedEvent{k, remote})
}

func (s *switchboard) HandleClosed(_ time.Time, k Socket, remote netip.AddrPort, err error) {
	s.Emit(closedEvent{k, remote, err})
}

func (s *switchboard) HandleDatagram(now time.Time, d Datagram) {
	if s.mute {
		s.Emit(heardEvent{d.Transport, d.Remote, string(d.Payload)})
		return
	}
	s.echo.HandleDatagram(now, d)
}

// certificate is one for names, that trusts itself.
func certificate(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
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

// serving runs a switchboard that listens, and gives where.
func serving(t *testing.T, m *switchboard, tr Transport, c StreamConfig) (running, netip.AddrPort) {
	t.Helper()
	l := run(t, Streams(m, c), System())
	l.Do(func(time.Time) { m.Listen(1, tr, loopback) })
	e, ok := l.next(t).(boundEvent)
	if !ok || e.err != nil {
		t.Fatalf("listen: %+v", e)
	}
	return l, e.local
}

func dialTCP(t *testing.T, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// want waits for an event of a kind.
func want[E any](t *testing.T, l running) E {
	t.Helper()
	e, ok := l.next(t).(E)
	if !ok {
		t.Fatalf("got %+v, want %T", e, e)
	}
	return e
}

func echoed(t *testing.T, c net.Conn, message []byte) {
	t.Helper()
	on, _ := appendFrame(nil, message, DefaultMaxFrame)
	if _, err := c.Write(on); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(on))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, on) {
		t.Fatalf("sent %x, got %x back, %v", on, got, err)
	}
}

// gone waits until the other side has closed a connection.
func gone(t *testing.T, c net.Conn) {
	t.Helper()
	n, err := io.Copy(io.Discard, c)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the connection still stands after %v (%d bytes came)", patience, n)
	}
}

func TestStreamsComeAndGo(t *testing.T) {
	pair, roots := certificate(t, "relay.example", "127.0.0.1")
	give := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
	for _, tr := range []Transport{TCP, TLS} {
		t.Run(tr.String(), func(t *testing.T) {
			m := new(switchboard)
			l, to := serving(t, m, tr, StreamConfig{Certificate: give})
			c := dialTCP(t, to)
			if tr == TLS {
				c = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "relay.example", NextProtos: []string{"stun.turn"}})
			}
			echoed(t, c, stunOf(8))
			want[acceptedEvent](t, l)
			echoed(t, c, channelOf(5))
			echoed(t, c, stunOf(9000))
			c.Close()
			if e := want[closedEvent](t, l); e.socket != 1 || e.err == nil {
				t.Errorf("the end of it: %+v", e)
			}
			// And the other way round, machine to machine.
			for _, name := range []string{"relay.example", ""} {
				client := &switchboard{mute: true}
				k := run(t, Streams(client, StreamConfig{Roots: roots}), System())
				k.Do(func(time.Time) { client.Connect(7, tr, to, name) })
				if e := want[boundEvent](t, k); e.err != nil || e.socket != 7 || !e.local.IsValid() {
					t.Fatalf("connect: %+v", e)
				}
				k.Do(func(time.Time) { client.Send(7, to, channelOf(3)) })
				if e := want[heardEvent](t, k); e.payload != string(channelOf(3)) || e.remote != to || e.transport != tr {
					t.Errorf("heard %+v", e)
				}
				remote := want[acceptedEvent](t, l).remote
				l.Do(func(time.Time) { m.Hangup(1, remote) })
				if e := want[closedEvent](t, k); e.socket != 7 || e.remote != to {
					t.Errorf("hung up: %+v", e)
				}
				// The number is free again.
				k.Do(func(time.Time) { client.Connect(7, tr, to, name) })
				if e := want[boundEvent](t, k); e.err != nil {
					t.Errorf("connect again: %v", e.err)
				}
				want[acceptedEvent](t, l)
				k.stop()
				want[closedEvent](t, l)
			}
		})
	}
}

func TestConnectionsThatFail(t *testing.T) {
	pair, roots := certificate(t, "relay.example")
	_, strangers := certificate(t, "relay.example")
	_, to := serving(t, new(switchboard), TLS, StreamConfig{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
	})
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, row := range []struct {
		name  string
		to    netip.AddrPort
		who   string
		roots *x509.CertPool
		want  string
	}{
		{"somebody else", to, "other.example", roots, "certificate is valid for relay.example"},
		{"by address, which it is not", to, "", roots, "127.0.0.1"},
		{"nobody that we trust", to, "relay.example", strangers, "unknown authority"},
		{"nobody there", freeport.Of(t), "relay.example", roots, "refused"},
		{"who says nothing", tcpAddrPort(silent.Addr()), "relay.example", roots, "deadline exceeded"},
	} {
		m := new(switchboard)
		cfg := StreamConfig{Roots: row.roots, Handshake: time.Minute}
		if row.want == "deadline exceeded" {
			cfg.Handshake = 200 * time.Millisecond
		}
		l := run(t, Streams(m, cfg), System())
		l.Do(func(time.Time) { m.Connect(1, TLS, row.to, row.who) })
		e := want[boundEvent](t, l)
		if e.err == nil || !strings.Contains(e.err.Error(), row.want) || !strings.Contains(e.err.Error(), row.to.String()) {
			t.Errorf("%s: %v; want the address and %q", row.name, e.err, row.want)
		}
	}
}

func TestMachinesWithoutStreams(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	l.Do(func(time.Time) { m.Listen(1, TCP, loopback) })
	if e := want[boundEvent](t, l); !errors.Is(e.err, errNoStreams) {
		t.Errorf("a machine that takes no streams listens: %v", e.err)
	}
	s := new(switchboard)
	k := run(t, s, System())
	k.Do(func(time.Time) { s.Listen(1, TLS, loopback) })
	if e := want[boundEvent](t, k); !errors.Is(e.err, errNoIdentity) {
		t.Errorf("TLS without a certificate: %v", e.err)
	}
	k.Do(func(time.Time) { s.Listen(1, TCP, loopback) })
	if e := want[boundEvent](t, k); e.err != nil {
		t.Errorf("the number after an error: %v", e.err)
	}
	k.Do(func(time.Time) { s.Bind(1, loopback) })
	if e := want[boundEvent](t, k); e.err == nil {
		t.Error("one number was given twice")
	}
}

// TestLimitsOfStreams: what opens too many, says nothing, says it slowly, or says
// what is none, is closed.
func TestLimitsOfStreams(t *testing.T) {
	short := 150 * time.Millisecond
	t.Run("for each address", func(t *testing.T) {
		l, to := serving(t, new(switchboard), TCP, StreamConfig{MaxPerAddress: 2})
		a, b := dialTCP(t, to), dialTCP(t, to)
		echoed(t, a, stunOf(0))
		echoed(t, b, stunOf(0))
		gone(t, dialTCP(t, to))
		a.Close()
		want[acceptedEvent](t, l)
		want[acceptedEvent](t, l)
		want[closedEvent](t, l)
		for deadline := time.Now().Add(patience); ; { // the count goes down just after
			c := dialTCP(t, to)
			c.Write(stunOf(0))
			if _, err := io.ReadFull(c, make([]byte, 20)); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nobody is let in although one has left")
			}
		}
	})
	t.Run("in all", func(t *testing.T) {
		_, to := serving(t, new(switchboard), TCP, StreamConfig{MaxStreams: 1})
		echoed(t, dialTCP(t, to), stunOf(0))
		gone(t, dialTCP(t, to))
	})
	t.Run("silence", func(t *testing.T) {
		_, to := serving(t, new(switchboard), TCP, StreamConfig{FirstMessage: short})
		gone(t, dialTCP(t, to))
	})
	t.Run("byte by byte", func(t *testing.T) {
		_, to := serving(t, new(switchboard), TCP, StreamConfig{FirstMessage: short})
		c := dialTCP(t, to)
		began := time.Now()
		for _, b := range stunOf(4000) {
			if _, err := c.Write([]byte{b}); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		gone(t, c)
		if took := time.Since(began); took > 20*short {
			t.Errorf("a message byte by byte kept a connection open for %v", took)
		}
	})
	t.Run("idle", func(t *testing.T) {
		l, to := serving(t, new(switchboard), TCP, StreamConfig{Idle: short})
		c := dialTCP(t, to)
		echoed(t, c, stunOf(0))
		gone(t, c)
		want[acceptedEvent](t, l)
		if e := want[closedEvent](t, l); !errors.Is(e.err, ErrStreamIdle) {
			t.Errorf("closed because of %v", e.err)
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		pair, _ := certificate(t, "127.0.0.1")
		_, to := serving(t, new(switchboard), TLS, StreamConfig{
			Handshake:   short,
			Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
		})
		gone(t, dialTCP(t, to))
		c := dialTCP(t, to)
		c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		gone(t, c)
	})
	t.Run("no message", func(t *testing.T) {
		l, to := serving(t, new(switchboard), TCP, StreamConfig{})
		c := dialTCP(t, to)
		c.Write([]byte("\xffwhatever"))
		gone(t, c)
		want[acceptedEvent](t, l)
		if e := want[closedEvent](t, l); !errors.Is(e.err, errFrame) {
			t.Errorf("closed because of %v", e.err)
		}
	})
}

// TestSlowReader: who does not read costs a bounded queue, and in the end its
// connection; others notice nothing.
func TestSlowReader(t *testing.T) {
	m := &switchboard{mute: true}
	l, to := serving(t, m, TCP, StreamConfig{Stalled: 300 * time.Millisecond, Queue: 64 << 10})
	slow := dialTCP(t, to)
	slow.(*net.TCPConn).SetReadBuffer(4 << 10)
	slow.Write(stunOf(0))
	remote := want[acceptedEvent](t, l).remote
	want[heardEvent](t, l)
	var most int
	standing := true
	for end := time.Now().Add(patience); standing && time.Now().Before(end); {
		l.Do(func(time.Time) {
			for range 10 {
				m.Send(1, remote, channelOf(1000))
			}
			if st := l.streams.sockets[1].accepted[remote]; st != nil {
				st.mu.Lock()
				most = max(most, len(st.pending))
				st.mu.Unlock()
			} else {
				standing = false
			}
		})
	}
	if most > 64<<10 {
		t.Errorf("%d bytes were queued, more than allowed", most)
	}
	if e := want[closedEvent](t, l); e.remote != remote {
		t.Errorf("closed: %+v", e)
	}
}

// TestAnotherCertificate: the certificate is asked for each connection.
func TestAnotherCertificate(t *testing.T) {
	first, firstRoots := certificate(t, "127.0.0.1")
	second, secondRoots := certificate(t, "127.0.0.1")
	var present atomic.Pointer[tls.Certificate]
	present.Store(&first)
	_, to := serving(t, new(switchboard), TLS, StreamConfig{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return present.Load(), nil },
	})
	old := tls.Client(dialTCP(t, to), &tls.Config{RootCAs: firstRoots, ServerName: "127.0.0.1"})
	echoed(t, old, stunOf(0))
	present.Store(&second)
	echoed(t, tls.Client(dialTCP(t, to), &tls.Config{RootCAs: secondRoots, ServerName: "127.0.0.1"}), stunOf(0))
	echoed(t, old, stunOf(4)) // goes on
}

// TestWhatWasSentBeforeAStreamClosesLeaves: also when the whole loop ends.
func TestWhatWasSentBeforeAStreamClosesLeaves(t *testing.T) {
	m := &switchboard{mute: true}
	l, to := serving(t, m, TCP, StreamConfig{})
	for _, end := range []func(remote netip.AddrPort){
		func(remote netip.AddrPort) { m.Hangup(1, remote) },
		func(netip.AddrPort) { m.Unbind(1) },
	} {
		c := dialTCP(t, to)
		c.Write(stunOf(0))
		remote := want[acceptedEvent](t, l).remote
		want[heardEvent](t, l)
		l.Do(func(time.Time) {
			m.Send(1, remote, channelOf(9000))
			end(remote)
		})
		if got, err := io.ReadAll(c); len(got) != 9004 || err != nil {
			t.Errorf("%d bytes came before the end, %v; want 9004", len(got), err)
		}
	}
	// And of a loop that ends.
	c := dialTCP(t, listening(t, m, l))
	c.Write(stunOf(0))
	remote := want[acceptedEvent](t, l).remote
	want[heardEvent](t, l)
	l.Do(func(time.Time) { m.Send(1, remote, channelOf(9000)) })
	l.stop()
	if got, err := io.ReadAll(c); len(got) != 9004 || err != nil {
		t.Errorf("%d bytes came before the loop ended, %v; want 9004", len(got), err)
	}
}

// listening has a machine listen once more, and gives where.
func listening(t *testing.T, m *switchboard, l running) netip.AddrPort {
	t.Helper()
	l.Do(func(time.Time) { m.Listen(1, TCP, loopback) })
	e := want[boundEvent](t, l)
	if e.err != nil {
		t.Fatal(e.err)
	}
	return e.local
}
