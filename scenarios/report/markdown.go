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
	fmt.Fprintf(&b, "## %s\n\n", sentence(Tally(rep)))
	fmt.Fprintf(&b, "Fabric %s, seed %d.\n", rep.Fabric, rep.Seed)
	groups := groupsOf(rep)
	if len(groups) > 0 {
		b.WriteString("\n| | id | scenario | verdict | expected | observed | first byte | direct | controls |\n|-|-|-|-|-|-|-:|-:|-:|\n")
	}
	for _, g := range groups {
		res := g.worst()
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", marks[g.verdict()], g.id, escape(g.title), g.verdictWords(),
			expectedWords(res), pathWords(res), Millis(g.firstByte()), Millis(g.direct()), g.controls())
	}
	for _, s := range rep.Skipped {
		fmt.Fprintf(&b, "\n%s **%s** was skipped: %s\n", skippedMark, s.ID, escape(sentence(s.Reason)))
	}
	for _, g := range groups {
		failures := g.failures()
		for i, res := range failures {
			if i == explained {
				fmt.Fprintf(&b, "\n… and %d more of %s.\n", len(failures)-explained, g.id)
				break
			}
			fmt.Fprintf(&b, "\n**%s is %s.** %s\n", res.ID, res.Verdict, escape(sentence(res.Reason)))
			for _, c := range res.Controls {
				if c.Verdict != scenarios.Expected && !strings.Contains(res.Reason, c.Reason) {
					fmt.Fprintf(&b, "- control *%s* is %s: %s\n", escape(c.Name), c.Verdict, escape(sentence(c.Reason)))
				}
			}
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", Replay(rep, res))
		}
	}
	if phases := phaseRows(groups); phases != "" {
		b.WriteString("\n| id | phase | expected | observed | gap | recovered in | lost | duplicates |\n|-|-|-|-|-:|-:|-:|-:|\n" + phases)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// phaseRows are the phases of each scenario that has several: of its worst run.
func phaseRows(groups []group) string {
	var b strings.Builder
	for _, g := range groups {
		res := g.worst()
		if len(res.Phases) < 2 {
			continue
		}
		for _, p := range res.Phases {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %d | %d |\n", res.ID, escape(p.Name), p.Expected, p.Observed,
				gap(p.GapMS), gap(p.RecoveryMS), p.Lost, p.Duplicates)
		}
	}
	return b.String()
}

// markdownSpecial are the characters that mean something in Markdown.
var markdownSpecial = strings.NewReplacer(
	`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "#", `\#`,
	"\r", " ", "\n", " ",
)

// Plain is text on one line that Markdown leaves as it is.
func Plain(text string) string { return escape(text) }

// escape keeps text from being taken for Markdown or HTML, and in a table's cell.
func escape(text string) string { return markdownSpecial.Replace(text) }
