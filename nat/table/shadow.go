package table

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

// Shadow is a table beside a NAT at work of which every packet is seen, one after
// the other. It does all by itself, as a Table does, and takes from what was seen
// only what the behaviour leaves to chance: a random port. It is not safe for
// concurrent use.
//
// A Follower is for a NAT that is seen from its captures: it bears with packets that
// were seen in another order, and with clocks that differ.
type Shadow struct {
	table     *Table
	seen      netip.AddrPort
	objection string
	guessed   bool
}

// Pairing chooses one of several external addresses for an inside address, where
// pooling is paired: a number below n, always the same.
type Pairing func(inside netip.Addr, n int) int

// NewShadow makes one for a NAT that has no state yet. pair says how the NAT pairs
// addresses, which is its own affair; it may be nil where it has one external
// address, or pooling is arbitrary.
func NewShadow(b nat.Behavior, external []netip.Addr, pair Pairing) (*Shadow, error) {
	s := &Shadow{}
	t, err := New(b, external, rand.New(rand.NewPCG(0, 0))) // which draws nothing
	if err != nil {
		return nil, err
	}
	t.shadow, t.pair = s, pair
	t.Reboot()
	s.table = t
	return s, nil
}

// Outbound is Table.Outbound of a packet that was seen to leave with this external
// endpoint, or with none. objection says why the behaviour would not have drawn that
// for a new mapping.
func (s *Shadow) Outbound(now time.Time, p Packet, seen netip.AddrPort) (v Verdict, objection string) {
	s.seen, s.objection, s.guessed = seen, "", false
	v = s.table.Outbound(now, p)
	return v, s.objection
}

// Guessed reports whether the last packet from inside made a mapping whose port is left
// to chance, and that nobody saw: from now on table and NAT may differ.
func (s *Shadow) Guessed() bool { return s.guessed }

// Inbound is Table.Inbound.
func (s *Shadow) Inbound(now time.Time, p Packet) Verdict { return s.table.Inbound(now, p) }

// Table is the table, for what it knows and what is done to it: Mappings, Ends,
// Empty, Reboot, Rebind.
func (s *Shadow) Table() *Table { return s.table }

// drawn takes the port that was seen for one that is drawn from a progression. Where
// none was seen, it gives one that could have been.
func (s *Shadow) drawn(st *state, addr netip.Addr, p progression) (netip.AddrPort, bool) {
	var first netip.AddrPort
	for i := 0; i < p.count && !first.IsValid(); i++ {
		if e := netip.AddrPortFrom(addr, p.at(i)); st.taken[e] == nil {
			first = e
		}
	}
	_, among := p.index(s.seen.Port())
	switch {
	case !first.IsValid():
		return first, false
	case !s.seen.IsValid():
		s.guessed = true
		return first, true
	case s.seen.Addr() != addr || !among:
		s.object("%v is none of the %d ports of %v from %d on that could be drawn", s.seen, p.count, addr, p.first)
		return first, true
	case st.taken[s.seen] != nil:
		s.object("%v is taken", s.seen)
		return first, true
	}
	return s.seen, true
}

// drawnFlow is drawn for a flow of conntrack: it gives what was seen, if it could
// have been drawn.
func (s *Shadow) drawnFlow(c *conntrack, p Packet, low uint16, size int) (netip.AddrPort, bool) {
	free := func(e netip.AddrPort) bool { return c.states[p.Protocol].outer[flowKey{e, p.Dst}] == nil }
	if s.seen.IsValid() {
		at := int(s.seen.Port()) - int(low)
		if s.seen.Addr() == c.external[0] && at >= 0 && at < size && free(s.seen) {
			return s.seen, true
		}
		s.object("%v is taken towards %v, or none of the %d ports of %v from %d on", s.seen, p.Dst, size, c.external[0], low)
	}
	for i := range size {
		if e := netip.AddrPortFrom(c.external[0], low+uint16(i)); free(e) {
			return e, true
		}
	}
	return netip.AddrPort{}, false
}

func (s *Shadow) object(format string, args ...any) {
	if s.objection == "" {
		s.objection = fmt.Sprintf(format, args...)
	}
}

// index is the place of a port in the progression.
func (p progression) index(port uint16) (int, bool) {
	apart := int(port) - int(p.first)
	if p.count == 0 || apart < 0 || apart%p.step != 0 || apart/p.step >= p.count {
		return 0, false
	}
	return apart / p.step, true
}

// Ends reports whether anything that the table knows ends between two times, or
// becomes something else: a mapping, the hold on its port, a filter's entry, a block,
// a flow. What becomes of packets meanwhile depends on clocks.
func (t *Table) Ends(from, to time.Time) bool {
	within := func(at time.Time) bool { return !at.Before(from) && !at.After(to) }
	if c := t.flows; c != nil {
		return slices.ContainsFunc(c.states[:], func(s *tracking) bool {
			return slices.ContainsFunc(s.byExpiry, func(f *trackedFlow) bool {
				return within(f.expires) || within(f.began.Add(streamAfter))
			})
		})
	}
	for _, s := range t.states {
		for _, m := range s.taken {
			if !m.closed && within(m.expires) || within(m.held) || within(m.rotates) {
				return true
			}
			for _, end := range m.filter.remotes {
				if within(end) {
					return true
				}
			}
		}
		for _, b := range s.blocks.owned {
			if within(b.expires) {
				return true
			}
		}
	}
	return false
}

// Taken is how many external ports of a protocol no new mapping gets, or how many
// flows conntrack has of it.
func (t *Table) Taken(now time.Time, p Protocol) int {
	if t.flows != nil {
		t.flows.purge(now)
		return len(t.flows.states[p].outer)
	}
	t.purge(now)
	return len(t.states[p].taken)
}
