// Package wilson says what a count of successes tells of the share behind it.
package wilson

import "math"

// Interval is a share with the bounds of its 95 % interval.
type Interval struct {
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Of is the score interval of Wilson (1927) for a binomial share, at 95 %. Of no
// runs nothing is known: the interval is all of 0 to 1.
func Of[N int | uint64](successes, runs N) Interval {
	if runs == 0 {
		return Interval{High: 1}
	}
	const z = 1.959964
	n, p := float64(runs), float64(successes)/float64(runs)
	centre := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	i := Interval{Share: p, Low: math.Max(0, centre-half), High: math.Min(1, centre+half)}
	// Rounding must not say that what never happened has a share.
	if successes == 0 {
		i.Low = 0
	}
	if successes == runs {
		i.High = 1
	}
	return i
}
