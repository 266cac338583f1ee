package punch

import (
	"slices"
	"time"
)

// SetLocal says which candidates a base has now, replacing those it had; none
// means that the base is gone, and its pairs with it.
func (a *Agent) SetLocal(now time.Time, b Base, candidates []Candidate) {
	a.locals = slices.DeleteFunc(a.locals, func(l local) bool { return l.base == b })
	if len(candidates) == 0 {
		a.leaving = slices.DeleteFunc(a.leaving, func(o Base) bool { return o == b })
	}
	for i, c := range candidates {
		if c.Priority == 0 {
			c.Priority = Priority(c.Kind, i)
		}
		a.locals = append(a.locals, local{b, c})
	}
	a.prune(now, func(p *pair) bool {
		if p.base != b {
			return false
		}
		l, ok := a.localFor(b, p.remote.Addr.Addr())
		if ok && p.local.Kind == Relayed && l.Addr != p.local.Addr {
			return true // another allocation: nothing of the old pair holds
		}
		if ok {
			p.local = l
			a.prioritise(p)
		}
		return !ok
	})
	a.order()
	a.pairUp(now)
	a.step(now)
}

// Withdraw says that a base is on its way out: another one is used as soon as it
// works, and the peer is told by a nomination. SetLocal ends the base.
func (a *Agent) Withdraw(now time.Time, b Base) {
	if !slices.Contains(a.leaving, b) {
		a.leaving = append(a.leaving, b)
	}
	for _, p := range a.pairs {
		p.withdrawn = p.withdrawn || p.base == b
	}
	a.step(now)
}

// SetRemote says which candidates the peer offers now, replacing what it
// offered before. Pairs of candidates that are gone leave, but for valid ones,
// which go on until they die, or, where a relayed address is gone or the peer is
// somewhere else altogether, until another pair works.
func (a *Agent) SetRemote(now time.Time, candidates []Candidate) {
	elsewhere := moved(a.remotes, candidates)
	a.remotes = a.remotes[:0]
	a.remember(candidates)
	a.prune(now, func(p *pair) bool {
		if p.former {
			return false
		}
		for _, c := range a.remotes {
			if c.Addr == p.remote.Addr {
				// What was learned from a check has a proper name now
				// (RFC 8838 section 11.4).
				p.remote, p.strange = c, false
				p.withdrawn = slices.Contains(a.leaving, p.base)
				a.prioritise(p)
				return false
			}
		}
		p.withdrawn = p.withdrawn || p.remote.Kind == Relayed || elsewhere
		return p.state != succeeded && p.remote.Kind != PeerReflexive
	})
	a.order()
	a.pairUp(now)
	a.step(now)
}

// remember adds to the candidates that the peer offers.
func (a *Agent) remember(candidates []Candidate) {
	for _, c := range candidates {
		if c.Addr.IsValid() && c.Addr.Port() != 0 && !slices.ContainsFunc(a.remotes, func(r Candidate) bool { return r.Addr == c.Addr }) {
			a.remotes = append(a.remotes, c)
		}
	}
}

// AddRemote adds candidates that the peer trickled (RFC 8838 section 11).
func (a *Agent) AddRemote(now time.Time, candidates ...Candidate) {
	a.SetRemote(now, append(slices.Clone(a.remotes), candidates...))
}

// EndOfCandidates says that neither side will have more candidates
// (RFC 8838 section 8.2, of both sides), so that a standard agent may fail once
// all pairs have, without the patience of RFC 8863. An ICE restart takes it back.
func (a *Agent) EndOfCandidates(now time.Time) {
	a.complete = true
	a.step(now)
}

// prune removes the pairs for which gone is true.
func (a *Agent) prune(now time.Time, gone func(*pair) bool) {
	a.pairs = slices.DeleteFunc(a.pairs, func(p *pair) bool {
		if !gone(p) {
			return false
		}
		p.state = failed
		return true
	})
	if a.nominated != nil && !slices.Contains(a.pairs, a.nominated) {
		a.nominated = nil
	}
	if a.selected != nil && !slices.Contains(a.pairs, a.selected) {
		a.lose(now)
	}
}
