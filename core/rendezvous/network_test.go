package rendezvous

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/simnet"
)

var (
	serverAddress    = netip.MustParseAddrPort("203.0.113.1:3478")
	alternateAddress = netip.MustParseAddrPort("203.0.113.2:3479")
	keyServer        = testKey(200)
)

func testKey(n byte) identity.Key {
	var seed [identity.Size]byte
	seed[5] = n // X25519 clears bits of the first byte
	return identity.KeyFromSeed(seed)
}

func random(n uint64) *rand.ChaCha8 {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], n)
	return rand.NewChaCha8(seed)
}

// peer is a machine that does nothing but to hold a client.
type peer struct {
	sansio.Outbox
	client *Client
}

func (p *peer) HandleInterfaces(time.Time, []netip.Addr) {}
func (p *peer) HandleBound(now time.Time, _ sansio.Socket, _ netip.AddrPort, _ error) {
	p.client.Start(now)
	p.drain()
}
func (p *peer) HandleDatagram(now time.Time, d sansio.Datagram) {
	p.client.HandleDatagram(now, d.Remote, d.Payload)
	p.drain()
}
func (p *peer) HandleTimeout(now time.Time) { p.client.HandleTimeout(now); p.drain() }
func (p *peer) PollTimeout() time.Time      { return p.client.PollTimeout() }

func (p *peer) drain() {
	for {
		to, payload, ok := p.client.PollTransmit()
		if !ok {
			break
		}
		p.Send(0, to, payload)
	}
	for e, ok := p.client.PollEvent(); ok; e, ok = p.client.PollEvent() {
		p.Emit(e)
	}
}

// world is a rendezvous and its peers.
type world struct {
	t       *testing.T
	net     *simnet.Net
	host    *simnet.Host // the server's
	server  *Server
	running *simnet.Runner
	events  []string // the server's
	packets []simnet.Packet
}

// testPeer is a peer of a world.
type testPeer struct {
	name    string
	key     identity.Key
	machine *peer
	host    *simnet.Host
	runner  *simnet.Runner
	events  []sansio.Event
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, net: simnet.New(1)}
	w.host = w.net.Internet().Host("server", serverAddress.Addr(), alternateAddress.Addr())
	w.host.SetLink(simnet.Link{Delay: 10 * time.Millisecond})
	w.net.Observe(func(p simnet.Packet) { w.packets = append(w.packets, p) })
	w.start(ServerConfig{})
	return w
}

// start runs a server, in place of the one before.
func (w *world) start(cfg ServerConfig) {
	w.t.Helper()
	if w.running != nil {
		w.running.Stop()
	}
	cfg.Listen, cfg.Alternate, cfg.Rand = serverAddress, alternateAddress, random(99)
	if cfg.Key.IsZero() {
		cfg.Key = keyServer
	}
	var err error
	if w.server, err = NewServer(cfg); err != nil {
		w.t.Fatal(err)
	}
	w.running = w.host.Run(w.server, func(_ time.Time, e sansio.Event) {
		w.events = append(w.events, fmt.Sprintf("%T", e)[len("rendezvous."):])
	})
}

// peer starts a peer at an address of the internet.
func (w *world) peer(n byte, segment *simnet.Segment, cfg ClientConfig) *testPeer {
	if segment == nil {
		segment = w.net.Internet()
	}
	p := &testPeer{name: fmt.Sprint("peer ", n), key: testKey(n)}
	cfg.Server, cfg.Key, cfg.Rand = serverAddress, p.key, random(uint64(n))
	p.machine = &peer{client: NewClient(cfg)}
	p.host = segment.Host(p.name, netip.AddrFrom4([4]byte{198, 51, 100, n}))
	p.host.SetLink(simnet.Link{Delay: 10 * time.Millisecond})
	p.runner = p.host.Run(p.machine, func(_ time.Time, e sansio.Event) { p.events = append(p.events, e) })
	p.do(func(time.Time) {
		if err := p.machine.client.SetOffer(w.net.Now(), []byte("offer of "+p.name)); err != nil {
			w.t.Fatal(err)
		}
		p.machine.Bind(0, netip.MustParseAddrPort("0.0.0.0:5000"))
	})
	return p
}

func (p *testPeer) do(f func(now time.Time)) {
	p.runner.Do(func(now time.Time) { f(now); p.machine.drain() })
}

func (p *testPeer) connect(to *testPeer, session byte) {
	p.do(func(now time.Time) { p.machine.client.Connect(now, to.key.ID(), SessionID{session}) })
}

// take gives the events so far as text and forgets them.
func (p *testPeer) take(names ...*testPeer) string {
	var out []string
	name := func(id identity.ID) string {
		for _, n := range names {
			if n.key.ID() == id {
				return n.name
			}
		}
		return id.Short()
	}
	for _, e := range p.events {
		switch e := e.(type) {
		case Registered:
			out = append(out, fmt.Sprintf("registered %v rtt %v", e.Reflexive, e.RTT))
		case ReflexiveChanged:
			out = append(out, fmt.Sprintf("reflexive %v→%v", e.Old, e.New))
		case Introduced:
			out = append(out, fmt.Sprintf("introduced %s session %d %q at %v initiator %v", name(e.Peer), e.Session[0], e.Offer, e.Reflexive, e.Initiator))
		case ConnectFailed:
			out = append(out, fmt.Sprintf("failed %s session %d: %v", name(e.Peer), e.Session[0], e.Err))
		case Members:
			var ids []string
			for _, id := range e.IDs {
				ids = append(ids, name(id))
			}
			out = append(out, fmt.Sprintf("members of %s: %v", e.Room, ids))
		case Member:
			out = append(out, fmt.Sprintf("%s %s joined %v", e.Room, name(e.ID), e.Joined))
		case Unreachable:
			out = append(out, fmt.Sprintf("unreachable: %v", e.Err))
		default:
			out = append(out, fmt.Sprintf("%T %v", e, e))
		}
	}
	p.events = nil
	return strings.Join(out, "\n")
}

func (w *world) expect(what, got string, want ...string) {
	w.t.Helper()
	if expected := strings.Join(want, "\n"); got != expected {
		w.t.Errorf("%s, at %v:\n%s\nwant:\n%s", what, w.net.Now().Sub(simnet.Epoch), got, expected)
	}
}
