package punch

import (
	"net/netip"
	"slices"
	"time"
)

// This file is about signs that an address has changed, before silence proves it: a
// NAT was restarted, or has given a mapping another port.
//
//   - Authentic data of the peer's comes from a new address. It is checked at once, and
//     so is the path in use; data goes there when it has answered and the path in use has
//     not (RFC 9000 section 9.3). Where that one answers as well, somebody on the path
//     may have sent a copy from elsewhere (section 9.3.3), and nothing changes.
//   - An answer says that the peer sees us elsewhere: the owner is told.
//   - A peer that was speaking is silent: it is asked, though we may have nothing to
//     say. Who only listens would notice with the next keepalive else.
//
// Frames that are repeated never get here: whoever opens them refuses them. Whoever
// gives authentic frames other source addresses has us send a few checks there, as
// many as mayLearn grants, and no more bytes than came from there.

// leastFrames is how much of a rhythm makes one.
const leastFrames = 4

// NoteReceived says that authenticated data of the peer arrived on a base, in a
// datagram of so many bytes.
func (a *Agent) NoteReceived(now time.Time, b Base, from netip.AddrPort, size int) {
	p := a.pathTo(b, from)
	if p == nil || p != a.selected {
		a.heardElsewhere(now, b, from, p, size)
	}
	if p != nil {
		p.rhythm += (min(now.Sub(p.heard), longSilence) - p.rhythm) / 4
		if p.frames > 0 {
			p.pulse += (min(now.Sub(p.spoken), longSilence) - p.pulse) / 4
		}
		p.heard, p.spoken, p.quiet = now, now, false
		p.frames = min(p.frames+1, leastFrames)
	}
}

// heardElsewhere takes data that came otherwise than by the path in use; p is its pair, if
// there is one.
func (a *Agent) heardElsewhere(now time.Time, b Base, from netip.AddrPort, p *pair, size int) {
	s := a.selected
	if !a.cfg.Extended || s == nil || a.revoked || a.cfg.Consent < 0 || p != nil && (p.former || p.closed) {
		return
	}
	switch {
	case p == nil, p.state == failed:
	case p.state == succeeded:
		// It may have changed paths before us. Does it still answer by ours?
		if s.unanswered.IsZero() && now.Sub(s.lastSent) > longSilence && a.mayLearn(now) {
			s.next = now
			a.step(now)
		}
		return
	default: // it is being checked
		p.got += size
		if p.next.IsZero() { // until now nothing has paid for a check
			a.trigger(now, p)
			a.step(now)
		}
		return
	}
	if !a.mayLearn(now) {
		return
	}
	if p == nil {
		if p = a.addPair(now, b, a.strangeCandidate(from)); p == nil {
			return
		}
		p.strange = !a.offered(from)
	}
	p.got += size
	p.strange = p.strange || p.state == failed // its checks were over
	p.state, p.next, p.triggered = waiting, now, true
	if p.relayed() == s.relayed() {
		a.askBeside(now)
	}
	a.step(now)
}

// strangeCandidate stands for an address from which data came.
func (a *Agent) strangeCandidate(from netip.AddrPort) Candidate {
	if i := slices.IndexFunc(a.remotes, func(r Candidate) bool { return r.Addr == from }); i >= 0 {
		return a.remotes[i]
	}
	return Candidate{Kind: PeerReflexive, Addr: from, Priority: priority(PeerReflexive, directPreference)}
}

// askBeside asks over the path in use whether the peer still answers there, since it has
// been heard elsewhere. Once checks are over one answer that stays away is enough for
// the path to be left.
func (a *Agent) askBeside(now time.Time) {
	s := a.selected
	if s == nil {
		return
	}
	if a.settled && s.elsewhere.IsZero() {
		s.elsewhere = now
	}
	if at := s.lastSent.Add(a.rto(s)); now.After(at) {
		s.next = now
	} else if a.settled && s.unanswered.IsZero() {
		s.next = at
	}
}

// seenAt takes at which address the peer sees us.
func (a *Agent) seenAt(p *pair, mapped netip.AddrPort) {
	old := p.mapped
	p.mapped = mapped
	if old.IsValid() && old != mapped && p.local.Kind != Relayed && a.cfg.Extended {
		a.events.Push(Remapped{Path: a.pathOf(p), Old: old, InUse: p == a.selected})
	}
}

// listen notices that the path in use has fallen silent.
func (a *Agent) listen(now time.Time) {
	p := a.selected
	if p == nil {
		return
	}
	quiet, late := due(now, a.quietAt(p)), due(now, a.lateAt(p))
	if quiet && p.unanswered.IsZero() {
		p.next = now
	}
	p.quiet, p.late = p.quiet || quiet, p.late || late
	if quiet || late {
		a.events.Push(PathQuiet{Path: a.pathOf(p)})
	}
}

// quietAt is when a peer that was speaking will have been silent for longer than its
// rhythm lets expect; the zero time where there is none.
func (a *Agent) quietAt(p *pair) time.Time {
	if !a.cfg.Extended || a.cfg.Consent < 0 || p.quiet || p.frames < leastFrames || p.pulse >= longSilence/2 {
		return time.Time{}
	}
	return p.heard.Add(max(silence, 4*p.pulse))
}

// lateAt is when a check over a path will not have been answered as soon as others were.
func (a *Agent) lateAt(p *pair) time.Time {
	if !a.cfg.Extended || a.cfg.Consent < 0 || p.late || p.unanswered.IsZero() {
		return time.Time{}
	}
	return p.unanswered.Add(a.rto(p))
}

func due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }

// silent says that a pair has said nothing for longer than its peer's data lets
// expect: who speaks twice a second is not silent after a third of one, and asking
// then would double what the session sends.
func (p *pair) silent(now time.Time) bool {
	return now.Sub(p.heard) >= min(max(silence, 3*p.rhythm), longSilence)
}

// NoteSent says that data was sent over the path in use. A path that carries
// data and says nothing is asked at once whether it lives.
func (a *Agent) NoteSent(now time.Time) {
	p := a.selected
	a.spoke = now
	if p == nil || a.cfg.Consent < 0 || !p.unanswered.IsZero() || !p.silent(now) {
		return
	}
	p.next = now
	a.step(now)
}
