package punch

import "time"

// This file says which of two paths of one kind is the better one, and when that is
// worth a change. A path has a cost, in time: its round trip, and what stands for the
// datagrams that it loses and for the NATs on it. Extended agents only: a standard one
// goes by the priorities of RFC 8445.

const (
	// lossCost is what a path costs that loses everything: one in a hundred weighs
	// as much as 10 ms.
	lossCost = time.Second
	// familyCost is what IPv4 costs more than IPv6: NATs that forget.
	familyCost = 10 * time.Millisecond
	// A better path has to be better by betterMargin and by a betterPart of the
	// present cost, for betterFor, and switchPause after the last such change.
	betterMargin = 10 * time.Millisecond
	betterPart   = 5
	betterFor    = 3 * time.Second
	switchPause  = 10 * time.Second
	// lossMemory is how many checks the measured loss goes back, about.
	lossMemory = 16
	// leastSamples is how often both have to be measured before they are compared.
	leastSamples = 8
)

// cost is what a path costs.
func (p *pair) cost() time.Duration {
	c := p.rtt + time.Duration(p.loss*float64(lossCost))
	if p.remote.Addr.Addr().Unmap().Is4() {
		c += familyCost
	}
	return c
}

// measure takes a round trip: the mean of the first ones, then smoothed
// (RFC 6298 section 2.3).
func (p *pair) measure(sample time.Duration) {
	p.samples++
	p.rtt += (sample - p.rtt) / time.Duration(min(p.samples, 8))
}

// keep notes that a check was answered, lose that one was not.
func (p *pair) keep() { p.loss -= p.loss / lossMemory }
func (p *pair) lose() { p.loss += (1 - p.loss) / lossMemory }

// rates says whether paths are compared by cost: by the side that nominates, once the
// opening is over.
func (a *Agent) rates() bool { return a.cfg.Extended && a.controlling && a.settled }

// better says that p has been so much cheaper than the pair in use, for so long, that
// a change is worth it.
func (a *Agent) better(now time.Time, p, current *pair) bool {
	was := current.cost()
	if !a.rates() || p.closed || min(p.samples, current.samples) < leastSamples || p.cost()+max(betterMargin, was/betterPart) >= was {
		p.betterSince = time.Time{}
		return false
	}
	if p.betterSince.IsZero() {
		p.betterSince = now
	}
	return now.Sub(p.betterSince) >= betterFor && p.answered.After(p.betterSince) && p.unanswered.IsZero() && now.Sub(a.switchedAt) >= switchPause
}

// rival is the best valid pair of the same kind as the one in use besides it, whose
// cost is kept up to date; nil: there is none.
func (a *Agent) rival() *pair {
	if !a.rates() || a.selected == nil {
		return nil
	}
	var best *pair
	for _, p := range a.pairs {
		if p == a.selected || p.state != succeeded || p.former || p.withdrawn || p.split() ||
			p.relayed() != a.selected.relayed() || p.answered.Before(a.started) {
			continue
		}
		if best == nil || p.cost() < best.cost() {
			best = p
		}
	}
	return best
}
