package measure

import (
	"fmt"
	"math"
	"slices"
)

// Measures of the drawings, in their own units: 1000 are the page's width.
const (
	barsFrom   = 240.0
	barsLength = 540.0
	barPitch   = 26

	curveLeft   = 80.0
	curveRight  = 760.0 // lines' names come after it
	curveTop    = 14.0
	curveBottom = 300.0
)

// bars is the drawing of a comparison.
type bars struct {
	Height int
	Bars   []bar
}

// bar is one of them.
type bar struct {
	Name, Label            string
	Ours, Line             bool
	Y, Text, Middle        int
	Width, Min, Max, After float64
}

func (c *Comparison) draw() bars {
	var d bars
	most := 0.0
	for _, s := range c.Systems {
		most = max(most, SpreadOf(s.Samples).Max)
	}
	scale := func(v float64) float64 {
		if most == 0 {
			return 0
		}
		return math.Round(max(v, 0)/most*barsLength*10) / 10
	}
	for i, s := range c.Systems {
		v := SpreadOf(s.Samples)
		b := bar{
			Name: s.Name, Label: Format(c.Unit, v.Median), Ours: s.Name == c.Ours, Line: v.Min != v.Max,
			Y: i * barPitch, Text: i*barPitch + 13, Middle: i*barPitch + 8,
			Width: scale(v.Median), Min: barsFrom + scale(v.Min), Max: barsFrom + scale(v.Max),
		}
		b.After = max(barsFrom+b.Width, b.Max) + 8
		d.Bars = append(d.Bars, b)
	}
	d.Height = len(d.Bars)*barPitch + 4
	return d
}

// drawing is that of a curve: both axes are logarithmic, so that a straight line is a
// power and a level one costs nothing more.
type drawing struct {
	Height, Bottom, Left, Right, Top float64
	AxisY                            float64
	XTicks, YTicks                   []tick
	Lines                            []line
}

type tick struct {
	At    float64
	Label string
}

type line struct {
	Name  string
	Class int // of its colour
	Path  string
	Dots  []dot
	NameY float64
}

type dot struct {
	X, Y, Min, Max float64
	Label          string
}

// places are all X, ascending.
func (c *Curve) places() (all []float64) {
	for _, l := range c.Lines {
		for _, p := range l.Points {
			all = append(all, p.X)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (c *Curve) draw() drawing {
	d := drawing{Height: curveBottom + 42, Bottom: curveBottom, Left: curveLeft, Right: curveRight, Top: curveTop, AxisY: curveBottom + 36}
	xs := c.places()
	var ys []float64
	for _, l := range c.Lines {
		for _, p := range l.Points {
			ys = append(ys, p.Samples...)
		}
	}
	ys = slices.DeleteFunc(ys, func(y float64) bool { return y <= 0 })
	if len(xs) == 0 || len(ys) == 0 || xs[0] <= 0 {
		return d
	}
	place := func(v, least, most, from, to float64) float64 {
		if v <= 0 {
			v = least
		}
		at := 0.5
		if most > least {
			at = math.Log(v/least) / math.Log(most/least)
		}
		return math.Round((from+at*(to-from))*10) / 10
	}
	low, high := slices.Min(ys), slices.Max(ys)
	if high < 10*low { // a level line shall look level
		middle := math.Sqrt(low * high)
		low, high = middle/math.Sqrt(10), middle*math.Sqrt(10)
	}
	low, high = low/1.1, high*1.1
	x := func(v float64) float64 { return place(v, xs[0], xs[len(xs)-1], curveLeft+12, curveRight-12) }
	y := func(v float64) float64 { return place(v, low, high, curveBottom, curveTop) }
	for _, v := range xs {
		d.XTicks = append(d.XTicks, tick{x(v), digits(v)})
	}
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, e); v >= low && v <= high && (m == 1 || high/low < 300) {
				d.YTicks = append(d.YTicks, tick{y(v), Format(c.Unit, v)})
			}
		}
	}
	for i, l := range c.Lines {
		drawn := line{Name: l.Name, Class: i % 5}
		for _, p := range l.Points {
			s := SpreadOf(p.Samples)
			at := dot{x(p.X), y(s.Median), y(s.Min), y(s.Max), fmt.Sprintf("%s %s: %s", digits(p.X), c.Axis, s.In(c.Unit))}
			letter := "L"
			if len(drawn.Dots) == 0 {
				letter = "M"
			}
			drawn.Path += fmt.Sprintf("%s%g %g", letter, at.X, at.Y)
			drawn.Dots, drawn.NameY = append(drawn.Dots, at), at.Y+4
		}
		if len(drawn.Dots) > 0 {
			d.Lines = append(d.Lines, drawn)
		}
	}
	d.spreadNames()
	return d
}

// spreadNames moves names apart that would lie on each other.
func (d *drawing) spreadNames() {
	const apart = 16
	order := make([]*line, len(d.Lines))
	for i := range d.Lines {
		order[i] = &d.Lines[i]
	}
	slices.SortStableFunc(order, func(a, b *line) int { return int(math.Copysign(1, a.NameY-b.NameY)) })
	for i := 1; i < len(order); i++ {
		order[i].NameY = max(order[i].NameY, order[i-1].NameY+apart)
	}
}
