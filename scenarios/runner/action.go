package runner

import (
	"context"
	"fmt"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// deed is an action that was done, from when to when.
type deed struct {
	scenarios.Action
	begin, done time.Time
	// seen is what was seen of an event; nil for what is no event, and for the end
	// of one that ended by itself.
	seen *sim.Occurrence
	// timeline says that it is one of the timeline's, and of no phase.
	timeline bool
}

// actions are those that were done, with what they came to be about.
func (p *phase) actions() []scenarios.Action {
	var all []scenarios.Action
	for _, d := range p.deeds {
		all = append(all, d.Action)
	}
	return all
}

// act does one action.
func (s *stage) act(ctx context.Context, p *phase, a scenarios.Action) error {
	if a.ShardOf != "" {
		shard, err := s.system.shardOf(a.ShardOf)
		if err != nil {
			return err
		}
		a.Shard = shard
	}
	d := &deed{Action: a, begin: s.net.Now()}
	p.deeds = append(p.deeds, d)
	err := s.carryOut(ctx, p, d)
	d.done = s.net.Now()
	if disrupts(a) {
		p.disrupted, p.done = true, d.done
		// Of the servers only UDP servers are on a path.
		p.unsettled = p.unsettled || !s.v.aboutSystem(a) || a.Kind == scenarios.ActKill && a.Shard != ""
	}
	return err
}

// aboutSystem reports whether an action is about servers of a system.
func (v *variant) aboutSystem(a scenarios.Action) bool {
	switch a.Event.Kind {
	case sim.EventPartition, sim.EventHeal:
		return v.scenario.System != nil
	case "":
		return a.Kind == scenarios.ActKill || a.Kind == scenarios.ActStart || a.Kind == scenarios.ActDrain
	}
	return false
}

// disrupts reports whether an action may change what paths there are.
func disrupts(a scenarios.Action) bool {
	switch a.Kind {
	case scenarios.ActQuiet, scenarios.ActWait, scenarios.ActSend, scenarios.ActStart:
		return false
	}
	return true
}

// carryOut does the action of a deed. Actions that change the network move the
// time from which the phase's gap counts; but a cut that is mended in the same
// phase counts from the mending.
func (s *stage) carryOut(ctx context.Context, p *phase, d *deed) (err error) {
	a := d.Action
	switch a.Kind {
	case scenarios.ActQuiet:
		s.log.add(d.begin, "lab", fmt.Sprintf("no payload for %v", a.For))
		s.quiet(true)
		d.begin = s.net.Now() // what was sent before is no breach
		p.quieted = true
		return s.sleep(ctx, a.For)
	case scenarios.ActWait:
		s.quiet(false) // it may have been quiet before
		return s.sleep(ctx, a.For)
	case scenarios.ActSend:
		return s.send(ctx, p, a)
	}
	if !p.disrupted || a.Event.Kind != sim.EventCut && a.Kind != scenarios.ActStop {
		p.changed = d.begin
	}
	if a.Event.Kind != "" {
		if d.seen, err = s.happen(ctx, a.Event); err == nil {
			p.flaps = append(p.flaps, d.seen.Failures...)
		}
		return err
	}
	text, err := s.change(ctx, p, a)
	s.log.add(d.begin, "lab", text)
	return err
}

// happen does an event, and logs it.
func (s *stage) happen(ctx context.Context, e sim.Event) (*sim.Occurrence, error) {
	s.log.add(s.net.Now(), "lab", "event: "+e.String())
	o, err := s.director.Apply(ctx, e)
	if err == nil {
		s.log.add(o.End, "lab", o.Proof().Text)
	}
	return o, err
}

// change does the actions that are about servers, and says in words what was
// done.
func (s *stage) change(ctx context.Context, p *phase, a scenarios.Action) (string, error) {
	switch a.Kind {
	case scenarios.ActStop:
		running := s.servers[a.Target]
		if running == nil {
			return "", fmt.Errorf("the %s does not run", a.Target)
		}
		return a.Target + " stopped", running.Stop()
	case scenarios.ActRestart:
		if name, ok := a.PeerOf(); ok {
			return name + " starts anew, and knows nobody", s.restartPeer(name)
		}
		if running := s.servers[a.Target]; running != nil {
			if err := running.Stop(); err != nil {
				return "", err
			}
		}
		return a.Target + " restarted", s.startServer(ctx, a.Target)
	}
	return s.changeSystem(ctx, p, a)
}

// send lets one peer speak while all others are quiet.
func (s *stage) send(ctx context.Context, p *phase, a scenarios.Action) error {
	s.quiet(true)
	actor := s.actors[a.Target]
	p.sender = a.Target
	p.changed = s.net.Now()
	s.log.add(p.changed, a.Target, fmt.Sprintf("speaks first: %d datagrams", a.Count))
	for range a.Count {
		actor.machine.Do(func(now time.Time) { actor.agent.speak(now) })
		if err := s.sleep(ctx, s.v.settings.Interval); err != nil {
			return err
		}
	}
	return nil
}
