package load

import (
	"math/bits"
	"time"
)

// Histogram counts times in steps of 1/32 of their octave, from 32 ns on.
type Histogram struct {
	counts [64 * steps]uint64
	total  uint64
}

const (
	stepBits = 5
	steps    = 1 << stepBits
)

func bucketOf(ns uint64) int {
	if ns < steps {
		return int(ns)
	}
	octave := bits.Len64(ns) - stepBits - 1
	return octave<<stepBits + int(ns>>octave)
}

// lowest is the least time of a bucket.
func lowest(bucket int) uint64 {
	if bucket < 2*steps {
		return uint64(bucket)
	}
	octave := bucket>>stepBits - 1
	return uint64(bucket-octave<<stepBits) << octave
}

// Add counts a time n times.
func (h *Histogram) Add(d time.Duration, n uint64) {
	h.counts[bucketOf(uint64(max(d, 0)))] += n
	h.total += n
}

// Quantile is the time below which a share of all are, to 1/32; 0 where there are none.
func (h *Histogram) Quantile(share float64) time.Duration {
	rank := uint64(share * float64(h.total))
	for bucket, n := range h.counts {
		if n > 0 && rank < n {
			return time.Duration(lowest(bucket))
		}
		rank -= min(n, rank)
	}
	return 0
}
