package sansio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// echo answers each datagram with itself, and obeys a few words.
type echo struct {
	Outbox
	bound      map[Socket]netip.AddrPort
	interfaces int
	timeouts   int
	wake       time.Time
	received   int
}

type boundEvent struct {
	socket Socket
	local  netip.AddrPort
	err    error
}

func (e *echo) HandleBound(_ time.Time, s Socket, local netip.AddrPort, err error) {
	if err == nil {
		if e.bound == nil {
			e.bound = make(map[Socket]netip.AddrPort)
		}
		e.bound[s] = local
	}
	e.Emit(boundEvent{s, local, err})
}

func (e *echo) HandleDatagram(_ time.Time, d Datagram) {
	e.received++
	if string(d.Payload) == "close" {
		e.Send(d.Socket, d.Remote, []byte("closing"))
		e.Unbind(d.Socket)
		return
	}
	e.Send(d.Socket, d.Remote, bytes.Clone(d.Payload))
}

func (e *echo) HandleInterfaces(time.Time, []netip.Addr) { e.interfaces++ }
func (e *echo) HandleTimeout(time.Time)                  { e.timeouts++; e.wake = time.Time{}; e.Emit("timeout") }
func (e *echo) PollTimeout() time.Time                   { return e.wake }

// running is a loop in a goroutine of the test.
type running struct {
	*Loop
	events chan Event
	stop   func()
}

func run(t *testing.T, m Machine, n Network) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan Event, 1000)
	l := NewLoop(m, n, func(_ time.Time, e Event) { events <- e })
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(patience):
				t.Error("Run does not return after its context has ended")
			}
		})
	}
	t.Cleanup(stop)
	return running{l, events, stop}
}

func (r running) next(t *testing.T) Event {
	t.Helper()
	select {
	case e := <-r.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event came")
		return nil
	}
}

// bind opens a socket on loopback and gives its address.
func (r running) bind(t *testing.T, m *echo, s Socket) netip.AddrPort {
	t.Helper()
	r.Do(func(time.Time) { m.Bind(s, loopback) })
	e, ok := r.next(t).(boundEvent)
	if !ok || e.err != nil || e.socket != s {
		t.Fatalf("bind socket %d: %+v", s, e)
	}
	return e.local
}

func dial(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func exchange(t *testing.T, c *net.UDPConn, payload []byte) []byte {
	t.Helper()
	if _, err := c.Write(payload); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, largeDatagram)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatalf("no answer to %d bytes: %v", len(payload), err)
	}
	return buf[:n]
}

// plainNetwork hides what net.UDPConn can do besides net.PacketConn.
type plainNetwork struct{ Network }

func (p plainNetwork) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, err := p.Network.ListenPacket(ctx, network, address)
	return struct{ net.PacketConn }{c}, err
}

func TestDatagramsComeAndGo(t *testing.T) {
	for name, network := range map[string]Network{"batched": System(), "plain": plainNetwork{System()}} {
		t.Run(name, func(t *testing.T) {
			m := new(echo)
			l := run(t, m, network)
			c := dial(t, l.bind(t, m, 1))
			for _, payload := range []string{"one", "two", "", "three"} {
				if got := exchange(t, c, []byte(payload)); string(got) != payload {
					t.Errorf("sent %q, got %q back", payload, got)
				}
			}
		})
	}
}

func TestBurst(t *testing.T) {
	const burst = 200 // as many as the test's own receive buffer surely holds
	m := new(echo)
	l := run(t, m, System())
	c := dial(t, l.bind(t, m, 1))
	for i := range burst {
		if _, err := fmt.Fprintf(c, "%d", i); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 100)
	for i := range burst {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("answer %d of %d: %v", i, burst, err)
		}
		if got, want := string(buf[:n]), fmt.Sprint(i); got != want {
			t.Fatalf("answer %d is %q: out of order or lost", i, got)
		}
	}
}

// Datagrams longer than any Ethernet's may be lost until the reader has grown
// its buffers; then they fit.
func TestLongDatagrams(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	c := dial(t, l.bind(t, m, 1))
	long := bytes.Repeat([]byte("x"), 60000)
	buf := make([]byte, largeDatagram)
	for try := 1; ; try++ {
		if _, err := c.Write(long); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := c.Read(buf)
		if err == nil && bytes.Equal(buf[:n], long) {
			return
		}
		if try == 50 {
			t.Fatalf("try %d: %d bytes, %v; want all 60000", try, n, err)
		}
	}
}

func TestDualStackSocketGivesUnmappedAddresses(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	l.Do(func(time.Time) { m.Bind(1, netip.AddrPort{}) })
	e := l.next(t).(boundEvent)
	if e.err != nil {
		t.Fatal(e.err)
	}
	c := dial(t, netip.AddrPortFrom(loopback.Addr(), e.local.Port()))
	if got := exchange(t, c, []byte("four")); string(got) != "four" {
		t.Errorf("got %q back over IPv4", got)
	}
}

func TestWhatWasSentBeforeACloseLeaves(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	local := l.bind(t, m, 1)
	c := dial(t, local)
	if got := exchange(t, c, []byte("close")); string(got) != "closing" {
		t.Errorf("got %q, want what was sent before the close", got)
	}
	// The number and the port are free again.
	l.Do(func(time.Time) { m.Bind(1, local) })
	if e := l.next(t).(boundEvent); e.err != nil {
		t.Errorf("bind anew after a close: %v", e.err)
	}
}

func TestCloseAndOpenInOneGo(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	local := l.bind(t, m, 1)
	l.Do(func(time.Time) { m.Unbind(1); m.Bind(1, local) })
	if e := l.next(t).(boundEvent); e.err != nil {
		t.Fatal(e.err)
	}
	if got := exchange(t, dial(t, local), []byte("again")); string(got) != "again" {
		t.Errorf("the new socket gives %q", got)
	}
}

func TestBindErrors(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	local := l.bind(t, m, 1)
	for name, b := range map[string]Bind{
		"address in use":   {Socket: 2, Local: local},
		"not our address":  {Socket: 3, Local: netip.MustParseAddrPort("192.0.2.1:0")},
		"number is in use": {Socket: 1, Local: loopback},
	} {
		l.Do(func(time.Time) { m.Bind(b.Socket, b.Local) })
		if e := l.next(t).(boundEvent); e.err == nil || e.socket != b.Socket {
			t.Errorf("%s: %+v, want an error for socket %d", name, e, b.Socket)
		}
	}
	if got := exchange(t, dial(t, local), []byte("still")); string(got) != "still" {
		t.Errorf("the first socket gives %q", got)
	}
}

func TestSendingToNobodyIsSurvived(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	local := l.bind(t, m, 1)
	gone := dial(t, local).LocalAddr().(*net.UDPAddr).AddrPort()
	l.Do(func(time.Time) {
		m.Send(1, netip.AddrPortFrom(gone.Addr(), 1), []byte("refused"))             // ICMP answers
		m.Send(1, netip.MustParseAddrPort("[2001:db8::1]:9"), []byte("no such"))     // wrong family
		m.Send(1, netip.MustParseAddrPort("255.255.255.255:9"), []byte("forbidden")) // EACCES
		m.Send(9, gone, []byte("no such socket"))
		m.Send(1, gone, bytes.Repeat([]byte("x"), 70000)) // EMSGSIZE
	})
	if got := exchange(t, dial(t, local), []byte("alive")); string(got) != "alive" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestTimers(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	var set time.Time
	l.Do(func(now time.Time) { set, m.wake = now, now.Add(30*time.Millisecond) })
	if e := l.next(t); e != "timeout" {
		t.Fatalf("event %v, want the timeout", e)
	}
	if passed := time.Since(set); passed < 30*time.Millisecond {
		t.Errorf("the timeout came after %v, too early", passed)
	}
	l.Do(func(now time.Time) { m.wake = now.Add(-time.Hour) })
	l.next(t) // a time that has passed means at once
	l.Do(func(time.Time) {
		if m.timeouts != 2 || m.interfaces == 0 {
			t.Errorf("%d timeouts, %d calls of HandleInterfaces; want 2, at least 1", m.timeouts, m.interfaces)
		}
	})
}

func TestStop(t *testing.T) {
	m := new(echo)
	l := run(t, m, System())
	local := l.bind(t, m, 1)
	l.stop()
	if l.Do(func(time.Time) { t.Error("Do calls after the end") }) {
		t.Error("Do says true after the end")
	}
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
	if err != nil {
		t.Fatalf("the port is not free after the end: %v", err)
	}
	c.Close()
	if err := l.Run(t.Context()); !errors.Is(err, ErrStarted) {
		t.Errorf("second Run: %v, want ErrStarted", err)
	}
}

// The end of the context and of the watch come at once; whichever the loop sees
// first, it ends.
func TestStopManyTimes(t *testing.T) {
	for range 200 {
		m := new(echo)
		l := run(t, m, System())
		l.bind(t, m, 1)
		l.stop()
		if t.Failed() {
			return
		}
	}
}

// refusing fails its first reads the way a UDP socket does after ICMP errors.
type refusing struct {
	net.PacketConn
	mu   sync.Mutex
	left int
}

func (r *refusing) ReadFrom(p []byte) (int, net.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left > 0 {
		r.left--
		return 0, nil, &net.OpError{Op: "read", Net: "udp", Err: syscall.ECONNREFUSED}
	}
	return r.PacketConn.ReadFrom(p)
}

type refusingNetwork struct{ Network }

func (r refusingNetwork) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, err := r.Network.ListenPacket(ctx, network, address)
	return &refusing{PacketConn: c, left: 3}, err
}

func TestReadErrorsAreSurvived(t *testing.T) {
	m := new(echo)
	l := run(t, m, refusingNetwork{System()})
	if got := exchange(t, dial(t, l.bind(t, m, 1)), []byte("hello")); string(got) != "hello" {
		t.Errorf("after three read errors: %q", got)
	}
}

// watched is a network whose addresses the test changes.
type watched struct {
	Network
	changes chan struct{}
	mu      sync.Mutex
	addrs   []netip.Addr
	// failures is how often Addresses is still to fail.
	failures int
}

func (w *watched) Watch(ctx context.Context) (<-chan struct{}, error) {
	out := make(chan struct{})
	go func() {
		defer close(out)
		for {
			select {
			case <-w.changes:
			case <-ctx.Done():
				return
			}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (w *watched) Addresses() ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failures > 0 {
		w.failures--
		return nil, errors.New("no file descriptor is free")
	}
	return w.addrs, nil
}

type roamer struct{ echo }

func (r *roamer) HandleInterfaces(_ time.Time, addrs []netip.Addr) { r.Emit(fmt.Sprint(addrs)) }

func TestInterfaceChangesAreTold(t *testing.T) {
	w := &watched{Network: System(), changes: make(chan struct{}), addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	l := run(t, new(roamer), w)
	if e := l.next(t); e != "[192.0.2.1]" {
		t.Fatalf("first event %v, want the addresses before anything else", e)
	}
	w.mu.Lock()
	w.addrs = []netip.Addr{netip.MustParseAddr("198.51.100.7")}
	w.mu.Unlock()
	w.changes <- struct{}{}
	if e := l.next(t); e != "[198.51.100.7]" {
		t.Errorf("after the change: %v", e)
	}
}

// Addresses that cannot be read for a while end no machine, and no change is
// missed.
func TestUnreadableAddressesAreReadAgain(t *testing.T) {
	w := &watched{Network: System(), changes: make(chan struct{}), addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	l := run(t, new(roamer), w)
	l.next(t)
	w.mu.Lock()
	w.addrs, w.failures = []netip.Addr{netip.MustParseAddr("198.51.100.7")}, 2
	w.mu.Unlock()
	w.changes <- struct{}{}
	if e := l.next(t); e != "[198.51.100.7]" {
		t.Errorf("after two errors: %v, want the new address", e)
	}
}

func TestSystemAddressesAreUsable(t *testing.T) {
	addrs, err := System().Addresses()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if a.IsLoopback() || a.IsLinkLocalUnicast() || a.Is4In6() || !a.IsValid() {
			t.Errorf("%v is not usable by others", a)
		}
	}
}
