package peer

import (
	"fmt"
	"math/rand/v2"
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

const ms = time.Millisecond

// behaviour is a NAT of the tests, by its two axes.
type behaviour struct {
	name               string
	mapping, filtering simnet.Dependence
}

var (
	fullCone       = behaviour{"full cone", simnet.Endpoint, simnet.Endpoint}
	restricted     = behaviour{"restricted", simnet.Endpoint, simnet.Address}
	portRestricted = behaviour{"port-restricted", simnet.Endpoint, simnet.AddressPort}
	symmetric      = behaviour{"symmetric", simnet.AddressPort, simnet.AddressPort}
	classic        = []behaviour{fullCone, restricted, portRestricted, symmetric}
)

var (
	rendezvousAddr = netip.MustParseAddrPort("198.18.0.2:3478")
	relayAddr      = netip.MustParseAddrPort("198.18.0.3:3478")
)

// laboratory is the timing for NATs that forget after 2 s.
var laboratory = Config{Keepalive: 500 * ms, Consent: 500 * ms, DeadAfter: time.Second}

// world is an internet with a rendezvous, a relay and peers behind NATs.
type world struct {
	// guesses: ports may be foretold and searched, which plain punching is not
	// pinned by.
	guesses    bool
	t          testing.TB
	net        *simnet.Net
	seed       uint64
	rendezvous *simnet.Host
	relay      *simnet.Host
	// rendezvousServer runs on the host rendezvous.
	rendezvousServer *simnet.Runner
	// relayServer runs on the host relay.
	relayServer *simnet.Runner
	peers       []*node
	// timeout of all NATs; zero: forever.
	timeout time.Duration
	// delay of each access link, one way.
	delay time.Duration
	loss  float64

	direct, relayed int // frames that went between peers, and from the relay
}

// node is a peer with its router.
type node struct {
	w       *world
	name    string
	host    *simnet.Host
	runner  *simnet.Runner
	machine *Machine
	sleeper *sleeper // the machine as it runs
	nat     *simnet.TestNAT
	segment *simnet.Segment
	events  []any
	times   []time.Time
	got     []string
}

type randReader struct{ *rand.Rand }

func (r randReader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

func random(seed, stream uint64) randReader { return randReader{rand.New(rand.NewPCG(seed, stream))} }

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	w := &world{t: t, net: simnet.New(seed), seed: seed, delay: 20 * ms}
	w.rendezvous = w.net.Internet().Host("rendezvous", rendezvousAddr.Addr())
	w.rendezvousServer = w.startRendezvous()
	w.relay = w.net.Internet().Host("relay", relayAddr.Addr())
	w.relayServer = w.startRelay(1)
	w.net.Observe(func(p simnet.Packet) {
		if p.Lost != "" || !isFrame(p.Payload) {
			return
		}
		if p.From == w.relay || p.To == w.relay {
			w.relayed++
		} else {
			w.direct++
		}
	})
	return w
}

// startRelay starts a server that remembers nothing of an earlier one with
// another stream.
func (w *world) startRelay(stream uint64) *simnet.Runner {
	w.t.Helper()
	server, err := relay.NewServer(relay.ServerConfig{
		Listen: relayAddr, RelayAddress: relayAddr.Addr(), PortLow: 50000, PortHigh: 50999,
		Authenticators: []relay.Authenticator{relay.Users{"user": "secret"}}, Rand: random(w.seed, stream),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.relay.Run(server, nil)
}

func (w *world) startRendezvous() *simnet.Runner {
	w.t.Helper()
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{
		Listen: rendezvousAddr, Key: identity.KeyFromSeed([identity.Size]byte{31: 0x55}), Rand: random(w.seed, 2),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.rendezvous.Run(server, nil)
}

// home makes a router with a segment behind it.
func (w *world) home(b behaviour) (*simnet.TestNAT, *simnet.Segment) {
	external := netip.AddrFrom4([4]byte{198, 18, byte(10 + len(w.peers)), 1})
	n := &simnet.TestNAT{External: external, Mapping: b.mapping, Filtering: b.filtering, Timeout: w.timeout}
	return n, w.net.Internet().Behind(n, external)
}

// peer starts a peer behind a NAT. All homes use the same private addresses.
func (w *world) peer(name string, b behaviour, cfg Config) *node {
	w.t.Helper()
	n := &node{w: w, name: name}
	n.nat, n.segment = w.home(b)
	n.host = n.segment.Host(name, netip.MustParseAddr("192.168.1.2"))
	w.start(n, cfg)
	return n
}

func (w *world) start(n *node, cfg Config) {
	w.t.Helper()
	number := uint64(len(w.peers))
	if cfg.Key.IsZero() {
		cfg.Key = identity.KeyFromSeed([identity.Size]byte{1: byte(number + 1)})
	}
	if !cfg.Rendezvous.IsValid() {
		cfg.Rendezvous = rendezvousAddr
	}
	if cfg.Relay == nil && cfg.Relays == nil {
		cfg.Relay = &RelayConfig{Server: relayAddr, Username: "user", Password: "secret"}
	}
	cfg.Rand = random(w.seed, 100+number)
	if !w.guesses {
		cfg.Techniques.NoPrediction, cfg.Techniques.NoBirthday = true, true
	}
	m, err := NewMachine(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	n.machine = m
	n.host.SetLink(simnet.Link{Delay: w.delay, Loss: w.loss})
	w.peers = append(w.peers, n)
	n.sleeper = &sleeper{Machine: m}
	n.runner = n.host.Run(n.sleeper, func(at time.Time, e sansio.Event) {
		n.events, n.times = append(n.events, e), append(n.times, at)
		if r, ok := e.(Received); ok {
			n.got = append(n.got, string(r.Payload))
		}
	})
}

func (n *node) id() identity.ID { return n.machine.ID() }

func (n *node) connect(to *node) {
	n.w.t.Helper()
	n.runner.Do(func(now time.Time) {
		if err := n.machine.Connect(now, to.id()); err != nil {
			n.w.t.Errorf("%s connects to %s: %v", n.name, to.name, err)
		}
	})
}

func (n *node) send(to *node, text string) (err error) {
	n.runner.Do(func(now time.Time) { err = n.machine.Send(now, to.id(), []byte(text)) })
	return err
}

func (n *node) path(to *node) Path {
	p, _ := n.machine.Path(to.id())
	return p
}

func (n *node) session(with *node) SessionID {
	s, _ := n.machine.Session(with.id())
	return s
}

// last gives the last event of a type, and when it came after the beginning of
// the world.
func last[E any](n *node) (e E, after time.Duration, ok bool) {
	for i := len(n.events) - 1; i >= 0; i-- {
		if e, ok := n.events[i].(E); ok {
			return e, n.times[i].Sub(simnet.Epoch), true
		}
	}
	return e, 0, false
}

func count[E any](n *node) (c int) {
	for _, e := range n.events {
		if _, ok := e.(E); ok {
			c++
		}
	}
	return c
}

// first is when the first event of a type came that satisfies a condition.
func first[E any](n *node, is func(E) bool) (after time.Duration, ok bool) {
	for i, e := range n.events {
		if e, ok := e.(E); ok && is(e) {
			return n.times[i].Sub(simnet.Epoch), true
		}
	}
	return 0, false
}

// settled says that both have reported the end of their checks.
func settled(a, b *node) func() bool {
	return func() bool { return count[Settled](a) > 0 && count[Settled](b) > 0 }
}

// pair starts two peers and has the first connect to the second.
func (w *world) pair(a, b behaviour, cfg Config) (x, y *node) {
	w.t.Helper()
	x, y = w.peer("a", a, cfg), w.peer("b", b, cfg)
	w.net.Run(500 * ms)
	x.connect(y)
	return x, y
}

// want fails the test unless both sides use a path of this kind.
func (w *world) want(a, b *node, kind PathKind) {
	w.t.Helper()
	if pa, pb := a.path(b), b.path(a); pa.Kind != kind || pb.Kind != kind {
		w.t.Errorf("after %v the paths are %v (%s) and %v (%s), want %v\n%s\n%s", w.net.Now().Sub(simnet.Epoch),
			pa.Kind, a.name, pb.Kind, b.name, kind, a.history(), b.history())
	}
}

// exchange has both send numbered datagrams, one each interval, and gives how
// many arrived at a and b.
func (w *world) exchange(a, b *node, count int, interval time.Duration) (atA, atB int) {
	beforeA, beforeB := len(a.got), len(b.got)
	for i := range count {
		_ = a.send(b, fmt.Sprintf("a%d", i)) // without a path it is lost
		_ = b.send(a, fmt.Sprintf("b%d", i))
		w.net.Run(interval)
	}
	return len(a.got) - beforeA, len(b.got) - beforeB
}

func (n *node) history() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s: %+v", n.name, n.id().Short(), n.machine.Stats())
	for i, e := range n.events {
		if _, data := e.(Received); !data {
			fmt.Fprintf(&out, "\n  %8v %T %+v", n.times[i].Sub(simnet.Epoch), e, e)
		}
	}
	return out.String()
}
