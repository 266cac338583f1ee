package scenarios

import (
	"strings"

	"p2pmodel/sim"
	"p2pmodel/sim/document"
)

// actionKeys are the keys of each action that takes a mapping; actions that
// take a single word or duration have none.
var actionKeys = map[ActionKind][]string{
	ActMove:       {"host", "uplink"},
	ActReboot:     {"router", "new-address"},
	ActSwap:       {"router", "nat"},
	ActFlap:       {"link", "times", "down", "up"},
	ActRestrict:   {"host", "to"},
	ActSend:       {"from", "count"},
	ActCut:        nil,
	ActRestore:    nil,
	ActUnrestrict: nil,
	ActRestart:    nil,
	ActStop:       nil,
	ActQuiet:      nil,
	ActWait:       nil,
	ActKill:       nil,
	ActStart:      nil,
	ActDrain:      nil,
	ActPartition:  nil,
	ActHeal:       nil,
}

// beforeKinds are the actions that make sense before any peer runs.
var beforeKinds = []ActionKind{ActCut, ActRestrict, ActMove, ActStop}

// phaseKinds are the actions of a phase.
var phaseKinds = []ActionKind{
	ActMove, ActReboot, ActSwap, ActCut, ActRestore, ActFlap, ActRestrict, ActUnrestrict,
	ActRestart, ActStop, ActQuiet, ActWait, ActSend,
	ActKill, ActStart, ActDrain, ActPartition, ActHeal,
}

func (d *decoder) phases(n *document.Node) []Phase {
	var out []Phase
	names := map[string]bool{}
	for _, e := range n.List() {
		m := e.Map("name", "do", "expect")
		p := Phase{
			Name:    m.Need("name").Text(),
			Actions: d.actions(m.Get("do"), phaseKinds),
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
	m := n.Map("path", "mapping", "reaches", "exits", "output", "delivered", "within", "rooms", "resumed", "moved", "load", "scans", "one-owner")
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
	if a.Kind == ActQuiet || a.Kind == ActSend {
		d.needOurPeers(n)
	}
	if keys := actionKeys[a.Kind]; keys != nil {
		d.compound(&a, n.Map(keys...))
		return a
	}
	switch a.Kind {
	case ActCut, ActRestore:
		a.Link = d.link(n)
	case ActUnrestrict:
		a.Target = d.word(n, "host", d.hosts)
	case ActRestart, ActStop:
		if d.sc.System != nil {
			n.KeyErrorf("the servers of a system are killed, started and drained")
			return a
		}
		a.Target = d.word(n, "server", []string{ServerRendezvous, ServerRelay})
		d.ourServer(n, a.Target)
	case ActKill, ActStart, ActDrain, ActPartition, ActHeal:
		d.systemAction(&a, n)
	case ActQuiet, ActWait:
		a.For = n.Duration()
	}
	return a
}

// compound fills actions that have keys of their own.
func (d *decoder) compound(a *Action, m document.Map) {
	switch a.Kind {
	case ActMove:
		a.Target = d.word(m.Need("host"), "host", d.hosts)
		var uplinks []string
		for _, h := range d.sc.Lab.Hosts {
			if h.Name == a.Target {
				for _, u := range h.Uplinks {
					uplinks = append(uplinks, u.Name)
				}
			}
		}
		a.Uplink = d.word(m.Need("uplink"), "uplink of "+a.Target, uplinks)
	case ActReboot:
		a.Target = d.word(m.Need("router"), "router", d.routers)
		a.NewAddress = m.Get("new-address").Bool()
		d.needNAT(m.Get("router"), a.Target)
	case ActSwap:
		a.Target = d.word(m.Need("router"), "router", d.routers)
		a.NAT, a.Preset = sim.DecodeNAT(m.Need("nat"))
		d.needNAT(m.Get("router"), a.Target)
	case ActFlap:
		a.Link = d.link(m.Need("link"))
		a.Times = m.Need("times").Int(1, 1000)
		a.For = m.Need("down").Duration()
		a.Gap = m.Need("up").Duration()
	case ActRestrict:
		a.Target = d.word(m.Need("host"), "host", d.hosts)
		for _, n := range m.Need("to").List() {
			a.To = append(a.To, d.word(n, "host", d.hosts))
		}
	case ActSend:
		a.Target = d.word(m.Need("from"), "peer", d.peers)
		a.Count = m.Need("count").Int(1, maxCount)
	}
}

func (d *decoder) needNAT(n *document.Node, router string) {
	for _, r := range d.sc.Lab.Routers {
		if r.Name == router && r.NAT == nil {
			n.Errorf("router %s has no NAT", router)
		}
	}
}

// link takes a node as the name of a link: NODE, or NODE/UPLINK.
func (d *decoder) link(n *document.Node) sim.LinkID {
	node, uplink, _ := strings.Cut(d.word(n, "link", d.links), "/")
	id, _ := d.sc.Lab.LinkID(node, uplink)
	return id
}
