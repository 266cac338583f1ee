package peer

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
)

// recorder is a machine whose datagrams are kept.
type recorder struct {
	*Machine
	seen []sansio.Datagram
	over bool // keep no more
}

func (r *recorder) HandleDatagram(now time.Time, d sansio.Datagram) {
	if !r.over {
		kept := d
		kept.Payload = bytes.Clone(d.Payload)
		r.seen = append(r.seen, kept)
	}
	r.Machine.HandleDatagram(now, d)
}

// besieged is two peers and a rendezvous that run over the kernel's sockets. b is
// attacked, by somebody who has seen every datagram that it got; a is its peer.
type besieged struct {
	t       *testing.T
	a, b    *recorder
	at      netip.AddrPort // b's socket
	seen    []sansio.Datagram
	field   *siege.Field
	loop    *sansio.Loop  // a's
	got     chan string   // what b received
	path    chan struct{} // b has one
	session SessionID
}

var (
	hostA      = netip.MustParseAddrPort("198.18.1.1:4000")
	hostB      = netip.MustParseAddrPort("198.18.2.2:5000")
	introducer = netip.MustParseAddrPort("198.18.9.9:3478")
	strangers  = netip.MustParseAddrPort("203.0.113.66:6666")
)

func besiege(t *testing.T) *besieged {
	t.Helper()
	if err := siege.Ready(); err != nil {
		t.Skipf("LEFT OUT, attacks over the kernel's sockets: %v", err)
	}
	s := &besieged{t: t, at: hostB, got: make(chan string, 1000), path: make(chan struct{}, 1000)}
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{Listen: introducer, Key: identity.KeyFromSeed([identity.Size]byte{1: 1}), Rand: random(1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan sansio.Event, 10)
	s.run(server, func(e sansio.Event) {
		if _, ok := e.(rendezvous.Listening); ok {
			ready <- e
		}
	})
	wait(t, ready, "the rendezvous")
	start := func(n byte, listen netip.AddrPort) *recorder {
		m, err := NewMachine(Config{
			Key: identity.KeyFromSeed([identity.Size]byte{1: n}), Rendezvous: introducer, Listen: listen, Rand: random(uint64(n), 7), GiveUpAfter: -1,
		})
		if err != nil {
			t.Fatal(err)
		}
		return &recorder{Machine: m}
	}
	s.a, s.b = start(10, hostA), start(11, hostB)
	s.field = siege.Run(t, s.b, sansio.StreamConfig{}, func(e sansio.Event) {
		switch e := e.(type) {
		case Registered:
			ready <- e
		case PathChanged:
			if e.New.Kind == Direct {
				s.path <- struct{}{}
			}
		case Received:
			s.got <- string(e.Payload)
		}
	})
	s.loop = s.run(s.a, func(e sansio.Event) {
		if _, ok := e.(Registered); ok {
			ready <- e
		}
	})
	wait(t, ready, "one peer's registration")
	wait(t, ready, "the other one's")
	s.loop.Do(func(now time.Time) {
		if err := s.a.Connect(now, s.b.ID()); err != nil {
			t.Error(err)
		}
	})
	wait(t, s.path, "a direct path")
	s.exchange(5)
	s.field.Do(func(time.Time) {
		s.seen, s.b.over = slices.Clone(s.b.seen), true
		s.session, _ = s.b.Session(s.a.ID())
	})
	return s
}

// run has a machine run until the test ends.
func (s *besieged) run(m sansio.Machine, onEvent func(sansio.Event)) *sansio.Loop {
	l := sansio.NewLoop(m, sansio.System(), func(_ time.Time, e sansio.Event) { onEvent(e) })
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.Run(ctx); err != nil {
			s.t.Errorf("loop: %v", err)
		}
	})
	s.t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return l
}

func wait[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited 20 s for %s", what)
	}
	return v
}

// exchange has a send until b has got so many more datagrams, each once.
func (s *besieged) exchange(n int) {
	s.t.Helper()
	for range n {
		word := identity.KeyFromSeed([identity.Size]byte{1: byte(n)}).ID().String() + time.Now().String()
		for err, until := ErrNoPath, time.Now().Add(20*time.Second); err != nil; {
			if time.Now().After(until) {
				s.t.Fatalf("a cannot send: %v", err)
			}
			s.loop.Do(func(now time.Time) { err = s.a.Send(now, s.b.ID(), []byte(word)) })
		}
		if got := wait(s.t, s.got, "a datagram of a's"); got != word {
			s.t.Fatalf("b received %q, want %q", got, word)
		}
	}
}

// unharmed fails the test unless the session goes on, and nothing but it.
func (s *besieged) unharmed() {
	s.t.Helper()
	s.exchange(3)
	s.field.Do(func(time.Time) {
		session, _ := s.b.Session(s.a.ID())
		if session != s.session || len(s.b.Peers()) != 1 {
			s.t.Errorf("session %v became %v, sessions with %d peers", s.session, session, len(s.b.Peers()))
		}
		if p, _ := s.b.Path(s.a.ID()); p.Remote != hostA || p.Kind != Direct {
			s.t.Errorf("the path is %v, want one to %v", p, hostA)
		}
	})
}

// throw forges datagrams to b and gives the bytes that b sends because of them.
func (s *besieged) throw(from netip.AddrPort, datagrams ...[]byte) (in, out int) {
	s.t.Helper()
	return s.field.Flood(s.at, len(datagrams), func(n int) (netip.AddrPort, []byte) { return from, datagrams[n] })
}

func (s *besieged) payloads(want func(sansio.Datagram) bool) (all [][]byte) {
	for _, d := range s.seen {
		if want(d) {
			all = append(all, d.Payload)
		}
	}
	if len(all) == 0 {
		s.t.Fatal("no such datagram was seen: the test proves nothing")
	}
	return all
}

func introduces(d sansio.Datagram) bool {
	return d.Remote == introducer && len(d.Payload) > 2 && uint16(d.Payload[0])<<8|uint16(d.Payload[1]) == introduceRequest
}

// TestAttacksOnARunningPeer: what the tests above do to a machine in simulated time, over
// the kernel's sockets.
func TestAttacksOnARunningPeer(t *testing.T) {
	for name, attack := range map[string]func(*testing.T, *besieged){
		"spoofed introduction": func(t *testing.T, s *besieged) {
			for _, i := range s.payloads(introduces) {
				for _, at := range []int{8, 30, len(i) - 12} { // transaction, peer, integrity
					forged := bytes.Clone(i)
					forged[at] ^= 1
					for _, from := range []netip.AddrPort{strangers, introducer} {
						if _, out := s.throw(from, forged); out != 0 {
							t.Errorf("with byte %d changed, from %v: answered with %d bytes", at, from, out)
						}
					}
				}
			}
		},
		"replayed introduction": func(t *testing.T, s *besieged) {
			copies := s.payloads(introduces)
			if _, out := s.throw(strangers, copies...); out != 0 {
				t.Errorf("copies from elsewhere are answered with %d bytes", out)
			}
			if in, out := s.throw(introducer, copies...); out > in {
				t.Errorf("copies of %d bytes make b send %d", in, out)
			}
		},
		"replay": func(t *testing.T, s *besieged) {
			frames := s.payloads(func(d sansio.Datagram) bool { return isFrame(d.Payload) })
			for _, from := range []netip.AddrPort{strangers, hostA} {
				if _, out := s.throw(from, frames...); out != 0 {
					t.Errorf("copies of frames from %v make b send %d bytes", from, out)
				}
			}
			select {
			case got := <-s.got:
				t.Errorf("%q was delivered again", got)
			default:
			}
		},
		"reflection": func(t *testing.T, s *besieged) {
			checks := s.payloads(func(d sansio.Datagram) bool { return asks(d.Payload) && d.Remote == hostA })
			if in, out := s.throw(strangers, checks...); out > in {
				t.Errorf("copies of checks, %d bytes, in a victim's name send it %d, want no more", in, out)
			}
		},
		"flood": func(t *testing.T, s *besieged) {
			var slot uint32
			s.field.Do(func(time.Time) { slot = s.b.sessions[0].slot })
			seen := func(i int) (netip.AddrPort, []byte) { return s.seen[i].Remote, s.seen[i].Payload }
			flood := func(from, to int) (in, out int) {
				return s.field.Flood(s.at, to-from, func(n int) (netip.AddrPort, []byte) { return forgery(from+n, len(s.seen), seen, slot) })
			}
			flood(0, 2000) // what is allocated once is
			before := heapInUse()
			in, out := flood(2000, 12_000)
			if grown := int64(heapInUse()) - int64(before); grown > 1<<20 {
				t.Errorf("10,000 forged datagrams leave %d bytes", grown)
			}
			if out > in/100 {
				t.Errorf("%d forged bytes make b send %d", in, out)
			}
		},
		"oversized": func(t *testing.T, s *besieged) {
			for n := range 256 {
				if _, out := s.throw(hostA, bytes.Repeat([]byte{byte(n)}, 1500), bytes.Repeat([]byte{byte(n)}, 65507)); out != 0 {
					t.Errorf("oversized datagrams of %#x make b send %d bytes", n, out)
				}
			}
		},
		"stale": func(t *testing.T, s *besieged) {
			held := s.sealed("held back")
			s.field.Do(func(now time.Time) { s.b.Close(now, s.a.ID()) })
			if _, out := s.throw(hostA, held); out != 0 {
				t.Errorf("a frame of a session that is over makes b send %d bytes", out)
			}
			select {
			case got := <-s.got:
				t.Errorf("%q was delivered in a session that is over", got)
			default:
			}
			s.session = SessionID{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := besiege(t)
			attack(t, s)
			if s.session != (SessionID{}) {
				s.unharmed()
			}
		})
	}
}

// sealed is a frame of a's that never arrived.
func (s *besieged) sealed(text string) (frame []byte) {
	s.loop.Do(func(time.Time) {
		var err error
		if frame, err = s.a.sessionWith(s.b.ID()).channel.Seal(byte(frameData), []byte(text)); err != nil {
			s.t.Error(err)
		}
	})
	return frame
}
