package explore

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/core/punch"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/search"
	"p2pmodel/nat"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// Invariant is what holds whatever the schedule.
type Invariant string

// The invariants, by what is wrong where one does not hold.
const (
	// WrongPath: the network has been whole for as long as recovery may take, and a
	// pair has another path than its NATs allow.
	WrongPath Invariant = "path"
	// Twice: a datagram was delivered to the application twice.
	Twice Invariant = "twice"
	// Sessions: a pair had more than one session, or lost the one that it had.
	Sessions Invariant = "sessions"
	// State: somebody keeps more than the schedule explains.
	State Invariant = "state"
	// Storm: a machine wants to be called without time passing, or sends more
	// datagrams than its timers explain.
	Storm Invariant = "storm"
	// Amplified: somebody sent a stranger more bytes than had come from it.
	Amplified Invariant = "amplification"
	// Panicked: a machine did.
	Panicked Invariant = "panic"
	// Laboratory: the lab itself failed, or a NAT did what its behaviour forbids.
	Laboratory Invariant = "laboratory"
	// Unexpected: the run's own verdict says so, for a reason that is none of the
	// others.
	Unexpected Invariant = "verdict"
)

// Finding is an invariant that did not hold.
type Finding struct {
	Invariant Invariant `json:"invariant"`
	Text      string    `json:"text"`
}

func (f Finding) String() string { return string(f.Invariant) + ": " + f.Text }

// outcome is what came of one run.
type outcome struct {
	res      *scenarios.Result
	probes   *probes
	foretold []runner.Foretold
	sc       *scenarios.Scenario
	schedule Schedule
}

// findings are the invariants that did not hold, the most telling first.
func (o *outcome) findings() (all []Finding) {
	add := func(i Invariant, format string, args ...any) {
		all = append(all, Finding{i, fmt.Sprintf(format, args...)})
	}
	for _, p := range o.probes.all {
		all = append(all, p.findings...)
	}
	if o.res.Verdict == scenarios.Broken {
		if len(all) == 0 { // a machine that is dead breaks more than itself
			add(Laboratory, "%s", o.res.Reason)
		}
		return all
	}
	for _, p := range o.res.Phases {
		if p.Duplicates > 0 {
			add(Twice, "%d datagrams were delivered to the application twice", p.Duplicates)
		}
	}
	all = append(all, o.sessions()...)
	all = append(all, o.paths()...)
	all = append(all, o.state()...)
	all = append(all, o.mappings()...)
	all = append(all, o.rates()...)
	all = append(all, o.strangers()...)
	if len(all) == 0 && o.res.Verdict == scenarios.Unexpected && o.definite() {
		add(Unexpected, "%s", o.res.Reason)
	}
	return all
}

// definite reports whether the run's own verdict can be taken by its word: in the
// end, and all the time, the same path was foretold, and only that.
func (o *outcome) definite() bool {
	for _, e := range o.schedule {
		if e.Event.Kind == sim.EventMove {
			return false
		}
	}
	return !slices.ContainsFunc(o.foretold, func(f runner.Foretold) bool { return o.or(f) != "" })
}

// or is what chance may bring instead of the path that is foretold. A NAT that counts
// begins again when it loses its mappings, and gives the ports that it gave before: of
// these the other side has opened its own NAT to some, and one needs no guess.
func (o *outcome) or(f runner.Foretold) scenarios.Path {
	if !f.Guess || f.Or != "" {
		return f.Or
	}
	for _, e := range o.schedule {
		switch e.Event.Kind {
		case sim.EventReboot, sim.EventFlush, sim.EventRebind:
			if r, ok := o.sc.Lab.Router(e.Event.Router); ok && r.NAT != nil && r.NAT.Ports == nat.Sequential {
				return scenarios.Direct
			}
		}
	}
	return ""
}

// paths compares the paths in the end with the oracle's.
func (o *outcome) paths() (all []Finding) {
	observed := map[[2]string]scenarios.Path{}
	for _, p := range o.res.Pairs {
		observed[[2]string{p.A, p.B}] = p.Observed
	}
	if len(o.foretold) == 1 {
		observed[[2]string{o.foretold[0].A, o.foretold[0].B}] = o.res.Observed.Path
	}
	for _, f := range o.foretold {
		got := observed[[2]string{f.A, f.B}]
		if or := o.or(f); got == f.Path || or != "" && got == or {
			continue
		}
		all = append(all, Finding{WrongPath, fmt.Sprintf("%s ↔ %s: %s, although it must be %s: %s", f.A, f.B, got, f.Path, f.Why)})
	}
	return all
}

// sessions makes sure that each pair has one session from the first to the last, unless
// a peer starts anew.
func (o *outcome) sessions() (all []Finding) {
	names := map[string]bool{}
	for _, p := range o.sc.Peers {
		names[p.Name] = true
	}
	for _, p := range o.probes.all {
		if !names[p.name] {
			continue
		}
		for _, ids := range sortedValues(p.sessions) {
			// Who starts anew begins one, and so may the other side when it finds out: of two
			// that begin at once one is replaced.
			if len(ids) > 1+3*o.schedule.restarts() {
				all = append(all, Finding{Sessions, fmt.Sprintf("%s had %d sessions with one peer", p.name, len(ids))})
			}
		}
		// A session that was replaced before anybody knew of it is none.
		if n := len(p.ended); n > 0 && len(all) == 0 && slices.ContainsFunc(p.ended, func(why string) bool { return !strings.Contains(why, "started anew") }) {
			all = append(all, Finding{Sessions, fmt.Sprintf("%s lost a session: %s", p.name, strings.Join(p.ended, "; "))})
		}
	}
	return all
}

func sortedValues[K interface {
	comparable
	Compare(K) int
}, V any](m map[K]V) (all []V) {
	for _, k := range slices.SortedFunc(maps.Keys(m), func(a, b K) int { return a.Compare(b) }) {
		all = append(all, m[k])
	}
	return all
}

// changes counts what may have given a peer another address, or a server another
// life: each leaves something behind until its time is over.
func (s Schedule) changes() (n int) {
	for _, e := range s {
		switch e.Event.Kind {
		case sim.EventReboot, sim.EventRebind, sim.EventFlush, sim.EventMove:
			n++
		}
	}
	return n + s.restarts()
}

// restarts counts the peers that start anew.
func (s Schedule) restarts() (n int) {
	for _, e := range s {
		if _, ok := e.restarted(); ok {
			n++
		}
	}
	return n
}

// outages counts what lasts: answers may have been lost meanwhile, and mappings ended.
func (s Schedule) outages() (n int) {
	for _, e := range s {
		if e.lasting() > 0 {
			n++
		}
	}
	return n
}

// state holds what machines kept against what peers, changes and outages explain.
func (o *outcome) state() (all []Finding) {
	most := func(who, what string, have, bound int) {
		if have > bound {
			all = append(all, Finding{State, fmt.Sprintf("%s kept %d %s, at most %d are explained", who, have, what, bound)})
		}
	}
	peers := len(o.sc.Peers)
	pairs := len(o.sc.Pairs())
	// An address of a peer that its NAT gave it: one at the beginning, one more after
	// each change; and after an outage that outlived a mapping.
	addresses := 1 + o.schedule.changes() + o.schedule.outages()
	for _, p := range o.probes.all {
		switch {
		case p.name == scenarios.ServerRendezvous:
			most(p.name, "registrations", p.server.Registrations, peers)
			most(p.name, "rooms", p.server.Rooms, 1)
			// Two notices for each introduction that waits for an answer, 2.5 s long, of
			// which a pair asks for four a second at most.
			most(p.name, "notices", p.server.Notices, 20*max(pairs, 1)+20)
		case slices.Contains(o.sc.RelayNames(), p.name):
			most(p.name, "allocations", p.relay.Allocations, peers*addresses)
			// An allocation lets through the addresses of each other peer: its host's, its
			// NAT's, its relay's.
			most(p.name, "permissions", p.relay.Permissions, peers*addresses*(peers-1)*(2+addresses))
			most(p.name, "channels", p.relay.Channels, peers*addresses*(peers-1)*(2+2*addresses))
		default:
			most(p.name, "sessions", p.held.Sessions, peers-1)
			// Two bases, the socket and the allocation, and for a while the allocation
			// before; with each of the peer's candidates, and those that its checks came from.
			most(p.name, "pairs of one session", p.held.MostPairs, min(3*(3+4*addresses), punch.MaxPairs))
			most(p.name, "requests to servers", p.held.Requests, 8+4*(peers-1)+2*p.held.Permissions)
			// A pair is checked for 4 × SettleAfter at most, 50 ms apart.
			most(p.name, "checks in flight", p.held.Checks, 10*200*(peers-1))
			// Who starts anew begins with all others while they begin with it: of three
			// sessions of a pair two are replaced.
			most(p.name, "buried sessions", p.held.Buried, peers+3*(peers-1)*o.schedule.restarts())
			most(p.name, "introductions that came early", p.held.Early, 0)
		}
	}
	return all
}

// mappings makes sure that NATs know no more than packets from inside explain: each
// mapping has a flow that made it.
func (o *outcome) mappings() (all []Finding) {
	type flow struct{ src, dst netip.AddrPort }
	flows := map[string]map[flow]bool{}
	for _, k := range o.res.Run.Packets {
		if k.Direction != witness.In || !strings.HasPrefix(k.Point.Interface, "to ") {
			continue
		}
		if flows[k.Point.Node] == nil {
			flows[k.Point.Node] = map[flow]bool{}
		}
		flows[k.Point.Node][flow{k.Src, k.Dst}] = true
	}
	for _, router := range slices.Sorted(maps.Keys(o.res.Run.Mappings)) {
		r, _ := o.sc.Lab.Router(router)
		if r.NAT == nil {
			continue
		}
		have := 0
		for line := range strings.Lines(o.res.Run.Mappings[router]) {
			if text := strings.TrimSpace(line); text != "" && text != "no mappings" {
				have++
			}
		}
		// What a rebinding has ended stays taken for a while beside its successor.
		bound := len(flows[router]) * (1 + o.schedule.changes())
		if have > bound {
			all = append(all, Finding{State, fmt.Sprintf("the NAT of %s has %d mappings in the end, although hosts behind it began %d flows only", router, have, bound)})
		}
	}
	return all
}

// restRate is what a peer may send a second for each other peer at rest, besides
// payload: keepalives and checks of two paths, and of two servers.
const restRate = 10

// restSeconds is of how many seconds in the end one is at rest: checks take half as
// many, and 10 s are between two rounds of them but for the first.
const restSeconds = 8

// busyRate is what a peer may send a second for each other peer at any time,
// besides payload: a check each 5 ms (RFC 8445 section 14.2), an answer to each of
// the other's, and what servers are asked.
const busyRate = 2*200 + 50

// rates holds what peers sent in each second against what their timers explain.
func (o *outcome) rates() (all []Finding) {
	others := len(o.sc.Peers) - 1
	payload := others * (int(time.Second/o.sc.Settings.Interval) + 2)
	busy := busyRate * others
	if slices.Contains(o.sc.Techniques, scenarios.Birthday) {
		busy += others * int(time.Second/search.OpenEvery)
	}
	for _, p := range o.probes.all {
		if p.name == scenarios.ServerRendezvous || slices.Contains(o.sc.RelayNames(), p.name) || p.dead {
			continue
		}
		seconds := slices.Sorted(maps.Keys(p.sent))
		for _, at := range seconds {
			if n, bound := p.sent[at], payload+busy; n > bound {
				all = append(all, Finding{Storm, fmt.Sprintf("%s sent %d datagrams in a second, at most %d are explained", p.name, n, bound)})
				break
			}
		}
		// The last seconds: nothing has happened for long. The very last one is not whole. In
		// some of them a relayed session may look for a direct path again.
		if len(seconds) < restSeconds+2 {
			continue
		}
		rest := seconds[len(seconds)-1-restSeconds : len(seconds)-1]
		least := slices.MinFunc(rest, func(a, b int64) int { return cmp.Compare(p.sent[a], p.sent[b]) })
		if n, bound := p.sent[least], payload+restRate*others; n > bound && len(o.paths()) == 0 {
			all = append(all, Finding{Storm, fmt.Sprintf("%s sent %d datagrams a second at rest, at most %d are explained", p.name, n, bound)})
		}
	}
	return all
}

// strangers makes sure that who has not authenticated never gets more bytes out of anybody
// than it has sent there until then. It is measured at the one who answers: links may
// lose, or repeat, what goes to and fro.
func (o *outcome) strangers() (all []Finding) {
	names := map[netip.Addr]string{}
	for _, e := range o.schedule {
		if e.Event.Kind == sim.EventInject {
			for _, a := range o.res.Run.Plan.Addresses(e.Event.Host, sim.DefaultUplink) {
				names[a] = e.Event.Host
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	type way struct{ host, stranger string }
	came, left, worst := map[way]int{}, map[way]int{}, map[way]string{}
	for _, k := range o.res.Run.Packets {
		if k.Payload == nil || o.forwards(k.Point.Node) {
			continue
		}
		if name := names[k.Src.Addr()]; k.Direction == witness.In && name != "" {
			came[way{k.Point.Node, name}] += len(k.Payload)
		}
		name := names[k.Dst.Addr()]
		if k.Direction != witness.Out || name == "" || name == k.Point.Node {
			continue
		}
		w := way{k.Point.Node, name}
		if left[w] += len(k.Payload); left[w] > came[w] && worst[w] == "" {
			worst[w] = fmt.Sprintf("%s has sent %d bytes to %s, which never authenticated, for %d that came from there",
				w.host, left[w], w.stranger, came[w])
		}
	}
	for _, text := range slices.Sorted(maps.Values(worst)) {
		all = append(all, Finding{Amplified, text})
	}
	return all
}

// forwards reports whether a node is a router: what passes it is not its own.
func (o *outcome) forwards(node string) bool {
	_, is := o.sc.Lab.Router(node)
	return is
}

// Recovery is how long everything may take to be well again after a disturbance that
// lasted so long, on paths of this round-trip time: the registration's keepalive,
// with which a change is noticed at the latest, and the path's, with what its death
// takes to be certain; a try that came just before the network was whole, and that is
// repeated after a time which doubles and so is no longer than the outage; the same
// for the allocation, whose last try before it gives up is the longest (RFC 8489
// section 6.2.1); the next time at which a session that goes over the relay looks for
// a direct path; and then the checks, with a peer that gives no sign of life at
// first.
//
// Where techniques beyond plain punching are left to the peers, one that a disturbance
// has made fail is tried once more: after a pause, when a session looks for a direct path
// the next time.
func Recovery(rtt, keepalive, outage time.Duration, techniques ...string) time.Duration {
	if keepalive == 0 {
		keepalive = rendezvous.DefaultKeepalive
	}
	const (
		silence  = time.Second      // until a path that is used is asked whether it lives
		backoff  = 30 * time.Second // the longest wait of a session
		allocate = 16 * time.Second // the longest of a transaction
		upgrade  = 2 * time.Minute  // the longest wait for a direct path
	)
	notice := keepalive*6/5 + silence + punch.DefaultDeadAfter
	again := min(outage+time.Second, backoff) + min(outage, allocate) + min(outage+5*time.Second, upgrade)
	for technique, longest := range map[string]time.Duration{scenarios.Prediction: peer.LongestPrediction, scenarios.Birthday: peer.LongestBirthday} {
		if slices.Contains(techniques, technique) {
			again += 2*longest + peer.TriedAgainAfter
		}
	}
	return notice + again + 4*punch.SettleAfter(rtt) + 10*rtt
}
