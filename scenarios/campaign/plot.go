package campaign

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
)

// Drawings are so many units wide, which a phone shows at two thirds.
const plotWidth = 500.0

// canvas collects an SVG, whose colours are those of the page.
type canvas struct {
	strings.Builder
	height float64
}

func (c *canvas) addf(format string, args ...any) { fmt.Fprintf(c, format, args...) }

func (c *canvas) text(x, y float64, anchor, look, text string) {
	c.addf(`<text x="%.1f" y="%.1f" text-anchor="%s" fill="var(--%s)">%s</text>`, x, y, anchor, look, template.HTMLEscapeString(text))
}

// svg gives the drawing. label says what is in it, to those who do not see it.
func (c *canvas) svg(label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s" font-family="system-ui, sans-serif" font-size="14">%s</svg>`,
		plotWidth, c.height, template.HTMLEscapeString(label), c.String()))
}

// looks are the colours of outcomes.
var looks = map[string]string{"direct": "direct", "predicted": "stun", "searched": "stun", "relayed": "relay", "failed": "bad"}

// plotShares draws the share of each outcome as a bar with its interval.
func (r *Report) plotShares() template.HTML {
	var c canvas
	const left, right, row = 82.0, 132.0, 38.0
	x := func(share float64) float64 { return left + share*(plotWidth-left-right) }
	for i, s := range r.Shares {
		y := 8 + float64(i)*row
		c.text(left-10, y+19, "end", "fg", s.Outcome)
		c.addf(`<rect x="%.1f" y="%.1f" width="%.1f" height="26" rx="4" fill="var(--code)"/>`, left, y, x(1)-left)
		c.addf(`<rect x="%.1f" y="%.1f" width="%.2f" height="26" rx="4" fill="var(--%s)" fill-opacity=".75"/>`, left, y, x(s.Interval.Share)-left, looks[s.Outcome])
		c.addf(`<path d="M%.2f %.1fH%.2fM%.2f %.1fv10M%.2f %.1fv10" stroke="var(--fg)" stroke-width="1.5" fill="none"/>`,
			x(s.Interval.Low), y+13, x(s.Interval.High), x(s.Interval.Low), y+8, x(s.Interval.High), y+8)
		c.text(plotWidth-right+10, y+12, "start", "fg", percent(s.Interval.Share))
		c.addf(`<text x="%.1f" y="%.1f" font-size="12" fill="var(--dim)">%s</text>`, plotWidth-right+10, y+27, span(s.Interval.Low, s.Interval.High))
	}
	c.height = 8 + float64(len(r.Shares))*row
	return c.svg("Shares of direct, predicted, searched, relayed and failed pairs with intervals of 95 %")
}

// heat is a square of pairs.
type heat struct {
	names []string
	cells []MatrixCell
	homes []MatrixCell
}

// heat gives pairs of networks or, of a single network, of the kinds in it that
// have UDP.
func (r *Report) heat(p *Population) heat {
	var h heat
	list, index := r.Matrix, func(c MatrixCell) (int, int) { return c.a, c.b }
	if len(p.Networks) > 1 {
		for _, n := range p.Networks {
			h.names = append(h.names, n.Name)
		}
	} else {
		list = r.Kinds
		places := map[int]int{}
		for k, kind := range p.kinds {
			if !kind.Blocked {
				places[k] = len(h.names)
				h.names = append(h.names, p.Networks[0].NATs[kind.NAT].Name)
			}
		}
		index = func(c MatrixCell) (int, int) {
			a, ok := places[c.a]
			b, too := places[c.b]
			if !ok || !too {
				return -1, -1
			}
			return a, b
		}
	}
	for _, c := range list {
		a, b := index(c)
		if a < 0 {
			continue
		}
		c.a, c.b = a, b
		if c.Home {
			h.homes = append(h.homes, c)
			continue
		}
		h.cells = append(h.cells, c)
		if a != b {
			c.a, c.b = b, a
			h.cells = append(h.cells, c)
		}
	}
	return h
}

// plot draws the square, and a column for pairs of one home.
func (h heat) plot() template.HTML {
	var c canvas
	const left, top, gap = 156.0, 30.0, 3.0
	columns := len(h.names)
	if len(h.homes) > 0 {
		columns++
	}
	size := min(72, (plotWidth-left)/float64(columns))
	high := min(size, 50)
	for i, n := range h.names {
		c.addf(`<text x="%.1f" y="%.1f" text-anchor="end" fill="var(--fg)" font-size="13">%s <tspan fill="var(--dim)">%d</tspan></text>`,
			left-8, top+float64(i)*high+high/2+5, template.HTMLEscapeString(n), i+1)
		c.text(left+float64(i)*size+size/2, top-10, "middle", "dim", fmt.Sprint(i+1))
	}
	if len(h.homes) > 0 {
		c.text(left+float64(columns-1)*size+size/2, top-10, "middle", "dim", "home")
	}
	cell := func(m MatrixCell, column int) {
		if m.Pairs() == 0 {
			return
		}
		x, y := left+float64(column)*size, top+float64(m.a)*high
		direct := 100 * m.DirectShare.Share
		c.addf(`<g><title>%s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="5" style="fill: color-mix(in srgb, color-mix(in srgb, var(--direct) %.0f%%, var(--relay)) 34%%, var(--panel))"/>`,
			template.HTMLEscapeString(fmt.Sprintf("%s and %s: %s direct (%s), %s relayed, %s failed, of %d pairs", m.A, m.B,
				percent(m.DirectShare.Share), span(m.DirectShare.Low, m.DirectShare.High), percent(m.RelayedShare.Share), percent(share(m.Failed, m.Pairs())), m.Pairs())),
			x+gap/2, y+gap/2, size-gap, high-gap, direct)
		c.addf(`<text x="%.1f" y="%.1f" text-anchor="middle" fill="var(--fg)" font-size="%.0f">%.0f</text></g>`, x+size/2, y+high/2+5, min(15, size/2.4), direct)
	}
	for _, m := range h.cells {
		cell(m, m.b)
	}
	for _, m := range h.homes {
		cell(m, columns-1)
	}
	c.height = top + float64(len(h.names))*high + 4
	return c.svg("Share of direct pairs, per cent, by the networks of both players")
}

// ticks are where a logarithmic axis of milliseconds has lines.
var ticks = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000}

// room is what the label of a line of the axis takes.
const room = 32.0

// plotTimes draws which share of all pairs had its first byte, and its direct path,
// after which time.
func (r *Report) plotTimes(pairs uint64) template.HTML {
	var c canvas
	const left, right, top, bottom, height = 48.0, 16.0, 12.0, 58.0, 300.0
	if pairs == 0 || r.First.Count() == 0 {
		return ""
	}
	low, high := math.Inf(1), 0.0
	for _, h := range []Histogram{r.First, r.Direct} {
		if h.Count() > 0 {
			low, high = min(low, h.Quantile(0.001)), max(high, h.Quantile(0.9995))
		}
	}
	// The axis ends at lines.
	first, last := ticks[0], ticks[len(ticks)-1]
	for _, t := range ticks {
		if t <= low {
			first = t
		}
	}
	for _, t := range slices.Backward(ticks) {
		if t >= high {
			last = t
		}
	}
	x := func(ms float64) float64 {
		ms = min(max(ms, first), last)
		return left + math.Log(ms/first)/math.Log(last/first)*(plotWidth-left-right)
	}
	y := func(share float64) float64 { return top + (1-share)*(height-top-bottom) }
	for _, s := range []float64{0, 0.25, 0.5, 0.75, 1} {
		c.addf(`<path d="M%.1f %.1fH%.1f" stroke="var(--line)"/>`, left, y(s), plotWidth-right)
		c.text(left-6, y(s)+5, "end", "dim", fmt.Sprintf("%.0f %%", 100*s))
	}
	written := math.Inf(-1) // where the last label is
	for _, t := range ticks {
		if t < first || t > last {
			continue
		}
		c.addf(`<path d="M%.1f %.1fv5" stroke="var(--dim)"/>`, x(t), y(0))
		label := fmt.Sprintf("%g", t)
		if t >= 1000 {
			label = fmt.Sprintf("%g s", t/1000)
		}
		// Powers of ten always have room; those between them where it is left.
		decade := math.Mod(math.Log10(t), 1) == 0
		if next := x(math.Pow(10, math.Ceil(math.Log10(t)))); decade || x(t)-written > room && next-x(t) > room {
			c.text(x(t), y(0)+20, "middle", "dim", label)
			written = x(t)
		}
	}
	c.text(left+(plotWidth-left-right)/2, height-18, "middle", "dim", "ms after the introduction")
	draw := func(h Histogram, look string) {
		if h.Count() == 0 {
			return
		}
		var seen uint64
		var path strings.Builder
		before := math.Inf(-1)
		h.Each(func(ms float64, n uint64) {
			if seen == 0 {
				fmt.Fprintf(&path, "M%.1f %.1f", x(ms), y(0))
			}
			seen += n
			if at := x(ms); at-before > 0.8 || seen == h.Count() {
				fmt.Fprintf(&path, "L%.1f %.1f", at, y(share(seen, pairs)))
				before = at
			}
		})
		fmt.Fprintf(&path, "H%.1f", plotWidth-right)
		c.addf(`<path d="%s" fill="none" stroke="var(--%s)" stroke-width="2.5" stroke-linejoin="round"/>`, path.String(), look)
	}
	draw(r.First, "stun")
	draw(r.Direct, "direct")
	c.height = height
	return c.svg("Share of pairs with a first byte and with a direct path over the time since their introduction")
}

// plotTornado draws how the direct share moves with each weight, the one that moves
// it most on top.
func (r *Report) plotTornado() template.HTML {
	if len(r.Sensitivity) == 0 {
		return ""
	}
	var c canvas
	const left, right, row, top = 8.0, 8.0, 50.0, 26.0
	list := slices.Clone(r.Sensitivity)
	moved := func(s Sensitivity) float64 { return math.Abs(s.AtHigh.Direct - s.AtLow.Direct) }
	slices.SortStableFunc(list, func(a, b Sensitivity) int {
		switch {
		case moved(a) > moved(b):
			return -1
		case moved(a) < moved(b):
			return 1
		}
		return 0
	})
	base := r.Weighted.Direct
	low, high := base-0.01, base+0.01
	for _, s := range list {
		low, high = min(low, s.AtLow.Direct, s.AtHigh.Direct), max(high, s.AtLow.Direct, s.AtHigh.Direct)
	}
	const margin = 54.0 // for the numbers beside bars
	x := func(share float64) float64 {
		return left + margin + (share-low)/(high-low)*(plotWidth-left-right-2*margin)
	}
	end := top + float64(len(list))*row
	c.text(x(base), 16, "middle", "fg", "direct "+percent(base))
	c.addf(`<path d="M%.1f 22V%.1f" stroke="var(--dim)" stroke-dasharray="3 3"/>`, x(base), end)
	for i, s := range list {
		y := top + float64(i)*row
		c.addf(`<text x="%.1f" y="%.1f" font-size="13" fill="var(--fg)" stroke="var(--panel)" stroke-width="4" paint-order="stroke">%s: %g to %g %%, here %g</text>`,
			left, y+14, template.HTMLEscapeString(s.Of), s.Low, s.High, s.Base)
		for _, side := range []struct {
			at   float64
			look string
			word string
		}{{s.AtLow.Direct, "stun", "low"}, {s.AtHigh.Direct, "relay", "high"}} {
			from, to := min(x(base), x(side.at)), max(x(base), x(side.at))
			c.addf(`<rect x="%.1f" y="%.1f" width="%.2f" height="18" fill="var(--%s)" fill-opacity=".7"><title>%s: %s direct</title></rect>`,
				from, y+21, max(to-from, 0.5), side.look, side.word, percent(side.at))
			anchor, at := "start", to+4
			if side.at < base {
				anchor, at = "end", from-4
			}
			c.addf(`<text x="%.1f" y="%.1f" font-size="12" text-anchor="%s" fill="var(--dim)">%s</text>`, at, y+35, anchor, percent(side.at))
		}
	}
	c.height = end + 4
	return c.svg("How the direct share moves when each uncertain weight is low or high")
}

func percent(v float64) string {
	digits := 1
	if v > 0 && v < 0.001 {
		digits = 3
	}
	return fmt.Sprintf("%.*f %%", digits, 100*v)
}

// span is an interval in per cent, with as many digits as it needs.
func span(low, high float64) string {
	digits := 1
	if high-low < 0.002 {
		digits = 2
	}
	if high < 0.001 {
		digits = 4
	}
	return fmt.Sprintf("%.*f–%.*f %%", digits, 100*low, digits, 100*high)
}
