package capsule

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// begin is when everything in these tests begins.
var begin = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// least is a scenario that says no more than it must, and has a control.
const least = `id: LEAST
title: least
lab:
  routers: {nat-a: {nat: symmetric}, nat-b: {nat: full-cone}}
  hosts: {a: {behind: nat-a}, b: {behind: nat-b}, rendezvous: {addresses: 2}}
rendezvous: rendezvous
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
settings: {scale: 15}
expect: {path: none}
controls:
  - {name: Full cone / both sides, why: a reason, nats: {nat-a: full-cone}, expect: {path: direct}}
  - {name: good, why: a reason, nats: {nat-a: full-cone}, expect: {path: direct}}
`

// parse reads a scenario that a test has as text.
func parse(t testing.TB, file, source string) *scenarios.Scenario {
	t.Helper()
	sc, err := scenarios.Parse(file, []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// udp is an IPv4 packet with a UDP datagram.
func udp(src, dst netip.AddrPort, payload string) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	copy(b[12:], src.Addr().AsSlice())
	copy(b[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], src.Port())
	binary.BigEndian.PutUint16(b[22:], dst.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return append(b, payload...)
}

// recording collects packets as the laboratory's captures give them.
type recording struct {
	t       testing.TB
	packets []witness.Packet
}

// see records a datagram at a point, at a time in milliseconds.
func (r *recording) see(ms int, node, iface string, d witness.Direction, src, dst, payload string) {
	r.t.Helper()
	p, err := witness.Parse(begin.Add(time.Duration(ms)*time.Millisecond), witness.Point{Node: node, Interface: iface}, d,
		udp(netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst), payload))
	if err != nil {
		r.t.Fatal(err)
	}
	r.packets = append(r.packets, p)
}

// out is a datagram that leaves a through nat-a.
func (r *recording) out(ms int, inside, external, remote, payload string) {
	r.see(ms, "a", "uplink", witness.Out, inside, remote, payload)
	r.see(ms, "nat-a", "to a", witness.In, inside, remote, payload)
	r.see(ms, "nat-a", "uplink", witness.Out, external, remote, payload)
}

// in is a datagram that comes to a through nat-a.
func (r *recording) in(ms int, inside, external, remote, payload string) {
	r.see(ms, "nat-a", "uplink", witness.In, remote, external, payload)
	r.see(ms, "nat-a", "to a", witness.Out, remote, inside, payload)
	r.see(ms, "a", "uplink", witness.In, remote, inside, payload)
}

// runOf is a run of a scenario in which a said something, heard something, and a
// packet died.
func runOf(t testing.TB, sc *scenarios.Scenario, control string) *scenarios.Run {
	t.Helper()
	plan, err := sc.Lab.Plan()
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{t: t}
	r.out(10, "192.168.1.2:5000", "198.18.0.2:1024", "198.18.0.3:6000", "hello out there")
	r.in(20, "192.168.1.2:5000", "198.18.0.2:1024", "198.18.0.3:6000", "hello in there")
	drop := witness.Drop{At: begin.Add(30 * time.Millisecond), Node: "nat-a", Cause: "filtered", Rule: "udp_inbound"}
	drop.SetData(udp(netip.MustParseAddrPort("198.18.0.9:9"), netip.MustParseAddrPort("198.18.0.2:1024"), "x"))
	return &scenarios.Run{
		Name: control, Lab: sc.Lab, Plan: plan, Started: begin, Packets: r.packets, Drops: []witness.Drop{drop},
		Phases:   []scenarios.PhaseSpan{{Name: "connect", Begin: begin, End: begin.Add(time.Second)}},
		Pair:     [2]string{"a", "b"},
		Rules:    map[string]string{"nat-a": "table nat\n"},
		Mappings: map[string]string{"nat-a": "udp 192.168.1.2:5000 → 198.18.0.2:1024 (to any) expires 1s; from any\n"},
		Evidence: []string{"a ↔ b: direct"},
		Log: []scenarios.LogLine{
			{At: begin.Add(time.Second), From: "a", Text: "registered"}, {At: begin.Add(2 * time.Second), From: "server", Text: "! oh"},
		},
		Programs: []scenarios.ProgramRun{{Name: "server", Host: "b", Command: []string{"serve", "it"}, Ended: true, Status: 3}},
	}
}

// failure is the result of a scenario that failed, and so did its first control.
func failure(t testing.TB, sc *scenarios.Scenario) *scenarios.Result {
	t.Helper()
	return &scenarios.Result{
		ID: sc.ID, Title: sc.Title, Seed: 7, Verdict: scenarios.Unexpected, Reason: "a ↔ b: expected none, observed direct",
		Controls: []scenarios.ControlResult{
			{Name: "Full cone / both sides", Verdict: scenarios.Broken, Reason: "no room", Run: runOf(t, sc, "Full cone / both sides")},
			{Name: "good", Verdict: scenarios.Expected, Run: runOf(t, sc, "good")},
		},
		NATs: []scenarios.NATResult{}, Scenario: sc, Run: runOf(t, sc, ""),
	}
}

// origin says how the failures of these tests came to be.
func origin() Origin {
	return Origin{
		Name: "capsule-LEAST.tar.zst", RealTime: true, SkipControls: true, Made: begin,
		Versions: Versions{Natlab: "v1.2.3 go1.26", Go: "go1.26", Kernel: "Linux 6.18 x86_64"},
	}
}

// packed is a capsule's bytes.
func packed(t testing.TB, res *scenarios.Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, res, origin()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
