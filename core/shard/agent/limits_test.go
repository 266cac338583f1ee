package agent_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/net/http2"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
)

// retryAfter wants a refusal because of a limit, with a time to try again.
func retryAfter(t testing.TB, err error) {
	t.Helper()
	wantCode(t, err, connect.CodeResourceExhausted)
	var e *connect.Error
	if errors.As(err, &e); e.Meta().Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", err)
	}
}

func TestLoginsOfAnAddressAreBounded(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		c := w.raw(a)
		bad := func() error {
			_, err := c.Login(t.Context(), connect.NewRequest(&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: "x.y.z"}}))
			return err
		}
		for i := range 20 {
			if connect.CodeOf(bad()) != connect.CodeUnauthenticated {
				t.Fatalf("try %d: %v", i, bad())
			}
		}
		retryAfter(t, bad())
		// What costs less may be tried more often.
		resume := func() error {
			_, err := c.Resume(t.Context(), connect.NewRequest(&agentv1.ResumeRequest{ResumeToken: "x"}))
			return err
		}
		for range 400 {
			wantCode(t, resume(), connect.CodeUnauthenticated)
		}
		retryAfter(t, resume())
		_, err := c.GetRoom(t.Context(), bearer(&agentv1.Session{AccessToken: "guessed"}, &agentv1.GetRoomRequest{Room: "aaaaaaaaaaaa"}))
		retryAfter(t, err)
		// Another address, which pipes have per connection.
		w.player("bob", a)
		time.Sleep(time.Second)
		for range 5 {
			wantCode(t, bad(), connect.CodeUnauthenticated)
		}
		retryAfter(t, bad())
	})
}

func TestRequestsOfASessionAreBounded(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		c := w.raw(a)
		ann, bob := w.login(c, "ann"), w.login(c, "bob")
		list := func(s *agentv1.Session) error {
			_, err := c.ListRooms(t.Context(), bearer(s, &agentv1.ListRoomsRequest{}))
			return err
		}
		for range 40 {
			if err := list(ann); err != nil {
				t.Fatal(err)
			}
		}
		retryAfter(t, list(ann))
		if err := list(bob); err != nil {
			t.Errorf("another session: %v", err)
		}
		time.Sleep(time.Second)
		for range 20 {
			if err := list(ann); err != nil {
				t.Fatal(err)
			}
		}
		retryAfter(t, list(ann))
	})
}

func TestSessionsAreBounded(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", func(c *agent.Config) { c.Limits.Sessions = 2 })
		c := w.raw(a)
		w.login(c, "ann")
		bob := w.login(c, "bob")
		_, err := c.Login(t.Context(), connect.NewRequest(&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: w.token("cid")}}))
		retryAfter(t, err)
		if w.called("OpenSession") != 2 {
			t.Error("a session was opened that has no place")
		}
		if _, err := c.Logout(t.Context(), bearer(bob, &agentv1.LogoutRequest{})); err != nil {
			t.Fatal(err)
		}
		w.login(c, "cid")
	})
}

func TestWorkForTheInsideIsBounded(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", func(c *agent.Config) { c.Limits.Inside, c.Limits.InsideQueue = 2, 3 })
		c := w.raw(a)
		session := w.login(c, "ann")
		release := w.block("ListRooms")
		var mu sync.Mutex
		codes := map[connect.Code]int{}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				_, err := c.ListRooms(t.Context(), bearer(session, &agentv1.ListRoomsRequest{}))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					codes[0]++
				} else {
					retryAfter(t, err)
					codes[connect.CodeOf(err)]++
				}
			})
		}
		synctest.Wait()
		release()
		all.Wait()
		if codes[0] != 5 || codes[connect.CodeResourceExhausted] != 3 {
			t.Errorf("got %v, want 2 in work and 3 that waited to be done, 3 refused", codes)
		}
	})
}

func TestRequestsInWorkOfAnAddressAreBounded(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", func(c *agent.Config) { c.Limits.RequestsPerAddress = 4 })
		c := w.raw(a)
		ann := w.login(c, "ann")
		release := w.block("ListRooms")
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { c.ListRooms(t.Context(), bearer(ann, &agentv1.ListRoomsRequest{})) })
		}
		synctest.Wait()
		_, err := c.GetRoom(t.Context(), bearer(ann, &agentv1.GetRoomRequest{Room: "aaaaaaaaaaaa"}))
		retryAfter(t, err)
		other := w.player("bob", a) // from another address, and a stream besides
		_, err = other.GetRoom(t.Context(), "aaaaaaaaaaaa")
		wantCode(t, err, connect.CodeNotFound)
		release()
		all.Wait()
	})
}

func TestARequestHasATime(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", func(c *agent.Config) { c.Limits.RequestTimeout = time.Second })
		c := w.raw(a)
		session := w.login(c, "ann")
		release := w.block("ListRooms")
		began := time.Now()
		_, err := c.ListRooms(t.Context(), bearer(session, &agentv1.ListRoomsRequest{}))
		wantCode(t, err, connect.CodeDeadlineExceeded)
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
		release()
	})
}

func TestClientsShortDeadlinesDoNotLookLikeADeadShard(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		mallory, ann := w.raw(a), w.player("ann", a)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		session := w.login(mallory, "mallory")
		release := w.block("JoinRoom")
		for range 30 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			_, err := mallory.JoinRoom(ctx, bearer(session, &agentv1.JoinRoomRequest{Room: room.Id}))
			cancel()
			wantCode(t, err, connect.CodeDeadlineExceeded)
		}
		synctest.Wait()
		if _, err := ann.GetRoom(t.Context(), room.Id); err != nil {
			t.Errorf("another player's request after them: %v", err)
		}
		release()
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", func(c *agent.Config) {
		c.Limits.Connections, c.Limits.ConnectionsPerAddress = 12, 8
		c.Limits.HandshakeTimeout = time.Minute
	})
	// The Agent decides on connections one after another: when so many are reset and
	// so many are held as were opened, it has decided on all.
	open := func(from string, n int, want int) (held []net.Conn) {
		var gone atomic.Int32
		before := a.Connections()
		for range n {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			c, err := d.Dial("tcp", a.endpoint)
			if err != nil {
				gone.Add(1) // reset already
				continue
			}
			reset := make(chan struct{})
			t.Cleanup(func() { c.Close(); <-reset })
			go func() {
				defer close(reset)
				c.Read(make([]byte, 1)) // until it is reset, or closed by the test
				gone.Add(1)
			}()
			held = append(held, c)
		}
		eventually(t, fmt.Sprintf("of %d connections from %s %d are held", n, from, want), patience, func() bool {
			return a.Connections() == before+want && int(gone.Load()) == n-want
		})
		return held
	}
	first := open("127.0.0.2", 10, 8)
	open("127.0.0.3", 6, 4) // of 12 in all
	for _, c := range first {
		c.Close()
	}
	eventually(t, "places are free again", patience, func() bool { return a.Connections() == 4 })
	open("127.0.0.4", 1, 1)
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestNewConnectionsOfAnAddressAreBoundedInTime(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		registry := prometheus.NewRegistry()
		w.run("agent-1", func(c *agent.Config) {
			c.Limits.ConnectionRate, c.Limits.ConnectionBurst, c.Metrics = 1, 3, registry
		})
		l := w.pipes["agent-1:443"]
		l.from = 7 // all from one address
		for range 5 {
			c, err := l.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			l.from = 7
			defer c.Close()
		}
		synctest.Wait()
		if n := rejected(t, registry, "connection_rate"); n != 2 {
			t.Errorf("%v refused, want 2 of 5", n)
		}
	})
}

// rejected reads a counter of refusals.
func rejected(t testing.TB, g prometheus.Gatherer, reason string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "p2pmodel_agent_rejected_total" {
			continue
		}
		for _, m := range f.Metric {
			if m.Label[0].GetValue() == reason {
				return m.Counter.GetValue()
			}
		}
	}
	return 0
}

// value reads a metric without labels, or the sum over all of its labels.
func value(t testing.TB, g prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += number(m)
			}
		}
	}
	return sum
}

func number(m *dto.Metric) float64 {
	return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
}

func TestMetricsTellWhatGoesOn(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		registry := prometheus.NewRegistry()
		a := w.run("agent-1", func(c *agent.Config) { c.Metrics = registry })
		ann := w.player("ann", a)
		room, err := ann.CreateRoom(t.Context(), settings())
		if err != nil {
			t.Fatal(err)
		}
		if err := ann.Chat(t.Context(), room.Id, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := ann.GetRoom(t.Context(), "aaaaaaaaaaaa"); err == nil {
			t.Fatal("a room that is not there")
		}
		synctest.Wait()
		for name, want := range map[string]float64{
			"p2pmodel_agent_sessions": 1, "p2pmodel_agent_streams": 1, "p2pmodel_agent_connections": 1,
			"p2pmodel_agent_requests_total": 4, "p2pmodel_agent_request_seconds": 4, "p2pmodel_agent_inside_in_flight": 0,
			"p2pmodel_agent_inside_queue": 0, "p2pmodel_agent_requests_in_work": 0, "p2pmodel_agent_events_total": 2,
		} {
			if got := value(t, registry, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
	})
}

func TestAddressesOfAProxiedConnection(t *testing.T) {
	w := newWorld(t)
	registry := prometheus.NewRegistry()
	a := w.run("agent-1", func(c *agent.Config) {
		c.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Limits.ConnectionsPerAddress, c.Metrics = 1, registry
	})
	header := func(ip string) []byte {
		addr := netip.MustParseAddr(ip)
		family := byte(0x11)
		if addr.Is6() {
			family = 0x21
		}
		ends := append(addr.AsSlice(), addr.AsSlice()...)
		ends = append(ends, 0x9c, 0x40, 1, 0xbb)
		ends = append(ends, 4, 0, 1, 0) // a TLV that is none of ours
		h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, family)
		return append(binary.BigEndian.AppendUint16(h, uint16(len(ends))), ends...)
	}
	for _, row := range []struct {
		name   string
		header []byte
		good   bool
	}{
		{"a client", header("192.0.2.1"), true},
		{"another client", header("192.0.2.2"), true},
		{"the first again, which may have one connection", header("192.0.2.1"), false},
		{"by IPv6", header("2001:db8::1"), true},
		{"the same network", header("2001:db8::2"), false},
		{"another network", header("2001:db8:0:1::1"), true},
		{"no header", []byte("\x16\x03\x01 this is TLS at once"), false},
		{"the header's first version", []byte("PROXY TCP4 192.0.2.3 192.0.2.4 1 2\r\n"), false},
		{"a long header", append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0xff, 0xff), false},
		{"the balancer's own check", append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20, 0, 0, 0), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw, err := net.Dial("tcp", a.endpoint)
			if err != nil {
				t.Fatal(err)
			}
			w.t.Cleanup(func() { raw.Close() })
			raw.SetDeadline(time.Now().Add(patience))
			if _, err := raw.Write(row.header); err != nil {
				t.Fatal(err)
			}
			err = tls.Client(raw, &tls.Config{RootCAs: w.trust, ServerName: "127.0.0.1"}).Handshake()
			if (err == nil) != row.good {
				t.Errorf("the handshake gave %v, want good: %v", err, row.good)
			}
		})
	}
	if n := rejected(t, registry, "proxy_header"); n != 3 {
		t.Errorf("%v headers refused, want 3", n)
	}
}

func TestTheHandshakeHasATime(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", func(c *agent.Config) {
		c.Limits.HandshakeTimeout, c.Limits.HeaderTimeout = 2*time.Second, 5*time.Minute
	})
	for name, begin := range map[string]func(c net.Conn) error{
		"nothing":      func(net.Conn) error { return nil },
		"half a hello": func(c net.Conn) error { _, err := c.Write([]byte("\x16\x03\x01\x02\x00\x01")); return err },
		"TLS and nothing more": func(c net.Conn) error {
			return tls.Client(c, &tls.Config{RootCAs: w.trust, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}).Handshake()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", a.endpoint)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := begin(c); err != nil {
				t.Fatal(err)
			}
			// After 10 s net/http gives up by itself.
			c.SetReadDeadline(time.Now().Add(9 * time.Second))
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Error("it is open still after 9 s")
			}
		})
	}
}

func TestConnectionsWithoutRequestsAreClosed(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		c := w.raw(a)
		session := w.login(c, "ann")
		if _, err := c.Logout(t.Context(), bearer(session, &agentv1.LogoutRequest{})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(119 * time.Second)
		if n := a.Connections(); n != 1 {
			t.Errorf("%d connections before 2 minutes", n)
		}
		time.Sleep(5 * time.Second)
		if n := a.Connections(); n != 0 {
			t.Errorf("%d connections after 2 minutes", n)
		}
	})
}

func TestHTTP2SaysWhatAConnectionMayDo(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	c, err := tls.Dial("tcp", a.endpoint, &tls.Config{RootCAs: w.trust, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := http2.NewFramer(c, c)
	io.WriteString(c, http2.ClientPreface)
	f.WriteSettings()
	frame, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v", frame)
	}
	for id, want := range map[http2.SettingID]uint32{http2.SettingMaxConcurrentStreams: 32, http2.SettingInitialWindowSize: 64 << 10} {
		if got, _ := settings.Value(id); got != want {
			t.Errorf("%v is %d, want %d", id, got, want)
		}
	}
	if got, _ := settings.Value(http2.SettingMaxHeaderListSize); got > 20<<10 {
		t.Errorf("headers of %d bytes are taken", got)
	}
}
