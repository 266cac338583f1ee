package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"millis": Millis,
	"path":   pathWords,
	"want":   expectedWords,
	"mark":   func(v scenarios.Verdict) string { return marks[v] },
	"lower":  strings.ToLower,
	// Long lists of axes may break after a comma.
	"axes": func(text string) template.HTML {
		return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(text), ",", ",<wbr>"))
	},
	"seconds": func(ms float64) string {
		return fmt.Sprintf("%.1f s", ms/1000)
	},
	"since": func(run *scenarios.Run, at time.Time) string {
		return fmt.Sprintf("%.3f", at.Sub(run.Started).Seconds())
	},
}).Parse(pageText))

// pageData is what the template sees.
type pageData struct {
	Report *scenarios.Report
	Tally  string
	Good   bool
	Style  template.CSS
	Took   string
	Items  []item
}

// item is one scenario on the page.
type item struct {
	*scenarios.Result
	Anchor   string
	Topology template.HTML
	Ladder   *ladderView
	Capture  string
	Good     int // controls as expected
	Grid     *pairGrid
	Controls []controlView
}

// controlView is one control on the page.
type controlView struct {
	scenarios.ControlResult
	Capture string
	Ladder  *ladderView // drawn only where the control failed
}

// HTML writes the page: one file that refers to nothing outside but the
// captures beside it, readable on a phone, light and dark.
func HTML(w io.Writer, rep *scenarios.Report) error {
	data := pageData{Report: rep, Tally: Tally(rep), Good: true, Style: template.CSS(pageStyle)}
	var took float64
	for i, res := range rep.Scenarios {
		data.Good = data.Good && res.Verdict == scenarios.Expected
		took = max(took, res.DurationMS)
		it := item{Result: res, Anchor: fmt.Sprintf("s%d", i+1)}
		if res.Run != nil {
			it.Topology = topology(res.Run.Lab)
			it.Ladder = newLadder(res.Run)
			if len(res.Run.Packets) > 0 {
				it.Capture = captureDir + "/" + CaptureName(rep, i, "")
			}
		} else if res.Scenario != nil {
			it.Topology = topology(res.Scenario.Lab)
		}
		for _, c := range res.Controls {
			view := controlView{ControlResult: c}
			if c.Verdict == scenarios.Expected {
				it.Good++
			} else if c.Run != nil {
				view.Ladder = newLadder(c.Run)
			}
			if c.Run != nil && len(c.Run.Packets) > 0 {
				view.Capture = captureDir + "/" + CaptureName(rep, i, c.Name)
			}
			it.Controls = append(it.Controls, view)
		}
		it.Grid = newPairGrid(res.Pairs)
		data.Items = append(data.Items, it)
	}
	data.Took = fmt.Sprintf("%.1f s", took/1000)
	return page.Execute(w, data)
}

// topology is a lab's drawing for the page.
func topology(lab *sim.Lab) template.HTML {
	var b strings.Builder
	if err := lab.SVG(&b); err != nil {
		return template.HTML(template.HTMLEscapeString("the topology could not be drawn: " + err.Error()))
	}
	return template.HTML(b.String())
}

// pairGrid is a triangle of many pairs: one row and column a peer.
type pairGrid struct {
	Peers []string
	Rows  []pairRow
}

type pairRow struct {
	Peer  string
	Cells []*scenarios.PairResult // nil where there is no such pair
}

// gridFrom is the number of pairs from which a grid reads better than a list.
const gridFrom = 6

func newPairGrid(pairs []scenarios.PairResult) *pairGrid {
	if len(pairs) < gridFrom {
		return nil
	}
	g := &pairGrid{}
	index := map[string]int{}
	for _, p := range pairs {
		for _, name := range []string{p.A, p.B} {
			if _, known := index[name]; !known {
				index[name] = len(g.Peers)
				g.Peers = append(g.Peers, name)
			}
		}
	}
	for _, name := range g.Peers {
		g.Rows = append(g.Rows, pairRow{Peer: name, Cells: make([]*scenarios.PairResult, len(g.Peers))})
	}
	for i, p := range pairs {
		g.Rows[index[p.A]].Cells[index[p.B]] = &pairs[i]
		g.Rows[index[p.B]].Cells[index[p.A]] = &pairs[i]
	}
	return g
}
