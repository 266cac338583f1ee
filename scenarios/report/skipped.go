package report

import (
	"fmt"
	"io"
	"strings"

	"p2pmodel/scenarios"
)

// skippedMark stands where others have the mark of their verdict.
const skippedMark = "–"

// skippedRows writes a line for each scenario that was skipped, under the table.
func skippedRows(w io.Writer, rep *scenarios.Report, width int) {
	wide := 0
	for _, s := range rep.Skipped {
		wide = max(wide, len(s.ID))
	}
	for _, s := range rep.Skipped {
		paragraph(w, fmt.Sprintf("%s  %-*s  ", skippedMark, wide, s.ID), strings.Repeat(" ", wide+5), "skipped: "+s.Reason, width)
	}
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
