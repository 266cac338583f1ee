package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"millis":   Millis,
	"gap":      gap,
	"seconds":  Seconds,
	"at":       func(ms float64) string { return fmt.Sprintf("%.3f s", ms/1000) },
	"path":     pathWords,
	"word":     pathWord,
	"want":     expectedWords,
	"mark":     func(v scenarios.Verdict) string { return marks[v] },
	"sentence": sentence, "skippedTitle": skippedTitle,
	"axes": Axes,
}).Parse(pageText))

// pageData is what the template sees.
type pageData struct {
	Report *scenarios.Report
	Tally  string
	Good   bool
	Style  template.CSS
	Cards  []cardView
	Items  []itemView
}

// cardView is one scenario in the summary.
type cardView struct {
	Anchor, ID, Title, Path, Controls, Runs string
	Verdict                                 scenarios.Verdict
	Reason                                  string // where it failed
	FirstByte, Direct                       float64
}

// itemView is one run of a scenario, shown in full.
type itemView struct {
	*scenarios.Result
	Anchor, Heading string
	Replay          string
	Topology        template.HTML
	Phases          []phaseView
	Grid            *pairGrid
	Controls        []controlView
	Capture         string
	Ladder          template.HTML
	NoLadder        string // why there is none
	Deaths          []deaths
	DeathsNote      string
	Texts           []textView
	Repeats         *repeatView
}

// phaseView is one phase with what was done in it.
type phaseView struct {
	scenarios.PhaseResult
	Done string
}

// controlView is one control on the page.
type controlView struct {
	scenarios.ControlResult
	Capture string
	Ladder  template.HTML // drawn only where the control failed
}

// textView is text that is folded away.
type textView struct {
	Title string
	Open  bool
	Parts []textPart
}

type textPart struct {
	Name string
	Text template.HTML
}

// repeatView lists the repetitions of a scenario.
type repeatView struct {
	Runs []*scenarios.Result
	Left int // not listed
}

// Style is the style sheet of the page, for pages that belong to it.
func Style() template.CSS { return template.CSS(pageStyle) }

// HTML writes the page: one file that refers to nothing outside but the
// captures beside it, readable on a phone, light and dark.
func HTML(w io.Writer, rep *scenarios.Report) error {
	data := pageData{Report: rep, Tally: Tally(rep), Style: Style()}
	captures := captureNames(rep)
	drawings := &topologies{}
	for _, g := range groupsOf(rep) {
		for i, res := range g.shown() {
			item := newItem(rep, g, res, captures, drawings)
			if i == 0 {
				item.Repeats = newRepeats(g)
			}
			data.Items = append(data.Items, item)
		}
		data.Cards = append(data.Cards, newCard(g))
		data.Good = g.verdict() == scenarios.Expected && (data.Good || len(data.Cards) == 1)
	}
	return page.Execute(w, data)
}

var ladderPage = template.Must(template.Must(page.Clone()).New("ladder page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<style>{{.Style}}</style>
</head>
<body>
<main>
<article>
<h2>{{.Title}}</h2>
{{with .Ladder}}{{template "ladder" .}}{{else}}<p class="why">There is no ladder: no packets were captured, or the peers did not get to run.</p>{{end}}
</article>
</main>
</body>
</html>
`))

// LadderPage writes the ladder of a run as a page of its own.
func LadderPage(w io.Writer, title string, run *scenarios.Run) error {
	return ladderPage.Execute(w, struct {
		Title  string
		Style  template.CSS
		Ladder template.HTML
	}{title, Style(), newLadder(run)})
}

// shown are the results that the page shows in full: the first, and the first
// few that failed.
func (g group) shown() []*scenarios.Result {
	out := g.results[:1:1]
	for _, res := range g.failures() {
		if res != out[0] && len(out) <= explained {
			out = append(out, res)
		}
	}
	return out
}

// anchor is where a result stands on the page.
func (g group) anchor(res *scenarios.Result) string {
	if len(g.results) == 1 {
		return slug(g.id)
	}
	return fmt.Sprintf("%s-seed-%d", slug(g.id), res.Seed)
}

func newCard(g group) cardView {
	worst := g.worst()
	c := cardView{
		Anchor: g.anchor(worst), ID: g.id, Title: g.title, Verdict: g.verdict(), Path: g.path(), Controls: g.controls(),
		FirstByte: g.firstByte(), Direct: g.direct(),
	}
	if len(g.results) > 1 {
		c.Runs = g.verdictWords()
	}
	if c.Verdict != scenarios.Expected {
		c.Reason = sentence(worst.Reason)
	}
	return c
}

func newItem(rep *scenarios.Report, g group, res *scenarios.Result, captures map[*scenarios.Run]string, drawings *topologies) itemView {
	it := itemView{
		Result: res, Anchor: g.anchor(res), Heading: res.Title, Replay: Replay(rep, res),
		Phases: newPhases(res), Grid: newPairGrid(res.Pairs), Texts: newTexts(res),
		Ladder: newLadder(res.Run), Capture: captureLink(captures, res.Run),
	}
	if len(g.results) > 1 {
		it.Heading += fmt.Sprintf(", seed %d", res.Seed)
	}
	switch {
	case res.Run != nil:
		it.Topology = drawings.draw(res.Run.Lab)
		it.Deaths, it.DeathsNote = deathsOf(res.Run), deathsNote(res.Run)
	case res.Scenario != nil:
		it.Topology = drawings.draw(res.Scenario.Lab)
	}
	switch {
	case it.Ladder != "":
	case res.Run == nil:
		it.NoLadder = "Nothing was recorded of this run: its lab did not stand, or it is one of many repetitions."
	case len(res.Run.Packets) == 0:
		it.NoLadder = "No packets were captured."
	default:
		it.NoLadder = "The peers did not get to run."
	}
	for _, c := range res.Controls {
		view := controlView{ControlResult: c, Capture: captureLink(captures, c.Run)}
		if c.Verdict != scenarios.Expected {
			view.Ladder = newLadder(c.Run)
		}
		it.Controls = append(it.Controls, view)
	}
	return it
}

func captureLink(names map[*scenarios.Run]string, run *scenarios.Run) string {
	if name, ok := names[run]; ok {
		return captureDir + "/" + name
	}
	return ""
}

// newPhases joins what came of the phases and what was done in them. One phase
// alone is told only if there is more to say of it than its path.
func newPhases(res *scenarios.Result) []phaseView {
	var out []phaseView
	if len(res.Phases) == 1 && len(res.Phases[0].Facts) == 0 {
		return nil
	}
	for i, p := range res.Phases {
		v := phaseView{PhaseResult: p}
		if sc := res.Scenario; sc != nil && i < len(sc.Phases) && sc.Phases[i].Name == p.Name {
			v.Done = actionsWords(sc.Phases[i].Actions)
		}
		out = append(out, v)
	}
	return out
}

// maxRepeats bounds the list of repetitions; results.json has all.
const maxRepeats = 200

func newRepeats(g group) *repeatView {
	if len(g.results) < 2 {
		return nil
	}
	v := &repeatView{Runs: g.results}
	if len(v.Runs) > maxRepeats {
		v.Runs = slices.Clone(g.failures())
		v.Runs = v.Runs[:min(len(v.Runs), maxRepeats)]
	}
	v.Left = len(g.results) - len(v.Runs)
	return v
}

// newTexts gathers what is folded away.
func newTexts(res *scenarios.Result) []textView {
	run := res.Run
	if run == nil {
		return nil
	}
	var out []textView
	add := func(title string, parts ...textPart) {
		if len(parts) > 0 {
			out = append(out, textView{Title: title, Parts: parts})
		}
	}
	if len(run.Evidence) > 0 {
		add("Evidence", textPart{Text: raw(strings.Join(run.Evidence, "\n"))})
		out[0].Open = res.Verdict != scenarios.Expected
	}
	byRouter := func(texts map[string]string) (parts []textPart) {
		for _, router := range slices.Sorted(maps.Keys(texts)) {
			parts = append(parts, textPart{router, raw(texts[router])})
		}
		return parts
	}
	var programs []textPart
	for _, p := range run.Programs {
		programs = append(programs, textPart{p.Name + " on host " + p.Host, raw(programRunWords(p))})
	}
	add("Programs", programs...)
	add("Mappings at the end", byRouter(run.Mappings)...)
	rules := byRouter(run.Rules)
	for i := range rules {
		rules[i].Text = template.HTML(indents.ReplaceAllStringFunc(string(rules[i].Text), func(spaces string) string {
			return strings.Repeat("\t", len(spaces)/2)
		}))
	}
	add("Rules of the routers, with counters", rules...)
	var log strings.Builder
	for _, line := range run.Log {
		fmt.Fprintf(&log, "%8.3f  %-10s  %s\n", line.At.Sub(run.Started).Seconds(), line.From, line.Text)
	}
	if len(run.Log) > 0 {
		add("Log, "+plural(len(run.Log), "line", "lines"), textPart{Text: raw(log.String())})
	}
	return out
}

// indents are what rules are indented with; tabs take half the room, and the
// page shows them as wide.
var indents = regexp.MustCompile(`(?m)^(  )+`)

var rawEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// raw escapes text for the inside of an element. Unlike the template's escaping
// it leaves quotes alone, of which rules have very many.
func raw(text string) template.HTML { return template.HTML(rawEscapes.Replace(text)) }

// Axes lets a long list of axes break after a comma.
func Axes(text string) template.HTML {
	return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(text), ",", ",<wbr>"))
}

// topologies draws labs for one page.
type topologies struct{ styled bool }

// draw gives a lab's drawing. The drawings' style is the page's: it is kept in
// the first only.
func (t *topologies) draw(lab *sim.Lab) template.HTML {
	var b strings.Builder
	if err := lab.SVG(&b); err != nil {
		return template.HTML(template.HTMLEscapeString("The topology could not be drawn: " + err.Error()))
	}
	text := b.String()
	if before, rest, found := strings.Cut(text, "<style>"); found && t.styled {
		_, after, _ := strings.Cut(rest, "</style>")
		text = before + after
	}
	t.styled = true
	return template.HTML(text)
}
