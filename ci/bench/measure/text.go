package measure

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes the part for a terminal.
func (p *Part) WriteText(to io.Writer) error {
	fmt.Fprintf(to, "%s\n%v\n%s\n", p.Title, p.Machine, p.Text)
	for _, c := range p.Comparisons {
		if err := table(to, c.Title, c.Text, c.head(), c.rows()); err != nil {
			return err
		}
		for _, g := range c.Goals {
			text, _ := g.judge(&c)
			fmt.Fprintln(to, text)
		}
	}
	for _, c := range p.Curves {
		if err := table(to, c.Title, c.Text, c.head(), c.rows()); err != nil {
			return err
		}
		for _, l := range c.Lines {
			if s := l.Sentence(c.Axis); s != "" {
				fmt.Fprintln(to, s)
			}
		}
	}
	if p.Output != "" {
		fmt.Fprintf(to, "\n%s\n", strings.TrimRight(p.Output, "\n"))
	}
	for _, what := range p.Left {
		if _, err := fmt.Fprintln(to, "LEFT OUT:", what); err != nil {
			return err
		}
	}
	return nil
}

// table writes a table with what it is of.
func table(to io.Writer, title, text string, head []string, rows [][]string) error {
	fmt.Fprintf(to, "\n%s\n", title)
	if text != "" {
		fmt.Fprintln(to, text)
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// head are the columns of the table below a comparison.
func (c *Comparison) head() []string {
	head := []string{"system", "median [least–most]"}
	if c.Reference != "" {
		head = append(head, "× as good as "+c.Reference)
	}
	return append(head, c.Columns...)
}

func (c *Comparison) rows() (rows [][]string) {
	for _, s := range c.Systems {
		value := SpreadOf(s.Samples).In(c.Unit)
		if s.Limited {
			value += " or better"
		}
		row := []string{s.Name, value}
		if c.Reference != "" {
			row = append(row, times(c.Ratio(s.Name, c.Reference)))
		}
		rows = append(rows, append(row, s.More...))
	}
	return rows
}

func times(s Spread) string {
	switch {
	case s == Spread{}:
		return "–"
	case s.Min == s.Max:
		return fmt.Sprintf("%.2f", s.Median)
	}
	return fmt.Sprintf("%.2f [%.2f–%.2f]", s.Median, s.Min, s.Max)
}

// head and rows of a curve: a row for each place, a column for each line.
func (c *Curve) head() []string {
	head := []string{c.Axis}
	for _, l := range c.Lines {
		head = append(head, l.Name)
	}
	return head
}

func (c *Curve) rows() (rows [][]string) {
	for _, x := range c.places() {
		row := []string{digits(x)}
		for _, l := range c.Lines {
			text := "–"
			for _, p := range l.Points {
				if p.X == x {
					text = SpreadOf(p.Samples).In(c.Unit)
				}
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	return rows
}
