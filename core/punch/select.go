package punch

import (
	"net/netip"
	"slices"
	"time"
)

// HandleTimeout says that the time named by PollTimeout has come. A call too
// early is harmless.
func (a *Agent) HandleTimeout(now time.Time) { a.step(now) }

// step brings the agent up to date: what ran out of time, which pair is in use,
// which checks are due, whether checks are over.
func (a *Agent) step(now time.Time) {
	a.stepped, a.polled = now, false
	a.expire(now)
	a.listen(now)
	if !a.cfg.Extended {
		a.thaw(now)
		a.nominate(now)
	}
	a.evaluate(now)
	a.sendDue(now)
	a.settle(now)
}

// checkedUntil is when a pair in progress has failed: when checks are over, or
// later if it began late. The bound and the deadline are those of all pairs.
func (p *pair) checkedUntil(bound time.Duration, deadline time.Time) time.Time {
	if own := p.started.Add(bound); own.After(deadline) {
		return own
	}
	return deadline
}

func (a *Agent) expire(now time.Time) {
	bound, deadline := SettleAfter(a.RTT()), a.settleDeadline()
	for _, p := range a.pairs {
		switch {
		case p.state == inProgress && a.cfg.Extended && !now.Before(p.checkedUntil(bound, deadline)),
			p.state == inProgress && !a.cfg.Extended && p.exhausted(now):
			p.fail()
		case p.state == succeeded && a.dead(now, p):
			p.fail()
			p.closed = !a.cfg.Extended // RFC 7675 section 5.1
			if p == a.selected {
				a.lose(now)
			}
		}
	}
}

// diesAt is when a valid pair that is asked counts as dead; the zero time: never.
// Consent counts from the last answer (RFC 7675 section 5.1), and so it does with
// a standard agent. A nomination that nobody answers ends a pair, too.
func (a *Agent) diesAt(p *pair) time.Time {
	switch {
	case a.cfg.Consent < 0 && (a.cfg.Extended || !a.nominates(p)), p.unanswered.IsZero():
		return time.Time{}
	case a.cfg.Extended:
		return p.unanswered.Add(a.deadAfter(p))
	case a.nominates(p) && p.sends >= sendsOfCheck:
		return p.next
	case a.nominates(p):
		return time.Time{}
	}
	return p.answered.Add(a.cfg.DeadAfter)
}

func (a *Agent) dead(now time.Time, p *pair) bool {
	at := a.diesAt(p)
	return !at.IsZero() && !now.Before(at)
}

// doubtful says that a valid pair leaves checks unanswered for longer than one
// lost packet explains, or has not been proved since our network changed. A standard
// agent's doubts would lead nowhere: it has one pair.
func (a *Agent) doubtful(now time.Time, p *pair) bool {
	if !a.renominates() {
		return false
	}
	if p.answered.Before(a.rebound) {
		return true
	}
	return a.cfg.Consent >= 0 && !p.unanswered.IsZero() && now.Sub(p.unanswered) >= a.suspectAfter(p)
}

// lose gives up the path in use.
func (a *Agent) lose(now time.Time) {
	p := a.selected
	a.selected = nil
	a.events.Push(PathLost{Path: a.pathOf(p), After: now.Sub(p.answered)})
	if a.cfg.Extended {
		a.recheck(now) // a standard agent's owner restarts
	}
	if next := a.choose(now, nil); next != nil {
		a.use(now, next, p)
		return
	}
	a.events.Push(PathChanged{Old: a.pathOf(p)})
}

// evaluate decides which pair is in use.
func (a *Agent) evaluate(now time.Time) {
	current := a.selected
	if current != nil && a.doubtful(now, current) {
		a.probeOthers(now, current)
	}
	next := a.choose(now, current)
	if next == nil || next == current {
		return
	}
	switch {
	case current == nil:
	case a.doubtful(now, current) && !current.elsewhere.IsZero() && next.relayed() == current.relayed():
		// The peer's address has changed: nothing is lost.
	case a.doubtful(now, current):
		a.events.Push(PathLost{Path: a.pathOf(current), After: now.Sub(current.answered)})
		if a.cfg.Extended {
			a.recheck(now)
		}
	case a.settled:
		a.switchedAt = now
	}
	a.use(now, next, current)
}

// use moves the session from old, nil after a loss, to p.
func (a *Agent) use(now time.Time, p, old *pair) {
	a.selected = p
	if old != nil && old.former && !p.former {
		a.pairs = slices.DeleteFunc(a.pairs, func(q *pair) bool { return q.former })
	}
	if a.controlling && a.renominates() {
		a.nomination++
		p.next = now // says so to the peer
	} else if now.Sub(p.answered) > silence {
		p.next = now
	}
	a.events.Push(PathChanged{Old: a.pathOf(old), New: a.pathOf(p)})
	if old != nil {
		a.scheduleConsent(now, old)
	}
	a.scheduleConsent(now, p)
}

// choose picks among the valid pairs. The controlling side's word counts unless
// the pair it nominated leaves checks unanswered and another does not.
func (a *Agent) choose(now time.Time, current *pair) *pair {
	if n := a.nominated; (!a.controlling || !a.renominates()) && n != nil && n.state == succeeded && !a.doubtful(now, n) {
		return n
	}
	if a.settled && !a.renominates() {
		return current // what was concluded stays, or is lost
	}
	best := current
	for _, p := range a.pairs {
		if p.state == succeeded && a.preferable(now, p, best) && !a.premature(now, p) {
			best = p
		}
	}
	return best
}

// premature says that a standard agent that controls does not nominate a relayed pair
// yet where renomination is agreed, although it could nominate another one later:
// pion/ice checks nothing any more once something is nominated, and no NAT of its would
// open.
func (a *Agent) premature(now time.Time, p *pair) bool {
	agreed := a.cfg.Renomination && !a.cfg.Extended && a.controlling
	return agreed && p.relayed() && !p.former && now.Before(a.nominateAt()) && slices.ContainsFunc(a.pairs, hopeful)
}

// preferable says whether p, which is valid, is to be used rather than q.
func (a *Agent) preferable(now time.Time, p, q *pair) bool {
	if q == nil {
		return !a.doubtful(now, p)
	}
	if a.doubtful(now, q) {
		// Only an answer that came after the doubts began is better than them.
		return p.answered.After(q.unanswered) && !a.doubtful(now, p)
	}
	if a.doubtful(now, p) || p.former {
		return false
	}
	if q.former {
		return true
	}
	if q == a.selected && p.answered.Before(a.started) {
		return false // known from before the restart only
	}
	if p.relayed() != q.relayed() {
		return q.relayed()
	}
	if p.withdrawn != q.withdrawn {
		return q.withdrawn
	}
	if p.split() != q.split() {
		return q.split() // a way back that is the way there keeps itself open
	}
	if q != a.selected {
		return p.priority > q.priority
	}
	// A pair in use yields to one of its own kind only while checks go on, or if
	// it has long been worse: paths would flap.
	return !a.settled && !p.relayed() && p.priority > q.priority || a.better(now, p, q)
}

// probeOthers asks every other valid pair whether it lives, once for each time
// the current one became doubtful.
func (a *Agent) probeOthers(now time.Time, current *pair) {
	for _, p := range a.pairs {
		if p != current && p.state == succeeded && p.lastSent.Before(current.unanswered) {
			p.next = now
		}
	}
}

// standby is the relayed pair that is kept alive beside a direct path, so that
// there is something to fall back to.
func (a *Agent) standby() *pair {
	if a.selected == nil || a.selected.relayed() {
		return nil
	}
	var withdrawn *pair
	for _, p := range a.pairs {
		switch {
		case p.state != succeeded || !p.relayed() || p.former || !a.cfg.Extended:
		case !p.withdrawn:
			return p
		case withdrawn == nil:
			withdrawn = p
		}
	}
	return withdrawn
}

// scheduleConsent says when a valid pair is asked next: the one in use and the
// one on standby regularly, others not at all. A check that is due already
// stays due.
func (a *Agent) scheduleConsent(now time.Time, p *pair) {
	if p.state != succeeded || !p.unanswered.IsZero() || (!p.next.IsZero() && !p.next.After(now)) {
		return
	}
	if a.nominates(p) && p.acknowledged != a.nomination {
		p.next = p.lastSent.Add(a.rto(p)) // the nomination is still to be confirmed
		return
	}
	p.next = time.Time{}
	if p == a.selected || p == a.standby() || p == a.rival() {
		if d, _ := a.interval(now); d > 0 {
			p.next = now.Add(d)
		}
	}
}

// settle reports the end of checks.
func (a *Agent) settle(now time.Time) {
	kind := a.pathOf(a.selected).Kind
	if a.settled {
		if kind == a.outcome || kind == NoPath {
			return
		}
	} else if !a.checksOver(now, kind) {
		return
	}
	a.settled, a.outcome = true, kind
	if kind == Direct || !a.cfg.Extended {
		a.cease()
	}
	a.events.Push(Settled{Path: a.pathOf(a.selected)})
}

// cease ends the checks of direct pairs that are not needed any more
// (RFC 8445 section 8.1.2). Relayed ones of an extended agent go on: one is wanted
// on standby.
func (a *Agent) cease() {
	for _, p := range a.pairs {
		if (p.state == waiting || p.state == inProgress || p.state == frozen) && (!p.relayed() || !a.cfg.Extended) {
			p.fail()
		}
	}
}

func (a *Agent) checksOver(now time.Time, kind PathKind) bool {
	if !a.cfg.Extended {
		return a.conclude(now)
	}
	if len(a.pairs) == 0 && a.heard.IsZero() {
		return !now.Before(a.settleDeadline())
	}
	if kind == Direct && !a.selected.withdrawn && !a.selected.answered.Before(a.started) && a.agreed() {
		return true
	}
	if !now.Before(a.settleDeadline()) {
		return true
	}
	return !slices.ContainsFunc(a.pairs, func(p *pair) bool {
		return p.state == waiting || p.state == inProgress || (p.state == succeeded && p.answered.Before(a.started) && !p.next.IsZero())
	})
}

// agreed says that both sides know of the nomination of the path in use.
func (a *Agent) agreed() bool {
	if a.controlling {
		return a.selected.acknowledged == a.nomination
	}
	return a.selected == a.nominated
}

// sendDue sends what is due: consent checks at once, checks of the check list
// one a pace, triggered ones first. An extended agent may be a burst ahead of that.
func (a *Agent) sendDue(now time.Time) {
	if a.revoked {
		return
	}
	for _, p := range a.pairs {
		if p.state == succeeded && !p.next.IsZero() && !p.next.After(now) && a.known(p) {
			a.sendConsent(now, p)
		}
	}
	for !now.Before(a.slot()) {
		p := a.dueCheck(now)
		if p == nil {
			return
		}
		if a.broke(p) {
			continue
		}
		a.send(now, p)
		if a.nextSlot.Before(now) {
			a.nextSlot = now
		}
		a.nextSlot = a.nextSlot.Add(a.cfg.Pace)
	}
}

// slot is when the next check may leave.
func (a *Agent) slot() time.Time {
	if a.cfg.Extended {
		return a.nextSlot.Add(-(openingBurst - 1) * a.cfg.Pace)
	}
	return a.nextSlot
}

// known says that we have what it takes to check a pair: the peer's password.
func (a *Agent) known(p *pair) bool {
	_, remote := a.keys(p)
	return remote.ufrag != ""
}

// dueCheck is the check that goes next: triggered before ordinary, then what
// has waited longest, then the better pair. A standard agent takes what it has not
// sent yet by priority alone (RFC 8445 section 6.1.4.2).
func (a *Agent) dueCheck(now time.Time) *pair {
	var due *pair
	for _, p := range a.pairs {
		if (p.state != waiting && p.state != inProgress) || p.next.IsZero() || p.next.After(now) || !a.known(p) {
			continue
		}
		switch {
		case due == nil, p.triggered && !due.triggered:
			due = p
		case p.triggered != due.triggered, !a.cfg.Extended && !p.triggered && p.state == waiting && due.state == waiting:
		case p.next.Before(due.next):
			due = p
		}
	}
	return due
}

// sendConsent asks over a valid pair, or only keeps its mapping where nothing is
// to be asked. A nomination is always asked for: it has to be known.
func (a *Agent) sendConsent(now time.Time, p *pair) {
	d, ask := a.interval(now)
	nominates := a.nominates(p) && p.acknowledged != a.nomination || a.nominates(p) && !a.renominates()
	probes := !p.unanswered.IsZero() || p.answered.Before(a.started)
	if a.cfg.Consent < 0 && !p.unanswered.IsZero() && now.Sub(p.unanswered) >= a.deadAfter(p) {
		// Nobody answers, and nobody wants to know: back to mere keepalives.
		p.unanswered, p.sends = time.Time{}, 0
	} else if ask || nominates || probes {
		a.send(now, p)
		return
	}
	p.next = time.Time{}
	if d > 0 && (p == a.selected || p == a.standby() || p == a.rival()) {
		a.sendIndication(p)
		p.next = now.Add(d)
	}
}

// PollTimeout is when HandleTimeout wants to be called; the zero time means
// never.
func (a *Agent) PollTimeout() time.Time {
	if !a.polled {
		a.wake, a.polled = a.nextWake(), true
	}
	return a.wake
}

func (a *Agent) nextWake() time.Time {
	var wake time.Time
	consider := func(t time.Time) {
		if !t.IsZero() && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	bound, deadline := SettleAfter(a.RTT()), a.settleDeadline()
	for _, p := range a.pairs {
		if a.revoked || !a.known(p) {
			continue
		}
		switch p.state {
		case waiting, inProgress:
			if slot := a.slot(); !p.next.IsZero() && p.next.Before(slot) {
				consider(slot)
			} else {
				consider(p.next)
			}
			if p.state == inProgress && a.cfg.Extended {
				consider(p.checkedUntil(bound, deadline))
			}
		case succeeded:
			consider(p.next)
			consider(a.diesAt(p))
			if p == a.selected && a.renominates() && a.cfg.Consent >= 0 && !p.unanswered.IsZero() {
				consider(a.suspicion(p))
			}
			consider(a.betterAt(p))
			if p == a.selected {
				consider(a.quietAt(p))
				consider(a.lateAt(p))
			}
		}
	}
	if !a.settled {
		consider(a.overAt(deadline))
	}
	return wake
}

// overAt is when checks that are not over have to be looked at.
func (a *Agent) overAt(deadline time.Time) time.Time {
	if a.cfg.Extended {
		return deadline
	}
	for _, at := range []time.Time{a.nominateAt(), a.started.Add(a.cfg.Patience)} {
		if at.After(a.stepped) {
			return at
		}
	}
	return time.Time{}
}

// betterAt is when a pair that is better has been so for long enough.
func (a *Agent) betterAt(p *pair) time.Time {
	if p.betterSince.IsZero() || p == a.selected || !a.rates() {
		return time.Time{}
	}
	at := p.betterSince.Add(betterFor)
	if pause := a.switchedAt.Add(switchPause); pause.After(at) {
		at = pause
	}
	if at.After(a.stepped) {
		return at
	}
	return time.Time{}
}

// suspicion is when a pair in use becomes doubtful; the zero time once it is.
func (a *Agent) suspicion(p *pair) time.Time {
	at := p.unanswered.Add(a.suspectAfter(p))
	if !at.After(a.stepped) {
		return time.Time{}
	}
	return at
}

// Answered is when the path in use answered last; the zero time without one.
func (a *Agent) Answered() time.Time {
	if a.selected == nil {
		return time.Time{}
	}
	return a.selected.answered
}

// KindOf says of what kind the path is by which a packet came.
func (a *Agent) KindOf(b Base, from netip.AddrPort) PathKind {
	return a.pathOf(a.pathTo(b, from)).Kind
}
