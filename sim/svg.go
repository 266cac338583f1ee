package sim

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// The measures of the SVG drawing, in its user units, which are pixels where it
// is not scaled. It is narrow, so that it can be read on a phone.
const (
	svgMargin   = 6.0
	svgIndent   = 20.0 // of what stands behind a node
	svgGap      = 26.0 // between a router and the host on its row
	svgSpace    = 9.0  // between rows
	svgPad      = 10.0 // inside boxes
	svgWrap     = 24   // characters of a router's kind on one line
	svgNameSize = 13.0
	svgTextSize = 11.0
	svgLeading  = 14.0
)

// svgStyle is scoped to the drawing. Colours come from the page where it has
// the variables of the report, else they are ones that are readable on light and
// on dark.
const svgStyle = `<style>
.lab-topology{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--fg,currentColor)}
.lab-topology text{fill:currentColor;font-size:11px}
.lab-topology .name{font-size:13px;font-weight:650}
.lab-topology .addr{opacity:.7;font-variant-numeric:tabular-nums}
.lab-topology .wire{fill:none;stroke:currentColor;stroke-opacity:.45;stroke-width:1.5}
.lab-topology .link{fill:var(--warn,#b47300)}
.lab-topology .bad{stroke:var(--warn,#b47300);stroke-opacity:1}
.lab-topology rect{stroke-width:1.5;fill-opacity:.1}
.lab-topology .internet rect{fill:currentColor;stroke:currentColor;stroke-opacity:.5}
.lab-topology .router rect{fill:var(--stun,#4a7fd0);stroke:var(--stun,#4a7fd0)}
.lab-topology .host rect{fill:var(--good,#2a9b62);stroke:var(--good,#2a9b62)}
.lab-topology .standby{opacity:.6}
.lab-topology .standby rect{stroke-dasharray:4 3}
</style>`

// SVG writes the lab as a drawing that stands in an HTML page or alone: a tree
// from the Internet down, routers with what they do, hosts, and on the links
// what they do to packets. It fails if the lab is not valid or the writer fails.
func (l *Lab) SVG(w io.Writer) error {
	root, err := l.outline()
	if err != nil {
		return err
	}
	d := &svgDrawing{}
	box := newBox(root)
	d.box(box, svgMargin, svgMargin)
	bottom := d.children(root, svgMargin+svgIndent, svgMargin+box.height)
	width, height := math.Ceil(d.right+svgMargin), math.Ceil(bottom+svgMargin)
	_, err = fmt.Fprintf(w, `<svg class="lab-topology" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img" aria-label="%s">`+"\n%s\n%s</svg>\n",
		width, height, width, height, html.EscapeString(l.summary()), svgStyle, d.String())
	return err
}

// summary says what the drawing shows, to those who cannot see it.
func (l *Lab) summary() string {
	var parts []string
	for _, r := range l.Routers {
		parts = append(parts, fmt.Sprintf("router %s behind %s: %s", r.Name, front(r.Behind), strings.Join(r.Describe(), ", ")))
	}
	for _, h := range l.Hosts {
		for _, u := range h.Uplinks {
			parts = append(parts, fmt.Sprintf("host %s behind %s", h.Name, front(u.Behind)))
		}
	}
	return "Topology: " + strings.Join(parts, "; ") + "."
}

// svgBox is a node as it is drawn.
type svgBox struct {
	*branch
	lines         []svgLine
	width, height float64
}

type svgLine struct{ text, class string }

func newBox(b *branch) svgBox {
	box := svgBox{branch: b}
	box.add(elide(b.name, 28), "name")
	if b.uplink != "" {
		text := "on " + b.uplink
		if b.standby {
			text += ", standby"
		}
		box.add(elide(text, svgWrap+6), "")
	}
	for _, k := range b.kind {
		for _, text := range fold(k, svgWrap) {
			box.add(text, "")
		}
	}
	for _, text := range fold(b.addrs, svgWrap) {
		box.add(text, "addr")
	}
	box.width += 2 * svgPad
	box.height = float64(len(box.lines))*svgLeading + svgPad
	return box
}

// add appends a line of text.
func (b *svgBox) add(text, class string) {
	b.lines = append(b.lines, svgLine{text, class})
	size := svgTextSize
	if class == "name" {
		size = svgNameSize * 1.06 // bold
	}
	b.width = max(b.width, textWidth(text, size))
}

// textWidth estimates how wide a text is, rather too much than too little: an
// SVG cannot measure its text, and the fonts of readers differ.
func textWidth(text string, size float64) float64 {
	sum := 0.0
	for _, c := range text {
		switch {
		case strings.ContainsRune(" .,;:-/|ijlft()", c):
			sum += 0.40
		case c >= '0' && c <= '9':
			sum += 0.62
		case c >= 'a' && c <= 'z' && c != 'm' && c != 'w':
			sum += 0.59
		default:
			sum += 0.80
		}
	}
	return sum * size
}

// class is the sort of the node, for the style.
func (b svgBox) class() string {
	class := "host"
	switch {
	case b.name == Internet:
		class = "internet"
	case b.router:
		class = "router"
	}
	if b.standby {
		class += " standby"
	}
	return class
}

// svgDrawing collects the elements.
type svgDrawing struct {
	strings.Builder
	right float64 // the rightmost edge so far
}

// children draws what is behind a node whose box ends at the height y, with the
// left edges at x; it gives the height at which the last ends.
func (d *svgDrawing) children(b *branch, x, y float64) float64 {
	trunk := x - svgIndent/2
	end, bottom, hosts := y, y, x+hostColumn(b)
	for _, c := range b.behind {
		label := d.label(c, trunk+4, bottom+svgSpace)
		box := newBox(c)
		top := bottom + svgSpace + label
		end = top + box.height/2
		d.wire(c, trunk, x, end)
		d.box(box, x, top)
		bottom = top + box.height
		if c.single() {
			bottom = d.beside(box, c.behind[0], x, hosts, top)
		} else {
			bottom = d.children(c, x+svgIndent, bottom)
		}
	}
	if end > y {
		fmt.Fprintf(d, `<path class="wire" d="M%g %gV%g"/>`+"\n", trunk, y, end)
	}
	return bottom
}

// single reports whether one host is all that is behind the node: it is drawn
// beside it.
func (b *branch) single() bool {
	return len(b.behind) == 1 && !b.behind[0].router
}

// hostColumn is how far right of the children of a node the hosts beside them
// stand, so that they are below each other.
func hostColumn(b *branch) float64 {
	width := 0.0
	for _, c := range b.behind {
		if c.single() {
			width = max(width, newBox(c).width)
		}
	}
	return width + svgGap
}

// beside draws the only host behind a router, whose box is at x and top, on the
// router's row at left; it gives the height at which the row ends.
func (d *svgDrawing) beside(router svgBox, host *branch, x, left, top float64) float64 {
	box := newBox(host)
	middle := top + router.height/2
	hostTop := max(top, middle-box.height/2)
	d.wire(host, x+router.width, left, middle)
	d.box(box, left, hostTop)
	bottom := hostTop + box.height
	for _, line := range fold(host.impairments(), svgWrap+2) {
		bottom += svgLeading
		d.text(line, "link", left, bottom-3)
	}
	return max(bottom, top+router.height)
}

// label writes what the link of a node does above its box and gives the height
// that this takes.
func (d *svgDrawing) label(b *branch, x, y float64) float64 {
	height := 0.0
	for _, line := range fold(b.impairments(), 2*svgWrap) {
		height += svgLeading
		d.text(line, "link", x+4, y+height-4)
	}
	return height
}

// wire draws the level end of the link of a node.
func (d *svgDrawing) wire(b *branch, from, to, y float64) {
	class := "wire"
	if b.impairments() != "" {
		class += " bad"
	}
	if b.standby {
		class += " standby"
	}
	fmt.Fprintf(d, `<path class="%s" d="M%g %gH%g"/>`+"\n", class, from, y, to)
}

func (d *svgDrawing) box(b svgBox, x, y float64) {
	round := 6.0
	if !b.router {
		round = min(b.height/2, 18)
	}
	fmt.Fprintf(d, `<g class="%s"><title>%s</title><rect x="%g" y="%g" width="%g" height="%g" rx="%g"/>`,
		b.class(), html.EscapeString(strings.Join(append([]string{b.title(), b.addrs}, b.kind...), ", ")), x, y, b.width, b.height, round)
	for i, l := range b.lines {
		fmt.Fprintf(d, `<text class="%s" x="%g" y="%g">%s</text>`, l.class, x+svgPad, y+float64(i+1)*svgLeading+1, html.EscapeString(l.text))
	}
	d.WriteString("</g>\n")
	d.right = max(d.right, x+b.width)
}

func (d *svgDrawing) text(text, class string, x, y float64) {
	fmt.Fprintf(d, `<text class="%s" x="%g" y="%g">%s</text>`+"\n", class, x, y, html.EscapeString(text))
	d.right = max(d.right, x+textWidth(text, svgTextSize))
}

// elide shortens text to a number of characters; its end says that it did.
func elide(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
