package report

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"p2pmodel/scenarios"
)

// skippedMark stands where others have the mark of their verdict.
const skippedMark = "–"

// skippedRows writes which scenarios were skipped under the table: a line for each
// kind of reason, since many have the same one.
func skippedRows(w io.Writer, rep *scenarios.Report, width int) {
	for _, g := range skippedGroups(rep.Skipped) {
		paragraph(w, skippedMark+"  ", "   ", "skipped "+g.words(), width)
	}
}

// skippedGroup are scenarios that were skipped for the same kind of reason.
type skippedGroup []scenarios.Skipped

// particular is what a reason says of one scenario alone: the names of its programs.
var particular = regexp.MustCompile(` \([^()]*\)`)

func skippedGroups(list []scenarios.Skipped) []skippedGroup {
	var groups []skippedGroup
	at := map[string]int{}
	for _, s := range list {
		kind := particular.ReplaceAllString(s.Reason, "")
		i, known := at[kind]
		if !known {
			i = len(groups)
			at[kind], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], s)
	}
	return groups
}

// words says which were skipped and why, without what is not so for all of them.
func (g skippedGroup) words() string {
	if len(g) == 1 {
		return g[0].ID + ": " + g[0].Reason
	}
	reason := g[0].Reason
	if slices.ContainsFunc(g, func(s scenarios.Skipped) bool { return s.Reason != reason }) {
		reason = particular.ReplaceAllString(reason, "")
	}
	return g.ids() + ", each: " + reason
}

// ids names the scenarios; of three and more that are numbered on, the first and the
// last.
func (g skippedGroup) ids() string {
	var parts []string
	for i := 0; i < len(g); {
		last := i
		for last+1 < len(g) && follows(g[last].ID, g[last+1].ID) {
			last++
		}
		if last < i+2 {
			last = i
		}
		part := g[i].ID
		if last > i {
			part += "…" + g[last].ID
		}
		parts = append(parts, part)
		i = last + 1
	}
	return strings.Join(parts, ", ")
}

// follows reports whether b is a with the next number.
func follows(a, b string) bool {
	series, number, ok := strings.Cut(a, "-")
	series2, number2, ok2 := strings.Cut(b, "-")
	n, err := strconv.Atoi(number)
	next, err2 := strconv.Atoi(number2)
	return ok && ok2 && err == nil && err2 == nil && series == series2 && next == n+1
}

// skippedWords is what a tally says of them.
func skippedWords(rep *scenarios.Report) string {
	if len(rep.Skipped) == 0 {
		return ""
	}
	return fmt.Sprintf("; %d skipped", len(rep.Skipped))
}

// skippedTitle is the scenario's title, where it is known.
func skippedTitle(s scenarios.Skipped) string {
	if s.Scenario == nil {
		return ""
	}
	return s.Scenario.Title
}
