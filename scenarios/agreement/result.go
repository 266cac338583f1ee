package agreement

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// Result is a comparison with its outcome: what the JSON form holds.
type Result struct {
	Schema       int        `json:"schema"` // 1
	Fabrics      [2]string  `json:"fabrics"`
	Seed         uint64     `json:"seed"`
	Seeds        int        `json:"seeds"`
	RealTime     bool       `json:"real_time"`
	SkipControls bool       `json:"skip_controls"`
	Version      string     `json:"version,omitempty"`
	Started      time.Time  `json:"started"`
	DurationMS   float64    `json:"duration_ms"`
	Scenarios    []Scenario `json:"scenarios"`
	Links        []Links    `json:"links"`
}

// Scenario is what all seeds of one scenario came to.
type Scenario struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Links string `json:"links"`
	Seeds int    `json:"seeds"`
	// Compared are those in which the reference was not broken. Verdicts and Paths
	// count the seeds of them in which verdicts, and all paths, are the same on both
	// fabrics; Expected those as expected, on each.
	Compared  int    `json:"compared"`
	Verdicts  int    `json:"verdicts"`
	Paths     int    `json:"paths"`
	Expected  [2]int `json:"expected"`
	FirstByte Times  `json:"first_byte"`
	Direct    Times  `json:"direct"`

	Broken []Broken `json:"broken,omitempty"`

	Disagreements []Disagreement `json:"disagreements,omitempty"`
}

// Broken is a seed at which the laboratory failed on the reference.
type Broken struct {
	Seed   uint64 `json:"seed"`
	Reason string `json:"reason"`
}

// Disagreement is a seed in which the fabrics differ.
type Disagreement struct {
	Seed        uint64       `json:"seed"`
	Differences []Difference `json:"differences"`
	Reasons     [2]string    `json:"reasons"` // of the verdicts
}

// Links are the times of all scenarios with the same links.
type Links struct {
	Links     string `json:"links"`
	FirstByte Times  `json:"first_byte"`
	Direct    Times  `json:"direct"`
}

// OK reports whether all seeds agree that were compared, and some were.
func (s Scenario) OK() bool { return len(s.Disagreements) == 0 && s.Compared > 0 }

// OK reports whether everything agrees.
func (r *Result) OK() bool {
	return !slices.ContainsFunc(r.Scenarios, func(s Scenario) bool { return !s.OK() })
}

// Summary says in a sentence what came out.
func (r *Result) Summary() string {
	compared, differ, broken := 0, 0, 0
	for _, s := range r.Scenarios {
		compared, differ, broken = compared+s.Compared, differ+len(s.Disagreements), broken+len(s.Broken)
	}
	text := fmt.Sprintf("%d of %d runs agree in verdict and path on %s and %s", compared-differ, compared, r.Fabrics[0], r.Fabrics[1])
	if broken > 0 {
		text += fmt.Sprintf("; %d more were broken on %s and are not compared", broken, r.Fabrics[0])
	}
	return text
}

// Table writes the closing tables and each disagreement.
func (r *Result) Table(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := fmt.Sprintf("1ST BYTE %s\t%s\tRATIO p50\tp90\tDIRECT %s\t%s\tRATIO p50\tp90", r.Fabrics[0], r.Fabrics[1], r.Fabrics[0], r.Fabrics[1])
	fmt.Fprintf(tw, " \tID\tVERDICT\tPATH\t%s\n", head)
	for _, s := range r.Scenarios {
		mark := "✓"
		if !s.OK() {
			mark = "✗"
		}
		fmt.Fprintf(tw, "%s\t%s\t%d/%d\t%d/%d\t%s\t%s\n", mark, s.ID, s.Verdicts, s.Compared, s.Paths, s.Compared, s.FirstByte, s.Direct)
	}
	fmt.Fprintf(tw, "\n \tLINKS\t\t\t%s\n", head)
	for _, l := range r.Links {
		fmt.Fprintf(tw, " \t%s\t\t\t%s\t%s\n", l.Links, l.FirstByte, l.Direct)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, s := range r.Scenarios {
		for _, b := range s.Broken {
			fmt.Fprintf(w, "\n! %s, seed %d is broken on %s, and not compared: %s\n", s.ID, b.Seed, r.Fabrics[0], b.Reason)
		}
		for _, d := range s.Disagreements {
			fmt.Fprintf(w, "\n✗ %s, seed %d:\n", s.ID, d.Seed)
			for _, x := range d.Differences {
				fmt.Fprintf(w, "    %s: %s on %s, %s on %s\n", x.What, x.Came[0], r.Fabrics[0], x.Came[1], r.Fabrics[1])
			}
			for n, reason := range d.Reasons {
				fmt.Fprintf(w, "    %s: %s\n", r.Fabrics[n], reason)
			}
		}
	}
	return nil
}

// String gives the cells of a table: medians, and ratios.
func (t Times) String() string {
	if t.Runs == 0 {
		return "–\t–\t–\t–"
	}
	return fmt.Sprintf("%.1f ms\t%.1f ms\t%.3f\t%.3f", t.P50MS[0], t.P50MS[1], t.RatioP50, t.RatioP90)
}

// WriteJSON writes the result.
func (r *Result) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// WriteCSV writes a line a scenario.
func (r *Result) WriteCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	header := []string{"id", "links", "seeds", "compared", "verdicts", "paths"}
	for _, what := range []string{"first_byte", "direct"} {
		for _, column := range []string{"runs", "p50_ms_" + r.Fabrics[0], "p50_ms_" + r.Fabrics[1], "p90_ms_" + r.Fabrics[0], "p90_ms_" + r.Fabrics[1], "ratio_p50", "ratio_p90"} {
			header = append(header, what+"_"+column)
		}
	}
	lines := [][]string{header}
	for _, s := range r.Scenarios {
		line := []string{s.ID, s.Links, strconv.Itoa(s.Seeds), strconv.Itoa(s.Compared), strconv.Itoa(s.Verdicts), strconv.Itoa(s.Paths)}
		for _, t := range []Times{s.FirstByte, s.Direct} {
			line = append(line, strconv.Itoa(t.Runs))
			for _, v := range []float64{t.P50MS[0], t.P50MS[1], t.P90MS[0], t.P90MS[1], t.RatioP50, t.RatioP90} {
				line = append(line, strconv.FormatFloat(v, 'f', -1, 64))
			}
		}
		lines = append(lines, line)
	}
	if err := cw.WriteAll(lines); err != nil {
		return err
	}
	return cw.Error()
}
