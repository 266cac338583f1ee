package relay

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// The budget of answers to those who have not proved who they are: per source
// address, this many bytes at once and this many a second more, and beyond that
// never more bytes than came. 16 KiB are some 130 challenges, enough for a crowd
// behind one carrier NAT that comes back at once.
const (
	budgetBurst  = 16 << 10
	budgetRate   = 4 << 10 // a second
	budgetSlots  = 4096
	budgetPage   = 64
	budgetPrefix = 64 // IPv6 sources are counted by network
)

// answerBudget bounds what a flood of unauthenticated requests makes us send,
// so that forged sources are not flooded by us. It has a fixed size; sources
// that share a slot share a budget.
type answerBudget struct {
	// pages of slots, each made when one of its slots is used first.
	pages [budgetSlots / budgetPage]*[budgetPage]budgetSlot
	seed  uint64
}

type budgetSlot struct {
	at    int64 // Unix nanoseconds of the last refill
	bytes int64
}

func newAnswerBudget(random io.Reader) (*answerBudget, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("draw the budget's seed: %w", err)
	}
	return &answerBudget{seed: binary.BigEndian.Uint64(b[:])}, nil
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
	at := now.UnixNano()
	if s.at == 0 {
		s.bytes = budgetBurst
	} else if passed := min(at-s.at, int64(budgetBurst/budgetRate*time.Second)); passed > 0 {
		s.bytes += passed * budgetRate / int64(time.Second)
	}
	s.at = at
	s.bytes = min(s.bytes+int64(in), budgetBurst)
	if s.bytes < int64(out) {
		return false
	}
	s.bytes -= int64(out)
	return true
}

// slot hashes a source (FNV-1a with a secret start, then a mixer, so that
// neighbours spread and nobody picks whose slot to share).
func (b *answerBudget) slot(source netip.Addr) int {
	raw := source.Unmap().As16()
	bytes := raw[:]
	if source.Unmap().Is6() {
		bytes = raw[:budgetPrefix/8]
	}
	h := b.seed ^ 0xcbf29ce484222325
	for _, c := range bytes {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % budgetSlots)
}
