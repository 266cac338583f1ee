package peer

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/simnet"
)

// only443 is a NAT that lets nothing out but TCP to some ports; it can be lifted.
type only443 struct {
	*simnet.TestNAT
	open  bool            // UDP, too
	ports map[uint16]bool // of TCP
}

func (f *only443) Outbound(now time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	if !f.open {
		return netip.AddrPort{}, false
	}
	return f.TestNAT.Outbound(now, source, destination)
}

func (f *only443) Inbound(now time.Time, source, destination netip.AddrPort) (netip.AddrPort, bool) {
	if !f.open {
		return netip.AddrPort{}, false
	}
	return f.TestNAT.Inbound(now, source, destination)
}

func (f *only443) Stream(destination netip.AddrPort) bool { return f.ports[destination.Port()] }

func at(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }

// streamWorld is a world whose servers are there over TLS at 443 and TCP at 3478,
// too. messages counts what came over streams, by host.
type streamWorld struct {
	*world
	overUDP     map[*simnet.Host]int
	overStreams map[*simnet.Host]int
}

func newStreamWorld(t *testing.T) *streamWorld {
	t.Helper()
	w := &streamWorld{&world{t: t, net: simnet.New(1), seed: 1, delay: 20 * ms}, map[*simnet.Host]int{}, map[*simnet.Host]int{}}
	w.rendezvous = w.net.Internet().Host("rendezvous", rendezvousAddr.Addr())
	r, err := rendezvous.NewServer(rendezvous.ServerConfig{
		Listen: rendezvousAddr, TCP: rendezvousAddr, TLS: at(rendezvousAddr, 443),
		Key: identity.KeyFromSeed([identity.Size]byte{31: 0x55}), Rand: random(1, 2),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.rendezvous.Run(r, nil)
	w.relay = w.net.Internet().Host("relay", relayAddr.Addr())
	w.relayServer = w.startStreamRelay(1)
	w.net.Observe(func(p simnet.Packet) {
		switch {
		case p.Lost != "", p.From == p.To: // both have the same private address
		case p.Transport != sansio.UDP:
			w.overStreams[p.From]++
			w.overStreams[p.To]++
		default:
			w.overUDP[p.From]++
			w.overUDP[p.To]++
		}
	})
	return w
}

func (w *streamWorld) startStreamRelay(stream uint64) *simnet.Runner {
	w.t.Helper()
	s, err := relay.NewServer(relay.ServerConfig{
		Listen: relayAddr, TCP: relayAddr, TLS: at(relayAddr, 443), RelayAddress: relayAddr.Addr(), PortLow: 50000, PortHigh: 50999,
		Authenticators: []relay.Authenticator{relay.Users{"user": "secret"}}, Rand: random(1, stream),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.relay.Run(s, nil)
}

// streams has both servers reached without UDP.
func streams(cfg Config) Config {
	cfg.RendezvousStreams = Streams{TLS: at(rendezvousAddr, 443), TCP: rendezvousAddr}
	cfg.Relay = &RelayConfig{
		Server: relayAddr, Username: "user", Password: "secret",
		Streams: Streams{TLS: at(relayAddr, 443), TCP: relayAddr},
	}
	return cfg
}

// guarded starts a peer behind a router that lets TCP out to some ports only.
func (w *streamWorld) guarded(name string, cfg Config, ports ...uint16) (*node, *only443) {
	w.t.Helper()
	n := &node{w: w.world, name: name}
	external := netip.AddrFrom4([4]byte{198, 18, byte(10 + len(w.peers)), 1})
	n.nat = &simnet.TestNAT{External: external, Mapping: portRestricted.mapping, Filtering: portRestricted.filtering}
	wall := &only443{TestNAT: n.nat, ports: map[uint16]bool{}}
	for _, p := range ports {
		wall.ports[p] = true
	}
	n.segment = w.net.Internet().Behind(wall, external)
	n.host = n.segment.Host(name, netip.MustParseAddr("192.168.1.2"))
	w.start(n, cfg)
	return n, wall
}

// TestOnly443: whoever gets out by TCP to port 443 alone is relayed over TLS,
// whoever connects, and also where both are such.
func TestOnly443(t *testing.T) {
	for name, row := range map[string]struct{ both, reverse bool }{
		"one": {}, "one, who is called": {reverse: true}, "both": {both: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStreamWorld(t)
			a, _ := w.guarded("a", streams(laboratory), 443)
			var b *node
			if row.both {
				b, _ = w.guarded("b", streams(laboratory), 443)
			} else {
				b = w.peer("b", portRestricted, streams(laboratory))
			}
			w.net.Run(1500 * ms)
			x, y := a, b
			if row.reverse {
				x, y = b, a
			}
			x.connect(y)
			w.net.Until(10*time.Second, settled(a, b))
			w.want(a, b, Relay)
			if atA, atB := w.exchange(a, b, 20, 50*ms); atA < 19 || atB < 19 {
				t.Errorf("%d and %d of 20 datagrams arrived", atA, atB)
			}
			if w.overUDP[a.host] != 0 || w.overStreams[a.host] == 0 {
				t.Errorf("%d datagrams went over UDP, %d messages over streams", w.overUDP[a.host], w.overStreams[a.host])
			}
			for _, n := range w.peers {
				if r, _, _ := last[Registered](n); (n == a || row.both) == r.Reflexive.IsValid() {
					t.Errorf("%s is at %v as the rendezvous sees it", n.name, r.Reflexive)
				}
			}
			for _, c := range a.machine.direct() {
				if c.Addr.Addr() == a.nat.External {
					t.Errorf("a stream's address is a candidate: %v", c)
				}
			}
			when, ok := first(a, func(RelayReady) bool { return true })
			if !ok || when > streamPatience+12*2*w.delay {
				t.Errorf("the relay was ready after %v", when)
			}
			w.net.Run(time.Minute) // and stays
			w.want(a, b, Relay)
			if n := count[RelayReady](a) + count[RelayFailed](a); n != 1 {
				t.Errorf("%d events about the relay\n%s", n, a.history())
			}
		})
	}
}

// TestStreamsAreNotTriedForNothing: where UDP gets through, nobody hears of a stream.
func TestStreamsAreNotTriedForNothing(t *testing.T) {
	w := newStreamWorld(t)
	a, b := w.pair(portRestricted, portRestricted, streams(laboratory))
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Direct)
	w.net.Run(time.Minute)
	if w.overStreams[a.host]+w.overStreams[b.host] != 0 || count[ServerReached](a) != 0 {
		t.Errorf("%d messages over streams\n%s", w.overStreams[a.host]+w.overStreams[b.host], a.history())
	}
}

// TestSecondStream: TLS is blocked as well, TCP is not.
func TestSecondStream(t *testing.T) {
	w := newStreamWorld(t)
	a, _ := w.guarded("a", streams(laboratory), 3478)
	b := w.peer("b", portRestricted, streams(laboratory))
	w.net.Run(3 * time.Second)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Relay)
	if e, _, _ := last[ServerReached](a); e.Transport != sansio.TCP {
		t.Errorf("reached %+v, want over TCP", e)
	}
}

// TestUDPTakesOver: the network lets UDP out from some time on. The session stays.
func TestUDPTakesOver(t *testing.T) {
	w := newStreamWorld(t)
	a, wall := w.guarded("a", streams(laboratory), 443)
	b := w.peer("b", portRestricted, streams(laboratory))
	w.net.Run(1500 * ms)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Relay)
	session := a.session(b)
	wall.open = true
	if !w.net.Until(30*time.Second, func() bool { return a.path(b).Kind == Direct && b.path(a).Kind == Direct }) {
		t.Errorf("not direct although UDP gets out\n%s", a.history())
	}
	if a.session(b) != session {
		t.Error("the session changed")
	}
	w.net.Run(2 * retireMost)
	before := w.overStreams[a.host]
	w.net.Run(time.Minute)
	if n := w.overStreams[a.host] - before; n != 0 || len(a.machine.streams) != 0 {
		t.Errorf("%d messages over %d streams that nothing needs", n, len(a.machine.streams))
	}
	// And once more, the other way: UDP is blocked again.
	wall.open = false
	if !w.net.Until(3*time.Minute, func() bool { return a.path(b).Kind == Relay && b.path(a).Kind == Relay }) {
		t.Errorf("no relay after UDP was blocked again\n%s", a.history())
	}
}

// TestNobodyAnswers: the error says what was tried, and it is tried again.
func TestNobodyAnswers(t *testing.T) {
	w := newStreamWorld(t)
	a, wall := w.guarded("a", streams(laboratory))
	w.net.Run(20 * time.Second)
	var said error
	for _, e := range a.events {
		if f, ok := e.(Failed); ok && errors.Is(f.Err, ErrNoServer) {
			said = f.Err
		}
	}
	if said == nil {
		t.Fatalf("nobody says that no server answers\n%s", a.history())
	}
	t.Log(said)
	for _, part := range []string{"UDP to", "timed out"} {
		if !strings.Contains(said.Error(), part) {
			t.Errorf("%q does not say %q", said, part)
		}
	}
	wall.ports[443] = true
	if !w.net.Until(time.Minute, func() bool { return count[Registered](a) > 0 && count[RelayReady](a) > 0 }) {
		t.Errorf("not there although 443 gets out\n%s", a.history())
	}
}

// TestStreamBreaks: the relay and its streams go down and come back.
func TestStreamBreaks(t *testing.T) {
	w := newStreamWorld(t)
	a, _ := w.guarded("a", streams(laboratory), 443)
	b, _ := w.guarded("b", streams(laboratory), 443)
	w.net.Run(1500 * ms)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	session := a.session(b)
	w.relayServer.Stop()
	w.net.Run(3 * time.Second)
	w.startStreamRelay(9)
	if !w.net.Until(time.Minute, func() bool { return a.path(b).Kind == Relay && b.path(a).Kind == Relay }) {
		t.Errorf("not relayed again\n%s\n%s", a.history(), b.history())
	}
	if atA, atB := w.exchange(a, b, 20, 50*ms); atA < 18 || atB < 18 || a.session(b) != session {
		t.Errorf("%d and %d of 20 arrived, session %v, was %v", atA, atB, a.session(b), session)
	}
}

// TestNetworkIsRemembered: back in a network that lets no UDP out, streams are not
// waited for.
func TestNetworkIsRemembered(t *testing.T) {
	w := newStreamWorld(t)
	a, _ := w.guarded("a", streams(laboratory), 443)
	w.net.Run(3 * time.Second)
	wall, home := a.segment, netip.MustParseAddr("10.7.7.7")
	_, open := w.home(portRestricted)
	a.host.Move(open, home)
	w.net.Run(3 * time.Second)
	if e, _, _ := last[Registered](a); !e.Reflexive.IsValid() {
		t.Errorf("elsewhere, a is at %v\n%s", e.Reflexive, a.history())
	}
	if len(a.machine.streams) != 0 {
		t.Error("streams of the last network still stand")
	}
	moved := w.net.Now()
	a.host.Move(wall, netip.MustParseAddr("192.168.1.2"))
	n := count[Registered](a)
	w.net.Until(5*time.Second, func() bool { return count[Registered](a) > n })
	if took := w.net.Now().Sub(moved); took > 9*2*w.delay {
		t.Errorf("back again, it took %v to register", took)
	}
}
