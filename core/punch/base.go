package punch

import "slices"

// Move has a base go on under another name, with its candidates, its pairs and what
// is known of them; of a base that was to be withdrawn that is no longer true. For
// who changes networks and keeps a way by the former one. The other name is one that
// has no candidates.
func (a *Agent) Move(from, to Base) {
	for i := range a.locals {
		if a.locals[i].base == from {
			a.locals[i].base = to
		}
	}
	withdrawn := slices.Contains(a.leaving, from)
	a.leaving = slices.DeleteFunc(a.leaving, func(b Base) bool { return b == from })
	for _, p := range a.pairs {
		if p.base == from {
			p.base = to
			p.withdrawn = p.withdrawn && !withdrawn
		}
	}
	a.polled = false
}

// moved reports whether none of the addresses at which the Internet reaches the peer
// without a relay is what it was.
func moved(before, after []Candidate) bool {
	public := func(c Candidate) bool { return c.Kind != Relayed && Relayable(c.Addr.Addr()) }
	if !slices.ContainsFunc(before, public) || !slices.ContainsFunc(after, public) {
		return false
	}
	return !slices.ContainsFunc(before, func(c Candidate) bool {
		return public(c) && slices.ContainsFunc(after, func(o Candidate) bool { return o.Addr == c.Addr })
	})
}
