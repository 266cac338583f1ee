package report

import (
	"fmt"
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
	ladderRepeats = 3
	// ladderRows bounds the drawing; what is left out is said.
	ladderRows = 120
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
	died    string // the node in which it was lost; "" if it arrived
	onLink  bool   // it was lost on the link after that node
	fate    string
}

// leg is a datagram between two nodes of the drawing, with its addresses there.
type leg struct {
	from, to string
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
	scene := witness.Scene{}
	for _, h := range run.Lab.Hosts {
		scene.Hosts = append(scene.Hosts, h.Name)
	}
	left := map[string]int{}
	seen := map[string]int{}
	drawn, phase := 0, -1
	flush := func() {
		if len(left) > 0 {
			l.rows = append(l.rows, ladderRow{heading: "⋯ not drawn: " + counts(left)})
			clear(left)
		}
	}
	for _, t := range witness.Traces(run.Packets, scene) {
		for phase+1 < len(run.Phases) && !t.First().At.Before(run.Phases[phase+1].Begin) {
			flush()
			phase++
			clear(seen)
			if len(run.Phases) > 1 {
				l.rows = append(l.rows, ladderRow{heading: "Phase: " + run.Phases[phase].Name, phase: true})
			}
		}
		row, ok := rowOf(run, t, on)
		if !ok {
			continue
		}
		kind := row.summary + "|" + row.legs0() + "|" + row.died
		seen[kind]++
		if seen[kind] > ladderRepeats || drawn >= ladderRows {
			left[row.summary]++
			continue
		}
		flush()
		drawn++
		l.rows = append(l.rows, row)
	}
	flush()
	l.prune()
	return l
}

func (r ladderRow) legs0() string {
	if len(r.legs) == 0 {
		return ""
	}
	return r.legs[0].from + ">" + r.legs[len(r.legs)-1].to
}

// rowOf turns a trace into a row; false if it does not concern the drawing.
func rowOf(run *scenarios.Run, t witness.Trace, on map[string]bool) (ladderRow, bool) {
	r := ladderRow{at: t.First().At.Sub(run.Started), summary: methodNames.Replace(t.Summary), class: classOf(t)}
	if !on[t.First().Point.Node] || !on[t.Last().Point.Node] {
		return r, false
	}
	for i := 1; i < len(t.Hops); i++ {
		a, b := t.Hops[i-1], t.Hops[i]
		if a.Point.Node != b.Point.Node {
			r.legs = append(r.legs, leg{from: a.Point.Node, to: b.Point.Node, Addresses: b.Addresses})
		}
	}
	if !t.Arrived {
		r.died, r.onLink, r.fate = t.Last().Point.Node, t.Last().Direction == witness.Out, t.Fate()
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

// classOf says how a datagram is drawn, by what it is and where it went.
func classOf(t witness.Trace) string {
	switch {
	case strings.HasPrefix(t.Summary, "ChannelData"), strings.Contains(t.Summary, "Data indication"), strings.Contains(t.Summary, "Send indication"):
		return "relay"
	case strings.HasPrefix(t.Summary, "STUN"), strings.HasPrefix(t.Summary, "TURN"):
		return "stun"
	case strings.Contains(t.Summary, "payload"):
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
			parts = append(parts, fmt.Sprintf("%d other kinds", len(kinds)-most))
			break
		}
		parts = append(parts, fmt.Sprintf("%d × %s", left[k], k))
	}
	return strings.Join(parts, ", ")
}
