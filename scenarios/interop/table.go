package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Table is all that was tried.
type Table struct {
	Schema   int       `json:"schema"` // 1
	Began    time.Time `json:"began"`
	Seconds  float64   `json:"seconds"` // of all runs, added up
	Rows     []Row     `json:"rows"`
	Failures []Failure `json:"failures,omitempty"`
}

// Failure is a test that failed, with a row or without one.
type Failure struct {
	Test   string `json:"test"`
	Output string `json:"output"`
}

// OK says that nothing failed.
func (t *Table) OK() bool { return len(t.Failures) == 0 && t.count(Unexpected) == 0 }

func (t *Table) count(v Verdict) (n int) {
	for _, r := range t.Rows {
		if r.Verdict == v {
			n++
		}
	}
	return n
}

// Summary is a sentence.
func (t *Table) Summary() string {
	tried := len(t.Rows) - t.count(Never) - t.count(LeftOut)
	s := fmt.Sprintf("%d of %d encounters as expected", t.count(Expected), tried)
	if n := t.count(LeftOut); n > 0 {
		s += fmt.Sprintf(", %d left out", n)
	}
	if n := len(t.Failures); n > 0 {
		s += fmt.Sprintf(", %d tests failed", n)
	}
	return s + fmt.Sprintf("; %d that one side cannot; %.0f s", t.count(Never), t.Seconds)
}

// outcome is what to read of a row.
func (r Row) outcome() string {
	switch r.Verdict {
	case Expected:
		return r.Observed
	case Unexpected:
		if r.Observed != "" {
			return "✗ " + r.Observed
		}
		return "✗ failed: " + r.Reason
	case LeftOut:
		return "left out: " + r.Reason
	}
	return r.Reason
}

// sign stands before a row.
func (r Row) sign() string {
	return map[Verdict]string{Expected: "✓", Unexpected: "✗", LeftOut: "?", Never: "–"}[r.Verdict]
}

// columns are the cells of a row.
func (r Row) columns() []string {
	return []string{r.sign(), r.Client, r.Server, r.Over, r.Tried, r.outcome(), r.Expected}
}

var heads = []string{"", "client", "server or peer", "over", "tried", "outcome", "expected"}

// Line is a row for people who wait.
func (r Row) Line() string {
	return fmt.Sprintf("%s %s → %s, %s: %s: %s", r.sign(), r.Client, r.Server, r.Over, r.Tried, r.outcome())
}

// single are the rows that are in no grid.
func (t *Table) single() []Row {
	return slices.DeleteFunc(slices.Clone(t.Rows), func(r Row) bool { return r.NATs != [2]string{} })
}

// grid is the encounters of two programs over pairs of NATs.
type grid struct {
	client, server string
	rows, columns  []string
	cells          map[[2]string][]Row
}

// grids are those there are, in the order of their first rows.
func (t *Table) grids() (all []*grid) {
	for _, r := range t.Rows {
		if r.NATs == [2]string{} {
			continue
		}
		i := slices.IndexFunc(all, func(g *grid) bool { return g.client == r.Client && g.server == r.Server })
		if i < 0 {
			i = len(all)
			all = append(all, &grid{client: r.Client, server: r.Server, cells: map[[2]string][]Row{}})
		}
		g := all[i]
		if !slices.Contains(g.rows, r.NATs[0]) {
			g.rows = append(g.rows, r.NATs[0])
		}
		if !slices.Contains(g.columns, r.NATs[1]) {
			g.columns = append(g.columns, r.NATs[1])
		}
		g.cells[r.NATs] = append(g.cells[r.NATs], r)
	}
	return all
}

// cell counts outcomes: "direct ×2".
func (g *grid) cell(row, column string) string {
	var outcomes []string
	count := map[string]int{}
	for _, r := range g.cells[[2]string{row, column}] {
		o := r.outcome()
		if r.Verdict == LeftOut || r.Verdict == Unexpected && r.Observed == "" {
			o = string(r.Verdict)
		}
		if count[o] == 0 {
			outcomes = append(outcomes, o)
		}
		count[o]++
	}
	slices.Sort(outcomes)
	for i, o := range outcomes {
		outcomes[i] = fmt.Sprintf("%s ×%d", o, count[o])
	}
	return strings.Join(outcomes, ", ")
}

// overs are what lay between the two, in words.
func (g *grid) overs() string {
	var all []string
	for _, row := range g.rows {
		for _, column := range g.columns {
			for _, r := range g.cells[[2]string{row, column}] {
				if !slices.Contains(all, r.Over) {
					all = append(all, r.Over)
				}
			}
		}
	}
	return strings.Join(all, "; ")
}

// WriteJSON writes the table for programs.
func (t *Table) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(t)
}

// WriteText writes the table for a terminal: a line a row, then the grids, what failed
// in full, and a summary.
func (t *Table) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.ToUpper(strings.Join(heads, "\t"))+"\t")
	for _, r := range t.single() {
		fmt.Fprintln(table, strings.Join(r.columns(), "\t")+"\t")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, g := range t.grids() {
		fmt.Fprintf(w, "\n%s (rows) with %s (columns); %s\n", g.client, g.server, g.overs())
		fmt.Fprintln(table, "\t"+strings.Join(g.columns, "\t")+"\t")
		for _, row := range g.rows {
			line := row
			for _, column := range g.columns {
				line += "\t" + g.cell(row, column)
			}
			fmt.Fprintln(table, line+"\t")
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	for _, f := range t.Failures {
		fmt.Fprintf(w, "\n✗ %s\n%s", f.Test, f.Output)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", t.Summary())
	return err
}

// WriteMarkdown writes the table for documents.
func (t *Table) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	line := func(cells []string) {
		for i, c := range cells {
			cells[i] = strings.ReplaceAll(c, "|", `\|`)
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	line(slices.Clone(heads))
	b.WriteString(strings.Repeat("|---", len(heads)) + "|\n")
	for _, r := range t.single() {
		line(r.columns())
	}
	for _, g := range t.grids() {
		fmt.Fprintf(&b, "\n%s (rows) with %s (columns); %s:\n\n", g.client, g.server, g.overs())
		line(append([]string{""}, g.columns...))
		b.WriteString(strings.Repeat("|---", len(g.columns)+1) + "|\n")
		for _, row := range g.rows {
			cells := []string{row}
			for _, column := range g.columns {
				cells = append(cells, g.cell(row, column))
			}
			line(cells)
		}
	}
	fmt.Fprintf(&b, "\n%s, on %s.\n", t.Summary(), t.Began.UTC().Format(time.DateOnly))
	_, err := io.WriteString(w, b.String())
	return err
}
