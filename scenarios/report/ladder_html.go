package report

import (
	"fmt"
	"html/template"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"p2pmodel/scenarios"
)

// newLadder draws a run's ladder for the page; empty if there is nothing to
// draw.
func newLadder(run *scenarios.Run) template.HTML {
	if run == nil || len(run.Packets) == 0 || run.Pair[0] == "" {
		return ""
	}
	l := buildLadder(run)
	if len(l.nodes) == 0 {
		return ""
	}
	return template.HTML(l.html())
}

// html writes the ladder as a list whose items the page's style lays out: a
// caption, and a track with a lifeline a node. What the style needs to know are
// numbers: --n gaps between lifelines, and of each leg --a, the lifeline at its
// left, and --k, how many gaps it crosses.
func (l *ladder) html() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<ol class="ladder" tabindex="0" aria-label="Ladder diagram of packets" style="--n:%d"><li class=h><p>seconds, datagram</p><div>`, max(len(l.nodes)-1, 1))
	for i, n := range l.nodes {
		name := template.HTMLEscapeString(n)
		fmt.Fprintf(&b, `<b style=--a:%d title="%s">%s</b>`, i, name, name)
	}
	b.WriteString("</div>\n")
	for _, r := range l.rows {
		l.row(&b, r)
	}
	b.WriteString("</ol>")
	return b.String()
}

func (l *ladder) row(b *strings.Builder, r ladderRow) {
	switch {
	case r.phase:
		fmt.Fprintf(b, "<li class=ph><p>%s\n", template.HTMLEscapeString(r.heading))
		return
	case r.heading != "":
		fmt.Fprintf(b, "<li class=left><p>%s\n", template.HTMLEscapeString(r.heading))
		return
	}
	fmt.Fprintf(b, "<li class=%s><p><time>%s</time> %s", r.class, stamp(r.at), template.HTMLEscapeString(r.summary))
	if r.fate != "" {
		fmt.Fprintf(b, " <em>✗ %s</em>", template.HTMLEscapeString(r.fate))
	}
	b.WriteString("</p><div>")
	var before leg
	for i, g := range r.legs {
		l.leg(b, g, before, i == 0)
		before = g
	}
	if r.died != "" && !r.onLink {
		fmt.Fprintf(b, `<b style=--a:%d>✗</b>`, l.index(r.died))
	}
	b.WriteString("</div>\n")
}

func (l *ladder) index(node string) int { return slices.Index(l.nodes, node) }

// lostReach is how far, in gaps, the arrow of a datagram goes that a link took.
const lostReach = 0.6

// leg draws one arrow with its source above and its destination below. After the
// first leg an address stands there only where it was translated.
func (l *ladder) leg(b *strings.Builder, g, before leg, first bool) {
	from := float64(l.index(g.from))
	to := from + lostReach
	if g.to != "" {
		to = float64(l.index(g.to))
	} else if l.leftward(g, before, first) {
		to = from - lostReach
	}
	class := "r"
	if to < from {
		class = "l"
	}
	if g.to == "" {
		class += " lost"
	}
	fmt.Fprintf(b, `<i class="%s" style=--a:%s;--k:%s>%s%s</i>`, class, number(min(from, to)), number(max(from, to)-min(from, to)),
		address(g.Src, before.Src, first), address(g.Dst, before.Dst, first))
}

// leftward reports whether a datagram that a link took was going to the left: on
// as it came, or towards the middle of the drawing, where the network is.
func (l *ladder) leftward(g, before leg, first bool) bool {
	if !first {
		return l.index(before.from) > l.index(before.to)
	}
	return 2*l.index(g.from) > len(l.nodes)-1
}

// address is one half of a leg's label.
func address(now, before netip.AddrPort, first bool) string {
	switch {
	case first:
		return "<u>" + endpoint(now) + "</u>"
	case now == before:
		return "<u></u>"
	}
	return "<u class=n>" + endpoint(now) + "</u>"
}

// endpoint writes an address and port, or the address alone where the protocol
// has no ports.
func endpoint(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func stamp(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
