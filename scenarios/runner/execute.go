package runner

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// outcome is what one run came to.
type outcome struct {
	verdict  scenarios.Verdict
	reason   string
	observed scenarios.ObservedPath
	nats     []scenarios.NATResult
	links    []scenarios.LinkResult
	phases   []scenarios.PhaseResult
	pairs    []scenarios.PairResult
	searches []scenarios.SearchResult
	oracle   string
	events   []scenarios.EventResult
	run      *scenarios.Run
	// began and ended are of the fabric's time.
	began, ended time.Time
}

// fail makes the outcome broken: the laboratory failed.
func (o *outcome) fail(format string, args ...any) *outcome {
	o.verdict = scenarios.Broken
	// Joined errors come a line each, and a reason is one.
	o.reason = strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	return o
}

// execute does one run from building the lab to the verdict. All that goes
// wrong ends in the outcome.
func (r *Runner) execute(ctx context.Context, v *variant) *outcome {
	o := &outcome{observed: scenarios.ObservedPath{Path: scenarios.None, TimeToFirstByteMS: -1, TimeToDirectMS: -1}}
	s := &stage{
		v: v, seed: r.seed(v), log: &logbook{},
		actors: map[string]*actor{}, byID: map[identity.ID]string{}, servers: map[string]sim.RunningMachine{},
		seals: map[string]*seal{}, shards: map[string]string{}, binary: r.P2PModel, path: r.Path,
		watched: true, wrap: r.Wrap, timeless: r.Fabric.Name() == "virtual",
	}
	if len(v.scenario.Peers) == 0 {
		o.observed.Path = scenarios.NoPath
	}
	if err := Missing(v.scenario, r.Path); err != nil {
		return o.fail("%v", err)
	}
	r.progress(v, "build", "")
	o.began = r.Fabric.Now()
	o.ended = o.began
	net, err := r.Fabric.Build(ctx, v.lab, sim.Options{
		Seed: s.seed, Connections: v.scenario.System != nil,
		Log: func(at time.Time, line string) { s.log.add(at, "lab", line) },
	})
	if err != nil {
		return o.fail("the lab could not be built: %v", err)
	}
	s.net, s.director = net, sim.NewDirector(net)
	s.director.Change = s.guard
	o.run = &scenarios.Run{Name: v.name, Lab: v.lab, Plan: net.Plan(), Started: o.began}
	s.log.add(net.Now(), "lab", fmt.Sprintf("built in %v", net.Now().Sub(o.began).Round(100*time.Microsecond)))

	phases, err := r.play(ctx, s, o)
	if s.system != nil {
		err = errors.Join(err, s.system.stop())
	}
	r.progress(v, "judge", "")
	s.watchLinks(o)
	o.run.Packets = r.packets(v, net)
	drops, derr := net.Drops()
	if o.run.Drops = drops; derr != nil {
		o.run.DropsMissing = derr.Error()
	}
	o.events = eventResults(phases)
	o.searches = s.searches()
	s.record(o.run, phases)
	if err == nil {
		err = net.Err()
	}
	if err != nil {
		o.fail("%v", err)
	} else {
		s.judge(o, phases)
	}
	o.run.Log = s.log.sorted()
	if r.Keep != nil && !v.control() && o.verdict != scenarios.Expected && ctx.Err() == nil {
		places := r.Slots.of(v)
		r.Slots.free(places)
		r.Keep(v.scenario, net, o.verdict)
		_ = r.Slots.take(context.WithoutCancel(ctx), places) // without an end there is no error
	}
	err = errors.Join(net.Close(), s.closePrograms())
	o.ended = net.Now()
	if err != nil && o.verdict != scenarios.Broken {
		o.fail("the lab was not taken down cleanly: %v", err)
	}
	return o
}

// play certifies the NATs and runs all phases.
func (r *Runner) play(ctx context.Context, s *stage, o *outcome) ([]*phase, error) {
	sabotage := r.sabotage(s.v)
	r.progress(s.v, "certify", "")
	for router, choice := range sabotage.SwapNAT {
		running, err := s.net.Router(router)
		if err != nil {
			return nil, err
		}
		if err := running.Swap(choice.Behavior); err != nil {
			return nil, err
		}
	}
	if err := s.certify(ctx, o); err != nil {
		return nil, err
	}
	s.certified = s.net.Now()
	if err := s.measureLinks(ctx, o); err != nil {
		return nil, err
	}
	r.progress(s.v, "run", "")
	// The servers' addresses are looked up before anything is cut.
	if err := s.startServers(ctx); err != nil {
		return nil, err
	}
	first := &phase{}
	if err := s.startPeers(ctx, first, sabotage.NoPunching); err != nil {
		return nil, err
	}
	if sabotage.DeadRelay {
		if err := s.servers[scenarios.ServerRelay].Stop(); err != nil {
			return nil, err
		}
	}
	if r.Rest > 0 {
		if err := s.sleep(ctx, r.Rest); err != nil {
			return nil, err
		}
	}
	s.connect(s.net.Now())
	s.timeline = newTimeline(ctx, s)
	phases, err := r.perform(ctx, s, first)
	err = errors.Join(err, s.timeline.stop())
	if err == nil {
		err = s.timeline.merge(phases[len(phases)-1])
	}
	if err != nil {
		return phases, err
	}
	err = s.director.Finish()
	if !r.Unproved {
		err = errors.Join(err, faultless(phases))
	}
	if err != nil {
		return phases, err
	}
	s.unsealed = s.allSealed() // the watch of the NATs may know what came of it
	if s.system != nil {
		return phases, nil // it is stopped in any case
	}
	return phases, s.stop()
}

// launch does what has to be done before the peers start, who do so next.
func (s *stage) launch(ctx context.Context, first *phase) error {
	for _, a := range s.v.before {
		if err := s.act(ctx, first, a); err != nil {
			return fmt.Errorf("before the start: %s: %w", a.Kind, err)
		}
	}
	s.launched = s.net.Now()
	return nil
}

// perform runs all phases.
func (r *Runner) perform(ctx context.Context, s *stage, first *phase) (phases []*phase, err error) {
	duplicates := 0
	for i, spec := range s.v.phases {
		r.progress(s.v, "phase "+spec.Name, "")
		p := &phase{}
		if i == 0 {
			p = first
		}
		if s.programs != nil && i > 0 {
			p.printed = s.printed()
		}
		if err := s.perform(ctx, p, spec, i); err != nil {
			return phases, err
		}
		phases = append(phases, p)
		if i == len(s.v.phases)-1 {
			// What is under way may arrive, so that the last datagrams do not count
			// as lost.
			s.quiet(true)
			if err := s.sleep(ctx, s.grace()); err != nil {
				return phases, err
			}
		}
		before := duplicates
		duplicates = s.duplicates()
		p.duplicates = duplicates - before
	}
	return phases, nil
}

// stop ends the peers and then the servers.
func (s *stage) stop() error {
	errs := []error{s.stopPrograms()}
	for _, a := range s.cast() {
		if a.machine != nil {
			errs = append(errs, a.machine.Stop())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.servers)) {
		errs = append(errs, s.servers[name].Stop())
	}
	return errors.Join(errs...)
}

// record keeps what reports need of the run.
func (s *stage) record(run *scenarios.Run, phases []*phase) {
	run.Rules, run.Mappings = map[string]string{}, map[string]string{}
	for _, router := range s.v.lab.Routers {
		running, err := s.net.Router(router.Name)
		if err != nil {
			continue
		}
		if rules, err := running.Rules(); err == nil {
			run.Rules[router.Name] = rules
		}
		if mappings, err := running.Mappings(); err == nil {
			run.Mappings[router.Name] = mappings
		}
	}
	for _, p := range phases {
		run.Phases = append(run.Phases, scenarios.PhaseSpan{Name: p.spec.Name, Begin: p.begin, End: p.end})
	}
	for _, d := range seen(phases) {
		run.Events = append(run.Events, scenarios.EventMark{At: d.begin, Text: d.seen.Event.String()})
	}
	run.Servers = slices.Concat(s.v.scenario.RendezvousHosts(), s.v.scenario.RelayHosts())
	if pairs := s.pairs(); len(pairs) > 0 {
		a, b := s.actors[pairs[0][0]], s.actors[pairs[0][1]]
		if a != nil && b != nil {
			run.Pair = [2]string{a.host, b.host}
			run.Introduced = s.introduced(pairs[0])
		}
	}
	if s.programs != nil {
		s.recordPrograms(run)
	}
}

// introduced is when both peers of a pair knew of each other; zero: never.
func (s *stage) introduced(pair [2]string) time.Time {
	var last time.Time
	for _, end := range [][2]string{pair, {pair[1], pair[0]}} {
		a := s.actors[end[0]]
		if a == nil {
			return time.Time{}
		}
		a.mu.Lock()
		at := a.introduced[end[1]]
		a.mu.Unlock()
		if at.IsZero() {
			return time.Time{}
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// seed is the run's own seed: the runner's, and which run it is.
func (r *Runner) seed(v *variant) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", r.Seed, v.label())
	return h.Sum64()
}

// sessions are the distinct session ids of a pair, as both of its peers saw them, but
// for those that had been replaced when the first payload arrived; zero: none did.
func (s *stage) sessions(pair [2]string, first time.Time) []string {
	var out []string
	for _, end := range both(pair) {
		a := s.actors[end[0]]
		a.mu.Lock()
		all := a.sessions[end[1]]
		for i, m := range all {
			replaced := i+1 < len(all) && (first.IsZero() || !all[i+1].at.After(first))
			if !replaced && !slices.Contains(out, m.session) {
				out = append(out, m.session)
			}
		}
		a.mu.Unlock()
	}
	return out
}
