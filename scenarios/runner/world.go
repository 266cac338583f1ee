package runner

import (
	"fmt"
	"slices"
	"strings"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// world follows what the actions of a run make of the lab, so that the oracle
// can be asked about each phase.
type world struct {
	v          *variant
	active     map[string]string       // host → uplink
	nats       map[string]nat.Behavior // router → behaviour swapped in
	restricted map[string][]string     // host → the hosts that it may send to
	cut        map[sim.LinkID]bool     // or a black hole
	parted     [][]string              // groups of hosts
	stopped    map[string]bool         // hosts whose servers do not run
	introduced map[string]bool         // hosts that have once reached the rendezvous
	logins     map[string][]string     // router → hosts that are logged in at its portal
}

func newWorld(v *variant) *world {
	w := &world{
		v: v, active: map[string]string{}, nats: map[string]nat.Behavior{}, restricted: map[string][]string{},
		cut: map[sim.LinkID]bool{}, stopped: map[string]bool{}, introduced: map[string]bool{},
		logins: map[string][]string{},
	}
	for _, h := range v.lab.Hosts {
		w.active[h.Name] = h.ActiveUplink()
	}
	if sys := v.scenario.System; sys != nil {
		for _, k := range sys.Shards {
			w.stop(k.Hosts(), k.Later)
		}
	}
	w.apply(v.before)
	return w
}

// apply takes note of actions.
func (w *world) apply(actions []scenarios.Action) {
	for _, a := range actions {
		if a.Event.Kind != "" {
			w.happen(a.Event)
			continue
		}
		switch a.Kind {
		case scenarios.ActStop, scenarios.ActKill:
			w.stop(w.v.hostsOf(a), true)
		case scenarios.ActRestart, scenarios.ActStart:
			w.stop(w.v.hostsOf(a), false)
		}
	}
	for _, p := range w.v.scenario.Peers {
		if w.v.scenario.System == nil && w.v.scenario.Rendezvous == "" {
			w.introduced[p.Host] = true // by what is none of the lab's business
		}
		for _, rendezvous := range w.running(w.v.scenario.RendezvousHosts()) {
			if !w.isolated(p.Host) && w.maySend(p.Host, rendezvous) {
				w.introduced[p.Host] = true
			}
		}
	}
}

// happen takes note of an event.
func (w *world) happen(e sim.Event) {
	if _, over := e.Ending(); over {
		return // when it is done it has ended
	}
	switch e.Kind {
	case sim.EventMove:
		w.active[e.Host] = e.Uplink
	case sim.EventSwap:
		w.nats[e.Router] = e.NAT
	case sim.EventLogin:
		w.login(e.Host, e.Router)
	case sim.EventReboot:
		delete(w.logins, e.Router)
	case sim.EventRestrict:
		w.restricted[e.Host] = e.To
	case sim.EventUnrestrict:
		delete(w.restricted, e.Host)
	case sim.EventCut, sim.EventBlackhole:
		// With one way dead nothing comes of it either: who is asked cannot answer.
		w.cut[e.Link] = true
	case sim.EventRestore:
		delete(w.cut, e.Link)
	case sim.EventPartition:
		w.parted = e.Groups
	case sim.EventHeal:
		w.parted = nil
	case sim.EventKill, sim.EventPause:
		w.served(e, true)
	case sim.EventRestart, sim.EventResume:
		w.served(e, false)
	}
}

// served notes that programs which are the rendezvous or the relay do not answer any
// more, or again.
func (w *world) served(e sim.Event, stopped bool) {
	for _, server := range append([]string{scenarios.ServerRendezvous}, w.v.scenario.RelayNames()...) {
		if p := w.v.scenario.ServedBy(server); p != nil && concerns(e, p) {
			w.stop([]string{p.Host}, stopped)
		}
	}
}

// login notes that a host logs in at the portals in front of it; router: at that one
// only.
func (w *world) login(host, router string) {
	portals, _ := w.v.lab.Portals(host, w.active[host])
	for _, r := range portals {
		if (router == "" || r.Name == router) && !slices.Contains(w.logins[r.Name], host) {
			w.logins[r.Name] = append(w.logins[r.Name], host)
		}
	}
}

// stop notes that the servers of hosts end, or run again.
func (w *world) stop(hosts []string, stopped bool) {
	for _, h := range hosts {
		w.stopped[h] = stopped
	}
}

// running are those of the hosts whose servers run and can be reached at all.
func (w *world) running(hosts []string) (up []string) {
	for _, h := range hosts {
		if !w.stopped[h] && !w.isolated(h) {
			up = append(up, h)
		}
	}
	return up
}

// chain is what stands between a host and the Internet now.
func (w *world) chain(host string) (oracle.Chain, error) {
	routers, err := w.v.lab.Chain(host, w.active[host])
	if err != nil {
		return nil, err
	}
	var chain oracle.Chain
	if h, _ := w.v.lab.Host(host); h.Firewall != nil {
		chain = append(chain, oracle.Element{Name: host + "'s own firewall", Firewall: h.Firewall, Access: h.Access})
	}
	for _, r := range routers {
		e := oracle.Element{
			Name: r.Name, NAT: r.NAT, Firewall: r.Firewall, Access: r.Access, Addresses: r.Addresses,
			LoggedIn: w.logins[r.Name],
		}
		if b, swapped := w.nats[r.Name]; swapped {
			e.NAT = &b
		}
		chain = append(chain, e)
	}
	return chain, nil
}

// relays are the hosts of relays that can be reached.
func (w *world) relays() []string { return w.running(w.v.scenario.RelayHosts()) }

// isolated reports whether a cut stands between a host and the Internet.
func (w *world) isolated(host string) bool {
	if id, _ := w.v.lab.LinkID(host, w.active[host]); w.cut[id] {
		return true
	}
	routers, _ := w.v.lab.Chain(host, w.active[host])
	return slices.ContainsFunc(routers, func(r sim.Router) bool {
		id, _ := w.v.lab.LinkID(r.Name, "")
		return w.cut[id]
	})
}

// maySend reports whether no restriction keeps a host from sending to another.
// Restrictions go by the other's own address, which those behind a NAT are not
// found under.
func (w *world) maySend(from, to string) bool {
	if w.apart(from, to) {
		return false
	}
	allowed, restricted := w.restricted[from]
	if !restricted || !slices.Contains(allowed, to) {
		return !restricted
	}
	chain, err := w.chain(to)
	return err == nil && !slices.ContainsFunc(chain, func(e oracle.Element) bool { return e.NAT != nil })
}

// apart reports whether a partition stands between two hosts.
func (w *world) apart(a, b string) bool {
	group := func(host string) int {
		return slices.IndexFunc(w.parted, func(g []string) bool { return slices.Contains(g, host) })
	}
	x, y := group(a), group(b)
	return x >= 0 && y >= 0 && x != y
}

// filters reports whether something in front of a host lets in only what the
// host asked for.
func (w *world) filters(host string) bool {
	chain, _ := w.chain(host)
	return slices.ContainsFunc(chain, func(e oracle.Element) bool {
		return e.NAT != nil && e.NAT.Filtering != nat.EndpointIndependent ||
			e.Firewall != nil && e.Firewall.Inbound == nat.InboundReplies
	})
}

// server is where the first of the hosts of a server stands that runs; none: a
// public one, of which others know that nobody reaches it.
func (w *world) server(hosts []string) oracle.Host {
	up := w.running(hosts)
	if len(up) == 0 {
		return oracle.Host{}
	}
	chain, err := w.chain(up[0])
	if err != nil {
		return oracle.Host{}
	}
	return oracle.Host{Name: up[0], Chain: chain}
}

// ask asks the oracle about two hosts, as the lab is now.
func (w *world) ask(a, b string) (oracle.Expectation, error) {
	ca, err := w.chain(a)
	if err != nil {
		return oracle.Expectation{}, err
	}
	cb, err := w.chain(b)
	if err != nil {
		return oracle.Expectation{}, err
	}
	split, guesses := Foreseen(w.v.techniques)
	e, err := oracle.Expect(ca, cb, oracle.Options{
		SplitPaths: split, Techniques: guesses,
		RendezvousPort: stunPort, RelayPort: stunPort, StreamPort: w.v.scenario.TLS, Peers: [2]string{a, b},
		Rendezvous: w.server(w.v.scenario.RendezvousHosts()), Relay: w.server(w.v.scenario.RelayHosts()),
	})
	if err != nil {
		return e, err
	}
	for _, way := range both([2]string{a, b}) {
		if e.Path == oracle.PathDirect && !w.maySend(way[0], way[1]) {
			e.Path = oracle.PathRelay
			e.Why = fmt.Sprintf("%s may not send to %s, so that no NAT is opened from its side", way[0], way[1])
		}
	}
	for _, host := range []string{a, b} {
		if !w.introduced[host] {
			return oracle.Expectation{Path: oracle.PathNone, Streams: e.Streams, Why: host + " cannot reach the rendezvous, so nobody introduces it"}, nil
		}
		if e.Path == oracle.PathRelay && !slices.ContainsFunc(w.v.scenario.RelayHosts(), func(relay string) bool { return w.maySend(host, relay) }) {
			e.Path = oracle.PathNone
			e.Why += fmt.Sprintf("; and %s may not send to the relay", host)
		}
		if e.Path != oracle.PathNone && w.isolated(host) {
			e.Path, e.Why = oracle.PathNone, fmt.Sprintf("a cut link keeps %s from the Internet", host)
		}
	}
	if e.Path == oracle.PathRelay && len(w.relays()) == 0 {
		e.Path = oracle.PathNone
		e.Why += "; and no relay can be reached"
	}
	return e, nil
}

// expect is the path that a pair must take in a phase. File and oracle have to
// agree: a scenario that expects what cannot be is wrong by itself.
func (j *judgement) expect(p *phase, pair [2]string) scenarios.Path {
	file := p.spec.Expect.Path
	if p.sender != "" {
		return file // a test of mappings that expired; the oracle knows no time
	}
	e, err := j.world.ask(j.s.host(pair[0]), j.s.host(pair[1]))
	if err != nil {
		j.against(p, "the oracle has no answer for %s ↔ %s: %v", pair[0], pair[1], err)
		return file
	}
	says := scenarios.Path(e.Path)
	j.foretold(fmt.Sprintf("%s: %s", says, e.Why))
	if file == scenarios.Mixed {
		return says
	}
	if e.Or != "" && file == scenarios.Path(e.Or) && says == scenarios.Relay {
		return file // either may come; the file says which
	}
	if file != says {
		j.against(p, "the file expects %s for %s ↔ %s, but by the model of its NATs it must be %s: %s", file, pair[0], pair[1], says, e.Why)
	}
	return file
}

// foretold keeps what the oracle says for people: each different answer once.
func (j *judgement) foretold(text string) {
	if slices.Contains(j.answers, text) {
		return
	}
	j.answers = append(j.answers, text)
	j.o.oracle = strings.Join(j.answers, "; ")
	if len(j.answers) > 2 {
		j.o.oracle = "by the model of the NATs, a path of its own for each pair and phase"
	}
}
