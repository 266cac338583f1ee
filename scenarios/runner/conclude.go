package runner

import (
	"fmt"

	"p2pmodel/scenarios"
)

// conclude joins a scenario's own run and its controls to a result.
func conclude(sc *scenarios.Scenario, all []*variant, outcomes []*outcome) *scenarios.Result {
	own := outcomes[0]
	res := &scenarios.Result{
		ID: sc.ID, Title: sc.Title, Verdict: own.verdict, Reason: own.reason,
		Expected: scenarios.ExpectedPath{Path: all[0].expected(), Oracle: own.oracle},
		Observed: own.observed,
		Controls: []scenarios.ControlResult{},
		NATs:     own.nats,
		Events:   own.events,
		Links:    own.links,
		Searches: own.searches,
		Scenario: sc, Run: own.run,
	}
	if res.NATs == nil {
		res.NATs = []scenarios.NATResult{}
	}
	if len(own.phases) > 1 || len(own.phases) == 1 && len(own.phases[0].Facts) > 0 {
		res.Phases = own.phases
	}
	if own.run != nil {
		res.Drops = own.run.NewDropsResult()
	}
	if len(own.pairs) > 1 {
		res.Pairs = own.pairs
	}
	if res.Verdict == scenarios.Expected && len(all)-1 < len(sc.Controls) {
		res.Reason += "; its controls were left out, so that this is not proved"
	}
	for i, o := range outcomes[1:] {
		v := all[i+1]
		res.Controls = append(res.Controls, scenarios.ControlResult{
			Name: v.name, Why: v.why, Verdict: o.verdict, Reason: o.reason,
			Expected: v.expected(), Observed: o.observed.Path, Run: o.run,
		})
		// A control matters only for a run that is as expected by itself.
		if res.Verdict != scenarios.Expected || o.verdict == scenarios.Expected {
			continue
		}
		if o.verdict == scenarios.Broken {
			res.Verdict = scenarios.Broken
			res.Reason = fmt.Sprintf("the control %q is broken: %s", v.name, o.reason)
			continue
		}
		res.Verdict = scenarios.Vacuous
		res.Reason = fmt.Sprintf("%s, but the control %q did not come out as it has to, so this proves nothing: %s", own.reason, v.name, o.reason)
	}
	return res
}
