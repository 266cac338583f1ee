package runner

import (
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
	// wrong are the reasons against the run, vacuous those why it proves nothing.
	wrong, vacuous []string
	seen           []string // evidence
	answers        []string // of the oracle
	world          *world
}

// judge reads the verdict of a run off the captured packets.
func (s *stage) judge(o *outcome, phases []*phase) {
	j := &judgement{s: s, o: o, deliveries: map[[2]string][]witness.Delivery{}, world: newWorld(s.v)}
	for _, h := range s.v.lab.Hosts {
		j.scene.Hosts = append(j.scene.Hosts, h.Name)
	}
	j.scene.Rendezvous = s.serverAddresses(s.v.scenario.Rendezvous)
	j.scene.Relay = s.serverAddresses(s.v.scenario.Relay)
	for _, pair := range s.pairs() {
		d, err := witness.Deliveries(o.run.Packets, j.scene, s.host(pair[0]), s.host(pair[1]))
		if err != nil {
			o.fail("the witness cannot judge %s and %s: %v", pair[0], pair[1], err)
			return
		}
		j.deliveries[pair] = d
	}
	j.traces = witness.Traces(o.run.Packets, j.scene)
	for i, p := range phases {
		var before *phase
		if p.tried = p.begin; p.disrupted {
			p.tried = p.changed
		}
		if i > 0 {
			before = phases[i-1]
			if !p.disrupted {
				p.tried = before.tried
			}
		}
		j.phase(p, before)
	}
	j.sessions(phases)
	j.times()
	j.settle()
}

func (s *stage) host(peer string) string { return s.actors[peer].host }

// serverAddresses are all addresses that a server's host has by the plan.
func (s *stage) serverAddresses(host string) []netip.Addr {
	if host == "" {
		return nil
	}
	h, _ := s.v.lab.Host(host)
	return s.net.Plan().Addresses(host, h.ActiveUplink())
}

// phase judges one phase: the path of every pair, and what else it expects.
func (j *judgement) phase(p, before *phase) {
	j.world.apply(p.spec.Actions)
	res := scenarios.PhaseResult{Name: p.spec.Name, Expected: p.spec.Expect.Path, Facts: p.facts, Duplicates: p.duplicates}
	var paths []scenarios.Path
	agree := true
	j.o.pairs = nil
	for _, pair := range j.s.pairs() {
		expected := j.expect(p, pair)
		observed := j.path(p, pair)
		paths = append(paths, observed)
		j.o.pairs = append(j.o.pairs, scenarios.PairResult{A: pair[0], B: pair[1], Expected: expected, Observed: observed})
		if observed != expected {
			agree = false
			j.against(p, "%s ↔ %s: expected %s, observed %s (%s)%s", pair[0], pair[1], expected, observed,
				witness.Tally(j.window(p, pair), p.since, window), j.unsettled(p))
			continue
		}
		if expected == scenarios.Relay {
			j.relayed(p, pair)
		}
	}
	res.Observed = common(paths)
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
	j.prove(p, &res)
	j.gap(p, &res)
	j.o.phases = append(j.o.phases, res)
	j.o.observed.Path = res.Observed
}

func (j *judgement) unsettled(p *phase) string {
	if p.settled || p.sender != "" {
		return ""
	}
	return "; the peers' checks had not settled by the deadline"
}

// against notes a reason against the run.
func (j *judgement) against(p *phase, format string, args ...any) {
	j.wrong = append(j.wrong, j.in(p)+fmt.Sprintf(format, args...))
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

// window gives the payload of a pair that counts for a phase's path: sent after
// the checks settled, and long enough before the end to have arrived.
func (j *judgement) window(p *phase, pair [2]string) []witness.Delivery {
	return sentIn(j.deliveries[pair], p.since, p.end.Add(-j.s.grace()))
}

func sentIn(all []witness.Delivery, from, to time.Time) []witness.Delivery {
	var out []witness.Delivery
	for _, d := range all {
		if !d.Sent.Before(from) && d.Sent.Before(to) {
			out = append(out, d)
		}
	}
	return out
}

// path is the observed path of a pair in a phase. A sender that speaks alone
// gets no answer, so that only its own direction counts.
func (j *judgement) path(p *phase, pair [2]string) scenarios.Path {
	list := j.window(p, pair)
	observed := scenarios.Path(witness.ObservedPath(list, p.since, window).String())
	j.evidence(p, "%s ↔ %s: %s: of the last %d datagrams after the checks settled, %s", pair[0], pair[1], observed,
		min(window, len(list)), witness.Tally(list, p.since, window))
	return observed
}

// common is the path that all pairs share.
func common(paths []scenarios.Path) scenarios.Path {
	for _, p := range paths {
		if p != paths[0] {
			return scenarios.Mixed
		}
	}
	return paths[0]
}

// relayed looks for what a relayed path needs beside payload on the relay: no
// payload ever went direct, and checks were sent and died since the network last
// changed. Without the latter nothing was tried, and the result says nothing of
// the NATs.
func (j *judgement) relayed(p *phase, pair [2]string) {
	from := p.begin
	if p.disrupted {
		from = p.changed
	}
	if d, ever := witness.EverDirect(j.deliveries[pair], from, p.end); ever {
		j.against(p, "%s ↔ %s: payload went direct although it must not: %v", pair[0], pair[1], d)
	}
	for _, way := range [][2]string{pair, {pair[1], pair[0]}} {
		a, b := j.s.host(way[0]), j.s.host(way[1])
		checks, err := witness.Checks(j.o.run.Packets, j.scene, a, b)
		if err != nil {
			j.vacuous = append(j.vacuous, err.Error())
			continue
		}
		sent, died := 0, ""
		for _, c := range checks {
			if !c.STUN || c.At.Before(p.tried) || c.At.After(p.end) || c.Entered {
				continue
			}
			sent++
			died = c.Trace.Fate()
		}
		if sent == 0 {
			j.vacuous = append(j.vacuous, j.in(p)+fmt.Sprintf(
				"the witness saw no check from %s to %s die: the direct path was not tried", way[0], way[1]))
			continue
		}
		j.evidence(p, "%s sent %d checks to %s that died; the last %s", way[0], sent, way[1], died)
	}
}

// reached makes sure that payload came to the router and not to the host behind.
func (j *judgement) reached(p *phase, router string) {
	n, last := 0, ""
	for _, t := range j.traces {
		if t.Arrived || t.First().At.Before(p.since) || t.First().At.After(p.end) {
			continue
		}
		hop := t.Last()
		if hop.Point.Node == router && hop.Direction == witness.In && carriesPayload(t.Summary) {
			n++
			last = fmt.Sprintf("%s, %v", t.Summary, hop.Addresses)
		}
	}
	if n == 0 {
		j.against(p, "no payload reached router %s, so it cannot be said that it died there", router)
		return
	}
	j.evidence(p, "%d datagrams of payload reached router %s and went no further (%s)", n, router, last)
}

// carriesPayload reports whether a packet is payload, with or without the relay's
// framing, by the witness's summary of it.
func carriesPayload(summary string) bool {
	for _, word := range []string{"payload", "ChannelData", "Data indication"} {
		if strings.Contains(summary, word) {
			return true
		}
	}
	return false
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

// gap measures what the phase's change did to payload.
func (j *judgement) gap(p *phase, res *scenarios.PhaseResult) {
	for _, pair := range j.s.pairs() {
		list := j.deliveries[pair]
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
			res.GapMS = max(res.GapMS, milliseconds(g.Silence()))
			res.RecoveryMS = max(res.RecoveryMS, milliseconds(g.Recovery()))
			res.Lost += g.Lost
		}
	}
}

// sessions makes sure that each pair had one session all the time.
func (j *judgement) sessions(phases []*phase) {
	for _, pair := range j.s.pairs() {
		ids := j.s.sessions(pair)
		if len(ids) > 0 {
			for i := range j.o.phases {
				j.o.phases[i].Session = ids[0]
			}
		}
		if len(phases) > 1 && len(ids) != 1 {
			j.wrong = append(j.wrong, fmt.Sprintf("%s and %s had %d sessions, expected one throughout: %s",
				pair[0], pair[1], len(ids), strings.Join(ids, ", ")))
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
	default:
		o.verdict, o.reason = scenarios.Expected, "payload took the expected path: "+string(o.observed.Path)
	}
}
