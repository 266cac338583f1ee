package runner

import (
	"context"
	"fmt"
	"strings"
	"time"

	"p2pmodel/scenarios"
)

// deed is an action that was done, from when to when.
type deed struct {
	scenarios.Action
	begin, done time.Time
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
	if disrupts(a.Kind) {
		p.disrupted, p.done = true, d.done
		// Of the servers only UDP servers are on a path.
		p.unsettled = p.unsettled || !aboutSystem(a.Kind) || a.Kind == scenarios.ActKill && a.Shard != ""
	}
	return err
}

// aboutSystem reports whether an action is about servers of a system.
func aboutSystem(kind scenarios.ActionKind) bool {
	switch kind {
	case scenarios.ActKill, scenarios.ActStart, scenarios.ActDrain, scenarios.ActPartition, scenarios.ActHeal:
		return true
	}
	return false
}

// disrupts reports whether an action may change what paths there are.
func disrupts(kind scenarios.ActionKind) bool {
	switch kind {
	case scenarios.ActQuiet, scenarios.ActWait, scenarios.ActSend, scenarios.ActStart:
		return false
	}
	return true
}

// carryOut does the action of a deed. Actions that change the network move the
// time from which the phase's gap counts; but a cut that is mended in the same
// phase counts from the mending.
func (s *stage) carryOut(ctx context.Context, p *phase, d *deed) error {
	a := d.Action
	switch a.Kind {
	case scenarios.ActQuiet:
		s.log.add(d.begin, "lab", fmt.Sprintf("no payload for %v", a.For))
		s.quiet(true)
		d.begin = s.net.Now() // what was sent before is no breach
		p.quieted = true
		return sleep(ctx, a.For)
	case scenarios.ActWait:
		return sleep(ctx, a.For)
	case scenarios.ActSend:
		return s.send(ctx, p, a)
	case scenarios.ActFlap:
		p.changed = d.begin
		return s.flap(ctx, p, a)
	}
	if !p.disrupted || a.Kind != scenarios.ActCut && a.Kind != scenarios.ActStop {
		p.changed = d.begin
	}
	text, err := s.change(ctx, p, a)
	s.log.add(d.begin, "lab", text)
	return err
}

// change does the actions that take no time of their own, and says in words
// what was done.
func (s *stage) change(ctx context.Context, p *phase, a scenarios.Action) (string, error) {
	switch a.Kind {
	case scenarios.ActMove:
		h, err := s.net.Host(a.Target)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s moves from %s to %s", a.Target, h.Active(), a.Uplink), h.Move(a.Uplink)
	case scenarios.ActReboot:
		r, err := s.net.Router(a.Target)
		if err != nil {
			return "", err
		}
		old := r.External()
		if err := s.rebootSealed(r, a.NewAddress); err != nil {
			return "", err
		}
		if a.NewAddress {
			return fmt.Sprintf("%s reboots: state lost, address %v → %v", a.Target, old, r.External()), nil
		}
		return fmt.Sprintf("%s reboots: state lost", a.Target), nil
	case scenarios.ActSwap:
		r, err := s.net.Router(a.Target)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s becomes %s", a.Target, a.NAT), s.swapSealed(r, a.NAT)
	case scenarios.ActCut, scenarios.ActRestore:
		l, err := s.net.Link(a.Link)
		if err != nil {
			return "", err
		}
		if a.Kind == scenarios.ActCut {
			return "link of " + a.Link.String() + " cut", s.cut(p, a.Link, l)
		}
		return "link of " + a.Link.String() + " restored", s.restore(a.Link, l)
	case scenarios.ActRestrict, scenarios.ActUnrestrict:
		return s.restrict(p, a)
	case scenarios.ActStop:
		running := s.servers[a.Target]
		if running == nil {
			return "", fmt.Errorf("the %s does not run", a.Target)
		}
		return a.Target + " stopped", running.Stop()
	case scenarios.ActRestart:
		if running := s.servers[a.Target]; running != nil {
			if err := running.Stop(); err != nil {
				return "", err
			}
		}
		return a.Target + " restarted", s.startServer(ctx, a.Target)
	}
	if aboutSystem(a.Kind) {
		return s.changeSystem(ctx, p, a)
	}
	return "", fmt.Errorf("unknown action")
}

func (s *stage) restrict(p *phase, a scenarios.Action) (string, error) {
	h, err := s.net.Host(a.Target)
	if err != nil {
		return "", err
	}
	what := "restriction of " + a.Target
	if err := s.lift(what); err != nil {
		return "", err
	}
	if a.Kind == scenarios.ActUnrestrict {
		return a.Target + " may send anywhere again", h.Unrestrict()
	}
	to, err := s.addresses(a.To)
	if err != nil {
		return "", err
	}
	if err := s.impose(p, what, h.Restricted); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s may send to %s only", a.Target, strings.Join(a.To, ", ")), h.Restrict(to)
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
		if err := sleep(ctx, s.v.settings.Interval); err != nil {
			return err
		}
	}
	return nil
}

// flap cuts and restores a link several times, and proves that it took packets.
func (s *stage) flap(ctx context.Context, p *phase, a scenarios.Action) error {
	l, err := s.net.Link(a.Link)
	if err != nil {
		return err
	}
	upBefore, downBefore := l.Lost()
	for i := range a.Times {
		s.log.add(s.net.Now(), "lab", fmt.Sprintf("link of %s down for %v (%d of %d)", a.Link.String(), a.For, i+1, a.Times))
		p.flaps = append(p.flaps, s.net.Now())
		if err := l.Cut(); err != nil {
			return err
		}
		if err := sleep(ctx, a.For); err != nil {
			return err
		}
		if err := l.Restore(); err != nil {
			return err
		}
		if err := sleep(ctx, a.Gap); err != nil {
			return err
		}
	}
	up, down := l.Lost()
	if up == upBefore && down == downBefore {
		return fmt.Errorf("link of %s was down %d times for %v and took no packet: nothing was proved", a.Link.String(), a.Times, a.For)
	}
	p.facts = append(p.facts, fmt.Sprintf("the flapping link took %d packets up and %d down", up-upBefore, down-downBefore))
	return nil
}
