package campaign

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// Histogram counts times in buckets of fixed bounds, in µs: below 128 µs of 1 µs,
// above of 1/64 of a power of two. A time read from it is off by at most
// HistogramError. Sums of histograms are exact, in any order. Times beyond an hour
// and 11 minutes count in the last bucket.
type Histogram struct{ counts []uint64 }

const (
	subBits        = 6
	histogramSize  = (32 - subBits + 1) << subBits
	longest        = 1<<32 - 1 // µs
	HistogramError = 1.0 / (1 << (subBits + 1))
)

// bucket is where a number of µs counts.
func bucket(us uint64) int {
	us = min(us, longest)
	if us < 2<<subBits {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	return shift<<subBits + int(us>>shift)
}

// middle is the time in the middle of a bucket, in µs.
func middle(b int) float64 {
	if b < 2<<subBits {
		return float64(b)
	}
	shift := b>>subBits - 1
	low := uint64(b-shift<<subBits) << shift
	return float64(low) + float64(uint64(1)<<shift-1)/2
}

// Add counts a time; a negative one does not count.
func (h *Histogram) Add(d time.Duration) {
	if d < 0 {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint64, histogramSize)
	}
	h.counts[bucket(uint64(d/time.Microsecond))]++
}

// Merge adds another histogram.
func (h *Histogram) Merge(o Histogram) {
	if o.counts == nil {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint64, histogramSize)
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
}

// Count is how many times were counted.
func (h Histogram) Count() (n uint64) {
	for _, c := range h.counts {
		n += c
	}
	return n
}

// Quantile is the time in ms below which the share q of all times is; -1 of none.
func (h Histogram) Quantile(q float64) float64 {
	total := h.Count()
	if total == 0 {
		return -1
	}
	rank := uint64(q * float64(total))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen > rank || seen == total {
			return middle(i) / 1000
		}
	}
	return -1
}

// Each calls f for each bucket that is not empty, in order of time.
func (h Histogram) Each(f func(ms float64, count uint64)) {
	for i, c := range h.counts {
		if c > 0 {
			f(middle(i)/1000, c)
		}
	}
}

// MarshalJSON gives pairs of bucket and count, of those that are not empty.
func (h Histogram) MarshalJSON() ([]byte, error) {
	pairs := [][2]uint64{}
	for i, c := range h.counts {
		if c > 0 {
			pairs = append(pairs, [2]uint64{uint64(i), c})
		}
	}
	return json.Marshal(pairs)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var pairs [][2]uint64
	if err := json.Unmarshal(data, &pairs); err != nil {
		return err
	}
	*h = Histogram{}
	last := -1
	for _, p := range pairs {
		if p[0] >= histogramSize || int(p[0]) <= last {
			return fmt.Errorf("a histogram with bucket %d: %w", p[0], errBucket)
		}
		if last = int(p[0]); h.counts == nil {
			h.counts = make([]uint64, histogramSize)
		}
		h.counts[last] = p[1]
	}
	return nil
}

var errBucket = errors.New("buckets are to be in order, each once")
