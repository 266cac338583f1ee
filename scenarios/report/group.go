package report

import (
	"fmt"
	"slices"

	"p2pmodel/scenarios"
)

// group is the results of one scenario: one, or as many as it was repeated.
type group struct {
	id, title string
	results   []*scenarios.Result
}

// groupsOf gathers the results by scenario, in the order of their first.
func groupsOf(rep *scenarios.Report) []group {
	var groups []group
	index := map[string]int{}
	for _, res := range rep.Scenarios {
		i, known := index[res.ID]
		if !known {
			i = len(groups)
			index[res.ID] = i
			groups = append(groups, group{id: res.ID, title: res.Title})
		}
		groups[i].results = append(groups[i].results, res)
	}
	return groups
}

// good counts the results that are as expected.
func (g group) good() (n int) {
	for _, res := range g.results {
		if res.Verdict == scenarios.Expected {
			n++
		}
	}
	return n
}

// severity orders verdicts from good to bad.
var severity = []scenarios.Verdict{scenarios.Expected, scenarios.Vacuous, scenarios.Unexpected, scenarios.Broken}

// verdict is the worst of the group's.
func (g group) verdict() scenarios.Verdict {
	worst := 0
	for _, res := range g.results {
		worst = max(worst, slices.Index(severity, res.Verdict))
	}
	return severity[worst]
}

// worst is the first result with the group's verdict.
func (g group) worst() *scenarios.Result {
	v := g.verdict()
	return g.results[slices.IndexFunc(g.results, func(r *scenarios.Result) bool { return r.Verdict == v })]
}

// verdictWords is the verdict, or of how many repetitions which is true.
func (g group) verdictWords() string {
	if len(g.results) == 1 {
		return string(g.results[0].Verdict)
	}
	return fmt.Sprintf("%d/%d expected", g.good(), len(g.results))
}

// path is what was observed; where repetitions differ, of the worst one.
func (g group) path() string { return pathVerdict(g.worst()) }

func (g group) firstByte() float64 {
	return g.median(func(r *scenarios.Result) float64 { return r.Observed.TimeToFirstByteMS })
}

func (g group) direct() float64 {
	return g.median(func(r *scenarios.Result) float64 { return r.Observed.TimeToDirectMS })
}

func (g group) took() float64 {
	return g.median(func(r *scenarios.Result) float64 { return r.DurationMS })
}

// median of the times that came; -1 if none did.
func (g group) median(of func(*scenarios.Result) float64) float64 {
	var all []float64
	for _, res := range g.results {
		if ms := of(res); ms >= 0 {
			all = append(all, ms)
		}
	}
	if len(all) == 0 {
		return -1
	}
	slices.Sort(all)
	middle := len(all) / 2
	if len(all)%2 == 0 {
		return (all[middle-1] + all[middle]) / 2
	}
	return all[middle]
}

// controls says of how many controls how many came out as they have to, over
// all repetitions.
func (g group) controls() string {
	good, all := 0, 0
	for _, res := range g.results {
		good += goodControls(res)
		all += len(res.Controls)
	}
	if all == 0 {
		return "–"
	}
	return fmt.Sprintf("%d/%d", good, all)
}

// failures are the results that are not as expected.
func (g group) failures() (out []*scenarios.Result) {
	for _, res := range g.results {
		if res.Verdict != scenarios.Expected {
			out = append(out, res)
		}
	}
	return out
}

// Tally is the whole report in a sentence.
func Tally(rep *scenarios.Report) string {
	groups := groupsOf(rep)
	counts := map[scenarios.Verdict]int{}
	for _, res := range rep.Scenarios {
		counts[res.Verdict]++
	}
	var text string
	switch {
	case len(groups) == 0:
		return "no scenario was run" + skippedWords(rep)
	case len(groups) == len(rep.Scenarios):
		text = fmt.Sprintf("%d of %s as expected", counts[scenarios.Expected], plural(len(groups), "scenario", "scenarios"))
	default:
		text = fmt.Sprintf("%d of %d runs of %s as expected", counts[scenarios.Expected], len(rep.Scenarios), plural(len(groups), "scenario", "scenarios"))
	}
	for _, v := range []scenarios.Verdict{scenarios.Unexpected, scenarios.Vacuous, scenarios.Broken} {
		if counts[v] > 0 {
			text += fmt.Sprintf(", %d %s", counts[v], v)
		}
	}
	return text + skippedWords(rep)
}
