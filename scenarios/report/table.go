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

func paint(text, code string, color bool) string {
	if !color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Line is the outcome of one scenario in a line.
func Line(res *scenarios.Result, color bool) string {
	line := fmt.Sprintf("%s %-7s %-10s %s", paint(marks[res.Verdict], colors[res.Verdict], color), res.ID,
		res.Verdict, summary(res))
	return strings.TrimRight(line, " ")
}

// summary says in a few words what came of a scenario.
func summary(res *scenarios.Result) string {
	if res.Verdict != scenarios.Expected {
		return res.Reason
	}
	return fmt.Sprintf("%s, as it must be; %s", pathWords(res), controlWords(res))
}

func pathWords(res *scenarios.Result) string {
	if len(res.Phases) > 1 {
		paths := make([]string, len(res.Phases))
		for i, p := range res.Phases {
			paths[i] = string(p.Observed)
		}
		return strings.Join(paths, " → ")
	}
	return string(res.Observed.Path)
}

func controlWords(res *scenarios.Result) string {
	good := 0
	for _, c := range res.Controls {
		if c.Verdict == scenarios.Expected {
			good++
		}
	}
	switch {
	case len(res.Controls) == 0:
		return "no controls were run"
	case good == len(res.Controls):
		return plural(good, "control", "controls") + " as expected"
	default:
		return fmt.Sprintf("%d of %s as expected", good, plural(len(res.Controls), "control", "controls"))
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Table writes the closing table of a report.
func Table(w io.Writer, rep *scenarios.Report, color bool) {
	rows := [][]string{{"", "ID", "VERDICT", "EXPECTED", "OBSERVED", "FIRST BYTE", "DIRECT", "CONTROLS", "TOOK", "TITLE"}}
	for _, res := range rep.Scenarios {
		good := 0
		for _, c := range res.Controls {
			if c.Verdict == scenarios.Expected {
				good++
			}
		}
		rows = append(rows, []string{
			marks[res.Verdict], res.ID, string(res.Verdict), expectedWords(res), pathWords(res),
			Millis(res.Observed.TimeToFirstByteMS), Millis(res.Observed.TimeToDirectMS),
			fmt.Sprintf("%d/%d", good, len(res.Controls)), fmt.Sprintf("%.1f s", res.DurationMS/1000), res.Title,
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for i, row := range rows {
		var b strings.Builder
		for j, cell := range row {
			text := cell
			if j < len(row)-1 {
				text += strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2)
			}
			switch {
			case i == 0:
				text = paint(text, "1", color)
			case j == 0 || j == 2:
				text = paint(text, colors[rep.Scenarios[i-1].Verdict], color)
			}
			b.WriteString(text)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	for _, res := range rep.Scenarios {
		if res.Verdict == scenarios.Expected {
			continue
		}
		fmt.Fprintf(w, "\n%s %s: %s\n", paint(marks[res.Verdict], colors[res.Verdict], color), res.ID, res.Reason)
		for _, c := range res.Controls {
			if c.Verdict != scenarios.Expected {
				fmt.Fprintf(w, "    control %q: %s: %s\n", c.Name, c.Verdict, c.Reason)
			}
		}
	}
	fmt.Fprintf(w, "\n%s\n", Tally(rep))
}

// Tally is the whole report in a sentence.
func Tally(rep *scenarios.Report) string {
	counts := map[scenarios.Verdict]int{}
	for _, res := range rep.Scenarios {
		counts[res.Verdict]++
	}
	text := fmt.Sprintf("%d of %s as expected", counts[scenarios.Expected], plural(len(rep.Scenarios), "scenario", "scenarios"))
	for _, v := range []scenarios.Verdict{scenarios.Unexpected, scenarios.Vacuous, scenarios.Broken} {
		if counts[v] > 0 {
			text += fmt.Sprintf(", %d %s", counts[v], v)
		}
	}
	return text
}

func expectedWords(res *scenarios.Result) string {
	if len(res.Phases) > 1 {
		paths := make([]string, len(res.Phases))
		for i, p := range res.Phases {
			paths[i] = string(p.Expected)
		}
		return strings.Join(paths, " → ")
	}
	return string(res.Expected.Path)
}

// Millis writes a time of a report; a dash where it never came.
func Millis(ms float64) string {
	switch {
	case ms < 0:
		return "–"
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}

// MustHappen says in a few words what a scenario expects.
func MustHappen(sc *scenarios.Scenario) string {
	paths := make([]string, len(sc.Phases))
	for i, p := range sc.Phases {
		paths[i] = string(p.Expect.Path)
	}
	return strings.Join(paths, " → ")
}
