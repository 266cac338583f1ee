package relay

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// The budget of answers to those who have not proved who they are. What came from an
// address is its credit, and pays for answers to it: nobody is sent more bytes than
// came from there. A first Allocate of most clients is shorter than the challenge that
// it needs; a client that repeats its request has paid for the answer with the second
// or third. Our own pays at once. An operator may have advanced what is missing: so
// many bytes at once and so many a second more, to one source and to all together.
const (
	budgetBurst  = 16 << 10 // of one source: some 200 challenges, a crowd behind a carrier's NAT
	budgetRate   = 4 << 10  // a second
	advanceBurst = 64 << 10
	advanceRate  = 16 << 10
	creditMost   = 4 << 10 // what an address can save
	budgetSlots  = 4096
	budgetPage   = 64
)

// answerBudget bounds what a flood of unauthenticated requests makes us send,
// so that forged sources are not flooded by us. It has a fixed size: of the
// addresses that share a slot the latest one has it, and the others have no credit.
type answerBudget struct {
	advances bool // else nothing is advanced
	advance  budgetSlot
	// pages of slots, each made when one of its slots is used first.
	pages [budgetSlots / budgetPage]*[budgetPage]budgetSlot
	seed  uint64
}

type budgetSlot struct {
	at     int64 // Unix nanoseconds of the last refill
	bytes  int64 // that may be advanced
	owner  host  // whose the credit is
	credit int64 // bytes that came from there and that no answer has used
}

// refill gives what time has brought.
func (s *budgetSlot) refill(at, burst, rate int64) {
	if s.at == 0 {
		s.bytes = burst
	} else if passed := min(at-s.at, burst/rate*int64(time.Second)); passed > 0 {
		s.bytes = min(s.bytes+passed*rate/int64(time.Second), burst)
	}
	s.at = at
}

func newAnswerBudget(random io.Reader, advances bool) (*answerBudget, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("draw the budget's seed: %w", err)
	}
	return &answerBudget{advances: advances, seed: binary.BigEndian.Uint64(b[:])}, nil
}

// spend reports whether an answer of out bytes to a request of in bytes may go
// to the source.
func (b *answerBudget) spend(now time.Time, source netip.Addr, in, out int) bool {
	slot := b.slot(source)
	page := &b.pages[slot/budgetPage]
	if *page == nil {
		*page = new([budgetPage]budgetSlot)
	}
	s := &(*page)[slot%budgetPage]
	if owner := hostOf(source); s.owner != owner {
		s.owner, s.credit = owner, 0
	}
	s.credit = min(s.credit+int64(in), creditMost)
	missing := int64(out) - s.credit
	if missing <= 0 {
		s.credit -= int64(out)
		return true
	}
	if !b.advances {
		return false
	}
	s.refill(now.UnixNano(), budgetBurst, budgetRate)
	b.advance.refill(now.UnixNano(), advanceBurst, advanceRate)
	if s.bytes < missing || b.advance.bytes < missing {
		return false
	}
	s.credit = 0
	s.bytes -= missing
	b.advance.bytes -= missing
	return true
}

// slot hashes a source (FNV-1a with a secret start, then a mixer, so that
// neighbours spread and nobody picks whose slot to share).
func (b *answerBudget) slot(source netip.Addr) int {
	h := b.seed ^ 0xcbf29ce484222325
	for _, c := range sourceOf(source) {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % budgetSlots)
}
