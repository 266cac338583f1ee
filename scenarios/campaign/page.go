package campaign

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/wilson"
	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("campaign").Funcs(template.FuncMap{
	"percent":  percent,
	"interval": func(i wilson.Interval) string { return span(i.Low, i.High) },
	"share":    share,
	"count":    grouped,
	"ms":       millis,
	"line":     line,
	"signed":   func(v float64) string { return strings.Replace(fmt.Sprintf("%+.1f", 100*v), "-", "−", 1) },
	"minus":    func(a, b float64) float64 { return a - b },
	"times":    func(a, b float64) float64 { return a * b },
	"word":     func(p oracle.Path) string { return words[p] },
	"short":    shortened,
}).Parse(pageHTML))

// words are paths as what becomes of pairs.
var words = map[oracle.Path]string{oracle.PathDirect: "direct", oracle.PathRelay: "relayed", oracle.PathNone: "without a path"}

// pageData is what the page shows.
type pageData struct {
	*Report
	Result     *Result
	Population *Population
	Style      template.CSS
	Pairs      uint64

	PlotShares, PlotHeat, PlotTimes, PlotTornado template.HTML
	NetworkTimes                                 []networkTimes
	Error                                        string
	Limits                                       []string
	Hard                                         hardPairs
}

// hardPairs are pairs whose direct path is the work of a technique for hard NATs.
type hardPairs struct {
	Predicted, Searched uint64
	Played              bool
}

// hard counts them.
func (r *Result) hard() hardPairs {
	h := hardPairs{Played: r.population.plays(scenarios.Prediction) || r.population.plays(scenarios.Birthday)}
	for _, x := range r.Counts.Cells {
		h.Predicted += x.Predicted
		h.Searched += x.Searched
	}
	return h
}

type networkTimes struct {
	A, B          string
	Home          bool
	First, Direct TimesOf
}

// HTML writes the page of a whole campaign, which needs nothing but itself.
func (r *Result) HTML(w io.Writer) error {
	p := r.population
	data := pageData{
		Report: r.Report, Result: r, Population: p, Style: report.Style(), Pairs: r.Counts.Trials,
		PlotShares: r.Report.plotShares(), PlotHeat: r.Report.heat(p).plot(),
		PlotTimes: r.Report.plotTimes(r.Counts.Trials), PlotTornado: r.Report.plotTornado(),
		Error: fmt.Sprintf("%.1f %%", 100*HistogramError), Limits: unknowable, Hard: r.hard(),
	}
	for _, t := range r.Counts.Times {
		data.NetworkTimes = append(data.NetworkTimes, networkTimes{
			p.Networks[t.A].Name, p.Networks[t.B].Name, t.Home, timesOf("first byte", t.FirstByte), timesOf("direct", t.Direct),
		})
	}
	return page.Execute(w, data)
}

// Headline says in a sentence what came out.
func (d pageData) Headline() string { return d.Result.Headline() }

// Headline says in a sentence what came out.
func (r *Result) Headline() string {
	s := r.Report.Shares
	return fmt.Sprintf("%s direct, %s relayed, %s without a path", percent(s[0].Interval.Share+s[1].Interval.Share), percent(s[2].Interval.Share), percent(s[3].Interval.Share))
}

// unknowable is what no campaign of this model can tell, whatever its weights are.
var unknowable = []string{
	"Weights are shares of players whom nobody has counted. Evidence A is a guess, and the bands say what hangs on it.",
	"Presets are what sources say of products; all but Linux's were not measured. A real network has routers that are worse than their kind: full tables, reboots, mappings that change in use.",
	"No background load: ports and tables of carriers' NATs are empty but for the players, so that sequential ports are more predictable here than they are.",
	"No IPv6, no UPnP, NAT-PMP or PCP, no ports that somebody forwarded: in the field these make direct paths that are relayed here.",
	"Two players behind one carrier's NAT are behind two here. Only those of one home share a router.",
	"The Internet between two lines has no delay or loss of its own: times are those of the lines, and of players in one region.",
	"The relay has UDP only. Who has none has no path; with a relay over TCP or TLS he would be relayed.",
	"Nobody leaves while he is asked, no phone sleeps, no line changes: players are there from the introduction on.",
}

func millis(v float64) string {
	switch {
	case v < 0:
		return "–"
	case v >= 10_000:
		return fmt.Sprintf("%.1f s", v/1000)
	}
	return fmt.Sprintf("%.0f ms", v)
}

// grouped writes a number with a space between thousands.
func grouped(v any) string {
	var digits string
	switch v := v.(type) {
	case float64:
		digits = fmt.Sprintf("%.0f", v)
	default:
		digits = fmt.Sprint(v)
	}
	var out []byte
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 && len(digits) > 4 {
			out = append(out, "\u202f"...)
		}
		out = append(out, digits[i])
	}
	return string(out)
}

// line says what a link does.
func line(l Link) string {
	up, down := sim.DescribeImpairment(l.Up), sim.DescribeImpairment(l.Down)
	text := up
	if up != down {
		text = "up " + up + "; down " + down
	}
	if p, ok := link.ProfileNamed(l.Name); ok && p.Up == l.Up && p.Down == l.Down {
		text += fmt.Sprintf(" (profile, evidence %s)", p.Evidence)
	}
	return text
}

// shortened writes a duration without parts that are 0.
func shortened(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// band writes a published figure with its interval.
func band(f Figure) string {
	if f.Low == f.High {
		return percent(f.Value)
	}
	return fmt.Sprintf("%s (%s)", percent(f.Value), span(f.Low, f.High))
}
