package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// told is a ladder in words: headings as they are, datagrams as NODE>NODE with
// addresses.
func told(l *ladder) []string {
	var out []string
	for _, r := range l.rows {
		if r.heading != "" {
			out = append(out, r.heading)
			continue
		}
		line := r.class + ":"
		for _, g := range r.legs {
			line += fmt.Sprintf(" %s>%s %v", g.from, g.to, g.Addresses)
		}
		if r.died != "" {
			line += "; " + r.fate
		}
		out = append(out, line)
	}
	return out
}

func TestLadder(t *testing.T) {
	got := told(buildLadder(runOf(t, "")))
	want := []string{
		"The peers connect",
		"direct: a>nat-a 192.168.1.2:5000 → 198.18.0.3:6000 nat-a>nat-b 198.18.0.2:5000 → 198.18.0.3:6000; died inside nat-b, after it came in at uplink",
		"direct: a>nat-a 192.168.1.2:5000 → 198.18.0.3:6000 nat-a>nat-b 198.18.0.2:5000 → 198.18.0.3:6000 nat-b>b 198.18.0.2:5000 → 192.168.1.2:6000",
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

// Repeats are counted instead of drawn; what dies, and payload, is drawn however
// much else there is.
func TestLadderLeavesOut(t *testing.T) {
	run := runOf(t, "")
	r := &recording{t: t, at: begin}
	for i := range 500 {
		r.see("a", "uplink", witness.Out, insideA, outsideB, fmt.Sprintf("noise %0*d", i+1, i)) // each of another size
	}
	run.Packets = append(r.packets, runOf(t, "").Packets...)
	for i := range run.Packets[len(r.packets):] {
		p := &run.Packets[len(r.packets)+i]
		p.At = p.At.Add(time.Second)
	}
	l := buildLadder(run)
	text := strings.Join(told(l), "\n")
	if !strings.Contains(text, "nat-b>b") {
		t.Errorf("the payload that arrived is not drawn:\n%s", text)
	}
	if !strings.Contains(text, "⋯ not drawn: ") || !strings.Contains(text, "other kinds") {
		t.Errorf("what is left out is not said:\n%s", text)
	}
	if len(l.rows) > 3*ladderRows {
		t.Errorf("%d rows", len(l.rows))
	}

	run = runOf(t, "")
	r = &recording{t: t, at: begin}
	for range 10 {
		r.cross("again and again", false)
	}
	run.Packets = r.packets
	if got := told(buildLadder(run)); len(got) != 1+ladderRepeats+1 || got[3] != "⋯ not drawn: 8 × UDP 15 B payload" {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// Every phase has a heading and room of its own, however much the first has.
func TestLadderHasPhases(t *testing.T) {
	run := runOf(t, "")
	r := &recording{t: t, at: begin}
	run.Phases = nil
	for i := range 4 {
		run.Phases = append(run.Phases, scenarios.PhaseSpan{Name: fmt.Sprint("phase ", i+1), Begin: r.at})
		if i == 2 {
			run.Events = append(run.Events, scenarios.EventMark{At: r.at, Text: "flush router=nat-a"})
		}
		for range 60 {
			r.cross(fmt.Sprintf("payload of phase %d", i+1), false)
		}
	}
	run.Packets = r.packets
	got := strings.Join(told(buildLadder(run)), "\n")
	for i := range 4 {
		event := map[int]string{2: "event: flush router=nat-a\n"}[i]
		if want := fmt.Sprintf("Phase %d: phase %d\n%sdirect: a>nat-a", i+1, i+1, event); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestLadderOfPayloadFromTheRelay(t *testing.T) {
	run := runOf(t, "")
	r := &recording{t: t, at: begin}
	r.see("relay", "uplink", witness.Out, "198.18.0.6:49152", outsideB, "relayed payload")
	r.see("nat-b", "uplink", witness.In, "198.18.0.6:49152", outsideB, "relayed payload")
	run.Packets = r.packets
	got := told(buildLadder(run))
	if len(got) != 2 || !strings.HasPrefix(got[1], "relay: relay>nat-b 198.18.0.6:49152 → 198.18.0.3:6000; died inside nat-b") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// A datagram that a link took ends between two lifelines.
func TestLadderOfALoss(t *testing.T) {
	run := runOf(t, "")
	r := &recording{t: t, at: begin}
	r.see("a", "uplink", witness.Out, insideA, outsideB, "lost")
	r.cross("arrives", false)
	run.Packets = r.packets
	html := string(newLadder(run))
	for _, want := range []string{
		`<em>✗ died on the link after a:uplink</em>`,
		`<i class="r lost" style=--a:0;--k:0.6><u>192.168.1.2:5000</u><u>198.18.0.3:6000</u></i>`,
		// The NAT changed the source and not the destination.
		`<i class="r" style=--a:1;--k:1><u class=n>198.18.0.2:5000</u><u></u></i>`,
	} {
		if !strings.Contains(html, want) {
			t.Errorf("no %s in\n%s", want, html)
		}
	}
}

func TestNoLadder(t *testing.T) {
	empty := runOf(t, "")
	empty.Packets = nil
	apart := runOf(t, "")
	apart.Pair = [2]string{}
	for name, run := range map[string]*scenarios.Run{"no run": nil, "no packets": empty, "no peers": apart} {
		if got := newLadder(run); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
