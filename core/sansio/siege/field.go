package siege

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/sansio"
)

// patience is how long anything may take that needs no time.
const patience = 20 * time.Second

// Arrival is a datagram, or a message on a stream, as it came to a host.
type Arrival struct {
	From    netip.AddrPort
	Payload []byte
}

// Field is a machine under siege. Hosts are where datagrams come from, each a socket of its
// own. It is its test's goroutine's alone.
type Field struct {
	t        testing.TB
	loop     *sansio.Loop
	observed *observed
	forger   *forger
	streams  map[netip.AddrPort]*stream
	end      func()

	// PassedBy, where it is set, says which datagrams something passes on before they get to the
	// machine's sockets, and to where. It is called between the machine's calls.
	PassedBy func(now time.Time, from, to netip.AddrPort, payload []byte) (at netip.AddrPort, ok bool)
}

// Run runs a machine over the kernel's sockets until the test ends; it skips the test,
// and says so, where there is no namespace. onEvent is called between the machine's calls.
func Run(t testing.TB, m sansio.Machine, config sansio.StreamConfig, onEvent func(sansio.Event)) *Field {
	t.Helper()
	if err := Ready(); err != nil {
		t.Skipf("LEFT OUT, attacks over the kernel's sockets: %v", err)
	}
	forge, err := newForger()
	if err != nil {
		t.Fatal(err)
	}
	f := &Field{t: t, forger: forge, streams: make(map[netip.AddrPort]*stream)}
	f.observed = newObserved(t, m)
	var run sansio.Machine = f.observed
	if s, ok := m.(sansio.StreamMachine); ok {
		run = sansio.Streams(&observedStreams{f.observed, s}, config)
	}
	f.loop = sansio.NewLoop(run, sansio.System(), func(_ time.Time, e sansio.Event) {
		if onEvent != nil {
			onEvent(e)
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.loop.Run(ctx); err != nil {
			t.Errorf("loop: %v", err)
		}
	})
	f.end = sync.OnceFunc(func() {
		for _, s := range f.streams {
			s.end()
		}
		stop()
		running.Wait()
		f.observed.close()
		forge.close()
	})
	t.Cleanup(f.end)
	return f
}

// End stops the machine, which the test's end does too.
func (f *Field) End() { f.end() }

// Do calls f between the machine's calls.
func (f *Field) Do(do func(now time.Time)) {
	f.t.Helper()
	if !f.loop.Do(func(now time.Time) {
		f.observed.provoked = false
		do(f.observed.time(now))
	}) {
		f.t.Fatal("the machine is not running")
	}
}

// Pass lets time pass for the machine, all that it waits for included.
func (f *Field) Pass(d time.Duration) {
	f.t.Helper()
	f.loop.Do(f.observed.advance(d))
}

// Send has a datagram arrive, from a host's socket or, where the source is not one that
// a socket can have, forged. It returns when the machine has dealt with it; what nobody
// listens for is lost at once.
func (f *Field) Send(from, to netip.AddrPort, payload []byte) { f.send(from, to, payload, false) }

// Lose is Send of a datagram that the driver does not hand on, since it is longer than any
// that it takes. Nobody waits for it.
func (f *Field) Lose(from, to netip.AddrPort, payload []byte) {
	f.t.Helper()
	if _, err := f.observed.host(from).WriteToUDPAddrPort(payload, to); err != nil {
		f.t.Fatalf("send %d bytes from %v to %v: %v", len(payload), from, to, err)
	}
}

// Forge is Send without a socket at the source: what is answered to it is lost.
func (f *Field) Forge(from, to netip.AddrPort, payload []byte) { f.send(from, to, payload, true) }

func (f *Field) send(from, to netip.AddrPort, payload []byte, forged bool) {
	f.t.Helper()
	forged = forged || f.observed.owns(from)
	var heard <-chan struct{}
	if forged || !f.passedBy(from, to, payload) {
		heard = f.observed.expect(from, to)
	}
	var err error
	if forged {
		err = f.forger.send(from, to, payload)
	} else {
		_, err = f.observed.host(from).WriteToUDPAddrPort(payload, to)
	}
	if err != nil {
		f.t.Fatalf("send %d bytes from %v to %v: %v", len(payload), from, to, err)
	}
	f.await(heard, fmt.Sprintf("the machine to get %d bytes from %v at %v", len(payload), from, to))
}

// passedBy has a host wait for what is passed on to it unseen, if it is.
func (f *Field) passedBy(from, to netip.AddrPort, payload []byte) (ok bool) {
	f.t.Helper()
	if f.PassedBy == nil {
		return false
	}
	f.Do(func(now time.Time) {
		var at netip.AddrPort
		if at, ok = f.PassedBy(now, from, to, payload); ok {
			f.observed.await(at)
		}
	})
	return ok
}

// SendOn has a message arrive on the stream of a host to one of the machine's; it is
// connected first, by TLS where a configuration for that is given.
func (f *Field) SendOn(from, to netip.AddrPort, secure *tls.Config, payload []byte) {
	f.t.Helper()
	s := f.streams[from]
	if s == nil {
		var err error
		if s, err = dial(from, to, secure); err != nil {
			f.t.Fatalf("connect %v to %v: %v", from, to, err)
		}
		f.streams[from] = s
	}
	heard := f.observed.expect(from, netip.AddrPort{})
	if _, err := s.conn.Write(framed(payload)); err != nil {
		f.t.Fatalf("send %d bytes from %v: %v", len(payload), from, err)
	}
	f.await(heard, fmt.Sprintf("the machine to get %d bytes on the stream from %v", len(payload), from))
}

func (f *Field) await(heard <-chan struct{}, what string) {
	f.t.Helper()
	if heard == nil {
		return
	}
	select {
	case <-heard:
		f.Do(func(time.Time) {}) // what it sends has left
	case <-time.After(patience):
		f.t.Fatalf("waited %v for %s", patience, what)
	}
}

// Take is what has come to a host since the last call, all that the machine has sent it.
func (f *Field) Take(at netip.AddrPort) (got []Arrival) {
	f.t.Helper()
	datagrams, messages := f.observed.due(at)
	buffer := make([]byte, 1<<16)
	for range datagrams {
		conn := f.observed.host(at)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			f.t.Fatalf("%v waits for what the machine has sent: %v", at, err)
		}
		got = append(got, Arrival{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), append([]byte(nil), buffer[:n]...)})
	}
	for range messages {
		s := f.streams[at]
		if s == nil {
			f.t.Fatalf("the machine has sent to a stream of %v, which has none", at)
		}
		m, err := s.read()
		if err != nil {
			f.t.Fatalf("%v waits for what the machine has sent: %v", at, err)
		}
		got = append(got, Arrival{s.to, m})
	}
	return got
}

// Populate has a host be wherever the machine sends something from now on, for Take.
func (f *Field) Populate() { f.Do(func(time.Time) { f.observed.populated = true }) }

// Answers forges a datagram and gives what the machine sends because of it, to whomever:
// not what it sends at its own times.
func (f *Field) Answers(from, to netip.AddrPort, payload []byte) (answers []sansio.Datagram) {
	f.t.Helper()
	f.Do(func(time.Time) { f.observed.answers = nil })
	f.Forge(from, to, payload)
	f.Do(func(time.Time) { answers = f.observed.answers })
	return answers
}

// window is how many datagrams fit into any socket's buffer.
const window = 32

// Flood forges many datagrams to one socket of the machine, as fast as it takes them, and
// gives how many bytes came and how many the machine sent because of them. What the
// driver does not hand on is sent as well.
func (f *Field) Flood(to netip.AddrPort, datagrams int, forge func(n int) (from netip.AddrPort, payload []byte)) (in, out int) {
	f.t.Helper()
	f.Do(func(time.Time) { out = -f.observed.reacted })
	for n := range datagrams {
		from, payload := forge(n)
		in += len(payload)
		if err := f.forger.send(from, to, payload); err != nil {
			f.t.Fatalf("forge %d bytes from %v: %v", len(payload), from, err)
		}
		if n%window == window-1 || n == datagrams-1 {
			f.Forge(fence, to, nil) // all before it have been dealt with
		}
	}
	f.Do(func(time.Time) { out += f.observed.reacted })
	return in, out
}

var fence = netip.AddrPortFrom(Own, 9)

// listenUDP opens a host's socket.
func listenUDP(at netip.AddrPort) (*net.UDPConn, error) {
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
}
