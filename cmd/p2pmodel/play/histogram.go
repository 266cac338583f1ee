package play

import (
	"math"
	"time"
)

// histogram counts durations in buckets that grow by 2 %, from 1 µs to some
// hours: quantiles are that exact, and a million samples take no more room than
// one. The zero value is empty.
type histogram struct {
	counts map[int]uint64
	n      uint64
	max    time.Duration
}

const growth = 1.02

func (h *histogram) add(d time.Duration) {
	if h.counts == nil {
		h.counts = map[int]uint64{}
	}
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

func bucket(d time.Duration) int {
	if d <= time.Microsecond {
		return 0
	}
	return int(math.Ceil(math.Log(float64(d)/float64(time.Microsecond)) / math.Log(growth)))
}

// merge adds what another one has counted.
func (h *histogram) merge(o *histogram) {
	if h.counts == nil {
		h.counts = map[int]uint64{}
	}
	for b, n := range o.counts {
		h.counts[b] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile is the least duration that is not below this part of all, to within
// the width of a bucket; 0 without samples.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(h.n))), 1)
	var seen uint64
	for b := 0; ; b++ {
		seen += h.counts[b]
		if seen >= rank {
			return min(time.Duration(math.Pow(growth, float64(b))*float64(time.Microsecond)), h.max)
		}
	}
}
