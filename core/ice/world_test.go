package ice

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/punch"
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

// meets is what ICE reaches between two of the classic NATs.
func meets(a, b behaviour) punch.PathKind {
	hard := func(b behaviour) bool { return b == symmetric }
	if hard(a) && (hard(b) || b == portRestricted) || hard(b) && a == portRestricted {
		return punch.ViaRelay
	}
	return punch.Direct
}

var (
	stunAddr  = netip.MustParseAddrPort("198.18.0.2:3478")
	relayAddr = netip.MustParseAddrPort("198.18.0.3:3478")
)

type randReader struct{ *rand.Rand }

func (r randReader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

func random(seed, stream uint64) randReader { return randReader{rand.New(rand.NewPCG(seed, stream))} }

// world is an internet with a STUN server, a relay, and sides behind NATs.
type world struct {
	t     testing.TB
	net   *simnet.Net
	seed  uint64
	relay *simnet.Host
	nodes int
	// signalling is how long messages between the sides take.
	signalling time.Duration
	seen       func(simnet.Packet)
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	w := &world{t: t, net: simnet.New(seed), seed: seed, signalling: 40 * ms}
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{
		Listen: stunAddr, Key: identity.KeyFromSeed([identity.Size]byte{31: 0x55}), Rand: random(seed, 2),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.net.Internet().Host("stun", stunAddr.Addr()).Run(server, nil)
	way, err := relay.NewServer(relay.ServerConfig{
		Listen: relayAddr, RelayAddress: relayAddr.Addr(), PortLow: 50000, PortHigh: 50999,
		Authenticators: []relay.Authenticator{relay.Users{"user": "secret"}}, Rand: random(seed, 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.relay = w.net.Internet().Host("relay", relayAddr.Addr())
	w.relay.Run(way, nil)
	w.net.Observe(func(p simnet.Packet) {
		if w.seen != nil {
			w.seen(p)
		}
	})
	return w
}

// node is one side, with what it has said.
type node struct {
	w       *world
	name    string
	host    *simnet.Host
	nat     *simnet.TestNAT
	runner  *simnet.Runner
	machine *Machine
	events  []sansio.Event
	got     []string
	// tell is the other side of the signalling; nil: nobody listens. With trickle
	// each candidate is told by itself.
	tell    *node
	trickle bool
	mute    bool // tells nothing of restarts
	states  []State
	paths   []punch.Path
}

// side starts one side behind a NAT.
func (w *world) side(name string, b behaviour, cfg Config) *node {
	w.t.Helper()
	w.nodes++
	external := netip.AddrFrom4([4]byte{198, 18, 1, byte(w.nodes)})
	n := &node{w: w, name: name, nat: &simnet.TestNAT{External: external, Mapping: b.mapping, Filtering: b.filtering}}
	inside := netip.AddrFrom4([4]byte{10, 0, byte(w.nodes), 2})
	n.host = w.net.Internet().Behind(n.nat, external).Host(name, inside)
	n.host.SetLink(simnet.Link{Delay: 20 * ms})
	n.start(cfg)
	return n
}

func (n *node) start(cfg Config) {
	n.w.t.Helper()
	cfg.Rand = random(n.w.seed, 100+uint64(n.w.nodes))
	if cfg.STUN == nil {
		cfg.STUN = []netip.AddrPort{stunAddr}
	}
	if cfg.TURN == nil {
		cfg.TURN = []Relay{{Server: relayAddr, Username: "user", Password: "secret"}}
	}
	m, err := NewMachine(cfg)
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.machine = m
	n.runner = n.host.Run(m, func(_ time.Time, e sansio.Event) { n.event(e) })
}

func (n *node) event(e sansio.Event) {
	n.events = append(n.events, e)
	switch e := e.(type) {
	case Received:
		n.got = append(n.got, string(e.Payload))
	case StateChanged:
		n.states = append(n.states, e.State)
	case PathChanged:
		n.paths = append(n.paths, e.New)
	case Restarted:
		n.signal(func(o *node, local Description) func(time.Time) error {
			return func(now time.Time) error { return o.machine.SetRemote(now, local) }
		})
	case Gathered:
		if n.trickle {
			n.signal(func(o *node, local Description) func(time.Time) error {
				c := e.Candidate
				c.Ufrag = local.Ufrag
				return func(now time.Time) error { _ = o.machine.AddRemote(now, c); return nil }
			})
		}
	case GatheringDone:
		n.signal(func(o *node, local Description) func(time.Time) error {
			return func(now time.Time) error { return o.machine.SetRemote(now, local) }
		})
	}
}

// signal has the other side do something, a while later.
func (n *node) signal(what func(o *node, local Description) func(time.Time) error) {
	if n.tell == nil || n.mute {
		return
	}
	o, do := n.tell, what(n.tell, n.machine.Local())
	n.w.later(n.w.signalling, func() {
		o.runner.Do(func(now time.Time) {
			if err := do(now); err != nil {
				n.w.t.Errorf("%s hears of %s: %v", o.name, n.name, err)
			}
		})
	})
}

// later does something after a time: a machine whose only work that is.
func (w *world) later(d time.Duration, do func()) {
	w.nodes++
	h := w.net.Internet().Host(fmt.Sprintf("clock %d", w.nodes), netip.AddrFrom4([4]byte{198, 19, byte(w.nodes >> 8), byte(w.nodes)}))
	c := &clock{at: w.net.Now().Add(d), do: do}
	h.Run(c, nil)
}

type clock struct {
	sansio.Outbox
	at time.Time
	do func()
}

func (c *clock) HandleBound(time.Time, sansio.Socket, netip.AddrPort, error) {}
func (c *clock) HandleDatagram(time.Time, sansio.Datagram)                   {}
func (c *clock) HandleInterfaces(time.Time, []netip.Addr)                    {}
func (c *clock) PollTimeout() time.Time                                      { return c.at }
func (c *clock) HandleTimeout(now time.Time) {
	if due(now, c.at) {
		c.at = time.Time{}
		c.do()
	}
}

// introduce has the two tell each other, from now on.
func introduce(a, b *node) {
	a.tell, b.tell = b, a
	for _, n := range []*node{a, b} {
		n.signal(func(o *node, local Description) func(time.Time) error {
			return func(now time.Time) error { return o.machine.SetRemote(now, local) }
		})
	}
}

func (n *node) state() State { s, _ := n.machine.State(); return s }

func (n *node) settled() bool {
	return slices.ContainsFunc(n.events, func(e sansio.Event) bool { _, ok := e.(Settled); return ok })
}

func (n *node) gatheringDone() bool { return n.machine.gathered }

// say sends a text to the other side.
func (n *node) say(text string) error {
	err := ErrClosed
	n.runner.Do(func(now time.Time) { err = n.machine.Send(now, []byte(text)) })
	return err
}

// want has both on a path of a kind, on which both hear each other.
func (w *world) want(kind punch.PathKind, a, b *node) {
	w.t.Helper()
	if !w.net.Until(20*time.Second, func() bool { return a.settled() && b.settled() }) {
		w.t.Fatalf("not settled: %s is %v, %s is %v", a.name, a.state(), b.name, b.state())
	}
	w.net.Run(500 * ms)
	w.talk(a, b)
	for _, n := range []*node{a, b} {
		if got := n.machine.Path().Kind; got != kind || n.state() != Connected {
			w.t.Errorf("%s is %v on a path that is %v, want %v", n.name, n.state(), got, kind)
		}
	}
}

// talk has each say something that the other one hears.
func (w *world) talk(a, b *node) {
	w.t.Helper()
	for i, n := range []*node{a, b} {
		o := []*node{b, a}[i]
		text := fmt.Sprintf("%s %d", n.name, len(o.got))
		if err := n.say(text); err != nil {
			w.t.Errorf("%s: %v", n.name, err)
		}
		w.net.Run(300 * ms)
		if !slices.Contains(o.got, text) {
			w.t.Errorf("%s does not hear %q: %q", o.name, text, o.got)
		}
	}
}

type packet = simnet.Packet

var (
	linkOf20 = simnet.Link{Delay: 20 * ms}
	down     = simnet.Link{Down: true}
)

func addrs(texts ...string) (list []netip.AddrPort) {
	for _, t := range texts {
		list = append(list, netip.MustParseAddrPort(t))
	}
	return list
}
