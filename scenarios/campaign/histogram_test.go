package campaign

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestAHistogramIsOffByNoMoreThanItSays(t *testing.T) {
	for us := uint64(0); us <= longest; us = us + us/37 + 1 {
		b := bucket(us)
		if b < 0 || b >= histogramSize {
			t.Fatalf("%d µs: bucket %d of %d", us, b, histogramSize)
		}
		if off := math.Abs(middle(b) - float64(us)); off > HistogramError*float64(us)+1e-9 {
			t.Errorf("%d µs reads as %v", us, middle(b))
		}
		if us > 0 && bucket(us-1) > b {
			t.Errorf("%d µs counts before %d", us, us-1)
		}
	}
	if b := bucket(math.MaxUint64); b != histogramSize-1 {
		t.Errorf("what is too long counts in bucket %d", b)
	}
}

func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h, first, second Histogram
	var all []time.Duration
	for i := range 10_000 {
		d := time.Duration(r.ExpFloat64() * float64(80*time.Millisecond))
		all = append(all, d)
		h.Add(d)
		if i%3 == 0 {
			first.Add(d)
		} else {
			second.Add(d)
		}
	}
	h.Add(-1)
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.75, 0.9, 0.99} {
		want := float64(all[int(q*float64(len(all)))]) / float64(time.Millisecond)
		if got := h.Quantile(q); math.Abs(got-want) > HistogramError*want+0.001 {
			t.Errorf("quantile %v is %v ms, want %v", q, got, want)
		}
	}
	second.Merge(first)
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := json.Marshal(second)
	if err != nil || string(merged) != string(text) {
		t.Error("two halves do not make the whole")
	}
	var read Histogram
	if err := json.Unmarshal(text, &read); err != nil || read.Quantile(0.5) != h.Quantile(0.5) || read.Count() != 10_000 {
		t.Errorf("%v: it does not read back", err)
	}
	if got := (Histogram{}).Quantile(0.5); got != -1 {
		t.Errorf("of nothing the median is %v", got)
	}
	for _, bad := range []string{`[[5,1],[5,1]]`, `[[9,1],[5,1]]`, `[[99999,1]]`, `[[-1,1]]`, `{}`} {
		if json.Unmarshal([]byte(bad), &read) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
