package report

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"p2pmodel/scenarios"
)

// Measures of the drawing, in pixels.
const (
	ladderLeft    = 290 // time and summary stand here
	ladderSpacing = 132 // between lifelines
	ladderTop     = 34
	ladderRow1    = 36 // a datagram
	ladderRow0    = 24 // a heading
)

// ladderView is a ladder for the page.
type ladderView struct{ SVG template.HTML }

// newLadder draws a run's ladder; nil if there is nothing to draw.
func newLadder(run *scenarios.Run) *ladderView {
	if len(run.Packets) == 0 || run.Pair[0] == "" {
		return nil
	}
	l := buildLadder(run)
	if len(l.nodes) == 0 {
		return nil
	}
	return &ladderView{SVG: template.HTML(l.svg())}
}

// svg draws the ladder. All text is escaped; colours come from the page's style.
func (l *ladder) svg() string {
	height := ladderTop
	for _, r := range l.rows {
		height += r.height()
	}
	width := ladderLeft + ladderSpacing*(len(l.nodes)-1) + 80
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="Ladder diagram of packets">`,
		width, height+8, width, height+8)
	for _, n := range l.nodes {
		fmt.Fprintf(&b, `<line class="lifeline" x1="%d" y1="%d" x2="%d" y2="%d"/><text class="node" x="%d" y="16" text-anchor="middle">%s</text>`,
			l.x(n), ladderTop-10, l.x(n), height, l.x(n), template.HTMLEscapeString(n))
	}
	y := ladderTop
	for _, r := range l.rows {
		l.row(&b, r, y, width)
		y += r.height()
	}
	b.WriteString("</svg>")
	return b.String()
}

func (r ladderRow) height() int {
	if r.heading != "" {
		return ladderRow0
	}
	return ladderRow1
}

func (l *ladder) x(node string) int { return ladderLeft + ladderSpacing*slices.Index(l.nodes, node) }

func (l *ladder) row(b *strings.Builder, r ladderRow, y, width int) {
	if r.heading != "" {
		class := "dim"
		if r.phase {
			class = "phase"
		}
		fmt.Fprintf(b, `<text class="%s" x="4" y="%d">%s</text>`, class, y+16, template.HTMLEscapeString(r.heading))
		return
	}
	mid := y + ladderRow1/2
	fmt.Fprintf(b, `<g class="row"><rect x="0" y="%d" width="%d" height="%d" fill="transparent"/>`, y, width, ladderRow1)
	title := r.summary
	if r.fate != "" {
		title += ": " + r.fate
	}
	fmt.Fprintf(b, `<title>%s</title>`, template.HTMLEscapeString(title))
	fmt.Fprintf(b, `<text class="dim" x="4" y="%d">%s</text><text x="72" y="%d">%s</text>`, mid+4, stamp(r.at), mid+4,
		template.HTMLEscapeString(short(r.summary, 34)))
	for _, g := range r.legs {
		l.leg(b, r, g, mid)
	}
	if r.died != "" && !r.onLink {
		cross(b, l.x(r.died), mid)
	}
	b.WriteString("</g>")
}

// leg draws one arrow with its source above and its destination below.
func (l *ladder) leg(b *strings.Builder, r ladderRow, g leg, mid int) {
	from := l.x(g.from)
	lost := g.to == ""
	to := 0
	if lost {
		// Towards the middle of the drawing: that is where the network is.
		step := ladderSpacing / 2
		if slices.Index(l.nodes, g.from) > len(l.nodes)/2 {
			step = -step
		}
		to = from + step
	} else {
		to = l.x(g.to)
	}
	tip := 6
	if to < from {
		tip = -tip
	}
	fmt.Fprintf(b, `<path class="%s" fill="none" stroke-width="1.5" d="M%d %dH%dm%d -4l%d 4l%d 4"/>`, r.class, from, mid, to, -tip, tip, -tip)
	centre := (from + to) / 2
	if !lost {
		fmt.Fprintf(b, `<text class="dim" x="%d" y="%d" text-anchor="middle">%s</text><text class="dim" x="%d" y="%d" text-anchor="middle">→ %s</text>`,
			centre, mid-4, g.Src, centre, mid+13, g.Dst)
		return
	}
	anchor, at := "start", from+tip
	if tip < 0 {
		anchor = "end"
	}
	fmt.Fprintf(b, `<text class="dim" x="%d" y="%d" text-anchor="%s">%s</text><text class="dim" x="%d" y="%d" text-anchor="%s">→ %s</text>`,
		at, mid-4, anchor, g.Src, at, mid+13, anchor, g.Dst)
	if r.died == g.from {
		cross(b, to, mid)
	}
}

// cross marks where a packet died.
func cross(b *strings.Builder, x, y int) {
	fmt.Fprintf(b, `<path class="x" fill="none" d="M%d %dl8 8m0 -8l-8 8"/>`, x-4, y-4)
}

func stamp(d time.Duration) string { return fmt.Sprintf("%8.3f s", d.Seconds()) }

func short(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}
