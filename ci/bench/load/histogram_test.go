package load

import (
	"testing"
	"time"
)

func TestHistogramQuantiles(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
	for i := range 1000 {
		h.Add(time.Duration(i+1)*time.Microsecond, 1)
	}
	for _, c := range []struct {
		share float64
		want  time.Duration
	}{{0, time.Microsecond}, {0.5, 501 * time.Microsecond}, {0.99, 991 * time.Microsecond}} {
		if got := h.Quantile(c.share); got > c.want || got < c.want-c.want/16 {
			t.Errorf("quantile %v is %v, want %v less 1/32 at most", c.share, got, c.want)
		}
	}
}

func TestHistogramBucketsAreInOrder(t *testing.T) {
	last := -1
	for ns := uint64(0); ns < 1<<20; ns += 7 {
		b := bucketOf(ns)
		if b < last || lowest(b) > ns || ns-lowest(b) > ns/steps {
			t.Fatalf("%d ns: bucket %d begins at %d, the one before was %d", ns, b, lowest(b), last)
		}
		last = b
	}
}
