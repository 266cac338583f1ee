package play

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAreExactToTwoPercent(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var whole, a, b histogram
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(dice.ExpFloat64() * float64(3*time.Millisecond))
		all = append(all, d)
		whole.add(d)
		if i%3 == 0 {
			a.add(d)
		} else {
			b.add(d)
		}
	}
	slices.Sort(all)
	a.merge(&b)
	for _, q := range []float64{0.001, 0.1, 0.5, 0.99, 0.999, 1} {
		want := all[max(int(q*float64(len(all)))-1, 0)]
		got := whole.quantile(q)
		if float64(got) < 0.99*float64(want) || float64(got) > growth*1.001*float64(want)+float64(time.Microsecond) {
			t.Errorf("quantile %v: %v, want %v and up to 2 %% more", q, got, want)
		}
		if merged := a.quantile(q); merged != got {
			t.Errorf("quantile %v of two halves: %v, of all %v", q, merged, got)
		}
	}
	if a.n != 10_000 || a.max != all[len(all)-1] || whole.quantile(1) != a.max {
		t.Errorf("%d samples up to %v, want 10000 up to %v", a.n, a.max, all[len(all)-1])
	}
	var empty histogram
	if empty.quantile(0.5) != 0 {
		t.Error("a quantile of nothing is not 0")
	}
	empty.add(0)
	empty.add(-time.Second)
	if q := empty.quantile(1); q != 0 {
		t.Errorf("of two that are 0 and below: %v", q)
	}
}
