package report

import (
	"fmt"
	"io"
	"strings"

	"p2pmodel/scenarios"
)

// Markdown writes the summary for a CI system's job page.
func Markdown(w io.Writer, rep *scenarios.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", Tally(rep))
	fmt.Fprintf(&b, "Fabric %s, seed %d.\n\n", rep.Fabric, rep.Seed)
	b.WriteString("| | id | scenario | expected | observed | first byte | direct | controls |\n|-|-|-|-|-|-|-|-|\n")
	for _, res := range rep.Scenarios {
		good := 0
		for _, c := range res.Controls {
			if c.Verdict == scenarios.Expected {
				good++
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d/%d |\n", marks[res.Verdict], res.ID, cell(res.Title),
			expectedWords(res), pathWords(res), Millis(res.Observed.TimeToFirstByteMS), Millis(res.Observed.TimeToDirectMS),
			good, len(res.Controls))
	}
	for _, res := range rep.Scenarios {
		if res.Verdict == scenarios.Expected {
			continue
		}
		fmt.Fprintf(&b, "\n**%s is %s.** %s\n", res.ID, res.Verdict, res.Reason)
		for _, c := range res.Controls {
			if c.Verdict != scenarios.Expected {
				fmt.Fprintf(&b, "- control *%s*: %s: %s\n", c.Name, c.Verdict, c.Reason)
			}
		}
	}
	if phases := phaseRows(rep); phases != "" {
		b.WriteString("\n| id | phase | expected | observed | gap | lost | duplicates |\n|-|-|-|-|-|-|-|\n" + phases)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func phaseRows(rep *scenarios.Report) string {
	var b strings.Builder
	for _, res := range rep.Scenarios {
		if len(res.Phases) < 2 {
			continue
		}
		for _, p := range res.Phases {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d | %d |\n", res.ID, cell(p.Name), p.Expected, p.Observed,
				Millis(p.GapMS), p.Lost, p.Duplicates)
		}
	}
	return b.String()
}

// cell keeps text from breaking a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}
