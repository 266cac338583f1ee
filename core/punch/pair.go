package punch

import (
	"net/netip"
	"slices"
	"time"
)

// MaxPairs bounds the check list (RFC 8445 section 6.1.2.5).
const MaxPairs = 100

type pairState uint8

const (
	waiting    pairState = iota // no check sent yet, or to be checked anew
	inProgress                  // checks sent, none answered
	succeeded                   // a check was answered: the pair is valid
	failed                      // checks ran out, or the valid pair died
	frozen                      // waits for another pair of its foundation; standard agents only
)

// pair is a local base with a remote candidate. Local candidates of one base
// need no pairs of their own (RFC 8445 section 6.1.2.4): what leaves, leaves by
// the base.
type pair struct {
	base     Base
	local    Candidate
	remote   Candidate
	priority uint64
	state    pairState

	// triggered puts the next check ahead of ordinary ones
	// (RFC 8445 section 6.1.4.1).
	triggered bool
	// next is when to send the next check; zero: none wanted.
	next time.Time
	// started is when checks of a pair in progress began, sends how many there
	// were.
	started  time.Time
	sends    int
	lastSent time.Time
	// retriggers counts how often the pair was revived after failing since the
	// last restart; bounded, or two peers whose checks arrive but whose answers
	// do not (see the symmetry rule) would revive each other forever.
	retriggers int

	// unanswered is when the oldest check was sent since the last answer; zero
	// while nothing is outstanding.
	unanswered time.Time
	answered   time.Time // last answer
	heard      time.Time // last authenticated packet from the remote side
	// rhythm is the time from anything of the peer's to its next data, smoothed, pulse
	// from data to data; spoken is when data came last, frames how often, as far as that
	// matters.
	rhythm, pulse time.Duration
	spoken        time.Time
	frames        int
	// quiet: the peer's silence has been noticed. late: so has that of a check. Each
	// until something comes.
	quiet, late bool
	// elsewhere is when the peer was heard at another address, and has answered no
	// check here that was sent since; zero: that is not so.
	elsewhere time.Time
	rtt       time.Duration
	samples   int            // of rtt
	mapped    netip.AddrPort // our address as the peer sees it

	// from is where the last answer came from: another address than remote's if
	// the path is split.
	from netip.AddrPort
	// loss is the share of consent checks that were not answered, smoothed.
	loss float64
	// betterSince is since when the pair has been better than the one in use.
	betterSince time.Time
	// strange: no check of the pair leaves but because of what came. The peer has not
	// offered the remote address, or the pair had failed already.
	strange bool
	// got and spent are the bytes of authentic packets that came from the remote
	// side, and of what was sent there because of them, see credit.go.
	got, spent int

	// check is the transaction of the check that is under way, and rto its first
	// interval: a standard agent repeats it.
	check transactionID
	rto   time.Duration

	// acknowledged is the highest nomination that the peer answered.
	acknowledged uint32
	// named: the peer nominated the pair without a number. concluded: the peer has
	// answered our only nomination.
	named, concluded bool
	// former: the pair is one of the session before the last ICE restart.
	former bool
	// closed: consent has ended, and with these credentials there will be none
	// again (RFC 7675 section 5.1).
	closed bool

	// withdrawn: one of its relayed addresses is on its way out. The pair is used
	// while there is no other.
	withdrawn bool
}

// fail ends the checks of a pair.
func (p *pair) fail() {
	p.state, p.next, p.unanswered, p.triggered = failed, time.Time{}, time.Time{}, false
	p.late, p.elsewhere = false, time.Time{}
}

// split says that answers come from another address than is sent to.
func (p *pair) split() bool { return p.from.IsValid() && p.from != p.remote.Addr }

func (p *pair) relayed() bool { return p.local.Kind == Relayed || p.remote.Kind == Relayed }

// pairPriority is RFC 8445 section 6.1.2.3's; g is the controlling side's
// candidate priority.
func pairPriority(g, d uint32) uint64 {
	var tie uint64
	if g > d {
		tie = 1
	}
	return uint64(min(g, d))<<32 + 2*uint64(max(g, d)) + tie
}

func (a *Agent) prioritise(p *pair) {
	if a.controlling {
		p.priority = pairPriority(p.local.Priority, p.remote.Priority)
	} else {
		p.priority = pairPriority(p.remote.Priority, p.local.Priority)
	}
}

// order sorts the check list, best first. Ties keep their order, so that equal
// runs stay equal.
func (a *Agent) order() {
	slices.SortStableFunc(a.pairs, func(x, y *pair) int {
		switch {
		case x.priority > y.priority:
			return -1
		case x.priority < y.priority:
			return 1
		}
		return 0
	})
}

func (a *Agent) findPair(b Base, remote netip.AddrPort) *pair {
	for _, p := range a.pairs {
		if p.base == b && p.remote.Addr == remote && !p.former {
			return p
		}
	}
	return nil
}

// localFor is the local candidate that stands for a base towards an address
// family: the best one of that family.
func (a *Agent) localFor(b Base, remote netip.Addr) (Candidate, bool) {
	var best Candidate
	found := false
	for _, l := range a.locals {
		if l.base != b || l.candidate.Addr.Addr().Is4() != remote.Is4() {
			continue
		}
		if !found || l.candidate.Priority > best.Priority {
			best, found = l.candidate, true
		}
	}
	return best, found
}

// permitted says whether a pair may be formed at all.
func (a *Agent) permitted(local, remote Candidate) bool {
	if local.Kind == Relayed && !Relayable(remote.Addr.Addr()) {
		return false
	}
	return !a.cfg.RelayOnly || local.Kind == Relayed || remote.Kind == Relayed
}

// addPair forms a pair, or gives the one that exists; nil where none may be.
func (a *Agent) addPair(now time.Time, b Base, remote Candidate) *pair {
	if p := a.findPair(b, remote.Addr); p != nil {
		return p
	}
	local, ok := a.localFor(b, remote.Addr.Addr())
	if !ok || !a.permitted(local, remote) {
		return nil
	}
	p := &pair{base: b, local: local, remote: remote, next: now, withdrawn: slices.Contains(a.leaving, b)}
	a.prioritise(p)
	a.freeze(p)
	if len(a.pairs) >= MaxPairs && !a.evict(p.priority) {
		return nil
	}
	a.pairs = append(a.pairs, p)
	a.order()
	return p
}

// evict drops the worst pair that is not valid, if it is worse than priority.
func (a *Agent) evict(priority uint64) bool {
	for i := len(a.pairs) - 1; i >= 0; i-- {
		p := a.pairs[i]
		if p.state != succeeded && (p.priority < priority || p.state == failed) {
			a.pairs = slices.Delete(a.pairs, i, i+1)
			return true
		}
	}
	return false
}

// pairUp forms all pairs of what is known. New ones are checked.
func (a *Agent) pairUp(now time.Time) {
	before := len(a.pairs)
	for _, remote := range a.remotes {
		for _, b := range a.bases() {
			a.addPair(now, b, remote)
		}
	}
	if len(a.pairs) > before {
		a.unsettle(now)
	}
}

// bases lists the bases in the order in which they were told.
func (a *Agent) bases() []Base {
	var list []Base
	for _, l := range a.locals {
		if !slices.Contains(list, l.base) {
			list = append(list, l.base)
		}
	}
	return list
}
