package campaign

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteCatalogue writes the shipped populations as a table for people.
func WriteCatalogue(w io.Writer) error {
	all, err := Catalogue()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POPULATION\tNETWORKS\tKINDS\tWHO THEY ARE")
	for _, p := range all {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", p.ID, p.networkList(), len(p.kinds), p.Title)
	}
	return t.Flush()
}

func (p *Population) networkList() string {
	var parts []string
	for _, n := range p.Networks {
		parts = append(parts, fmt.Sprintf("%s %g %%", n.Name, n.Weight))
	}
	return strings.Join(parts, ", ")
}

// WriteFigures writes the published figures that populations may be compared with.
func WriteFigures(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FIGURE\tVALUE\tEVIDENCE\tWHAT\tSOURCE")
	for _, f := range figures {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.ID, band(f), f.Evidence, f.Title, f.Source)
	}
	return t.Flush()
}

// WriteText writes what came of a campaign for a terminal.
func (r *Result) WriteText(w io.Writer) error {
	if r.Report == nil {
		_, err := fmt.Fprintf(w, "shard %d/%d of %s: %s of %s trials\n", r.Shard.Index, r.Shard.Of, r.Population.ID,
			grouped(r.Counts.Trials), grouped(r.Shard.trials(r.Trials)))
		return err
	}
	rep, p := r.Report, r.population
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%v, %s pairs\n\n", p, grouped(r.Counts.Trials))
	fmt.Fprintln(t, "OUTCOME\tPAIRS\tSHARE\t95 %\tBY THE MODEL ALONE")
	foretold := rep.Theory.foretold(p)
	for i, s := range rep.Shares {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.Outcome, grouped(s.Pairs), percent(s.Interval.Share), span(s.Interval.Low, s.Interval.High), percent(foretold[i]))
	}
	fmt.Fprintln(t, "\nTIME TO\tP50\tP75\tP90\tP95\tP99")
	for _, x := range rep.Times {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", x.What, millis(x.P50), millis(x.P75), millis(x.P90), millis(x.P95), millis(x.P99))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(p.Networks) > 1 {
		fmt.Fprintln(t, "\nPAIR\tWEIGHT\tDIRECT\t95 %\tRELAYED\tFAILED")
		for _, m := range rep.Matrix {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", m.name(), percent(m.Weight), percent(m.DirectShare.Share),
				span(m.DirectShare.Low, m.DirectShare.High), percent(m.RelayedShare.Share), percent(share(m.Failed, m.Pairs())))
		}
	}
	if c := rep.Relay; c.Samples > 0 {
		price := ""
		if p.Price.Currency != "" {
			price = fmt.Sprintf(", %.2f %s at %g a GB", c.Price, p.Price.Currency, p.Price.PerGB)
		}
		fmt.Fprintf(t, "\nrelay\t%.0f GB for %d players and month%s; %.1f Mbit/s while %s play\n", c.GB, Thousand, price, c.OnlineMbit, grouped(p.Play.Online))
	}
	for _, u := range rep.Upkeep {
		fmt.Fprintf(t, "keepalive, %s\t%s packets, %s B an hour and player\n", words[u.Path], grouped(u.Packets), grouped(u.Bytes))
	}
	fmt.Fprintf(t, "hard NATs\tin theory %s by foretelling, %s by search; played: %s\n", percent(rep.Theory.Predictable), percent(rep.Theory.Searchable), strings.Join(p.Techniques, ", "))
	if len(rep.Sensitivity) > 0 {
		fmt.Fprintln(t, "\nWEIGHT\tBAND\tDIRECT\tRELAYED")
		for _, s := range rep.Sensitivity {
			fmt.Fprintf(t, "%s\t%g–%g %%\t%s – %s\t%s – %s\n", s.Of, s.Low, s.High, percent(s.AtLow.Direct), percent(s.AtHigh.Direct), percent(s.AtLow.Relayed), percent(s.AtHigh.Relayed))
		}
	}
	if len(rep.Findings) > 0 {
		fmt.Fprintln(t, "\nFIGURE\tPUBLISHED\tHERE\tINSIDE")
		for _, f := range rep.Findings {
			inside := "no"
			if f.Inside {
				inside = "yes"
			}
			if f.Derived {
				inside += ", derived from it"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.ID, band(f.Figure), percent(f.Found.Share), inside)
		}
	}
	return t.Flush()
}

// name names a pair.
func (m MatrixCell) name() string {
	if m.Home {
		return m.A + ", one home"
	}
	return m.A + " ↔ " + m.B
}
