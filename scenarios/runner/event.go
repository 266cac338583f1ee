package runner

import (
	"context"
	"errors"
	"slices"
	"sync"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// timeline is what is done beside the phases of a run.
type timeline struct {
	s      *stage
	ctx    context.Context
	cancel context.CancelFunc
	played []<-chan struct{}

	mu sync.Mutex
	// deeds are what was begun, in this order.
	deeds  []*deed
	merged int // of them belong to a phase already
	err    error
}

// newTimeline makes the timeline of a run; nothing of it is begun yet.
func newTimeline(ctx context.Context, s *stage) *timeline {
	t := &timeline{s: s}
	t.ctx, t.cancel = context.WithCancel(ctx)
	return t
}

// begin begins the events that count from the beginning of a phase, "" for the
// run's. The channel is closed when those that come to an end are done.
func (t *timeline) begin(phase string) (done <-chan struct{}) {
	finite := make(chan struct{})
	var some, endless sim.Timeline
	for _, e := range t.s.v.events.Of(phase) {
		if e.Endless() {
			endless = append(endless, e)
		} else {
			some = append(some, e)
		}
	}
	play := func(line sim.Timeline, purpose string, over func()) {
		seed := t.s.source("timeline " + purpose + phase).Uint64()
		t.played = append(t.played, t.s.net.Go(func() {
			defer over()
			if err := line.Play(t.ctx, t.s.net, seed, t.do); err != nil {
				t.mu.Lock()
				t.err = errors.Join(t.err, err)
				t.mu.Unlock()
			}
		}))
	}
	play(endless, "endless ", func() {})
	play(some, "", func() { close(finite) })
	return finite
}

// do does one event of the timeline.
func (t *timeline) do(ctx context.Context, e sim.Scheduled) error {
	d := &deed{Action: scenarios.EventAction(e.Event), begin: t.s.net.Now(), timeline: true}
	end, lasts := e.Event.Ending()
	if lasts = lasts && !e.Endless(); lasts {
		// A phase may end meanwhile: to it the fault is one that lasts. One that comes
		// again and again is part of how the network is.
		d.Action.Event.For = 0
	}
	t.note(d)
	o, err := t.s.happen(ctx, e.Event)
	if err != nil {
		return err
	}
	t.mu.Lock()
	d.seen, d.done = o, o.End
	t.mu.Unlock()
	if lasts {
		t.note(&deed{Action: scenarios.EventAction(end), begin: o.End, done: o.End, timeline: true})
	}
	return nil
}

func (t *timeline) note(d *deed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deeds = append(t.deeds, d)
}

// merge gives the phase what was begun since the last merge.
func (t *timeline) merge(p *phase) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.deeds[t.merged:] {
		p.deeds = append(p.deeds, d)
		at := d.begin
		if d.done.After(at) {
			at = d.done
		}
		switch {
		case !p.disrupted:
			p.changed = d.begin
		case len(p.flaps) == 0:
			p.flaps = append(p.flaps, p.changed)
		}
		p.disrupted, p.unsettled = true, true
		p.flaps = append(p.flaps, d.begin)
		if at.After(p.done) {
			p.done = at
		}
	}
	t.merged = len(t.deeds)
	return t.err
}

// stop ends what is endless, and waits for all.
func (t *timeline) stop() error {
	t.cancel()
	err := sim.WaitAll(t.s.net, t.played...)
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.err, err)
}

// guard is around each change of a router's rules, so that a change by somebody
// else is noticed: the rules must be those that were certified before, and
// afterwards those that the change makes.
func (s *stage) guard(r sim.RunningRouter, e sim.Event, change func() error) error {
	s.sealing.Lock()
	defer s.sealing.Unlock()
	if err := s.sealed(r); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	l := s.seals[r.Name()]
	var err error
	switch {
	case e.Kind == sim.EventReboot && e.NewAddress:
		clear(l.certified)
		l.addresses = append(l.addresses, r.External()...)
		l.now, err = r.Fingerprint()
		return err
	case e.Kind == sim.EventSwap:
		certified, known := l.certified[e.NAT]
		if !known {
			l.now, err = r.Fingerprint()
			return err
		}
		l.now = certified
	}
	// It has the same rules: what changed is what they know.
	return s.sealed(r)
}

// seen are the events of all phases, in the order in which they were begun.
func seen(phases []*phase) (all []*deed) {
	for _, p := range phases {
		for _, d := range p.deeds {
			if d.seen != nil {
				all = append(all, d)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *deed) int { return a.begin.Compare(b.begin) })
	return all
}

// faultless makes sure that faults took packets: one that took none was none.
func faultless(phases []*phase) error {
	var errs []error
	for _, d := range seen(phases) {
		switch d.Event.Kind {
		case sim.EventCut, sim.EventBlackhole, sim.EventFlap, sim.EventRestrict, sim.EventPartition:
			if proof := d.seen.Proof(); proof.State == sim.Nothing {
				errs = append(errs, errors.New(proof.Text))
			}
		}
	}
	return errors.Join(errs...)
}

// eventResults are what results say of the events of a run.
func eventResults(phases []*phase) (all []scenarios.EventResult) {
	for _, d := range seen(phases) {
		r := scenarios.EventResult{AtMS: milliseconds(d.begin.Sub(phases[0].begin)), Event: d.seen.Event, Proof: d.seen.Proof(), Timeline: d.timeline}
		for _, p := range phases {
			if slices.Contains(p.deeds, d) {
				r.Phase = p.spec.Name
			}
		}
		all = append(all, r)
	}
	return all
}

// await lets what the timeline has to do for this phase come to its end.
func (t *timeline) await(ctx context.Context, p *phase, finite []<-chan struct{}) error {
	for _, done := range finite {
		if err := t.s.net.Wait(ctx, done, sim.Forever); err != nil {
			return err
		}
	}
	return t.merge(p)
}
