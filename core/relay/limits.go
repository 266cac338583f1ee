package relay

import "time"

// Rates bound relayed payload, in bytes a second, both ways together. What is beyond
// them is dropped and counted. Zero: no bound.
type Rates struct {
	// Allocation is of one allocation, User of all of one user's, Server of all.
	Allocation, User, Server int64
}

func (r Rates) any() bool { return r.Allocation > 0 || r.User > 0 || r.Server > 0 }

// bucket is a token bucket: a second's bytes at once, and never less than the largest
// datagram.
type bucket struct {
	rate  int64
	bytes int64
	at    int64 // Unix nanoseconds of the last refill; 0: full
}

func newBucket(rate int64) *bucket {
	if rate <= 0 {
		return nil
	}
	return &bucket{rate: rate}
}

func (b *bucket) burst() int64 { return max(b.rate, maxRelayedPayload) }

// has refills the bucket and reports whether it holds n bytes.
func (b *bucket) has(at, n int64) bool {
	if b.at == 0 {
		b.bytes = b.burst()
	} else if passed := at - b.at; passed >= int64(b.burst()/b.rate+1)*int64(time.Second) {
		b.bytes = b.burst()
	} else if passed > 0 {
		b.bytes = min(b.bytes+passed/1000*b.rate/1e6, b.burst())
		at -= passed % 1000 // what was not counted stays for the next time
	} else {
		at = b.at // clocks that step back bring nothing
	}
	b.at = at
	return b.bytes >= n
}

// limits are the buckets that an allocation's payload goes through.
type limits struct {
	any                      bool
	allocation, user, server *bucket
}

// admit takes n bytes out of all of them, or out of none.
func (l *limits) admit(now time.Time, n int) bool {
	at, bytes := now.UnixNano(), int64(n)
	for _, b := range [...]*bucket{l.allocation, l.user, l.server} {
		if b != nil && !b.has(at, bytes) {
			return false
		}
	}
	for _, b := range [...]*bucket{l.allocation, l.user, l.server} {
		if b != nil {
			b.bytes -= bytes
		}
	}
	return true
}

// limit gives an allocation its buckets. A user's is shared by all that are the
// account's, and lives as long as these.
func (s *Server) limit(a *allocation) {
	if !s.cfg.Rates.any() {
		return
	}
	a.limits = limits{any: true, allocation: newBucket(s.cfg.Rates.Allocation), server: s.rate}
	if s.cfg.Rates.User > 0 {
		if s.userRates[a.account] == nil {
			s.userRates[a.account] = newBucket(s.cfg.Rates.User)
		}
		a.limits.user = s.userRates[a.account]
	}
}
