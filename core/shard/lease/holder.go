package lease

import (
	"slices"
	"time"
)

// Holder is the side of a shard. Make it when the shard has registered, call
// Begin with each epoch that it gets, send what Poll gives when Next says, and
// tell what was answered. It is not safe for use by several goroutines.
type Holder struct {
	terms Terms
	epoch uint64
	// term counts the times that the lease was gained; gained is the epoch that
	// the present one goes on with.
	term, gained uint64
	until        time.Time
	members      []memberState
	sequence     uint64
	anew         bool
}

// memberState is what the holder knows of one member.
type memberState struct {
	due time.Time
	// until is when its grant ends as the holder counts.
	until time.Time
	// sent are the heartbeats that may still be answered usefully, oldest first.
	sent []sent
}

type sent struct {
	sequence, epoch uint64
	at              time.Time
}

// Heartbeat is one to be sent.
type Heartbeat struct {
	Member          int
	Epoch, Sequence uint64
}

// NewHolder makes a holder without an epoch, which sends nothing.
func NewHolder(t Terms) (*Holder, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	return &Holder{terms: t, members: make([]memberState, t.Members)}, nil
}

// Begin goes on with the epoch that the register gave to this process. One that
// is not higher than the present one is an answer that came late, and ignored.
// All members are due at once.
func (h *Holder) Begin(epoch uint64, now time.Time) {
	if epoch <= h.epoch {
		return
	}
	h.epoch, h.anew = epoch, false
	for i := range h.members {
		h.members[i].due = now
	}
}

// Poll gives the heartbeats to be sent now.
func (h *Holder) Poll(now time.Time) []Heartbeat {
	if h.epoch == 0 {
		return nil
	}
	var beats []Heartbeat
	for i := range h.members {
		m := &h.members[i]
		if now.Before(m.due) {
			continue
		}
		m.due = now.Add(h.terms.Heartbeat)
		// What was sent longer ago than a grant lasts brings nothing any more.
		m.sent = slices.DeleteFunc(m.sent, func(s sent) bool { return now.Sub(s.at) >= h.terms.held() })
		h.sequence++
		m.sent = append(m.sent, sent{h.sequence, h.epoch, now})
		beats = append(beats, Heartbeat{Member: i, Epoch: h.epoch, Sequence: h.sequence})
	}
	return beats
}

// Next is when Poll has something to send; zero: not before Begin.
func (h *Holder) Next() time.Time {
	var next time.Time
	if h.epoch == 0 {
		return next
	}
	for _, m := range h.members {
		if next.IsZero() || m.due.Before(next) {
			next = m.due
		}
	}
	return next
}

// Granted: the member granted what was asked by the heartbeat of this sequence.
func (h *Holder) Granted(member int, sequence uint64, now time.Time) {
	s, ok := h.take(member, sequence)
	if !ok {
		return
	}
	before := h.Held(now)
	m := &h.members[member]
	if end := s.at.Add(h.terms.held()); end.After(m.until) {
		m.until = end
	}
	h.until = h.majority()
	switch held := h.Held(now); {
	case !held:
	case !before && h.gained != h.epoch:
		// It was lost, and another may have had the rooms meanwhile; regained
		// under the epoch that it had it was never fenced.
		h.term++
		h.gained = h.epoch
	default:
		h.gained = h.epoch
	}
}

// Refused: the member grants the heartbeat's epoch no more.
func (h *Holder) Refused(member int, sequence uint64) {
	if s, ok := h.take(member, sequence); ok && s.epoch == h.epoch {
		h.anew = true
	}
}

func (h *Holder) take(member int, sequence uint64) (sent, bool) {
	if member < 0 || member >= len(h.members) {
		return sent{}, false
	}
	m := &h.members[member]
	i := slices.IndexFunc(m.sent, func(s sent) bool { return s.sequence == sequence })
	if i < 0 {
		return sent{}, false
	}
	s := m.sent[i]
	m.sent = slices.Delete(m.sent, i, i+1)
	return s, true
}

// majority is when the grants of a majority stop running together.
func (h *Holder) majority() time.Time {
	ends := make([]time.Time, 0, len(h.members))
	for _, m := range h.members {
		ends = append(ends, m.until)
	}
	slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) })
	return ends[h.terms.Majority()-1]
}

// Held reports whether the lease is held at this time.
func (h *Holder) Held(now time.Time) bool { return now.Before(h.until) }

// Until is when the lease ends unless more is granted; in the past, it has.
func (h *Holder) Until() time.Time { return h.until }

// Term counts the times that the lease was gained after it may have been
// another's: what the shard owned in an earlier term it may have lost. While it
// is held without a gap, or if it lapsed but was not fenced, the term stays.
func (h *Holder) Term() uint64 { return h.term }

// Epoch is the epoch that is asked for.
func (h *Holder) Epoch() uint64 { return h.epoch }

// Anew reports that a member refuses the present epoch, so that the shard has to
// register anew, which it may do while it holds the lease.
func (h *Holder) Anew() bool { return h.anew }
