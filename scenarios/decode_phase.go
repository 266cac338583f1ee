package scenarios

import (
	"slices"
	"strings"

	"p2pmodel/sim"
	"p2pmodel/sim/document"
)

// beforeKinds are the actions that make sense before any peer runs.
var beforeKinds = []ActionKind{ActionKind(sim.EventCut), ActionKind(sim.EventRestrict), ActionKind(sim.EventMove), ActStop}

// phaseKinds are the actions of a phase: all events, and what is done to peers
// and servers.
func phaseKinds() []ActionKind {
	var all []ActionKind
	for _, k := range sim.EventKinds() {
		all = append(all, ActionKind(k))
	}
	return append(all, ActStop, ActQuiet, ActSend, ActStart, ActDrain)
}

func (d *decoder) phases(n *document.Node) []Phase {
	var out []Phase
	names := map[string]bool{}
	for _, e := range n.List() {
		m := e.Map("name", "do", "expect")
		p := Phase{
			Name:    m.Need("name").Text(),
			Actions: d.actions(m.Get("do"), phaseKinds()),
			Expect:  d.expect(m.Need("expect")),
		}
		if names[p.Name] {
			m.Get("name").Errorf("two phases are called %q", p.Name)
		}
		names[p.Name] = true
		if len(out) == 0 && len(p.Expect.Mapping) > 0 {
			m.Get("expect").Find("mapping").KeyErrorf("the first phase has no mapping before it to compare with")
		}
		out = append(out, p)
	}
	if n.Exists() && len(out) == 0 {
		n.Errorf("at least one phase is needed")
	}
	return out
}

func (d *decoder) expect(n *document.Node) Expect {
	m := n.Map("path", "mapping", "reaches", "gap", "probes", "exits", "output", "delivered", "within", "rooms", "resumed", "moved", "load", "scans", "one-owner")
	if len(d.sc.Peers) > 0 || len(d.sc.Programs) == 0 {
		m.Need("path")
	}
	e := Expect{Path: Path(m.Get("path").Word("path", string(Direct), string(Relay), string(None), string(Mixed)))}
	d.expectPrograms(&e, m)
	d.expectWithoutPeers(n, m)
	if node := m.Get("mapping"); node.Exists() {
		e.Mapping = map[string]string{}
		for _, entry := range node.Map(d.peers...).Entries() {
			e.Mapping[entry.Name()] = entry.Word("state of a mapping", MappingKept, MappingLost)
		}
	}
	e.Reaches = d.word(m.Get("reaches"), "router", d.routers)
	if e.Reaches != "" && e.Path != None {
		m.Get("reaches").KeyErrorf("reaches: goes with path: none, for payload that dies at a router")
	}
	if e.Gap = m.Get("gap").Duration(); m.Has("gap") && (e.Gap == 0 || e.Path == None || e.Path == "") {
		m.Get("gap").KeyErrorf("gap: is how long payload may be silent at most, and goes with a path")
	}
	if m.Has("probes") {
		e.Probes = m.Get("probes").Int(1, 65536)
	}
	d.expectSystem(&e, m)
	if e.Path == Mixed && d.sc.System == nil && d.sc.Room == "" && len(d.sc.Connect) < 2 {
		m.Get("path").Errorf("mixed is for several pairs: each has the path that its NATs allow")
	}
	return e
}

func (d *decoder) actions(n *document.Node, allowed []ActionKind) []Action {
	words := make([]string, len(allowed))
	for i, k := range allowed {
		words[i] = string(k)
	}
	var out []Action
	for _, e := range n.List() {
		entries := e.Map(words...).Entries()
		if len(entries) != 1 {
			if e.Kind() == document.Mapping {
				e.Errorf("an action is one of %s", strings.Join(words, ", "))
			}
			continue
		}
		out = append(out, d.action(entries[0]))
	}
	return out
}

func (d *decoder) action(n *document.Node) Action {
	a := Action{Kind: ActionKind(n.Name())}
	switch a.Kind {
	case ActQuiet, ActSend:
		d.needOurPeers(n)
	}
	switch {
	case a.Kind == ActQuiet || a.Kind == ActWait:
		a.For = n.Duration()
	case a.Kind == ActSend:
		m := n.Map("from", "count")
		a.Target = d.word(m.Need("from"), "peer", d.peers)
		a.Count = m.Need("count").Int(1, maxCount)
	case a.Kind == ActStart, a.Kind == ActDrain, a.Kind == ActKill && d.sc.System != nil && n.Find("program").Name() != "program":
		d.systemAction(&a, n)
	case a.Kind == ActRestart && n.Kind() == document.Mapping && n.Find("peer").Name() == "peer":
		d.needOurPeers(n)
		if d.sc.System != nil {
			n.KeyErrorf("players of a system are not started anew")
			return a
		}
		a.Target = OnPeer(d.word(n.Map("peer").Need("peer"), "peer", d.peers))
	case a.Kind == ActStop, a.Kind == ActRestart && !d.aboutProgram(n):
		if d.sc.System != nil {
			n.KeyErrorf("the servers of a system are killed, started and drained")
			return a
		}
		a.Target = d.server(n)
		d.ourServer(n, a.Target)
	default:
		return EventAction(d.event(n, sim.DecodeEvent(n, d.sc.Lab)))
	}
	return a
}

// aboutProgram reports whether what restarts is a program: it is given by keys,
// or its name is no server's.
func (d *decoder) aboutProgram(n *document.Node) bool {
	if n.Kind() == document.Mapping {
		return n.Find("relay").Name() != "relay"
	}
	server := n.IsScalar() && (n.Text() == ServerRendezvous || n.Text() == ServerRelay)
	return !server && slices.Contains(d.allPrograms(), n.Text())
}

// event checks what a lab does not know of an event: the names of programs, and
// the scale of times.
func (d *decoder) event(n *document.Node, e sim.Event) sim.Event {
	if programs := d.allPrograms(); e.Program != "" && !slices.Contains(programs, e.Program) && d.sc.System == nil {
		at := n
		if p := n.Find("program"); p.Name() == "program" {
			at = p
		}
		if len(programs) == 0 {
			at.Errorf("the scenario has no programs")
		} else {
			at.Errorf("unknown program %q%s", e.Program, document.Suggest(e.Program, programs))
		}
	}
	if e.Kind == sim.EventSwap {
		d.scaled(n.Find("nat"), e.NAT)
	}
	return e
}

// timeline takes events that are done beside the phases.
func (d *decoder) timeline(n *document.Node, phases []Phase) sim.Timeline {
	var names []string
	for _, p := range phases {
		names = append(names, p.Name)
	}
	line := sim.DecodeTimeline(n, d.sc.Lab, names...)
	for i, entry := range n.List() {
		if i < len(line) {
			d.event(entry.Find(string(line[i].Event.Kind)), line[i].Event)
		}
	}
	return line
}
