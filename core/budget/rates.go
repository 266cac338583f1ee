package budget

import (
	"io"
	"net/netip"
	"time"
)

const rateSlots = 8192

// Rates bound how often sources may do something: token buckets, one for each source
// but where two share a slot.
type Rates struct {
	rate, burst float64
	pages       [rateSlots / page]*[page]rateSlot
	seed        seed
}

type rateSlot struct {
	at     int64 // Unix nanoseconds of the last use; 0: never used, and full
	tokens float64
}

// NewRates allows a source rate a second, and burst at once.
func NewRates(random io.Reader, rate, burst float64) (*Rates, error) {
	s, err := newSeed(random)
	if err != nil {
		return nil, err
	}
	return &Rates{rate: rate, burst: burst, seed: s}, nil
}

// Spend takes a token of the source's; false if there is none.
func (r *Rates) Spend(now time.Time, source netip.Addr) bool {
	n := r.seed.slot(source, rateSlots)
	p := &r.pages[n/page]
	if *p == nil {
		*p = new([page]rateSlot)
	}
	s, at := &(*p)[n%page], now.UnixNano()
	if s.at == 0 {
		s.at, s.tokens = at, r.burst
	} else {
		passed := max(time.Duration(at-s.at), 0) // a clock that was put back brings nothing
		s.at, s.tokens = at, min(r.burst, s.tokens+passed.Seconds()*r.rate)
	}
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}
