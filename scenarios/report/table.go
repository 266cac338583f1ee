package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"p2pmodel/scenarios"
)

// ANSI colours of verdicts on a terminal.
var colors = map[scenarios.Verdict]string{
	scenarios.Expected:   "32",
	scenarios.Vacuous:    "33",
	scenarios.Unexpected: "31",
	scenarios.Broken:     "35",
}

// marks stand for verdicts where there is no colour, and beside it.
var marks = map[scenarios.Verdict]string{
	scenarios.Expected:   "✓",
	scenarios.Vacuous:    "○",
	scenarios.Unexpected: "✗",
	scenarios.Broken:     "!",
}

// Line is the outcome of one scenario in a line of at most width characters; 0:
// as long as it takes.
func Line(res *scenarios.Result, color bool, width int) string {
	rest := fmt.Sprintf("%-7s %-10s ", res.ID, res.Verdict)
	if res.Verdict == scenarios.Expected {
		rest += fmt.Sprintf("%s, %s, %s", pathWords(res), controlWords(res), Seconds(res.DurationMS))
	} else {
		rest += res.Reason
	}
	if width > 0 {
		rest = cut(rest, width-2)
	}
	return paint(marks[res.Verdict], colors[res.Verdict], color) + " " + rest
}

// column is one column of the closing table.
type column struct {
	title string
	cell  func(group) string
	// least is how narrow the column may become; 0: it keeps its width. A column
	// that would become narrower is left out if it may be.
	least    int
	optional bool
}

var columns = []column{
	{title: " ", cell: func(g group) string { return marks[g.verdict()] }},
	{title: "ID", cell: func(g group) string { return g.id }, least: 8},
	{title: "VERDICT", cell: group.verdictWords},
	{title: "PATH", cell: group.path, least: 14},
	{title: "1ST BYTE", cell: func(g group) string { return Millis(g.firstByte()) }},
	{title: "DIRECT", cell: func(g group) string { return Millis(g.direct()) }},
	{title: "CONTROLS", cell: group.controls},
	{title: "TOOK", cell: func(g group) string { return Seconds(g.took()) }, optional: true},
	{title: "TITLE", cell: func(g group) string { return g.title }, least: 12, optional: true},
}

// columnGap is between two columns.
const columnGap = 2

// Table writes the closing table of a report: a line a scenario, repetitions
// counted and their times as medians, and then what failed and why. It fits a
// terminal of 80 characters; w's width is respected if it is one.
func Table(w io.Writer, rep *scenarios.Report, color bool) { table(w, rep, widthOf(w), color) }

func table(w io.Writer, rep *scenarios.Report, width int, color bool) {
	groups := groupsOf(rep)
	if len(groups) > 0 {
		tableRows(w, groups, width, color)
	}
	skippedRows(w, rep, width)
	for _, g := range groups {
		explain(w, rep, g, width, color)
		searchRows(w, g)
	}
	fmt.Fprintf(w, "\n%s\n", paint(Tally(rep), lookHeading, color))
}

func tableRows(w io.Writer, groups []group, width int, color bool) {
	shown, widths := fit(groups, width)
	row := func(cell func(column) string, look func(i int) string) {
		var b strings.Builder
		for i, c := range shown {
			text := cut(cell(c), widths[i])
			if i < len(shown)-1 {
				text = pad(text, widths[i]+columnGap)
			}
			b.WriteString(paint(text, look(i), color))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	row(func(c column) string { return c.title }, func(int) string { return lookHeading })
	for _, g := range groups {
		row(func(c column) string { return c.cell(g) }, func(i int) string {
			if t := shown[i].title; t == " " || t == "VERDICT" {
				return colors[g.verdict()]
			}
			return ""
		})
	}
}

// fit chooses columns and their widths, so that a row is not wider than width:
// the last column that may shrink does, or goes.
func fit(groups []group, width int) ([]column, []int) {
	shown := append([]column(nil), columns...)
	widths := make([]int, len(shown))
	total := -columnGap
	for i, c := range shown {
		widths[i] = utf8.RuneCountInString(c.title)
		for _, g := range groups {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.cell(g)))
		}
		total += widths[i] + columnGap
	}
	for i := len(shown) - 1; i >= 0 && total > width; i-- {
		c := shown[i]
		if c.least > 0 && widths[i] > c.least {
			less := min(total-width, widths[i]-c.least)
			if !c.optional || total-less <= width {
				widths[i] -= less
				total -= less
				continue
			}
		}
		if c.optional {
			total -= widths[i] + columnGap
			shown = append(shown[:i], shown[i+1:]...)
			widths = append(widths[:i], widths[i+1:]...)
		}
	}
	return shown, widths
}

// explained is how many failed repetitions of a scenario are explained.
const explained = 5

// explain says why a scenario's runs are not as expected, and how to repeat them.
func explain(w io.Writer, rep *scenarios.Report, g group, width int, color bool) {
	failures := g.failures()
	for i, res := range failures {
		if i == explained {
			var seeds []string
			for _, rest := range failures[i:] {
				seeds = append(seeds, fmt.Sprint(rest.Seed))
			}
			fmt.Fprintln(w)
			paragraph(w, "  ", "    ", fmt.Sprintf("… and %d more of %s, seeds %s", len(seeds), g.id, strings.Join(seeds, ", ")), width)
			return
		}
		name := g.id
		if len(g.results) > 1 {
			name += fmt.Sprintf(", seed %d", res.Seed)
		}
		fmt.Fprintf(w, "\n%s %s is %s:\n", paint(marks[res.Verdict], colors[res.Verdict], color), paint(name, lookHeading, color), res.Verdict)
		paragraph(w, "    ", "    ", sentence(res.Reason), width)
		for _, c := range res.Controls {
			if c.Verdict != scenarios.Expected && !strings.Contains(res.Reason, c.Reason) {
				paragraph(w, "    ", "      ", fmt.Sprintf("control %q is %s: %s", c.Name, c.Verdict, sentence(c.Reason)), width)
			}
		}
		fmt.Fprintf(w, "    again: %s\n", Replay(rep, res))
	}
}
