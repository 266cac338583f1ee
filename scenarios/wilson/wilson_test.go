package wilson

import (
	"math"
	"testing"
)

func TestWilson(t *testing.T) {
	for _, c := range []struct {
		successes, runs  int
		share, low, high float64
	}{
		{0, 0, 0, 0, 1},
		{10, 10, 1, 0.7225, 1},
		{0, 10, 0, 0, 0.2775},
		{8, 10, 0.8, 0.4902, 0.9433}, // Brown, Cai, DasGupta 2001 give the formula
		{82, 100, 0.82, 0.7333, 0.8830},
	} {
		got := Of(c.successes, c.runs)
		for _, v := range [][2]float64{{got.Share, c.share}, {got.Low, c.low}, {got.High, c.high}} {
			if math.Abs(v[0]-v[1]) > 0.0005 {
				t.Errorf("Of(%d, %d) = %+v, want %v from %v to %v", c.successes, c.runs, got, c.share, c.low, c.high)
			}
		}
	}
}
