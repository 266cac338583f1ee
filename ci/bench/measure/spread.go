package measure

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Spread is a median with what it lies between.
type Spread struct{ Median, Min, Max float64 }

// SpreadOf is that of samples; of none it is nothing.
func SpreadOf(samples []float64) Spread {
	if len(samples) == 0 {
		return Spread{}
	}
	values := slices.Sorted(slices.Values(samples))
	middle := len(values) / 2
	median := values[middle]
	if len(values)%2 == 0 {
		median = (values[middle-1] + values[middle]) / 2
	}
	return Spread{median, values[0], values[len(values)-1]}
}

// prefixed are the units that prefixes are put before.
var prefixed = []string{"s", "B", "/s", "bit/s"}

// Format writes a figure with three digits: Format("s", 0.0123) is "12.3 ms".
func Format(unit string, v float64) string {
	if !slices.Contains(prefixed, unit) {
		return strings.TrimSpace(digits(v) + " " + unit)
	}
	scale, prefix := 1.0, ""
	for _, s := range []struct {
		scale  float64
		prefix string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}, {1e-3, "m"}, {1e-6, "µ"}, {1e-9, "n"}} {
		if s.scale > 1 && unit == "s" || s.scale < 1 && unit != "s" {
			continue // nobody says kiloseconds or millibytes
		}
		scale, prefix = s.scale, s.prefix
		if math.Abs(v) >= s.scale*0.9995 {
			break
		}
	}
	if v == 0 {
		scale, prefix = 1, ""
	}
	if unit == "/s" && prefix != "" {
		return digits(v/scale) + " " + prefix + "/s"
	}
	return digits(v/scale) + " " + prefix + unit
}

func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 99.95 || math.Abs(v-math.Round(v)) < 1e-9*a || v == 0: // 10 µs is no 10.000000000000002
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// In writes a spread with its unit: "12.3 ms [11.9 ms–14.0 ms]".
func (s Spread) In(unit string) string {
	if s.Min == s.Max {
		return Format(unit, s.Median)
	}
	return fmt.Sprintf("%s [%s–%s]", Format(unit, s.Median), Format(unit, s.Min), Format(unit, s.Max))
}

// Slope is the exponent that fits a line best: 1 where ten times the work costs ten times
// as much, 0 where it costs the same. It is NaN for fewer than two places.
func (l Line) Slope() float64 {
	var n, sx, sy, sxx, sxy float64
	for _, p := range l.Points {
		y := SpreadOf(p.Samples).Median
		if p.X <= 0 || y <= 0 {
			continue
		}
		lx, ly := math.Log(p.X), math.Log(y)
		n, sx, sy, sxx, sxy = n+1, sx+lx, sy+ly, sxx+lx*lx, sxy+lx*ly
	}
	if d := n*sxx - sx*sx; n >= 2 && d > 0 {
		return (n*sxy - sx*sy) / d
	}
	return math.NaN()
}

// flat is how small an exponent is taken for none.
const flat = 0.05

// Sentence says what the slope means, or nothing where there is none.
func (l Line) Sentence(axis string) string {
	slope := l.Slope()
	if math.IsNaN(slope) {
		return ""
	}
	s := fmt.Sprintf("%s: ten times the %s, × %.2f (exponent %.2f)", l.Name, axis, math.Pow(10, slope), slope)
	if math.Abs(slope) < flat {
		s += ": flat"
	}
	return s + "."
}
