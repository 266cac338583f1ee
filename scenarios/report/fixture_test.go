package report

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// begin is when everything in these tests begins.
var begin = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// udp is an IPv4 packet with a UDP datagram.
func udp(src, dst string, payload []byte) []byte {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	b := make([]byte, 28, 28+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(28+len(payload)))
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(payload)))
	return append(b, payload...)
}

// recording collects packets as the laboratory's captures give them.
type recording struct {
	t       *testing.T
	at      time.Time
	packets []witness.Packet
}

// see records a datagram at a point.
func (r *recording) see(node, iface string, d witness.Direction, src, dst, payload string) {
	r.t.Helper()
	r.at = r.at.Add(time.Millisecond)
	p, err := witness.Parse(r.at, witness.Point{Node: node, Interface: iface}, d, udp(src, dst, []byte(payload)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.packets = append(r.packets, p)
}

// Addresses of TC-01's lab, by its plan.
const (
	insideA, outsideA = "192.168.1.2:5000", "198.18.0.2:5000"
	insideB, outsideB = "192.168.1.2:6000", "198.18.0.3:6000"
)

// cross records a datagram from a to b through both NATs; one that dies at nat-b
// stops there.
func (r *recording) cross(payload string, dies bool) {
	r.see("a", "uplink", witness.Out, insideA, outsideB, payload)
	r.see("nat-a", "to a", witness.In, insideA, outsideB, payload)
	r.see("nat-a", "uplink", witness.Out, outsideA, outsideB, payload)
	r.see("nat-b", "uplink", witness.In, outsideA, outsideB, payload)
	if dies {
		return
	}
	r.see("nat-b", "to b", witness.Out, outsideA, insideB, payload)
	r.see("b", "uplink", witness.In, outsideA, insideB, payload)
}

// runOf is a run of TC-01 with a datagram that died and one that arrived.
func runOf(t *testing.T, control string) *scenarios.Run {
	t.Helper()
	sc := find(t, "TC-01")
	plan, err := sc.Lab.Plan()
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{t: t, at: begin}
	r.cross("knock, which the NAT does not let in", true)
	r.cross("payload that arrives at the other side", false)
	return &scenarios.Run{
		Name: control, Lab: sc.Lab, Plan: plan, Started: begin,
		Phases:  []scenarios.PhaseSpan{{Name: "connect", Begin: begin, End: r.at}},
		Packets: r.packets, Pair: [2]string{"a", "b"}, Servers: []string{"rendezvous", "relay"},
		Rules:    map[string]string{"nat-a": "table nat\n  chain in\n    ip daddr == \"x\" <drop>\n"},
		Mappings: map[string]string{"nat-a": insideA + " → " + outsideA},
		Evidence: []string{"a ↔ b: direct"},
		Log:      []scenarios.LogLine{{At: begin.Add(time.Second), From: "a", Text: "says <hello> & \"bye\""}},
	}
}

func find(t *testing.T, id string) *scenarios.Scenario {
	t.Helper()
	sc, err := scenarios.Find(id)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// good is TC-01 as expected, with one control.
func good(t *testing.T) *scenarios.Result {
	t.Helper()
	const axes = "mapping=EIM,filtering=EIF,ports=preserve"
	return &scenarios.Result{
		ID: "TC-01", Title: "Full cone ↔ full cone", Seed: 7, Verdict: scenarios.Expected, Reason: "payload took the expected path: direct",
		Expected: scenarios.ExpectedPath{Path: scenarios.Direct, Oracle: "a probe gets through"},
		Observed: scenarios.ObservedPath{Path: scenarios.Direct, TimeToFirstByteMS: 81.4, TimeToDirectMS: 82.5},
		Controls: []scenarios.ControlResult{{
			Name: "relay cut", Why: "a path that needs the relay is not direct", Verdict: scenarios.Expected,
			Expected: scenarios.Direct, Observed: scenarios.Direct, Run: runOf(t, "relay cut"),
		}},
		NATs:       []scenarios.NATResult{{Router: "nat-a", Declared: axes, Measured: axes}, {Router: "nat-b", Declared: axes, Measured: axes}},
		DurationMS: 1234, Scenario: find(t, "TC-01"), Run: runOf(t, ""),
	}
}

// roaming is TC-06, whose second phase went wrong.
func roaming(t *testing.T) *scenarios.Result {
	t.Helper()
	sc := find(t, "TC-06")
	return &scenarios.Result{
		ID: "TC-06", Title: sc.Title, Seed: 7, Verdict: scenarios.Unexpected, Reason: `phase "Wi-Fi": mobile ↔ peer: expected direct, observed relay`,
		Expected: scenarios.ExpectedPath{Path: scenarios.Relay},
		Observed: scenarios.ObservedPath{Path: scenarios.Relay, TimeToFirstByteMS: 130, TimeToDirectMS: -1},
		Controls: []scenarios.ControlResult{}, NATs: []scenarios.NATResult{},
		Phases: []scenarios.PhaseResult{
			{Name: "4G", Expected: scenarios.Relay, Observed: scenarios.Relay},
			{Name: "Wi-Fi", Expected: scenarios.Direct, Observed: scenarios.Relay, GapMS: 412.5, Lost: 3, Duplicates: 1, RecoveryMS: 500, Facts: []string{"mobile sent 9 packets by its uplink wifi"}},
			{Name: "Wi-Fi, flapping", Expected: scenarios.Direct, Observed: scenarios.Direct},
			{Name: "4G again", Expected: scenarios.Relay, Observed: scenarios.Relay},
		},
		DurationMS: 15000, Scenario: sc,
	}
}

// random is TC-07, proved by nothing.
func random(t *testing.T) *scenarios.Result {
	t.Helper()
	sc := find(t, "TC-07")
	return &scenarios.Result{
		ID: "TC-07", Title: sc.Title, Seed: 7, Verdict: scenarios.Vacuous, Reason: `payload took the expected path: relay, but the control "x" did not: why`,
		Expected: scenarios.ExpectedPath{Path: scenarios.Relay},
		Observed: scenarios.ObservedPath{Path: scenarios.Relay, TimeToFirstByteMS: 99, TimeToDirectMS: -1},
		Controls: []scenarios.ControlResult{{Name: "x", Verdict: scenarios.Unexpected, Reason: "why", Expected: scenarios.Direct, Observed: scenarios.Relay, Run: runOf(t, "x")}},
		NATs:     []scenarios.NATResult{},
		Pairs: []scenarios.PairResult{
			{A: "k", B: "l", Expected: scenarios.Relay, Observed: scenarios.Relay},
			{A: "k", B: "m", Expected: scenarios.Relay, Observed: scenarios.Relay},
		},
		DurationMS: 4000, Scenario: sc,
	}
}

// failed is TC-03, whose lab could not be built.
func failed(t *testing.T) *scenarios.Result {
	t.Helper()
	return &scenarios.Result{
		ID: "TC-03", Title: "Symmetric ↔ symmetric", Seed: 7, Verdict: scenarios.Broken, Reason: "the lab could not be built: no room",
		Expected: scenarios.ExpectedPath{Path: scenarios.Relay},
		Observed: scenarios.ObservedPath{Path: scenarios.None, TimeToFirstByteMS: -1, TimeToDirectMS: -1},
		Controls: []scenarios.ControlResult{}, NATs: []scenarios.NATResult{}, DurationMS: 12, Scenario: find(t, "TC-03"),
	}
}

// reportOf is a report of these results.
func reportOf(results ...*scenarios.Result) *scenarios.Report {
	return &scenarios.Report{Schema: 1, Fabric: "kernel", Seed: 7, Version: "test", Started: begin, Scenarios: results}
}

// repeated is TC-01 three times, of which one was not as expected.
func repeated(t *testing.T) *scenarios.Report {
	t.Helper()
	rep := reportOf()
	for i := range 3 {
		res := good(t)
		res.Seed = uint64(7 + i)
		res.Observed.TimeToFirstByteMS = float64(80 + 10*i)
		if i == 1 {
			res.Verdict, res.Reason, res.Observed.Path = scenarios.Unexpected, fmt.Sprintf("seed %d went wrong", res.Seed), scenarios.Relay
			res.Observed.TimeToDirectMS = -1
		}
		if i == 2 {
			res.Run, res.Controls[0].Run = nil, nil
		}
		rep.Scenarios = append(rep.Scenarios, res)
	}
	return rep
}
