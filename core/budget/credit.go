package budget

import (
	"io"
	"net/netip"
	"time"
)

// What may be advanced: so many bytes at once and so many a second more, to one
// source and to all together.
const (
	advanceSourceBurst = 16 << 10 // some 200 challenges, a crowd behind a carrier's NAT
	advanceSourceRate  = 4 << 10
	advanceBurst       = 64 << 10
	advanceRate        = 16 << 10
	creditMost         = 4 << 10 // what an address can save
	creditSlots        = 4096
)

// Credit is the budget of answers to those who have not proved who they are. What came
// from an address is its credit, and pays for answers to it: nobody is sent more bytes
// than came from there, so that forged sources are not flooded. A first request of most
// clients is shorter than its answer; a client that repeats it has paid for the answer with
// the second or third. Our own pay at once. An operator may have advanced what is missing.
//
// Of the addresses that share a slot the latest one has it, and the others have no
// credit.
type Credit struct {
	advances bool // else nothing is advanced
	advance  creditSlot
	pages    [creditSlots / page]*[page]creditSlot
	seed     seed
}

type creditSlot struct {
	at     int64 // Unix nanoseconds until which bytes were refilled
	bytes  int64 // that may be advanced
	owner  host  // whose the credit is
	credit int64 // bytes that came from there and that no answer has used
}

// refill gives what time has brought.
func (s *creditSlot) refill(at, burst, rate int64) {
	if s.at == 0 {
		s.at, s.bytes = at, burst
		return
	}
	passed := min(at-s.at, burst/rate*int64(time.Second))
	if passed < 0 {
		s.at = at // the clock was put back
		return
	}
	brought := passed * rate / int64(time.Second)
	s.bytes = min(s.bytes+brought, burst)
	// What is less than a byte counts next time, however soon that is.
	s.at = at - (passed - brought*int64(time.Second)/rate)
}

// NewCredit makes one; advances says whether what is missing is advanced, within bounds.
func NewCredit(random io.Reader, advances bool) (*Credit, error) {
	s, err := newSeed(random)
	if err != nil {
		return nil, err
	}
	return &Credit{advances: advances, seed: s}, nil
}

// Spend reports which of some answers may go to the source of a request of in bytes: the
// first one that can be paid for, of as many bytes as it has. The best one comes first.
// False: none.
func (c *Credit) Spend(now time.Time, source netip.Addr, in int, answers ...int) (which int, ok bool) {
	s := c.slot(source)
	if owner := host(source.As16()); s.owner != owner {
		s.owner, s.credit = owner, 0
	}
	s.credit = min(s.credit+int64(in), creditMost)
	for i, out := range answers {
		if c.pay(now, s, int64(out)) {
			return i, true
		}
	}
	return 0, false
}

// pay takes an answer out of the credit, and what is missing out of what is advanced.
func (c *Credit) pay(now time.Time, s *creditSlot, out int64) bool {
	missing := out - s.credit
	if missing <= 0 {
		s.credit -= out
		return true
	}
	if !c.advances {
		return false
	}
	s.refill(now.UnixNano(), advanceSourceBurst, advanceSourceRate)
	c.advance.refill(now.UnixNano(), advanceBurst, advanceRate)
	if s.bytes < missing || c.advance.bytes < missing {
		return false
	}
	s.credit = 0
	s.bytes -= missing
	c.advance.bytes -= missing
	return true
}

func (c *Credit) slot(source netip.Addr) *creditSlot {
	n := c.seed.slot(source, creditSlots)
	p := &c.pages[n/page]
	if *p == nil {
		*p = new([page]creditSlot)
	}
	return &(*p)[n%page]
}
