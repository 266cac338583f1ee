package grid

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"p2pmodel/scenarios"
)

// Looks of a cell, as ANSI SGR codes.
const (
	lookDirect = "32"
	lookRelay  = "33"
	lookNone   = "2"
	lookWrong  = "1;31"
)

// word is a cell in a table: what was observed, and what was expected where that
// differs.
func (c Cell) word() (text, look string) {
	if c.Runs == 0 {
		return "·", lookNone
	}
	text = string(c.Observed)
	if c.Runs > 1 {
		text = fmt.Sprintf("%s %d/%d", text, c.AsExpected, c.Runs)
	}
	switch {
	case !c.OK() && c.Observed != c.Expected:
		return fmt.Sprintf("✗ %s, not %s", text, c.Expected), lookWrong
	case !c.OK():
		return "✗ " + text, lookWrong
	case c.Observed == scenarios.Direct:
		return text, lookDirect
	case c.Observed == scenarios.Relay:
		return text, lookRelay
	}
	return text, lookNone
}

// Table draws the grid for a terminal: rows are the first peer's NAT, columns the
// second's. Columns are numbered where their names do not fit into so many
// characters a line.
func (r *Result) Table(width int, color bool) string {
	n := len(r.Sides)
	rowName, cell := 0, 6
	for _, s := range r.Sides {
		rowName = max(rowName, utf8.RuneCountInString(s.Name))
	}
	for _, c := range r.Cells {
		text, _ := c.word()
		cell = max(cell, utf8.RuneCountInString(text))
	}
	names := cell
	for _, s := range r.Sides {
		names = max(names, utf8.RuneCountInString(s.Name))
	}
	numbered := rowName+2+n*(names+2) > width
	if numbered {
		rowName += 4
	} else {
		cell = names
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s", pad("", rowName))
	for i, s := range r.Sides {
		head := s.Name
		if numbered {
			head = fmt.Sprintf("(%d)", i+1)
		}
		fmt.Fprintf(&b, "  %s", pad(head, cell))
	}
	b.WriteString("\n")
	for i, s := range r.Sides {
		name := s.Name
		if numbered {
			name = fmt.Sprintf("%2d  %s", i+1, s.Name)
		}
		b.WriteString(pad(name, rowName))
		for j := range r.Sides {
			text, look := r.Cells[i*n+j].word()
			padded := pad(text, cell)
			if color {
				padded = "\x1b[" + look + "m" + padded + "\x1b[0m"
			}
			b.WriteString("  " + padded)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}
