package link

import (
	"math/bits"
	"time"
)

// Lateness is how late a fabric was with the packets of one direction: after the
// time that the model gave them.
type Lateness struct {
	Packets            uint64
	P50, P95, P99, Max time.Duration
}

// Late gathers lateness. Times are counted in steps of an eighth or finer, so
// that percentiles are exact to that. The zero value is empty.
type Late struct {
	counts [lateSteps]uint32
	total  uint64
	max    time.Duration
}

// lateSteps holds a step for each eighth of each power of two of nanoseconds.
const lateSteps = 8 * 44

func stepOf(d time.Duration) int {
	n := uint64(max(d, 8))
	exponent := bits.Len64(n) - 4 // the three bits after the first are the eighth
	return min(exponent*8+int(n>>exponent)&7, lateSteps-1)
}

// Add adds a packet; being early counts as being on time.
func (l *Late) Add(d time.Duration) {
	l.counts[stepOf(d)]++
	l.total++
	l.max = max(l.max, d)
}

// Reset forgets all packets.
func (l *Late) Reset() { *l = Late{} }

// Summary sums up.
func (l *Late) Summary() Lateness {
	return Lateness{Packets: l.total, P50: l.percentile(50), P95: l.percentile(95), P99: l.percentile(99), Max: l.max}
}

// percentile gives the end of the step in which a percentile lies.
func (l *Late) percentile(p uint64) time.Duration {
	if l.total == 0 {
		return 0
	}
	rank, seen := (l.total*p+99)/100, uint64(0)
	for i, n := range l.counts {
		if seen += uint64(n); seen >= rank {
			exponent, eighth := i/8, uint64(i%8)
			return min(time.Duration((9+eighth)<<exponent-1), l.max)
		}
	}
	return l.max
}
