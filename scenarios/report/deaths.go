package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// deaths are packets of a run that died at one place for one cause.
type deaths struct {
	Place, Cause, Rule string
	Count              int
	First, Last        string // since the run began
	Example            string // addresses of the first
}

// deathsOf groups the drops of a run, the most frequent first.
func deathsOf(run *scenarios.Run) []deaths {
	groups, first := map[[3]string]*deaths{}, map[[3]string]time.Time{}
	var order [][3]string
	for _, d := range run.Drops {
		place := d.Node
		if d.Link != "" {
			place = fmt.Sprintf("link of %s, after %s", d.Link, d.Node)
		}
		k := [3]string{place, string(d.Cause), d.Rule}
		g := groups[k]
		if g == nil {
			g = &deaths{
				Place: place, Cause: k[1], Rule: d.Rule, First: stamp(d.At.Sub(run.Started)),
				Example: fmt.Sprintf("%s %s → %s", witness.ProtocolName(d.Protocol), witness.Endpoint(d.Src), witness.Endpoint(d.Dst)),
			}
			groups[k], first[k] = g, d.At
			order = append(order, k)
		}
		g.Count++
		g.Last = stamp(d.At.Sub(run.Started))
	}
	slices.SortFunc(order, func(a, b [3]string) int {
		return cmp.Or(cmp.Compare(groups[b].Count, groups[a].Count), first[a].Compare(first[b]), strings.Compare(a[0], b[0]))
	})
	var all []deaths
	for _, k := range order {
		all = append(all, *groups[k])
	}
	return all
}

// deathsNote says what the list of drops lacks.
func deathsNote(run *scenarios.Run) string {
	var notes []string
	if run.DropsMissing != "" {
		notes = append(notes, run.DropsMissing)
	}
	if run.Unexplained > 0 {
		notes = append(notes, fmt.Sprintf("of %s nothing tells why", plural(run.Unexplained, "further packet that ended", "further packets that ended")))
	}
	return strings.Join(notes, "; ")
}
