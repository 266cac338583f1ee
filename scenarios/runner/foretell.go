package runner

import (
	"cmp"
	"slices"

	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// Foretold is what the oracle says of a pair of peers.
type Foretold struct {
	A, B string
	Path scenarios.Path
	// Or is what chance may bring instead; empty: nothing else may come.
	Or scenarios.Path
	// Guess says that it would be direct if one side found a port of the other's.
	Guess bool
	Why   string
}

// Foretell asks the oracle about the end of a scenario: all that it does has been
// done by then, the events of its timeline in their order after the actions of
// their phase.
func Foretell(sc *scenarios.Scenario) (all []Foretold, err error) {
	v := variants(sc, false)[0]
	w := newWorld(v)
	for i, p := range v.phases {
		actions := slices.Clone(p.Actions)
		events := v.events.Of(p.Name)
		if i == 0 {
			events = append(v.events.Of(""), events...)
		}
		slices.SortStableFunc(events, func(a, b sim.Scheduled) int { return cmp.Compare(a.At, b.At) })
		for _, e := range events {
			actions = append(actions, scenarios.EventAction(e.Event))
		}
		w.apply(actions)
	}
	host := map[string]string{}
	for _, p := range sc.Peers {
		host[p.Name] = p.Host
	}
	for _, pair := range sc.Pairs() {
		e, err := w.ask(host[pair[0]], host[pair[1]])
		if err != nil {
			return nil, err
		}
		all = append(all, Foretold{A: pair[0], B: pair[1], Path: scenarios.Path(e.Path), Or: scenarios.Path(e.Or), Guess: e.Outcome == oracle.OneGuess, Why: e.Why})
	}
	return all, nil
}
