package certify_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/nat/table"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a router with a NAT model, hosts inside and a segment outside, in
// simulated time.
type world struct {
	nat     *table.Table
	now     time.Time
	rand    *rand.Rand
	delay   time.Duration // of each datagram, from sender to receiver
	loss    float64       // of each datagram
	late    time.Duration // at most, of each timer: a busy machine
	stall   time.Duration // now and then the whole machine stands still for so long
	busy    []netip.AddrPort
	sockets map[int]netip.AddrPort
	inside  map[int]bool
	speaks  map[int]certify.Protocol
	flights []flight
	faults  faults
}

// faults are what a router does wrong that a behaviour has no axis for.
type faults struct {
	rewrites     bool // addresses in payload
	noReversed   bool // drops fragments that come in reverse order
	noFragNeeded bool // drops silently what is too large
	noFragments  bool // drops what is too large, whether it may be fragmented or not
	noErrors     bool // drops ICMP errors
	bySource     bool // drops ICMP errors of others than whom was sent to
	errorsEnd    bool // ICMP errors end mappings
}

const mtu = 1500

// flight is a datagram under way; at the router it was translated already.
type flight struct {
	at      time.Time
	from    netip.AddrPort
	to      netip.AddrPort
	inside  bool // receiver's side
	speaks  certify.Protocol
	payload []byte
}

var (
	insideAddrs   = []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")}
	outsideAddrs  = [2]netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")}
	externalAddrs = []netip.Addr{netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("198.18.1.2")}
)

func newWorld(t *testing.T, real nat.Behavior, external []netip.Addr) *world {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	nt, err := table.New(real, external, r)
	if err != nil {
		t.Fatal(err)
	}
	return &world{nat: nt, now: epoch, rand: r, delay: 50 * time.Microsecond,
		sockets: make(map[int]netip.AddrPort), inside: make(map[int]bool), speaks: make(map[int]certify.Protocol)}
}

// send carries a datagram to the router and on, to whoever has its destination.
func (w *world) send(speaks certify.Protocol, inside bool, from, to netip.AddrPort, payload []byte) {
	if w.rand.Float64() < w.loss {
		return
	}
	p := table.Packet{Protocol: table.Protocol(speaks), Src: from, Dst: to}
	var v table.Verdict
	if inside {
		v = w.nat.Outbound(w.now, p)
	} else {
		v = w.nat.Inbound(w.now, p)
	}
	back := !inside || v.Hairpin
	// A host drops what claims to come from itself.
	if v.Drop != table.Passed || back && v.Packet.Src.Addr() == v.Packet.Dst.Addr() {
		return
	}
	w.flights = append(w.flights, flight{at: w.now.Add(w.delay), from: v.Packet.Src, to: v.Packet.Dst, inside: back, speaks: speaks, payload: payload})
}

// take sends what the probe wants sent, in its form.
func (w *world) take(p *certify.Probe, s certify.Send) {
	f := w.faults
	from, payload := w.sockets[s.Socket], s.Payload
	large := len(payload) > mtu-28
	switch {
	case s.Form == certify.Error:
		if f.errorsEnd {
			w.nat.Reboot()
		}
		if f.noErrors || f.bySource && s.Via != from.Addr() {
			return
		}
		for _, m := range w.nat.Mappings(w.now) {
			for n, local := range w.sockets {
				if m.External == s.To && local == m.Inside && w.inside[n] {
					p.HandleICMP(w.now, n, s.Error)
				}
			}
		}
		return
	case s.Form == certify.Reversed && f.noReversed, large && s.Form == certify.MayFragment && f.noFragments:
		return
	case large && s.Form == certify.DontFragment:
		if !f.noFragNeeded {
			p.HandleICMP(w.now, s.Socket, certify.FragmentationNeeded)
		}
		return
	}
	if f.rewrites {
		payload = bytes.ReplaceAll(payload, []byte(from.Addr().String()), []byte("198.18.1.1"))
	}
	w.send(w.speaks[s.Socket], w.inside[s.Socket], from, s.To, payload)
}

// certify runs a probe to its end.
func (w *world) certify(t *testing.T, cfg certify.Config) certify.Result {
	t.Helper()
	p, err := certify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.Start(w.now)
	for range 1_000_000 {
		if r, done := p.Result(); done {
			return r
		}
		for {
			o, ok := p.PollOpen()
			if !ok {
				break
			}
			if slices.Contains(w.busy, o.Local) {
				p.HandleOpened(w.now, o.Socket, netip.AddrPort{}, errors.New("address already in use"))
				continue
			}
			w.sockets[o.Socket], w.inside[o.Socket], w.speaks[o.Socket] = o.Local, o.Inside, o.Protocol
			p.HandleOpened(w.now, o.Socket, o.Local, nil)
		}
		if p.PollReset() {
			w.nat.Reboot()
			p.HandleReset(w.now, nil)
			continue
		}
		for {
			s, ok := p.PollSend()
			if !ok {
				break
			}
			if w.stall > 0 && w.rand.IntN(25) == 0 {
				w.now = w.now.Add(w.stall) // between being told to send and sending
			}
			w.take(p, s)
		}
		p.HandleSent(w.now)
		slices.SortStableFunc(w.flights, func(a, b flight) int { return a.at.Compare(b.at) })
		timeout := p.PollTimeout()
		if _, done := p.Result(); done {
			continue
		}
		if len(w.flights) > 0 && (timeout.IsZero() || w.flights[0].at.Before(timeout)) {
			f := w.flights[0]
			w.flights = w.flights[1:]
			if f.at.After(w.now) {
				w.now = f.at
			}
			for n, local := range w.sockets {
				if local == f.to && w.inside[n] == f.inside && w.speaks[n] == f.speaks {
					p.HandleDatagram(w.now, n, f.from, f.payload)
				}
			}
			continue
		}
		if timeout.IsZero() {
			t.Fatal("the probe waits for nothing")
		}
		if timeout.After(w.now) {
			w.now = timeout
			if w.late > 0 {
				w.now = w.now.Add(time.Duration(w.rand.Int64N(int64(w.late))))
			}
			if w.stall > 0 && w.rand.IntN(25) == 0 {
				w.now = w.now.Add(w.stall)
			}
		}
		p.HandleTimeout(w.now)
	}
	t.Fatal("the probe does not end")
	return certify.Result{}
}

// config is the usual surroundings of a NAT that claims to be so.
func config(declared nat.Behavior, external []netip.Addr, seed uint64) certify.Config {
	return certify.Config{
		Declared: declared, Outside: outsideAddrs, Inside: insideAddrs, External: external,
		Rand: rand.New(rand.NewPCG(seed, 1)), Options: certify.Options{Patience: time.Hour},
	}
}

// measure certifies a NAT that is one thing and claims another.
func measure(t *testing.T, real, declared nat.Behavior, addresses int) certify.Result {
	t.Helper()
	external := externalAddrs[:addresses]
	return newWorld(t, real, external).certify(t, config(declared, external, 3))
}
