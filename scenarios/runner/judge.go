package runner

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// judgement is the state of judging one run.
type judgement struct {
	s     *stage
	o     *outcome
	scene witness.Scene
	// deliveries of payload, by pair.
	deliveries map[[2]string][]witness.Delivery
	traces     []witness.Trace
	attempts   witness.Attempts
	comings    map[string][]coming // by router
	// wrong are the reasons against the run, vacuous those why it proves nothing.
	wrong, vacuous []string
	seen           []string // evidence
	answers        []string // of the oracle
	world          *world
	// changed is when the network of a peer's host last changed, as far as was
	// judged; last is the run's last phase.
	changed map[string]time.Time
	last    *phase
}

// judge reads the verdict of a run off the captured packets.
func (s *stage) judge(o *outcome, phases []*phase) {
	j := &judgement{s: s, o: o, deliveries: map[[2]string][]witness.Delivery{}, changed: map[string]time.Time{}, world: newWorld(s.v)}
	j.scene = s.scene()
	var hosts [][2]string
	for _, pair := range s.pairs() {
		hosts = append(hosts, [2]string{s.host(pair[0]), s.host(pair[1])})
	}
	all, err := witness.DeliveriesOf(o.run.Packets, j.scene, hosts)
	if err != nil {
		o.fail("the witness cannot judge: %v", err)
		return
	}
	for i, pair := range s.pairs() {
		j.deliveries[pair] = all[i]
	}
	if !s.v.foreign() {
		j.astray()
	}
	j.traces = witness.Traces(o.run.Packets, j.scene)
	j.attribute()
	j.attempts = witness.AttemptsIn(j.traces, j.scene)
	j.comings = comings(j.traces)
	var broken []string
	if s.watched {
		broken = j.watchNATs(phases)
	}
	if s.unsealed != nil {
		broken = append([]string{s.unsealed.Error()}, broken...)
	}
	if len(broken) > 0 {
		o.fail("%s", strings.Join(broken, "; "))
		return
	}
	j.last = phases[len(phases)-1]
	alone := len(s.v.scenario.RelayHosts()) > 0 && len(j.world.relays()) == 0
	var before *phase
	for _, p := range phases {
		j.phase(p, before)
		before = p
	}
	if s.system != nil && s.system.fell != nil {
		j.wrong = append(j.wrong, s.system.fell.Error())
	}
	if !s.v.foreign() {
		j.sessions()
		j.confusions()
	}
	j.fellPrograms(phases)
	if len(s.pairs()) > 0 {
		j.times()
	}
	if alone && !s.v.foreign() {
		j.prompt()
	}
	j.settle()
}

func (s *stage) host(peer string) string { return s.actors[peer].host }

// serverAddresses are all addresses that hosts of servers have by the plan.
func (s *stage) serverAddresses(hosts []string) []netip.Addr {
	var all []netip.Addr
	for _, host := range hosts {
		h, _ := s.v.lab.Host(host)
		all = append(all, s.net.Plan().Addresses(host, h.ActiveUplink())...)
	}
	return all
}

// phase judges one phase: the path of every pair, and what else it expects.
func (j *judgement) phase(p, before *phase) {
	j.world.apply(p.actions())
	for _, d := range p.deeds {
		if d.begin.Before(p.begin) {
			continue // before the start there was nothing to change
		}
		for _, host := range j.s.v.rewired(d.Action) {
			j.changed[host] = p.done
		}
	}
	res := scenarios.PhaseResult{Name: p.spec.Name, Expected: p.spec.Expect.Path, Facts: p.facts, Duplicates: p.duplicates}
	var paths []scenarios.Path
	agree := true
	j.o.pairs = nil
	for _, pair := range j.s.pairs() {
		expected := j.expect(p, pair)
		observed, why := j.path(p, pair)
		paths = append(paths, observed)
		j.o.pairs = append(j.o.pairs, scenarios.PairResult{A: pair[0], B: pair[1], Expected: expected, Observed: observed})
		if observed != expected {
			agree = false
			j.against(p, "%s ↔ %s: expected %s, observed %s (%s)%s", pair[0], pair[1], expected, observed, why, j.unsettled(p))
			continue
		}
		if expected == scenarios.Relay {
			j.relayed(p, before, pair)
		}
	}
	if len(paths) > 0 {
		res.Observed = common(paths)
	}
	// Mixed stands for "each pair as the oracle says", and came if every pair did.
	if p.spec.Expect.Path == scenarios.Mixed && agree {
		res.Observed = scenarios.Mixed
	}
	if p.duplicates > 0 {
		j.against(p, "%d datagrams were delivered to the application twice", p.duplicates)
	}
	if router := p.spec.Expect.Reaches; router != "" {
		j.reached(p, router)
	}
	j.mappings(p, before, &res)
	j.ofSystem(p, before, &res)
	j.ofPrograms(p, before, &res)
	j.prove(p, &res)
	j.gap(p, &res)
	if limit := p.spec.Expect.Gap; limit > 0 && res.GapMS > milliseconds(limit) {
		text := fmt.Sprintf("payload was silent for %.0f ms around what was done, expected %v at most", res.GapMS, limit)
		if res.StoodMS > 0 {
			text += fmt.Sprintf(" (besides %.0f ms in which the machine let the peers not speak)", res.StoodMS)
		}
		j.against(p, "%s", text)
	}
	j.probes(p, &res)
	j.o.phases = append(j.o.phases, res)
	j.o.observed.Path = res.Observed
}

// unsettled says what kept the peers from settling, if they did not.
func (j *judgement) unsettled(p *phase) string {
	if p.settled || p.sender != "" || j.s.v.withoutAdapter() {
		return ""
	}
	for _, peer := range j.s.v.scenario.Peers {
		if !j.s.actors[peer.Name].isRegistered() {
			return fmt.Sprintf("; %s had not registered at the rendezvous", peer.Name)
		}
	}
	return "; the peers' checks had not settled by the deadline"
}

// against notes a reason against the run.
func (j *judgement) against(p *phase, format string, args ...any) {
	j.wrong = append(j.wrong, j.in(p)+fmt.Sprintf(format, args...))
}

// proveNothing notes why a phase proves nothing.
func (j *judgement) proveNothing(p *phase, format string, args ...any) {
	j.vacuous = append(j.vacuous, j.in(p)+fmt.Sprintf(format, args...))
}

func (j *judgement) evidence(p *phase, format string, args ...any) {
	j.seen = append(j.seen, j.in(p)+fmt.Sprintf(format, args...))
}

// in names the phase where there are several.
func (j *judgement) in(p *phase) string {
	if len(j.s.v.phases) == 1 {
		return ""
	}
	return fmt.Sprintf("phase %q: ", p.spec.Name)
}

// mappings compares the external addresses of hosts with those of the phase
// before, as the other side saw them.
func (j *judgement) mappings(p, before *phase, res *scenarios.PhaseResult) {
	peers := make([]string, 0, len(p.spec.Expect.Mapping))
	for peer := range p.spec.Expect.Mapping {
		peers = append(peers, peer)
	}
	slices.Sort(peers)
	for _, peer := range peers {
		old, new := j.external(before, peer), j.external(p, peer)
		if !old.IsValid() || !new.IsValid() {
			j.against(p, "%s: no direct payload in this phase and the one before, to read its mapping from", peer)
			continue
		}
		state := scenarios.MappingKept
		if old != new {
			state = scenarios.MappingLost
		}
		if want := p.spec.Expect.Mapping[peer]; state != want {
			j.against(p, "the mapping of %s was %s, expected %s: seen as %v before and %v now", peer, state, want, old, new)
			continue
		}
		fact := fmt.Sprintf("mapping of %s %s: %v", peer, state, new)
		if old != new {
			fact = fmt.Sprintf("mapping of %s %s: %v → %v", peer, state, old, new)
		}
		res.Facts = append(res.Facts, fact)
	}
}

// external is the address that a peer's payload had last when it arrived
// directly in a phase.
func (j *judgement) external(p *phase, peer string) (addr netip.AddrPort) {
	for _, pair := range j.s.pairs() {
		if pair[0] != peer && pair[1] != peer {
			continue
		}
		for _, d := range j.window(p, pair) {
			if d.From == j.s.host(peer) && !d.Lost() && d.Path == witness.Direct {
				addr = d.Receiver.Src
			}
		}
	}
	return addr
}

// gap measures what the phase's change did to payload; of several flaps the worst
// counts.
func (j *judgement) gap(p *phase, res *scenarios.PhaseResult) {
	for _, pair := range j.s.pairs() {
		if j.opaque(pair) {
			if p.spec.Expect.Gap > 0 {
				j.proveNothing(p, "%s ↔ %s: the wire does not show when what TLS carries was payload, so there is no gap to measure", pair[0], pair[1])
			}
			continue
		}
		list, stood := j.deliveries[pair], j.s.stood(pair)
		if !p.disrupted {
			for _, d := range sentIn(list, p.begin, p.end.Add(-j.s.grace())) {
				if d.Lost() {
					res.Lost++
				}
			}
			continue
		}
		if p.quieted {
			// The silence that was asked for is no gap.
			list = sentIn(list, p.changed, p.end)
		}
		for _, g := range witness.Gaps(list, p.changed, p.end) {
			res.Lost += g.Lost
		}
		changes := []time.Time{p.changed}
		if len(p.flaps) > 0 {
			changes = p.flaps
		}
		for i, change := range changes {
			until := p.end
			if i+1 < len(changes) {
				until = changes[i+1]
			}
			for _, g := range witness.Gaps(list, change, until, stood...) {
				if net := milliseconds(g.Net()); net > res.GapMS {
					res.GapMS, res.StoodMS = net, milliseconds(g.Stood)
				}
				res.RecoveryMS = max(res.RecoveryMS, milliseconds(g.Recovery()))
			}
		}
	}
}

// sessions makes sure that each pair had one session all the time, by what its
// peers said and by what their datagrams begin with. A pair that has no path begins
// anew after a while, and loses nothing by it: sessions count from the one that had
// the first path.
func (j *judgement) sessions() {
	for _, pair := range j.s.pairs() {
		if j.s.v.restarts(pair) {
			continue // who starts anew knows of no session
		}
		first, _ := witness.FirstByte(j.deliveries[pair])
		ids := j.s.sessions(pair, first.Arrived)
		slots := map[string][]string{} // by sender
		for _, d := range j.deliveries[pair] {
			if d.Lost() {
				continue
			}
			if slot := slotOf(d.Payload); !slices.Contains(slots[d.From], slot) {
				slots[d.From] = append(slots[d.From], slot)
			}
		}
		for _, from := range pair {
			if n := len(slots[from]); n > 1 {
				j.wrong = append(j.wrong, fmt.Sprintf("what %s sent between %s and %s was of %d sessions by what it begins with, expected one throughout: %s",
					from, pair[0], pair[1], n, strings.Join(slots[from], ", ")))
			}
		}
		if len(ids) > 0 {
			for i := range j.o.phases {
				j.o.phases[i].Session = ids[0]
			}
		}
		if len(ids) > 1 || len(ids) == 0 && len(j.s.v.phases) > 1 && j.s.v.meets() {
			j.wrong = append(j.wrong, fmt.Sprintf("%s and %s had %d sessions, expected one throughout: %s",
				pair[0], pair[1], len(ids), strings.Join(ids, ", ")))
		}
	}
}

// restarts reports whether a phase starts a peer of a pair anew.
func (v *variant) restarts(pair [2]string) bool {
	for _, p := range v.phases {
		for _, a := range p.Actions {
			if name, ok := a.PeerOf(); ok && slices.Contains(pair[:], name) {
				return true
			}
		}
	}
	return false
}

// slotOf reads which of its receiver's sessions a datagram between peers is for: 3
// bytes behind the first, which do not change while the session lives (see
// docs/protocol.md, Frames).
func slotOf(datagram []byte) string {
	if len(datagram) < 4 {
		return "none"
	}
	return hex.EncodeToString(datagram[1:4])
}

// meets reports whether some phase expects a path.
func (v *variant) meets() bool {
	return slices.ContainsFunc(v.phases, func(p scenarios.Phase) bool { return p.Expect.Path != scenarios.None })
}

// prompt makes sure that a relay that does not answer keeps nobody waiting: peers are
// introduced before either of them has given up on its allocation. On a machine
// whose speed is its own affair that order is all there is to go by; in virtual
// time, where nothing but the network takes any, also how long it took. Peers that
// have no path at first are introduced later, and all wait for one behind a portal.
func (j *judgement) prompt() {
	if j.s.v.phases[0].Expect.Path == scenarios.None {
		return
	}
	for _, p := range j.s.v.scenario.Peers {
		h, _ := j.s.v.lab.Host(p.Host)
		if portals, _ := j.s.v.lab.Portals(p.Host, h.ActiveUplink()); len(portals) > 0 {
			return
		}
	}
	for _, pair := range j.s.pairs() {
		at := j.s.introduced(pair)
		if at.IsZero() {
			continue
		}
		took := at.Sub(j.s.launched).Round(time.Millisecond)
		if limit := j.s.prompt(); j.s.timeless && took > limit {
			j.wrong = append(j.wrong, fmt.Sprintf("%s and %s were introduced %v after their start, later than %v: the failed allocation delayed it",
				pair[0], pair[1], took, limit))
			continue
		}
		for _, peer := range pair {
			if failed := j.s.relayFailed(peer); !failed.IsZero() && !at.Before(failed) {
				j.wrong = append(j.wrong, fmt.Sprintf("%s and %s were introduced %v after their start, and %s had given up on the relay %v after it: the failed allocation delayed it",
					pair[0], pair[1], took, peer, failed.Sub(j.s.launched).Round(time.Millisecond)))
				break
			}
		}
	}
}

// times are read for the first pair, from its introduction on.
func (j *judgement) times() {
	pair := j.s.pairs()[0]
	introduced := j.s.introduced(pair)
	if introduced.IsZero() {
		return
	}
	if introduced.Before(j.s.speaking) {
		introduced = j.s.speaking // players meet before they have anything to say
	}
	if d, ok := witness.FirstByte(j.deliveries[pair]); ok {
		j.o.observed.TimeToFirstByteMS = max(0, milliseconds(d.Arrived.Sub(introduced)))
	}
	if d, ok := witness.FirstDirect(j.deliveries[pair]); ok {
		j.o.observed.TimeToDirectMS = max(0, milliseconds(d.Arrived.Sub(introduced)))
	}
}

// settle turns what was noted into the run's verdict.
func (j *judgement) settle() {
	o := j.o
	o.run.Evidence = j.seen
	switch {
	case len(j.wrong) > 0:
		o.verdict, o.reason = scenarios.Unexpected, strings.Join(j.wrong, "; ")
	case len(j.vacuous) > 0:
		o.verdict, o.reason = scenarios.Vacuous, strings.Join(j.vacuous, "; ")
	case len(j.s.pairs()) == 0:
		o.verdict, o.reason = scenarios.Expected, "the programs came to what was expected"
	default:
		o.verdict, o.reason = scenarios.Expected, "payload took the expected path: "+j.paths()
	}
}

// paths are those of the phases, in order.
func (j *judgement) paths() string {
	var all []string
	for _, p := range j.o.phases {
		all = append(all, string(p.Observed))
	}
	return strings.Join(all, ", then ")
}
