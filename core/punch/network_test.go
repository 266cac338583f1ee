package punch

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// This file is a network in simulated time, just large enough for two agents:
// a NAT in front of each, a relay, delay and loss.

// cone is how a NAT of the tests behaves: what a mapping and a filter look at.
type cone struct {
	mapping, filtering func(remote netip.AddrPort) string
}

func ignore(netip.AddrPort) string      { return "" }
func address(r netip.AddrPort) string   { return r.Addr().String() }
func transport(r netip.AddrPort) string { return r.String() }
func (c cone) String() string           { return fmt.Sprint(c.name()) }
func (c cone) name() string             { return coneNames[c.key()] }
func (c cone) key() string              { r := addrPort("192.0.2.1:1"); return c.mapping(r) + "/" + c.filtering(r) }
func addrPort(s string) netip.AddrPort  { return netip.MustParseAddrPort(s) }
func host(c netip.AddrPort) Candidate {
	return Candidate{Kind: Host, Addr: c, Priority: Priority(Host, 0)}
}
func relayed(c netip.AddrPort) Candidate {
	return Candidate{Kind: Relayed, Addr: c, Priority: Priority(Relayed, 0)}
}
func reflexive(c netip.AddrPort) Candidate {
	return Candidate{Kind: ServerReflexive, Addr: c, Priority: Priority(ServerReflexive, 0)}
}

var (
	fullCone       = cone{ignore, ignore}
	restricted     = cone{ignore, address}
	portRestricted = cone{ignore, transport}
	symmetric      = cone{transport, transport}
	classic        = []cone{fullCone, restricted, portRestricted, symmetric}
	coneNames      = map[string]string{
		fullCone.key(): "full cone", restricted.key(): "restricted", portRestricted.key(): "port-restricted", symmetric.key(): "symmetric",
	}
)

const (
	socketBase Base = 0
	relayBase  Base = 1
)

var server = addrPort("198.18.0.3:3478")

// nat translates for one inside host.
type nat struct {
	cone
	external netip.Addr
	timeout  time.Duration // zero: forever
	nextPort uint16
	byKey    map[string]*mapping
	byPort   map[uint16]*mapping
}

type mapping struct {
	inside  netip.AddrPort
	port    uint16
	filter  map[string]time.Time
	touched time.Time
}

func newNAT(c cone, external string) *nat {
	n := &nat{cone: c, external: netip.MustParseAddr(external), nextPort: 40000}
	n.reboot()
	return n
}

// reboot forgets all mappings; new ones get new ports.
func (n *nat) reboot() { n.byKey, n.byPort = map[string]*mapping{}, map[uint16]*mapping{} }

func (n *nat) live(now time.Time, m *mapping) bool {
	return m != nil && (n.timeout == 0 || now.Sub(m.touched) < n.timeout)
}

func (n *nat) out(now time.Time, inside, remote netip.AddrPort) netip.AddrPort {
	key := inside.String() + " " + n.mapping(remote)
	m := n.byKey[key]
	if !n.live(now, m) {
		m = &mapping{inside: inside, port: n.nextPort, filter: map[string]time.Time{}}
		n.nextPort++
		n.byKey[key], n.byPort[m.port] = m, m
	}
	m.touched = now
	m.filter[n.filtering(remote)] = now
	return netip.AddrPortFrom(n.external, m.port)
}

func (n *nat) in(now time.Time, port uint16, remote netip.AddrPort) (netip.AddrPort, bool) {
	m := n.byPort[port]
	if !n.live(now, m) {
		return netip.AddrPort{}, false
	}
	if at, ok := m.filter[n.filtering(remote)]; n.key() != fullCone.key() && (!ok || n.timeout != 0 && now.Sub(at) >= n.timeout) {
		return netip.AddrPort{}, false
	}
	return m.inside, true
}

// side is one peer: its agent, its NAT, its address on the relay.
type side struct {
	name      string
	agent     *Agent
	nat       *nat
	inside    netip.AddrPort
	relay     netip.AddrPort
	relayDead bool
	muted     func(Transmit) bool // drops what the side sends
	hold      time.Time           // until then the side is deaf and dumb
	events    []Event
	settledAt time.Duration
	directAt  time.Duration
}

type packet struct {
	at      time.Time
	seq     int
	to      *side
	base    Base
	port    uint16 // of the NAT it arrives at; 0 from the relay
	from    netip.AddrPort
	payload []byte
}

type packets []packet

func (p packets) Len() int { return len(p) }
func (p packets) Less(i, j int) bool {
	return p[i].at.Before(p[j].at) || p[i].at.Equal(p[j].at) && p[i].seq < p[j].seq
}
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *packets) Push(x any)   { *p = append(*p, x.(packet)) }
func (p *packets) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// network carries packets between two sides. A relayed packet takes twice the
// one-way delay of a direct one.
type network struct {
	t      *testing.T
	now    time.Time
	start  time.Time
	delay  time.Duration // one way, direct
	loss   float64
	rng    *rand.Rand
	a, b   *side
	queue  packets
	seq    int
	direct int // packets that arrived directly
}

var epoch = time.Unix(1_700_000_000, 0)

const (
	pwdA, pwdB = "password-of-a-0123456789", "password-of-b-0123456789"
)

// options vary a test's pair of agents.
type options struct {
	timing                          Timing
	loss                            float64
	delay                           time.Duration
	seed                            uint64
	noRelay                         bool
	relayOnly                       bool
	natTimeout                      time.Duration
	roles                           []bool // who controls; nil: a
	standard, renomination, noSplit bool
}

func newNetwork(t *testing.T, ca, cb cone, o options) *network {
	t.Helper()
	if o.delay == 0 {
		o.delay = 40 * time.Millisecond
	}
	if o.roles == nil {
		o.roles = []bool{true, false}
	}
	n := &network{t: t, now: epoch, start: epoch, delay: o.delay, loss: o.loss, rng: rand.New(rand.NewPCG(o.seed, 1))}
	n.a = &side{name: "a", nat: newNAT(ca, "198.18.1.1"), inside: addrPort("192.168.1.2:5000"), relay: addrPort("198.18.0.3:50001")}
	n.b = &side{name: "b", nat: newNAT(cb, "198.18.2.1"), inside: addrPort("192.168.1.3:5000"), relay: addrPort("198.18.0.3:50002")}
	n.a.nat.timeout, n.b.nat.timeout = o.natTimeout, o.natTimeout
	for i, s := range []*side{n.a, n.b} {
		cfg := Config{
			Controlling: o.roles[i], TieBreaker: uint64(100 + i), Timing: o.timing, RelayOnly: o.relayOnly,
			Extended: !o.standard, Renomination: o.renomination, NoSplit: o.noSplit,
			Rand: randReader{rand.New(rand.NewPCG(o.seed, uint64(10+i)))},
		}
		cfg.LocalUfrag, cfg.LocalPwd, cfg.RemoteUfrag, cfg.RemotePwd = "aaaa", pwdA, "bbbb", pwdB
		if s == n.b {
			cfg.LocalUfrag, cfg.LocalPwd, cfg.RemoteUfrag, cfg.RemotePwd = "bbbb", pwdB, "aaaa", pwdA
		}
		agent, err := New(n.now, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.agent = agent
		s.relayDead = o.noRelay
	}
	n.introduce(n.a, n.b)
	n.introduce(n.b, n.a)
	return n
}

// introduce tells to what from has to offer now, and from its own candidates.
func (n *network) introduce(from, to *side) {
	srflx := from.nat.out(n.now, from.inside, server)
	from.agent.SetLocal(n.now, socketBase, []Candidate{host(from.inside), reflexive(srflx)})
	offer := []Candidate{host(from.inside), reflexive(srflx)}
	if !from.relayDead {
		from.agent.SetLocal(n.now, relayBase, []Candidate{relayed(from.relay)})
		offer = append(offer, relayed(from.relay))
	}
	to.agent.SetRemote(n.now, offer)
	n.flush()
}

type randReader struct{ *rand.Rand }

func (r randReader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

// flush takes what the agents want to send and puts it on the wire.
func (n *network) flush() {
	for _, s := range []*side{n.a, n.b} {
		for {
			t, ok := s.agent.PollTransmit()
			if !ok {
				break
			}
			if !n.now.Before(s.hold) && (s.muted == nil || !s.muted(t)) {
				n.send(s, t)
			}
		}
		for {
			e, ok := s.agent.PollEvent()
			if !ok {
				break
			}
			s.events = append(s.events, e)
			switch e := e.(type) {
			case Settled:
				s.settledAt = n.now.Sub(n.start)
			case PathChanged:
				if e.New.Kind == Direct && e.Old.Kind != Direct {
					s.directAt = n.now.Sub(n.start)
				}
			}
		}
	}
}

func (n *network) send(s *side, t Transmit) {
	from, delay := s.relay, n.delay
	if t.Base == relayBase {
		if s.relayDead {
			return
		}
		delay += n.delay
	} else {
		from = s.nat.out(n.now, s.inside, t.Remote)
	}
	if n.rng.Float64() < n.loss {
		return
	}
	for _, to := range []*side{n.a, n.b} {
		switch {
		case t.Remote == to.relay && !to.relayDead:
			n.enqueue(packet{at: n.now.Add(delay + n.delay), to: to, base: relayBase, from: from, payload: t.Payload})
		case t.Remote.Addr() == to.nat.external:
			n.enqueue(packet{at: n.now.Add(delay), to: to, base: socketBase, port: t.Remote.Port(), from: from, payload: t.Payload})
		}
	}
}

func (n *network) enqueue(p packet) {
	n.seq++
	p.seq = n.seq
	p.payload = bytes.Clone(p.payload)
	heap.Push(&n.queue, p)
}

// wake is PollTimeout, compared with what it is when nothing is remembered.
func (n *network) wake(a *Agent) time.Time {
	n.t.Helper()
	remembered := a.PollTimeout()
	if fresh := a.nextWake(); !fresh.Equal(remembered) {
		n.t.Fatalf("PollTimeout remembers %v, but %v is right: something has changed since", remembered.Sub(n.start), fresh.Sub(n.start))
	}
	return remembered
}

// run lets the time pass, d long.
func (n *network) run(d time.Duration) { n.runUntil(d, func() bool { return false }) }

// runUntil lets the time pass until done, at most d.
func (n *network) runUntil(d time.Duration, done func() bool) {
	n.t.Helper()
	end := n.now.Add(d)
	for steps := 0; !done(); steps++ {
		if steps > 1_000_000 {
			n.t.Fatalf("the agents never rest: %d steps up to %v", steps, n.now.Sub(n.start))
		}
		next := end
		for _, s := range []*side{n.a, n.b} {
			if w := n.wake(s.agent); !w.IsZero() && w.Before(next) {
				next = w
			}
		}
		if len(n.queue) > 0 && n.queue[0].at.Before(next) {
			next = n.queue[0].at
		}
		if next.After(n.now) {
			n.now = next
		}
		if !n.now.Before(end) {
			return
		}
		for len(n.queue) > 0 && !n.queue[0].at.After(n.now) {
			p := heap.Pop(&n.queue).(packet)
			if n.now.Before(p.to.hold) {
				continue
			}
			if p.port != 0 {
				inside, ok := p.to.nat.in(n.now, p.port, p.from)
				if !ok || inside != p.to.inside {
					continue
				}
				if p.from.Addr() != server.Addr() {
					n.direct++
				}
			}
			p.to.agent.HandleDatagram(n.now, p.base, p.from, p.payload)
			n.flush()
		}
		for _, s := range []*side{n.a, n.b} {
			if w := n.wake(s.agent); !w.IsZero() && !w.After(n.now) {
				s.agent.HandleTimeout(n.now)
			}
		}
		n.flush()
	}
}

func (n *network) settled() bool { return n.a.agent.IsSettled() && n.b.agent.IsSettled() }

func (n *network) kinds() (a, b PathKind) {
	pa, _ := n.a.agent.Path()
	pb, _ := n.b.agent.Path()
	return pa.Kind, pb.Kind
}

// want fails the test unless both sides use a path of this kind.
func (n *network) want(kind PathKind) {
	n.t.Helper()
	if a, b := n.kinds(); a != kind || b != kind {
		n.t.Errorf("after %v the paths are %v (a) and %v (b), want %v on both\n a: %v\n b: %v",
			n.now.Sub(n.start), a, b, kind, n.a.describe(), n.b.describe())
	}
}

func (s *side) describe() string {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%+v events %+v", s.agent.Stats(), s.events)
	for _, p := range s.agent.pairs {
		fmt.Fprintf(&out, "\n    base %d → %v state %d rtt %v", p.base, p.remote, p.state, p.rtt)
	}
	return out.String()
}
