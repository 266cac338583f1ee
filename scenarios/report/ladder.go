package report

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/core/stun"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

const (
	// ladderRepeats is how many datagrams of one kind on one way are drawn in a
	// phase before further ones are counted only.
	ladderRepeats = 2
	// ladderRows bounds the datagrams of a drawing, and ladderLeast those of each
	// of its phases: of payload, of all else, and of what died, so many each.
	// What is left out is said.
	ladderRows  = 120
	ladderLeast = 30
)

// ladder is the diagram of a run's packets: one lifeline a node, one row a
// datagram on its way, rows between them that say what was left out.
type ladder struct {
	nodes []string
	rows  []ladderRow
}

// ladderRow is one row: a datagram, or a heading.
type ladderRow struct {
	heading string // a phase, or what was left out
	phase   bool
	at      time.Duration // since the run began
	class   string        // how it is drawn: stun, direct, relay, other
	summary string
	legs    []leg
	died    string // the node in which it was lost, or after which; "" if it arrived
	onLink  bool   // it was lost on the link after that node
	fate    string
}

// leg is a datagram between two nodes of the drawing, with its addresses there.
type leg struct {
	from, to string // to is "" for a datagram that was lost on the way
	witness.Addresses
}

// buildLadder picks what is worth drawing of a run: the datagrams of the first
// pair of peers and of the servers, the first few of each kind in each phase.
func buildLadder(run *scenarios.Run) *ladder {
	l := &ladder{nodes: ladderNodes(run)}
	on := map[string]bool{}
	for _, n := range l.nodes {
		on[n] = true
	}
	scene, servers := witness.Scene{}, map[netip.Addr]bool{}
	for _, h := range run.Lab.Hosts {
		scene.Hosts = append(scene.Hosts, h.Name)
		if isServer(run, h) {
			for _, a := range run.Plan.Addresses(h.Name, h.ActiveUplink()) {
				servers[a] = true
			}
		}
	}
	traces := witness.Traces(run.Packets, scene)
	witness.Attribute(traces, run.Drops, nil)
	p := newPicker(max(ladderLeast, ladderRows/max(len(run.Phases), 1)))
	phases, events := ladderPhases(run, traces), run.Events
	for _, t := range traces {
		at := t.First().At
		for len(phases) > 0 && !at.Before(phases[0].Begin) {
			p.heading(phases[0].Name)
			phases = phases[1:]
		}
		for len(events) > 0 && !at.Before(events[0].At) {
			p.mark(events[0].Text)
			events = events[1:]
		}
		if row, ok := rowOf(run, t, on, servers); ok {
			p.pick(row)
		}
	}
	p.flush()
	l.rows = p.rows
	l.prune()
	return l
}

// ladderPhases are the headings of a run's ladder and when they begin: that of
// the first phase at the first request to connect, not when the runner had done
// asking for it.
func ladderPhases(run *scenarios.Run, traces []witness.Trace) []scenarios.PhaseSpan {
	phases := []scenarios.PhaseSpan{{Name: "Before the start: registration at the servers", Begin: run.Started}}
	for i, p := range run.Phases {
		name := fmt.Sprintf("Phase %d: %s", i+1, p.Name)
		if len(run.Phases) == 1 {
			name = "The peers connect"
			if run.Introduced.IsZero() && len(run.Programs) > 0 {
				name = "The programs run"
			}
		}
		phases = append(phases, scenarios.PhaseSpan{Name: name, Begin: p.Begin, End: p.End})
	}
	for _, t := range traces {
		summary := methodNames.Replace(t.Summary)
		asks := strings.HasPrefix(summary, "Connect request") || strings.HasPrefix(summary, "Join request")
		if asks && len(phases) > 1 && t.First().At.Before(phases[1].Begin) {
			phases[1].Begin = t.First().At
			break
		}
	}
	return phases
}

// picker chooses the rows that are drawn of each phase, and counts the others.
type picker struct {
	most  int // rows a phase, of each sort
	rows  []ladderRow
	drawn [3]int // in this phase, by sort
	seen  map[string]int
	left  map[string]int
}

func newPicker(most int) *picker {
	return &picker{most: most, seen: map[string]int{}, left: map[string]int{}}
}

// heading begins a phase. One that stayed without datagrams has no heading.
func (p *picker) heading(text string) {
	p.flush()
	if n := len(p.rows); n > 0 && p.rows[n-1].phase {
		p.rows = p.rows[:n-1]
	}
	p.drawn = [3]int{}
	clear(p.seen)
	p.rows = append(p.rows, ladderRow{heading: text, phase: true})
}

// mark tells of an event.
func (p *picker) mark(text string) {
	p.flush()
	p.rows = append(p.rows, ladderRow{heading: "event: " + text})
}

func (p *picker) pick(row ladderRow) {
	kind := row.summary + "|" + row.way() + "|" + row.died
	p.seen[kind]++
	sort := row.sort()
	if p.seen[kind] > ladderRepeats || p.drawn[sort] >= p.most {
		p.left[row.summary]++
		return
	}
	p.flush()
	p.drawn[sort]++
	p.rows = append(p.rows, row)
}

// sort is what kind of datagrams a row competes with for room: what died,
// payload, all else.
func (r ladderRow) sort() int {
	switch {
	case r.died != "":
		return 0
	case r.class == "direct" || r.class == "relay" && !strings.Contains(r.summary, "STUN"):
		return 1
	}
	return 2
}

// flush says what was left out since the last row.
func (p *picker) flush() {
	if len(p.left) > 0 {
		p.rows = append(p.rows, ladderRow{heading: "⋯ not drawn: " + counts(p.left)})
		clear(p.left)
	}
}

// way is where a datagram came from and where it got to.
func (r ladderRow) way() string {
	if len(r.legs) == 0 {
		return ""
	}
	return r.legs[0].from + ">" + r.legs[len(r.legs)-1].to
}

// rowOf turns a trace into a row; false if it does not concern the drawing.
func rowOf(run *scenarios.Run, t witness.Trace, on map[string]bool, servers map[netip.Addr]bool) (ladderRow, bool) {
	r := ladderRow{at: t.First().At.Sub(run.Started), summary: methodNames.Replace(t.Summary), class: classOf(t, servers)}
	if !on[t.First().Point.Node] || !on[t.Last().Point.Node] {
		return r, false
	}
	for i := 1; i < len(t.Hops); i++ {
		a, b := t.Hops[i-1], t.Hops[i]
		if a.Point.Node != b.Point.Node && on[a.Point.Node] && on[b.Point.Node] {
			r.legs = append(r.legs, leg{from: a.Point.Node, to: b.Point.Node, Addresses: b.Addresses})
		}
	}
	if !t.Arrived {
		r.died, r.onLink, r.fate = t.Last().Point.Node, t.Last().Direction == witness.Out, t.Fate()
		if t.Drop != nil && t.Drop.Rule != "" {
			r.fate += ", by the rule " + t.Drop.Rule
		}
		if len(r.legs) == 0 || r.onLink {
			r.legs = append(r.legs, leg{from: r.died, Addresses: t.Last().Addresses})
		}
	}
	return r, len(r.legs) > 0
}

// methodNames gives the system's own STUN methods their names: the witness, who
// shares no code with the system, knows only their numbers.
var methodNames = func() *strings.Replacer {
	var pairs []string
	for method, name := range map[uint16]string{
		uint16(stun.MethodRegister): "Register", uint16(stun.MethodConnect): "Connect",
		uint16(stun.MethodIntroduce): "Introduce", uint16(stun.MethodJoin): "Join",
		uint16(stun.MethodLeave): "Leave", uint16(stun.MethodMember): "Member",
	} {
		pairs = append(pairs, fmt.Sprintf("STUN method 0x%03x", method), name)
	}
	return strings.NewReplacer(pairs...)
}()

// classOf says how a datagram is drawn, by what it is and where it went: payload
// to and from the relay's own addresses is relayed as well.
func classOf(t witness.Trace, servers map[netip.Addr]bool) string {
	switch {
	case strings.HasPrefix(t.Summary, "ChannelData"), strings.Contains(t.Summary, "Data indication"), strings.Contains(t.Summary, "Send indication"):
		return "relay"
	case strings.HasPrefix(t.Summary, "STUN"), strings.HasPrefix(t.Summary, "TURN"):
		return "stun"
	case strings.Contains(t.Summary, "payload"):
		if servers[t.First().Src.Addr()] || servers[t.First().Dst.Addr()] {
			return "relay"
		}
		return "direct"
	}
	return "other"
}

// ladderNodes are the lifelines: the first pair at both ends, their routers
// inside, servers in the middle.
func ladderNodes(run *scenarios.Run) []string {
	side := func(host string) []string {
		out := []string{host}
		h, ok := run.Lab.Host(host)
		if !ok {
			return nil
		}
		for _, u := range h.Uplinks {
			chain, err := run.Lab.Chain(host, u.Name)
			if err != nil {
				continue
			}
			for _, r := range chain {
				if !slices.Contains(out, r.Name) {
					out = append(out, r.Name)
				}
			}
		}
		return out
	}
	left, right := side(run.Pair[0]), side(run.Pair[1])
	slices.Reverse(right)
	nodes := left
	for _, h := range run.Lab.Hosts {
		if isServer(run, h) {
			nodes = append(nodes, h.Name)
		}
	}
	for _, n := range right {
		if !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// isServer reports whether a host of the run is a server.
func isServer(run *scenarios.Run, h sim.Host) bool { return slices.Contains(run.Servers, h.Name) }

// prune takes away lifelines that no row touches.
func (l *ladder) prune() {
	used := map[string]bool{}
	for _, r := range l.rows {
		for _, g := range r.legs {
			used[g.from], used[g.to] = true, true
		}
	}
	l.nodes = slices.DeleteFunc(l.nodes, func(n string) bool { return !used[n] })
}

// counts writes "12 UDP 64 B payload, 3 STUN Binding request".
func counts(left map[string]int) string {
	kinds := make([]string, 0, len(left))
	for k := range left {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b string) int {
		if left[a] != left[b] {
			return left[b] - left[a]
		}
		return strings.Compare(a, b)
	})
	const most = 4
	var parts []string
	for i, k := range kinds {
		if i == most {
			parts = append(parts, plural(len(kinds)-most, "other kind", "other kinds"))
			break
		}
		parts = append(parts, fmt.Sprintf("%d × %s", left[k], k))
	}
	return strings.Join(parts, ", ")
}
