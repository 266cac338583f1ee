package sweep

import (
	"fmt"
	"html/template"
	"strings"
)

// The drawing, in units of the SVG.
const (
	plotWidth, plotHeight = 900.0, 300.0
	plotLeft, plotRight   = 64.0, 28.0
	plotTop, plotBottom   = 16.0, 52.0
)

// SVG plots the share of direct trials over the offset, with the 95 % intervals, and
// what the model expects as a line behind. Its colours are those of the page.
func (s Series) SVG(rttMS float64) template.HTML {
	var b strings.Builder
	x := func(offset float64) float64 {
		return plotLeft + (offset+rttMS)/(2*rttMS)*(plotWidth-plotLeft-plotRight)
	}
	y := func(share float64) float64 { return plotTop + (1-share)*(plotHeight-plotTop-plotBottom) }
	fmt.Fprintf(&b, `<svg viewBox="0 0 %v %v" role="img" aria-label="%s ↔ %s: share of direct trials over the offset of the probes" font-family="system-ui, sans-serif" font-size="13">`,
		plotWidth, plotHeight, template.HTMLEscapeString(s.NameA), template.HTMLEscapeString(s.NameB))
	for _, share := range []float64{0, 0.5, 1} {
		fmt.Fprintf(&b, `<path d="M%.1f %.1fH%.1f" stroke="var(--line)"/><text x="%.1f" y="%.1f" text-anchor="end" fill="var(--dim)">%.0f %%</text>`,
			plotLeft, y(share), plotWidth-plotRight, plotLeft-8, y(share)+4, share*100)
	}
	for i := -4; i <= 4; i++ {
		offset := rttMS * float64(i) / 4
		label := strings.Replace(fmt.Sprintf("%+.0f ms", offset), "-", "−", 1)
		switch i {
		case -4:
			label = "−RTT"
		case 0:
			label = "both at once"
		case 4:
			label = "+RTT"
		}
		fmt.Fprintf(&b, `<path d="M%.1f %.1fv6" stroke="var(--dim)"/><text x="%.1f" y="%.1f" text-anchor="middle" fill="var(--dim)">%s</text>`,
			x(offset), y(0), x(offset), y(0)+22, label)
	}
	fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="var(--dim)">how much later the second host begins (RTT: %.0f ms)</text>`, (plotLeft+plotWidth-plotRight)/2, plotHeight-8, rttMS)
	line := ""
	for i, p := range s.Points {
		share := 0.0
		if p.Expected {
			share = 1
		}
		command := "L"
		if i == 0 {
			command = "M"
		}
		line += fmt.Sprintf("%s%.1f %.1f", command, x(p.OffsetMS), y(share))
	}
	fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="var(--stun)" stroke-width="6" stroke-opacity=".3" stroke-linejoin="round"/>`, line)
	for _, p := range s.Points {
		look := "var(--direct)"
		if !p.OK() {
			look = "var(--bad)"
		}
		fmt.Fprintf(&b, `<g stroke="%s" fill="%s"><path d="M%.1f %.1fV%.1f"/><circle cx="%.1f" cy="%.1f" r="4"><title>%+.1f ms: %d of %d direct</title></circle></g>`,
			look, look, x(p.ActualMS), y(p.Interval.High), y(p.Interval.Low), x(p.ActualMS), y(p.Interval.Share), p.OffsetMS, p.Direct, p.Trials)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// Bar is the series in one line for a terminal: a character an offset, as high as
// the share of direct trials.
func (s Series) Bar() string {
	const levels = "·▁▂▃▄▅▆▇█"
	runes := []rune(levels)
	var b strings.Builder
	for _, p := range s.Points {
		b.WriteRune(runes[int(p.Interval.Share*float64(len(runes)-1)+0.5)])
	}
	return b.String()
}

// Text is the whole result for a terminal.
func (r *Result) Text() string {
	var b strings.Builder
	name := 0
	for _, s := range r.Series {
		name = max(name, len([]rune(s.NameA+" ↔ "+s.NameB)))
	}
	steps := 0
	if len(r.Series) > 0 {
		steps = len(r.Series[0].Points)
	}
	scale := fmt.Sprintf("−%.0f ms", r.RTTMS)
	end := fmt.Sprintf("+%.0f ms", r.RTTMS)
	fmt.Fprintf(&b, "%-*s  %s%s%s\n", name, "", scale, strings.Repeat(" ", max(1, steps-len([]rune(scale))-len([]rune(end)))), end)
	for _, s := range r.Series {
		label := s.NameA + " ↔ " + s.NameB
		direct, trials, off := 0, 0, 0
		for _, p := range s.Points {
			direct, trials = direct+p.Direct, trials+p.Trials
			if !p.OK() {
				off++
			}
		}
		fmt.Fprintf(&b, "%s%s  %s  %d of %d direct", label, strings.Repeat(" ", name-len([]rune(label))), s.Bar(), direct, trials)
		if off > 0 {
			fmt.Fprintf(&b, "; ✗ %d offsets are not as the model says", off)
		}
		b.WriteString("\n")
	}
	return b.String()
}
