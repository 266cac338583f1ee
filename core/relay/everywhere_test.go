package relay

import (
	"crypto/rand"
	"crypto/tls"
	"net/netip"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
)

// worldMaker makes the world of an attack: a relay, and hosts around it.
type worldMaker func(t *testing.T, change func(*ServerConfig)) *world

// ways are how the clients of an attack reach the relay.
type ways []sansio.Transport

var (
	everyWay = ways{sansio.UDP, sansio.TCP, sansio.TLS}
	// datagrams: strangers on streams have shown where they are, a length that lies ends
	// a stream, and nobody has two hundred of them.
	datagrams = ways{sansio.UDP}
)

// everywhere has an attack go on in simulated time and against a relay that runs over
// the kernel's sockets, by each way to it.
func everywhere(t *testing.T, by ways, attack func(*testing.T, worldMaker)) {
	t.Run("simulated", func(t *testing.T) { attack(t, newWorld) })
	running := func(name string, way sansio.Transport, fast bool) {
		t.Run("running, over "+name, func(t *testing.T) {
			var last *world
			attack(t, func(t *testing.T, change func(*ServerConfig)) *world {
				if last != nil {
					last.end() // it has the addresses
				}
				last = newRunningWorld(t, way, fast, change)
				return last
			})
		})
	}
	for _, way := range by {
		running(way.String(), way, false)
	}
	running("UDP and the kernel's fast path", sansio.UDP, true)
}

// end ends a world that runs.
func (w *world) end() {
	w.field.End()
	if w.shut != nil {
		w.shut()
	}
}

var (
	tcpAddr = netip.AddrPortFrom(relayAddr, 3479)
	tlsAddr = netip.AddrPortFrom(relayAddr, 5349)
)

// newRunningWorld is newWorld over the kernel's sockets. The relay is set up as its
// command does it.
func newRunningWorld(t *testing.T, way sansio.Transport, fast bool, change func(*ServerConfig)) *world {
	t.Helper()
	cfg := worldConfig()
	cfg.TCP, cfg.TLS, cfg.Rand, cfg.DontFragment = tcpAddr, tlsAddr, rand.Reader, sansio.DontFragment
	if change != nil {
		change(&cfg)
	}
	w := &world{t: t, way: way}
	if fast {
		var shut func()
		w.fast, shut = hasten(t)
		w.shut = sync.OnceFunc(shut)
		t.Cleanup(w.shut)
		cfg.FastPath = w.fast
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatalf("NewServer: %v", err)
	}
	pair, roots := loopbackCertificate(t)
	w.server = s
	if way == sansio.TLS {
		w.secure = &tls.Config{RootCAs: roots, ServerName: relayAddr.String()}
	}
	listening := make(chan sansio.Event, 2)
	config := sansio.StreamConfig{Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }}
	w.field = siege.Run(t, s, config, func(e sansio.Event) {
		switch e := e.(type) {
		case Listening, ListenFailed:
			listening <- e
		default:
			w.events = append(w.events, e)
		}
	})
	w.field.Populate()
	if fast {
		w.field.PassedBy = w.fast.pass
	}
	if e, failed := await(t, listening, "the relay to listen").(ListenFailed); failed {
		t.Fatalf("listen: %v", e.Err)
	}
	return w
}

// sendRunning is send of a world that runs.
func (w *world) sendRunning(from, to netip.AddrPort, payload []byte) {
	w.t.Helper()
	switch {
	case to != serverAddr || w.way == sansio.UDP:
		w.field.Send(from, to, payload)
	case w.way == sansio.TCP:
		w.field.SendOn(from, tcpAddr, nil, payload)
	default:
		w.field.SendOn(from, tlsAddr, w.secure, payload)
	}
}

func (w *world) takeRunning(at netip.AddrPort) (got []arrival) {
	w.t.Helper()
	for _, a := range w.field.Take(at) {
		got = append(got, arrival{a.From, a.Payload})
	}
	return got
}

// forge is send from an address that may be anybody's, over UDP; nobody takes the answer.
func (w *world) forge(from, to netip.AddrPort, payload []byte) {
	w.t.Helper()
	if w.field != nil {
		w.field.Forge(from, to, payload)
		return
	}
	w.send(from, to, payload)
}

// sendOversized is send of a datagram that no driver takes.
func (w *world) sendOversized(from, to netip.AddrPort, payload []byte) {
	w.t.Helper()
	if w.field != nil {
		w.field.Lose(from, to, payload)
		return
	}
	w.send(from, to, payload)
}

// inside looks into the server, or changes it, between its calls.
func (w *world) inside(do func(s *Server)) {
	w.t.Helper()
	if w.field == nil {
		do(w.server)
		return
	}
	w.field.Do(func(time.Time) { do(w.server) })
}

func (w *world) stats() (st Stats) {
	w.t.Helper()
	w.inside(func(s *Server) { st = s.Stats() })
	return st
}
