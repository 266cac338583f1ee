package classify_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/classify"
	"p2pmodel/nat/table"
)

var (
	epoch    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	local    = netip.MustParseAddr("10.0.0.2")
	external = []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")}
	servers  = [2]netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")}
	ports    = [2]uint16{3478, 3479}
)

// world is a machine behind a NAT model, and a STUN server, in simulated time.
type world struct {
	nat     *table.Table // nil: none
	now     time.Time
	rand    *rand.Rand
	delay   time.Duration
	loss    float64
	sockets map[int]netip.AddrPort
	next    uint16 // local port
	flights []flight
	server  server
}

// server is how the STUN server is.
type server struct {
	dead, single, ignoresChange, halfDead, refusesPort bool
	refuses                                            pion.ErrorCode
}

type flight struct {
	at       time.Time
	from, to netip.AddrPort
	payload  []byte
}

func newWorld(t *testing.T, behavior string, addresses int) *world {
	t.Helper()
	w := &world{now: epoch, rand: rand.New(rand.NewPCG(3, 3)), delay: 10 * time.Millisecond, sockets: make(map[int]netip.AddrPort), next: 41000}
	if behavior == "" {
		return w
	}
	b, err := nat.ParseBehavior(behavior)
	if err != nil {
		t.Fatal(err)
	}
	if w.nat, err = table.New(b, external[:addresses], w.rand); err != nil {
		t.Fatal(err)
	}
	return w
}

// outbound carries what the machine sends.
func (w *world) outbound(from, to netip.AddrPort, payload []byte) {
	if w.rand.Float64() < w.loss {
		return
	}
	at := w.now.Add(w.delay)
	if w.nat != nil {
		v := w.nat.Outbound(w.now, table.Packet{Src: from, Dst: to})
		if v.Drop != table.Passed || v.Hairpin && v.Packet.Src.Addr() == local {
			return // a host drops what claims to come from itself
		}
		if v.Hairpin {
			w.flights = append(w.flights, flight{at, v.Packet.Src, v.Packet.Dst, payload})
			return
		}
		from = v.Packet.Src
	}
	for _, g := range w.server.answer(from, to, payload) {
		w.flights = append(w.flights, flight{at.Add(w.delay), g.from, g.to, g.payload})
	}
}

// answer is what a server sends back.
func (s server) answer(from, to netip.AddrPort, payload []byte) []flight {
	a, b := slices.Index(servers[:], to.Addr()), slices.Index(ports[:], to.Port())
	m := &pion.Message{Raw: payload}
	if a < 0 || b < 0 || s.dead || s.single && a+b > 0 || s.halfDead && a > 0 || m.Decode() != nil {
		return nil
	}
	if s.refuses != 0 {
		return []flight{{from: to, to: from, payload: pion.MustBuild(m, pion.NewType(pion.MethodBinding, pion.ClassErrorResponse), s.refuses).Raw}}
	}
	if v, err := m.Get(pion.AttrChangeRequest); err == nil && !s.ignoresChange && !s.single {
		a ^= int(v[3] >> 2 & 1)
		b ^= int(v[3] >> 1 & 1)
	}
	setters := []pion.Setter{m, pion.BindingSuccess,
		&pion.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())},
	}
	if !s.single {
		setters = append(setters, &pion.OtherAddress{IP: servers[1].AsSlice(), Port: int(ports[1])})
	}
	back := from
	if v, err := m.Get(pion.AttrResponsePort); err == nil {
		if s.refusesPort {
			return []flight{{from: to, to: from, payload: pion.MustBuild(m, pion.NewType(pion.MethodBinding, pion.ClassErrorResponse), pion.CodeUnknownAttribute).Raw}}
		}
		back = netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(v))
	}
	return []flight{{from: netip.AddrPortFrom(servers[a], ports[b]), to: back, payload: pion.MustBuild(setters...).Raw}}
}

func (w *world) config() classify.Config {
	var seed [32]byte
	return classify.Config{Server: netip.AddrPortFrom(servers[0], ports[0]), Local: local, Rand: rand.NewChaCha8(seed)}
}

// run runs a classification to its end.
func (w *world) run(t *testing.T, cfg classify.Config) classify.Result {
	t.Helper()
	m, err := classify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Start(w.now)
	for range 100_000 {
		if r, done := m.Result(); done {
			return r
		}
		for o, ok := m.PollOpen(); ok; o, ok = m.PollOpen() {
			w.next += 1 + uint16(w.rand.IntN(5))
			w.sockets[o.Socket] = netip.AddrPortFrom(local, w.next)
			m.HandleOpened(w.now, o.Socket, w.sockets[o.Socket], nil)
		}
		for s, ok := m.PollSend(); ok; s, ok = m.PollSend() {
			w.outbound(w.sockets[s.Socket], s.To, s.Payload)
		}
		if _, done := m.Result(); done {
			continue
		}
		slices.SortStableFunc(w.flights, func(a, b flight) int { return a.at.Compare(b.at) })
		at := m.PollTimeout()
		if len(w.flights) > 0 && (at.IsZero() || w.flights[0].at.Before(at)) {
			f := w.flights[0]
			w.flights = w.flights[1:]
			w.now = f.at
			w.arrive(m, f)
			continue
		}
		if at.IsZero() {
			t.Fatal("the classification waits for nothing")
		}
		if at.After(w.now) {
			w.now = at
		}
		m.HandleTimeout(w.now)
	}
	t.Fatal("the classification does not end")
	return classify.Result{}
}

// arrive gives a datagram to whom it is for; from outside it passes the NAT.
func (w *world) arrive(m *classify.Machine, f flight) {
	if w.rand.Float64() < w.loss {
		return
	}
	if w.nat != nil && f.to.Addr() != local {
		v := w.nat.Inbound(w.now, table.Packet{Src: f.from, Dst: f.to})
		if v.Drop != table.Passed {
			return
		}
		f.to = v.Packet.Dst
	}
	for n, l := range w.sockets {
		if l == f.to {
			m.HandleDatagram(w.now, n, f.from, f.payload)
		}
	}
}
