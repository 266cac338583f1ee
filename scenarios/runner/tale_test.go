package runner

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// taleLab is the lab of made-up runs: two peers behind a NAT each.
const taleLab = `
id: TALE
title: a run that nobody ran
lab:
  routers:
    nat-a: {nat: %[1]s}
    nat-b: {nat: %[1]s}
  hosts:
    a: {behind: nat-a}
    b: {behind: nat-b}
    rendezvous: {}
    relay: {}
rendezvous: rendezvous
relay: relay
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
`

// tale is a run as the witness would have captured it, told packet by packet:
// verdicts are tested on it without a lab.
type tale struct {
	t       testing.TB
	s       *stage
	phases  []*phase
	packets []witness.Packet
	number  uint64
	session byte
	tcp     bool              // hops are of segments
	ports   map[string]uint16 // that the peers' NATs take for them
}

// paper is a network of which there is the plan only.
type paper struct {
	sim.Network
	plan *sim.Plan
}

func (p paper) Plan() *sim.Plan { return p.plan }

func (p paper) Router(name string) (sim.RunningRouter, error) {
	return nil, fmt.Errorf("router %s is on paper only", name)
}

var taleStart = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const ms = time.Millisecond

// tell begins a tale. Every phase takes two seconds; its checks settle after half
// a second.
func tell(t testing.TB, nat, text string) *tale {
	t.Helper()
	sc, err := scenarios.Parse("tale.yaml", []byte(fmt.Sprintf(taleLab, nat)+text))
	if err != nil {
		t.Fatal(err)
	}
	return tellScenario(t, sc)
}

func tellScenario(t testing.TB, sc *scenarios.Scenario) *tale {
	t.Helper()
	v := variants(sc, false)[0]
	plan, err := v.lab.Plan()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{v: v, net: paper{plan: plan}, log: &logbook{}, actors: map[string]*actor{}, seals: map[string]*seal{}, launched: taleStart}
	tl := &tale{t: t, s: s, session: 's', ports: map[string]uint16{"a": 40000, "b": 50000, "c": 60000}}
	for _, p := range sc.Peers {
		a := &actor{name: p.Name, host: p.Host, introduced: map[string]time.Time{}, sessions: map[string][]met{}}
		for _, q := range sc.Peers {
			if q != p {
				a.introduced[q.Name] = taleStart.Add(50 * ms)
				a.sessions[q.Name] = []met{{"the session", time.Time{}}}
			}
		}
		s.actors[p.Name] = a
	}
	for _, r := range v.lab.Routers {
		s.seals[r.Name] = &seal{addresses: plan.External(r.Name)}
	}
	for i, spec := range v.phases {
		begin := taleStart.Add(time.Duration(i) * 2 * time.Second)
		p := &phase{
			spec: spec, begin: begin, changed: begin, done: begin, settled: true,
			since: begin.Add(500 * ms), end: begin.Add(2 * time.Second),
		}
		for _, a := range spec.Actions {
			p.deeds = append(p.deeds, &deed{Action: a, begin: begin, done: begin.Add(10 * ms)})
			if disrupts(a) {
				p.disrupted, p.done = true, begin.Add(10*ms)
			}
			if a.Kind == scenarios.ActSend {
				p.sender, p.since = a.Target, begin
			}
		}
		tl.phases = append(tl.phases, p)
	}
	return tl
}

// frame makes the next datagram between peers: type, the session's slot and the keys'
// number, the frame's number, what is sealed.
func (tl *tale) frame() []byte {
	b := make([]byte, 80)
	b[0] = 0x08
	for i := range 3 {
		b[1+i] = tl.session
	}
	b[4] = 1
	binary.BigEndian.PutUint64(b[5:], tl.number)
	tl.number++
	return b
}

// inside is a host's address of the plan, outside that which its NAT has for it.
func (tl *tale) inside(host string) netip.AddrPort {
	return netip.AddrPortFrom(tl.s.net.Plan().Addresses(host, sim.DefaultUplink)[0], map[string]uint16{"a": 5000, "b": 6000, "c": 7000, "relay": 3478}[host])
}

func (tl *tale) outside(host string) netip.AddrPort {
	return netip.AddrPortFrom(tl.s.net.Plan().External("nat-" + host)[0], tl.ports[host])
}

// hop adds a packet at one point.
func (tl *tale) hop(at time.Time, node, intf string, way witness.Direction, src, dst netip.AddrPort, payload []byte) {
	tl.t.Helper()
	if tl.tcp {
		tl.segment(at, node, intf, way, src, dst, payload)
		return
	}
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, protocolUDP
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	copy(b[12:], src.Addr().AsSlice())
	copy(b[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], src.Port())
	binary.BigEndian.PutUint16(b[22:], dst.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	b = append(b, payload...)
	witness.FinishChecksum(b)
	k, err := witness.Parse(at, witness.Point{Node: node, Interface: intf}, way, b)
	if err != nil {
		tl.t.Fatal(err)
	}
	tl.packets = append(tl.packets, k)
}

// leave brings a datagram from a peer to the outer side of its NAT.
func (tl *tale) leave(at time.Time, from string, dst netip.AddrPort, payload []byte) {
	nat := "nat-" + from
	tl.hop(at, from, "uplink", witness.Out, tl.inside(from), dst, payload)
	tl.hop(at, nat, "to "+from, witness.In, tl.inside(from), dst, payload)
	tl.hop(at, nat, "uplink", witness.Out, tl.outside(from), dst, payload)
}

// come brings a datagram from the outer side of a peer's NAT to the peer.
func (tl *tale) come(at time.Time, to string, src netip.AddrPort, payload []byte) {
	tl.knock(at, to, src, payload)
	tl.hop(at, "nat-"+to, "to "+to, witness.Out, src, tl.inside(to), payload)
	tl.hop(at, to, "uplink", witness.In, src, tl.inside(to), payload)
}

// knock brings it to the NAT, which drops it.
func (tl *tale) knock(at time.Time, to string, src netip.AddrPort, payload []byte) {
	tl.hop(at, "nat-"+to, "uplink", witness.In, src, tl.outside(to), payload)
}

// direct tells of a datagram past all servers.
func (tl *tale) direct(at time.Time, from, to string, payload []byte) {
	tl.leave(at, from, tl.outside(to), payload)
	tl.come(at.Add(5*ms), to, tl.outside(from), payload)
}

// relayed tells of a datagram over the relay, in ChannelData on both sides.
func (tl *tale) relayed(at time.Time, from, to string, payload []byte) {
	tl.toRelay(at, from, payload)
	framed, relay := channelData(payload), tl.inside("relay")
	tl.hop(at.Add(5*ms), "relay", "uplink", witness.Out, relay, tl.outside(to), framed)
	tl.come(at.Add(5*ms), to, relay, framed)
}

func (tl *tale) toRelay(at time.Time, from string, payload []byte) {
	framed, relay := channelData(payload), tl.inside("relay")
	tl.leave(at, from, relay, framed)
	tl.hop(at.Add(4*ms), "relay", "uplink", witness.In, tl.outside(from), relay, framed)
}

func channelData(payload []byte) []byte {
	b := []byte{0x40, 0, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(len(payload)))
	return append(b, payload...)
}

// talk tells of a conversation: from both sides a datagram every 20 ms over one
// path, from the beginning of a phase to its end. The path is a method of the
// tale.
func (tl *tale) talk(phase int, path func(at time.Time, from, to string, payload []byte)) *tale {
	return tl.say(phase, "a", "b", path).say(phase, "b", "a", path)
}

// say is one side of a talk.
func (tl *tale) say(phase int, from, to string, path func(at time.Time, from, to string, payload []byte)) *tale {
	p := tl.phases[phase]
	for at := p.begin.Add(60 * ms); at.Before(p.end.Add(-50 * ms)); at = at.Add(20 * ms) {
		path(at, from, to, tl.frame())
	}
	return tl
}

// check makes a STUN Binding request.
func (tl *tale) check() []byte {
	b := make([]byte, 20)
	b[1] = 1
	binary.BigEndian.PutUint32(b[4:], 0x2112a442)
	binary.BigEndian.PutUint64(b[8:], tl.number)
	tl.number++
	return b
}

// checks tells of checks from both sides that die in the other's NAT.
func (tl *tale) checks(phase int) *tale {
	for _, way := range both([2]string{"a", "b"}) {
		at, check := tl.phases[phase].begin.Add(60*ms), tl.check()
		tl.leave(at, way[0], tl.outside(way[1]), check)
		tl.knock(at.Add(5*ms), way[1], tl.outside(way[0]), check)
	}
	return tl
}

// at is a time in a phase.
func (tl *tale) at(phase int, after time.Duration) time.Time {
	return tl.phases[phase].begin.Add(after)
}

// judge judges the tale.
func (tl *tale) judge() *outcome {
	tl.t.Helper()
	slices.SortStableFunc(tl.packets, func(a, b witness.Packet) int { return a.At.Compare(b.At) }) // as captures are
	o := &outcome{run: &scenarios.Run{Packets: tl.packets}}
	tl.s.judge(o, tl.phases)
	return o
}

// must compares a verdict, and looks for words in its reason.
func (o *outcome) must(t testing.TB, want scenarios.Verdict, words string) {
	t.Helper()
	if o.verdict != want || !strings.Contains(o.reason, words) {
		t.Errorf("%s: %s\nwant %s, and the words %q\nevidence:\n  %s", o.verdict, o.reason, want, words, strings.Join(o.run.Evidence, "\n  "))
	}
}
