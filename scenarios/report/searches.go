package report

import (
	"fmt"
	"io"

	"p2pmodel/core/search"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/wilson"
)

// leastSearches is how many make a share worth telling.
const leastSearches = 10

// Score is what became of birthday searches, beside the formula.
type Score struct {
	Searches int
	Within   []Within
}

// Within is the share of searches that hit with so many probes or fewer.
type Within struct {
	Probes int
	Found  wilson.Interval
	Theory float64
}

// ScoreOf scores the searches of results. One that gave up early, because a path
// was found otherwise, is left out: it says nothing of chance.
func ScoreOf(results []*scenarios.Result) Score {
	var hits []int
	for _, res := range results {
		for _, s := range res.Searches {
			if s.Hit > 0 || s.Probes == search.Probes {
				hits = append(hits, s.Hit)
			}
		}
	}
	score := Score{Searches: len(hits)}
	for _, probes := range []int{174, 256, 512, 1024, search.Probes} {
		n := 0
		for _, hit := range hits {
			if hit > 0 && hit <= probes {
				n++
			}
		}
		score.Within = append(score.Within, Within{probes, wilson.Of(n, len(hits)), search.Chance(search.Sockets, probes, search.Ports)})
	}
	return score
}

// searchRows tells how the searches of a scenario's repetitions came out.
func searchRows(w io.Writer, g group) {
	score := ScoreOf(g.results)
	if score.Searches < leastSearches {
		return
	}
	fmt.Fprintf(w, "\n%s searched ports %d times. Hit within so many probes, with Wilson's 95 %% interval:\n", g.id, score.Searches)
	for _, row := range score.Within {
		fmt.Fprintf(w, "    %4d  %5.1f %% (%.1f to %.1f), theory %.2f %%\n", row.Probes, 100*row.Found.Share, 100*row.Found.Low, 100*row.Found.High, 100*row.Theory)
	}
}
