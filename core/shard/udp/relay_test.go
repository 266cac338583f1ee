package udp

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"p2pmodel/core/relay"
	"p2pmodel/core/relay/kernelpath"
	"p2pmodel/core/sansio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// client owns a relay.Client and a socket for it.
type client struct {
	sansio.Outbox
	*relay.Client
}

func (c *client) HandleBound(now time.Time, _ sansio.Socket, _ netip.AddrPort, _ error) { c.Start(now) }
func (c *client) HandleDatagram(now time.Time, d sansio.Datagram) {
	c.Client.HandleDatagram(now, d.Remote, d.Payload)
}
func (c *client) HandleInterfaces(time.Time, []netip.Addr) {}
func (c *client) PollTransmit() (sansio.Datagram, bool) {
	to, payload, ok := c.Client.PollTransmit()
	return sansio.Datagram{Remote: to, Payload: payload}, ok
}
func (c *client) PollEvent() (sansio.Event, bool) { return c.Client.PollEvent() }

// startClient runs a client until the test ends, and gives what it says.
func startClient(t *testing.T, server netip.AddrPort, username string) (*sansio.Loop, *client, <-chan sansio.Event) {
	t.Helper()
	c := &client{Client: relay.NewClient(relay.ClientConfig{Server: server, Username: username, Password: "secret", Rand: rand.Reader})}
	c.Bind(0, netip.MustParseAddrPort("127.0.0.1:0"))
	events := make(chan sansio.Event, 16)
	loop := sansio.NewLoop(c, sansio.System(), func(_ time.Time, e sansio.Event) { events <- e })
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = loop.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return loop, c, events
}

func next[T any](t *testing.T, events <-chan sansio.Event) (v T) {
	t.Helper()
	select {
	case e := <-events:
		v, ok := e.(T)
		if !ok {
			t.Fatalf("%T %+v, want %T", e, e, v)
		}
		return v
	case <-time.After(patience):
		t.Fatalf("no %T", v)
	}
	return v
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func config(log io.Writer, metrics prometheus.Registerer) RelayConfig {
	loopback := netip.MustParseAddr("127.0.0.1")
	return RelayConfig{
		Server: relay.ServerConfig{
			Listen: netip.AddrPortFrom(loopback, 0), RelayAddress: loopback, Rand: rand.Reader,
			Authenticators: []relay.Authenticator{relay.Users{"alice": "secret", "a b": "secret"}},
		},
		Verbose: true, Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: metrics,
	}
}

// value reads a metric with one label, or none.
func value(t *testing.T, r *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %q", name, label)
	return 0
}

// TestRelayDrains: asked to stop, it turns away who is new and waits for who is there.
func TestRelayDrains(t *testing.T) {
	var log lockedBuffer
	metrics := prometheus.NewRegistry()
	cfg := config(&log, metrics)
	at := make(chan netip.AddrPort, 1)
	cfg.Listening = func(a netip.AddrPort) { at <- a }
	cfg.DrainTime = time.Minute
	cfg.Alternates = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}
	r, err := NewRelay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Ready() == nil {
		t.Error("ready before it runs")
	}
	if value(t, metrics, "p2pmodel_relay_held", "allocations") != 0 { // asked before it runs
		t.Error("allocations before it runs")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	server := <-at
	loop, c, events := startClient(t, server, "alice")
	next[relay.Allocated](t, events)
	if err := r.Ready(); err != nil || value(t, metrics, "p2pmodel_relay_held", "allocations") != 1 {
		t.Errorf("ready: %v, want one allocation", err)
	}
	stop()
	for r.Ready() == nil {
		time.Sleep(time.Millisecond)
	}
	_, _, others := startClient(t, server, "a b")
	for value(t, metrics, "p2pmodel_relay_allocations_total", "turned_away") == 0 {
		select {
		case e := <-others:
			t.Fatalf("%+v before it was turned away", e)
		case <-time.After(time.Millisecond):
		}
	}
	if value(t, metrics, "p2pmodel_relay_draining", "") != 1 {
		t.Error("it does not say that it drains")
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended (%v) while there was an allocation", err)
	default:
	}
	loop.Do(func(now time.Time) { c.Close(now) })
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end although nobody is left")
	}
	for _, want := range []string{"allocated", "the relay drains", "deleted", `user="\"alice\""`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

func TestRelayStopsAtOnceWithoutDrainTime(t *testing.T) {
	cfg := config(io.Discard, nil)
	listens := make(chan netip.AddrPort, 1)
	cfg.Listening = func(a netip.AddrPort) { listens <- a }
	r, err := NewRelay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetAuthenticators(cfg.Server.Authenticators); err == nil {
		t.Error("credentials are set before it runs")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	_, _, events := startClient(t, <-listens, "alice")
	next[relay.Allocated](t, events)
	if err := r.SetAuthenticators(cfg.Server.Authenticators); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRelayCannotListen(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := config(io.Discard, nil)
	cfg.Server.Listen = netip.MustParseAddrPort(taken.LocalAddr().String())
	r, err := NewRelay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), cfg.Server.Listen.String()) {
		t.Errorf("error %v, want one that names %v", err, cfg.Server.Listen)
	}
}

// TestNamesAreQuoted: what a client calls itself cannot end a line of the log.
func TestNamesAreQuoted(t *testing.T) {
	var log bytes.Buffer
	cfg := config(&log, nil)
	r, err := NewRelay(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.event(time.Time{}, relay.AllocationRefused{Username: "%s\x1b[2J\nroot", Code: 486})
	if said := strings.TrimSuffix(log.String(), "\n"); strings.ContainsAny(said, "\x1b\n") || !strings.Contains(said, "486") {
		t.Errorf("%q", said)
	}
}

// TestFastPathOrTheReason: the log says whether the kernel passes data on, and why not; who insists
// on it gets the reason as an error.
func TestFastPathOrTheReason(t *testing.T) {
	for _, mode := range []FastPath{FastPathOff, FastPathAuto, FastPathOn} {
		var log lockedBuffer
		cfg := config(&log, nil)
		cfg.FastPath = mode
		listens := make(chan netip.AddrPort, 1)
		cfg.Listening = func(a netip.AddrPort) { listens <- a }
		r, err := NewRelay(cfg)
		said := log.String()
		has, reason := strings.Contains(said, "the kernel passes on"), strings.Contains(said, "reason=")
		switch {
		case mode == FastPathOff && said != "":
			t.Errorf("it was not asked, and says %q", said)
		case mode == FastPathAuto && (err != nil || has == reason):
			t.Errorf("error %v, and it says %q, want one of the two", err, said)
		case mode == FastPathOn && (err == nil) != has:
			t.Errorf("error %v, and it says %q", err, said)
		case mode == FastPathOn && err != nil && !errors.Is(err, kernelpath.ErrUnavailable):
			t.Error(err)
		}
		if err != nil {
			continue
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		_, _, events := startClient(t, <-listens, "alice")
		next[relay.Allocated](t, events)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestNoFastPathWhereNoneCanBe: what the kernel would never take is said at the start.
func TestNoFastPathWhereNoneCanBe(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "[::1]:0"} {
		var log lockedBuffer
		cfg := config(&log, nil)
		cfg.Server.Listen, cfg.FastPath = netip.MustParseAddrPort(listen), FastPathOn
		if _, err := NewRelay(cfg); !errors.Is(err, kernelpath.ErrUnavailable) || !strings.Contains(err.Error(), "one IPv4 address") {
			t.Errorf("on %s with the fast path on: %v", listen, err)
		}
		cfg.FastPath = FastPathAuto
		r, err := NewRelay(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if r.fast != nil || !strings.Contains(log.String(), "one IPv4 address") {
			t.Errorf("on %s it says %q", listen, log.String())
		}
	}
}
