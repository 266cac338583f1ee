package explore

import (
	"context"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// AsIs runs the scenario once, as it stands and with the explorer's seed, and gives
// the invariants that it breaks, and the run's result: for cases that an exploration
// wrote, and for scenarios that somebody made of them.
func (x *Explorer) AsIs(ctx context.Context) ([]Finding, *scenarios.Result, error) {
	if err := x.Check(); err != nil {
		return nil, nil, err
	}
	e := &exploration{Explorer: x, t: newTemplate(x.Scenario)}
	o, err := e.run(ctx, x.Scenario, scheduleOf(x.Scenario), x.Seed)
	if err != nil {
		return nil, nil, err
	}
	return o.findings(), o.res, nil
}

// scheduleOf reads what a scenario does, for the bounds that follow from it.
func scheduleOf(sc *scenarios.Scenario) (s Schedule) {
	for _, e := range sc.Events {
		for range max(e.Times, 1) {
			s = append(s, Entry{At: e.At, Event: e.Event})
		}
	}
	for _, p := range sc.Phases {
		for _, a := range p.Actions {
			switch a.Kind {
			case scenarios.ActQuiet:
				s = append(s, Entry{Quiet: true, For: a.For})
			case scenarios.ActStop, scenarios.ActRestart:
				if _, ok := a.PeerOf(); ok {
					s = append(s, Entry{Server: a.Target})
					continue
				}
				s = append(s, Entry{Server: a.Target, For: tick})
			default:
				if a.Event.Kind != "" && a.Event.Kind != sim.EventWait {
					s = append(s, Entry{Event: a.Event})
				}
			}
		}
	}
	return s
}
