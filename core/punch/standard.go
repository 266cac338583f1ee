package punch

import (
	"slices"
	"time"
)

// This file is what a standard agent does and an extended one does not: checks are
// transactions that are repeated (RFC 8445 section 14.3), pairs of one foundation
// wait for each other (section 6.1.2.6), one pair is nominated, once (section 8.1.1),
// and the agent is patient (RFC 8863).

// standardInterCheck is the time until a check is repeated, doubling; after the last
// one that until the transaction has failed. Consent has checks of its own, which
// are not repeated (RFC 7675 section 5.1).
func (a *Agent) standardInterCheck(p *pair) time.Duration {
	if p.state == succeeded && !a.nominates(p) {
		d, _ := a.interval(p.lastSent)
		return d
	}
	if p.sends >= sendsOfCheck {
		return lastWait * p.rto
	}
	return p.rto << (p.sends - 1)
}

// repeats gives the check of a pair that is to be sent again as it is.
func (a *Agent) repeats(p *pair) (flight, bool) {
	if a.cfg.Extended || p.triggered || p.sends == 0 || p.state == succeeded && !a.nominates(p) {
		return flight{}, false
	}
	i := a.flights.find(p.check)
	if i < 0 || a.flights[i].pair != p || a.flights[i].nominates != a.nominates(p) {
		return flight{}, false
	}
	return a.flights[i], true
}

// exhausted says that the check of a pair has been repeated as often as may be, and
// that the time for an answer is over.
func (p *pair) exhausted(now time.Time) bool {
	return p.sends >= sendsOfCheck && !p.next.IsZero() && !now.Before(p.next)
}

// foundation is what candidates have in common that come to the same end: kind and
// addresses (RFC 8445 section 5.1.1.3), of both sides.
type foundation struct {
	base                  Base
	localKind, remoteKind Kind
	local, remote         string
}

func (p *pair) foundation() foundation {
	return foundation{p.base, p.local.Kind, p.remote.Kind, p.local.Addr.Addr().String(), p.remote.Addr.Addr().String()}
}

// freeze has a new pair wait while another one of its foundation is checked.
func (a *Agent) freeze(p *pair) {
	if a.cfg.Extended {
		return
	}
	f := p.foundation()
	if slices.ContainsFunc(a.pairs, func(q *pair) bool {
		return q != p && (q.state == waiting || q.state == inProgress) && q.foundation() == f
	}) {
		p.state = frozen
	}
}

// thaw ends the wait of pairs: those of a foundation that has worked, and one of each
// foundation of which none is being checked.
func (a *Agent) thaw(now time.Time) {
	for _, p := range a.pairs {
		if p.state != frozen {
			continue
		}
		f, checked := p.foundation(), false
		for _, q := range a.pairs {
			if q == p || q.foundation() != f {
				continue
			}
			if q.state == succeeded {
				checked = false
				break
			}
			checked = checked || q.state == waiting || q.state == inProgress
		}
		if !checked {
			p.state, p.next = waiting, now
		}
	}
}

// renominates says whether a later nomination replaces an earlier one.
func (a *Agent) renominates() bool { return a.cfg.Extended || a.cfg.Renomination }

// nominates says whether checks of a pair nominate it.
func (a *Agent) nominates(p *pair) bool {
	if !a.controlling || p.former {
		return false
	}
	if a.renominates() {
		return p == a.selected && (a.cfg.Extended || p.acknowledged != a.nomination)
	}
	return p == a.nominated && p.state == succeeded && !p.concluded
}

// nominate chooses, once and for all, what a standard agent that controls stops at: a
// direct pair as soon as there is one, a relayed one if no better is left, or after
// relayWait.
func (a *Agent) nominate(now time.Time) {
	if a.renominates() || !a.controlling || a.nominated != nil || a.settled {
		return
	}
	for _, p := range a.pairs { // the best first
		switch {
		case p.former || p.state == failed:
		case p.state != succeeded:
			if now.Before(a.nominateAt()) {
				return // a better one may work yet
			}
		case p.relayed() && now.Before(a.nominateAt()) && slices.ContainsFunc(a.pairs, hopeful):
			return
		default:
			a.nominated = p
			p.next, p.sends, p.unanswered = now, 0, time.Time{}
			return
		}
	}
}

// nominateAt is when a relayed pair is good enough.
func (a *Agent) nominateAt() time.Time {
	if a.validSince.IsZero() {
		return a.started.Add(StandardPatience)
	}
	if slices.ContainsFunc(a.pairs, func(p *pair) bool { return p.state == succeeded && !p.former && !p.relayed() }) {
		return a.validSince
	}
	return a.validSince.Add(relayWait)
}

// hopeful says that a direct pair may still work.
func hopeful(p *pair) bool {
	return !p.former && !p.relayed() && (p.state == waiting || p.state == inProgress || p.state == frozen)
}

// conclude says when a standard agent's checks are over: with the nomination, or when
// nothing is left to check and nothing can come.
func (a *Agent) conclude(now time.Time) (over bool) {
	if s := a.selected; s != nil && !s.former {
		switch {
		case a.renominates():
			return a.agreed() && !s.answered.Before(a.started) && (!s.relayed() || !now.Before(a.nominateAt()) || !slices.ContainsFunc(a.pairs, hopeful))
		case a.controlling:
			return s == a.nominated && s.concluded
		}
		return s == a.nominated
	}
	left := slices.ContainsFunc(a.pairs, func(p *pair) bool { return !p.former && p.state != failed })
	return !left && (a.complete || !now.Before(a.started.Add(a.cfg.Patience)))
}

// Revoke says that the peer's datagrams are not wanted any more: nothing is sent but
// the answers that say so (RFC 7675 section 5.2).
func (a *Agent) Revoke(now time.Time) {
	a.revoked = true
	for _, p := range a.pairs {
		p.fail()
	}
	if p := a.selected; p != nil {
		a.selected = nil
		a.events.Push(PathChanged{Old: a.pathOf(p)})
	}
	a.step(now)
}
