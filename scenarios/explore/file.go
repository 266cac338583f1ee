package explore

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// phaseName is that of the only phase of what an exploration runs.
const phaseName = "explored"

// Payload is most of what a run costs, and says nothing more when it is dense. Between
// two datagrams of it are payloadInterval at least, and pairInterval for each direction
// of a pair: a mesh of eight would send 2800 a second.
const (
	payloadInterval = 50 * time.Millisecond
	pairInterval    = 5 * time.Millisecond
)

// strangerName is the host from which datagrams are injected.
const strangerName = "stranger"

// template is a scenario without what happens in it.
type template struct {
	sc  *scenarios.Scenario
	lab *sim.Lab // as the scenario's scale has it, with a stranger
	id  string
	// keepalive is scaled, too; interval is longer where many speak with many.
	keepalive, interval time.Duration
	stranger            string
}

// newTemplate takes what an exploration needs of a scenario.
func newTemplate(sc *scenarios.Scenario) *template {
	t := &template{sc: sc, lab: scaledLab(sc), keepalive: sc.Settings.Keepalive, id: sc.ID + "-explored"}
	t.interval = max(sc.Settings.Interval, payloadInterval, time.Duration(2*len(sc.Pairs()))*pairInterval)
	if t.keepalive > 0 {
		t.keepalive /= time.Duration(max(sc.Settings.Scale, 1))
	}
	if len(t.id) > 64 {
		t.id = t.id[len(t.id)-64:]
	}
	t.stranger = strangerName
	for n := 2; t.taken(t.stranger); n++ {
		t.stranger = fmt.Sprintf("%s-%d", strangerName, n)
	}
	return t
}

func (t *template) taken(name string) bool {
	_, host := t.lab.Host(name)
	_, router := t.lab.Router(name)
	return host || router
}

// scaledLab copies the lab with the times of its NATs divided by the scenario's
// scale: a schedule's times are those of the clock.
func scaledLab(sc *scenarios.Scenario) *sim.Lab {
	lab := *sc.Lab
	lab.Routers = append([]sim.Router{}, lab.Routers...)
	for i := range lab.Routers {
		if b := lab.Routers[i].NAT; b != nil && sc.Settings.Scale > 1 {
			scaled := b.Scaled(sc.Settings.Scale)
			if lab.Routers[i].NAT = &scaled; scaled != *b {
				lab.Routers[i].Preset = ""
			}
		}
	}
	return &lab
}

// text writes the schedule as a scenario file, with a comment above it. tail is how
// long payload goes on once the network is whole, and before paths are read.
func (t *template) text(s Schedule, tail time.Duration, path scenarios.Path, comment string) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(comment) {
		fmt.Fprintf(&b, "# %s\n", strings.TrimSpace(line))
	}
	fmt.Fprintf(&b, "id: %s\ntitle: %s\n", t.id, strconv.Quote("Explored: "+t.sc.Title))
	b.Write(t.labFor(s).YAML())
	fmt.Fprintf(&b, "rendezvous: %s\n", strconv.Quote(t.sc.Rendezvous))
	switch {
	case len(t.sc.Relays) > 0:
		var hosts []string
		for _, host := range t.sc.Relays {
			hosts = append(hosts, strconv.Quote(host))
		}
		fmt.Fprintf(&b, "relays: [%s]\n", strings.Join(hosts, ", "))
	case t.sc.Relay != "":
		fmt.Fprintf(&b, "relay: %s\n", strconv.Quote(t.sc.Relay))
	}
	b.WriteString("peers:\n")
	for _, p := range t.sc.Peers {
		fmt.Fprintf(&b, "  %s: {host: %s}\n", strconv.Quote(p.Name), strconv.Quote(p.Host))
	}
	if t.sc.Room != "" {
		fmt.Fprintf(&b, "room: %s\n", strconv.Quote(t.sc.Room))
	} else {
		var pairs []string
		for _, p := range t.sc.Connect {
			pairs = append(pairs, fmt.Sprintf("[%s, %s]", strconv.Quote(p[0]), strconv.Quote(p[1])))
		}
		fmt.Fprintf(&b, "connect: [%s]\n", strings.Join(pairs, ", "))
	}
	fmt.Fprintf(&b, "techniques: [%s]\n", strings.Join(t.sc.Techniques, ", "))
	fmt.Fprintf(&b, "settings: {interval: %v, size: %d", t.interval, t.sc.Settings.Size)
	if t.keepalive > 0 {
		fmt.Fprintf(&b, ", keepalive: %v", t.keepalive)
	}
	fmt.Fprintf(&b, "}\nphases:\n  - name: %s\n    do:\n", phaseName)
	for _, line := range s.actions(tail) {
		fmt.Fprintf(&b, "      - %s\n", line)
	}
	fmt.Fprintf(&b, "    expect: {path: %s}\n", path)
	first := true
	for _, e := range s.sorted() {
		if e.serial() {
			continue
		}
		if first {
			b.WriteString("events:\n")
			first = false
		}
		fmt.Fprintf(&b, "  - {at: %v, %s}\n", e.At, e.Event.YAML())
	}
	return b.Bytes()
}

// labFor is the lab with what the schedule needs of it: declared links where they
// are impaired, and a stranger where there is one.
func (t *template) labFor(s Schedule) *sim.Lab {
	lab := *t.lab
	lab.Links, lab.Hosts = append([]sim.Link{}, lab.Links...), append([]sim.Host{}, lab.Hosts...)
	strange := false
	for _, e := range s {
		strange = strange || e.Event.Kind == sim.EventInject
		if e.Event.Kind != sim.EventImpair {
			continue
		}
		declared := false
		for _, l := range lab.Links {
			id, ok := lab.LinkID(l.Node, l.Uplink)
			declared = declared || ok && id == e.Event.Link
		}
		if !declared {
			l := sim.Link{Node: e.Event.Link.Node, Uplink: e.Event.Link.Uplink}
			if l.Uplink == sim.DefaultUplink {
				l.Uplink = ""
			}
			lab.Links = append(lab.Links, l)
		}
	}
	if strange {
		lab.Hosts = append(lab.Hosts, sim.Host{Name: t.stranger, Uplinks: []sim.Uplink{{Name: sim.DefaultUplink}}})
	}
	return &lab
}

// actions are those of the phase, in lines: waits, servers that are down, silence;
// and at last the time in which the network is whole.
func (s Schedule) actions(tail time.Duration) (lines []string) {
	now := time.Duration(0)
	until := func(at time.Duration) {
		if at > now {
			lines = append(lines, fmt.Sprintf("wait: %v", at-now))
			now = at
		}
	}
	for _, e := range s.sorted() {
		if !e.serial() {
			continue
		}
		until(e.At)
		if e.Quiet {
			lines = append(lines, fmt.Sprintf("quiet: %v", e.For))
			now += e.For
			continue
		}
		if _, ok := e.restarted(); ok {
			lines = append(lines, "restart: "+scenarios.ServerText(e.Server))
			continue
		}
		lines = append(lines, "stop: "+scenarios.ServerText(e.Server))
		until(now + e.For)
		lines = append(lines, "restart: "+scenarios.ServerText(e.Server))
	}
	until(s.end() + tail)
	return lines
}

// pathOf is what the schedule's file expects.
func (t *template) pathOf(s Schedule) scenarios.Path {
	sc, err := t.scenario(s, time.Second)
	if err != nil {
		return scenarios.Mixed // it was run before, so that there is none
	}
	return sc.Phases[0].Expect.Path
}

// rtt is the longest round trip between two peers, by the links as they are at
// their slowest in the schedule. Queues of links with a rate are not counted: they
// are empty again soon.
func (t *template) rtt(s Schedule) time.Duration {
	slow := map[sim.LinkID]time.Duration{}
	note := func(id sim.LinkID, i sim.Impairments) {
		slow[id] = max(slow[id], i.Up.Delay+i.Up.Jitter, i.Down.Delay+i.Down.Jitter)
	}
	for _, l := range t.lab.Links {
		if id, ok := t.lab.LinkID(l.Node, l.Uplink); ok {
			note(id, sim.Impairments{Up: l.Up, Down: l.Down})
		}
	}
	for _, e := range s {
		if e.Event.Kind == sim.EventImpair {
			note(e.Event.Link, e.Event.Impairments)
		}
	}
	oneWay := func(host string) (longest time.Duration) {
		h, _ := t.lab.Host(host)
		for _, u := range h.Uplinks {
			id, _ := t.lab.LinkID(host, u.Name)
			sum := slow[id]
			chain, _ := t.lab.Chain(host, u.Name)
			for _, r := range chain {
				id, _ := t.lab.LinkID(r.Name, "")
				sum += slow[id]
			}
			longest = max(longest, sum)
		}
		return longest
	}
	host := map[string]string{}
	for _, p := range t.sc.Peers {
		host[p.Name] = p.Host
	}
	var longest time.Duration
	for _, pair := range t.sc.Pairs() {
		longest = max(longest, 2*(oneWay(host[pair[0]])+oneWay(host[pair[1]])))
	}
	var relay time.Duration
	for _, host := range t.sc.RelayHosts() {
		relay = max(relay, 2*oneWay(host))
	}
	return longest + relay
}
