package punch

import "time"

// This file bounds what goes to an address that nobody has proved to be the peer's.
// Whoever has seen an authentic check can send copies of it from any address, a
// victim's too: because of what came from an address no more bytes go there than
// came, until a check of ours to it is answered (RFC 9000 section 8.1 lets three
// times as many). What counts is:
//
//   - answers;
//   - data (Early);
//   - checks to an address that the peer has not offered, all of them, since they
//     leave because of what came only; to others those that come earlier for it.
//
// Checks of the check list, to what the peer offered through the rendezvous, leave
// whether anything came or not; they are few and paced.
//
// A plain check could pay for an answer or for a check, not for both. Those that may
// come from a strange address therefore pay for both, and for a second check, should
// that get lost: they are filled up to paidSize. Where they are not, the check goes
// before the answer; where nothing of that is needed, data may take its place.
// Standard agents do as RFC 8445 section 7.3.1.4 wants, and check whoever checks them.

const (
	// paidSize is an answer and a check, each with what rides, and a check without.
	paidSize = 384
	// shortCheck is a check without what need not be there, and without its user name.
	shortCheck = headerSize + 8 + 12 + 24 + 8
	// leastAnswer is an answer without what may ride on it.
	leastAnswer = headerSize + 12 + 24 + 8
)

// leastCheck is the size of the shortest check.
func (a *Agent) leastCheck() int {
	return shortCheck + 4 + (len(a.local.ufrag)+1+len(a.remote.ufrag)+3)&^3
}

// credit is how much may still leave for a pair's address because of what came;
// without a limit where that is proved.
func (a *Agent) credit(p *pair) int {
	if !a.owes(p) {
		return 1 << 30
	}
	return p.got - p.spent
}

// owes says that what goes to a pair's address has to be paid for.
func (a *Agent) owes(p *pair) bool { return a.cfg.Extended && p.answered.IsZero() }

// charged says that the next check of a pair leaves because of what came.
func (a *Agent) charged(p *pair) bool { return a.owes(p) && (p.strange || p.triggered) }

// broke puts off a check that is not paid for, and reports whether it is one: until
// more comes, or until it would have left anyway.
func (a *Agent) broke(p *pair) bool {
	if !a.charged(p) || a.credit(p) >= a.leastCheck() {
		return false
	}
	p.triggered, p.next = false, time.Time{}
	if !p.strange {
		p.next = p.lastSent.Add(a.interCheck(p))
	}
	return true
}

// reserve is what is kept of a pair's credit for the check in return, while none is
// under way that may still be answered.
func (a *Agent) reserve(now time.Time, p *pair) int {
	if p.strange && (p.lastSent.IsZero() || now.Sub(p.lastSent) >= a.rto(p)) {
		return a.leastCheck()
	}
	return 0
}

// fill is how many bytes, with their header, a check of so many is filled up by. One
// that goes to a strange address pays for an answer and a check: what comes back may
// meet a strange address again. None is longer than what it is paid for itself.
func (a *Agent) fill(p *pair, size int) int {
	if !a.cfg.Extended || p.local.Kind == Relayed || p.state == succeeded {
		return 0
	}
	full := paidSize
	if p.strange {
		full = leastAnswer + a.leastCheck()
	}
	if a.charged(p) {
		full = min(full, a.credit(p))
	}
	if size+4 > full {
		return 0
	}
	return (full - size) &^ 3 // attributes are aligned
}
