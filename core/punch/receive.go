package punch

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// HandleDatagram takes a STUN message that arrived on a base. It reports
// whether the message belonged to this session; one that did may still have
// been refused.
func (a *Agent) HandleDatagram(now time.Time, b Base, from netip.AddrPort, payload []byte) bool {
	if !a.concerns(b, from, payload) {
		return false
	}
	a.polled = false
	m, err := parse(&a.parser, payload)
	if err != nil || m.Type.Method != pion.MethodBinding {
		return false
	}
	switch m.Type.Class {
	case pion.ClassRequest:
		return a.handleRequest(now, b, from, m, len(payload))
	case pion.ClassSuccessResponse, pion.ClassErrorResponse:
		return a.handleResponse(now, b, from, m)
	default:
		return true // a keepalive: no one may act on what nothing protects
	}
}

// concerns rules out most of what is for other sessions or for nobody, without
// the cost of reading it: a socket may have hundreds of agents behind it.
func (a *Agent) concerns(b Base, from netip.AddrPort, payload []byte) bool {
	if !stun.Is(payload) {
		return false
	}
	var t pion.MessageType
	t.ReadValue(binary.BigEndian.Uint16(payload))
	switch t.Class {
	case pion.ClassRequest:
		ufrag, ok := LocalUfrag(payload)
		return ok && (ufrag == a.local.ufrag || a.formerUfrag(ufrag))
	case pion.ClassIndication:
		return a.pathTo(b, from) != nil
	default:
		return a.flights.find(transactionID(payload[8:headerSize])) >= 0
	}
}

// formerUfrag says that a user name is one of before the last ICE restart, and that
// the path of then is still in use.
func (a *Agent) formerUfrag(ufrag string) bool {
	return a.selected != nil && a.selected.former && ufrag == a.formerLocal.ufrag
}

func (a *Agent) handleRequest(now time.Time, b Base, from netip.AddrPort, m *pion.Message, size int) bool {
	c, err := readCheck(m, a.local, a.remote)
	if errors.Is(err, errNotOurs) {
		return a.handleFormer(now, b, from, m)
	}
	if err != nil {
		// Unlike RFC 8489 section 9.1.3 nothing is answered: whoever does not
		// know the password gets no packet out of us.
		a.stats.Unauthentic++
		return true
	}
	a.stats.ChecksReceived++
	switch unknown := stun.UnknownRequired(m, pion.AttrPriority, pion.AttrUseCandidate); {
	case unknown != nil:
		a.answer(b, from, writeUnknown(m, unknown, a.local))
		return true
	case c.priority == 0:
		a.answer(b, from, writeError(m, stun.CodeBadRequest, "PRIORITY is missing", a.local))
		return true
	case a.revoked:
		a.answer(b, from, writeError(m, stun.CodeForbidden, "Forbidden", a.local))
		return true
	case c.controlling == a.controlling && a.resolveConflict(c):
		a.answer(b, from, writeError(m, codeRoleConflict, "Role Conflict", a.local))
		a.step(now)
		return true
	}
	p, ok := a.learn(now, b, from, c)
	if !ok {
		return true // not a pair we may use: silence, or the peer would use it
	}
	if a.heard.IsZero() {
		a.heard = now
	}
	a.arrived(now, m) // what it asks for, the answer carries
	if p == nil {
		a.answer(b, from, a.success(now, m, from, size))
		return true // there is one that does as well
	}
	p.heard = now
	p.got += size
	if success := a.success(now, m, from, min(size, a.credit(p)-a.reserve(now, p))); success != nil {
		a.answer(b, from, success)
		p.spent += len(success)
	}
	if c.useCandidate && !a.controlling {
		a.acceptNomination(p, c.nomination)
	}
	a.trigger(now, p)
	a.step(now)
	return true
}

// handleFormer answers a check of the session before the last ICE restart: the peer
// asks whether it may go on with the path in use.
func (a *Agent) handleFormer(now time.Time, b Base, from netip.AddrPort, m *pion.Message) bool {
	p := a.selected
	if p == nil || !p.former || a.revoked {
		return false
	}
	if _, err := readCheck(m, a.formerLocal, a.formerRemote); err != nil {
		return !errors.Is(err, errNotOurs)
	}
	a.stats.ChecksReceived++
	p.heard = now
	a.answer(b, from, writeSuccess(m, from, a.formerLocal, nil))
	return true
}

// answer queues a response.
func (a *Agent) answer(b Base, to netip.AddrPort, payload []byte) {
	a.transmits.Push(Transmit{b, to, payload})
}

// resolveConflict settles who controls (RFC 8445 section 7.3.1.1). It reports
// whether the peer has to switch and be told so; otherwise we switched.
func (a *Agent) resolveConflict(c check) (refuse bool) {
	a.stats.RoleConflicts++
	if a.controlling == (a.cfg.TieBreaker >= c.tieBreaker) {
		return true
	}
	a.setRole(!a.controlling)
	return false
}

func (a *Agent) setRole(controlling bool) {
	a.controlling = controlling
	a.nominated = nil
	for _, p := range a.pairs {
		a.prioritise(p)
		p.acknowledged = 0
	}
	a.order()
}

// trigger checks the reverse of a pair that a check arrived on
// (RFC 8445 section 7.3.1.4).
func (a *Agent) trigger(now time.Time, p *pair) {
	if a.owes(p) && a.credit(p) < a.leastCheck() && (p.strange || p.state != waiting) {
		return // not paid for
	}
	switch p.state {
	case waiting, frozen:
		p.state, p.next, p.triggered = waiting, now, true
	case inProgress:
		if !a.cfg.Extended {
			// The transaction is given up; an answer to it still counts.
			p.state, p.next, p.triggered = waiting, now, true
			return
		}
		// Its own check may have been sent before the peer's NAT was open.
		// Half a retransmission apart, or answers that get lost would make the
		// two sides trigger each other at the speed of the link.
		if soonest := p.lastSent.Add(a.rto(p) / 2); p.next.IsZero() || soonest.Before(p.next) {
			p.next, p.triggered = soonest, true
		}
	case failed:
		if p.closed || a.settled && !a.cfg.Extended && !p.named && p != a.nominated {
			return // what was concluded is over, unless the peer nominates another
		}
		if p.retriggers < maxRetriggers || !a.cfg.Extended {
			p.retriggers++
			p.state, p.next, p.triggered = waiting, now, true
			p.strange = a.cfg.Extended
		}
	case succeeded:
		// Nothing to prove.
	}
}

func (a *Agent) acceptNomination(p *pair, number uint32) {
	switch {
	case number == 0 || !a.renominates():
		p.named = true // by a peer that does not number its nominations
		a.recogniseNamed()
	case number > a.nomination, number == a.nomination && a.nominated == nil:
		a.nominated, a.nomination = p, number
	case number == a.nomination && number != 0:
		// The same nomination over another pair: the peer's address changed
		// under it. The pair heard last is the one.
		a.nominated = p
	}
}

// recogniseNamed takes the best of the valid pairs that the peer nominated without a
// number: it may nominate several (RFC 5245 section 8.1.1.2). Once it numbers them, as
// pion/ice does from the second one on, only numbers count.
func (a *Agent) recogniseNamed() {
	if a.controlling || a.nomination != 0 && a.renominates() {
		return
	}
	for _, p := range a.pairs {
		if p.named && p.state == succeeded {
			a.nominated = p
			return
		}
	}
}

func (a *Agent) handleResponse(now time.Time, b Base, from netip.AddrPort, m *pion.Message) bool {
	i := a.flights.find(m.TransactionID)
	if i < 0 {
		return false
	}
	f := a.flights[i]
	p := f.pair
	if _, remote := a.keys(p); remote.integrity.Check(m) != nil {
		a.stats.Unauthentic++
		return true
	}
	if (p.base != b || p.remote.Addr != from) && !a.splits(p, b) {
		a.asymmetric(now, p)
		return true
	}
	a.flights = slices.Delete(a.flights, i, i+1)
	if !slices.Contains(a.pairs, p) {
		return true // it left the check list meanwhile
	}
	if m.Type.Class == pion.ClassErrorResponse {
		a.handleError(now, f, m)
		return true
	}
	parted := p == a.selected && p.from == p.remote.Addr && from != p.from
	p.from = from
	a.stats.AnswersReceived++
	if a.heard.IsZero() {
		a.heard = now
	}
	answer := a.arrived(now, m)
	a.confirm(now, f, m)
	if answer {
		a.send(now, p)
	}
	if parted { // it moved while the check was on its way
		a.heardElsewhere(now, b, from, a.findPair(b, from), len(m.Raw))
	}
	a.step(now)
	return true
}

// confirm takes a success response: the pair is valid.
func (a *Agent) confirm(now time.Time, f flight, m *pion.Message) {
	p := f.pair
	if p.state == failed && p.closed || a.revoked {
		return
	}
	if !f.repeated { // else nobody knows of which copy it is the answer
		p.measure(max(now.Sub(f.sent), time.Microsecond))
	}
	p.keep()
	a.flights.overtaken(f)
	if mapped, err := stun.GetXORAddress(m, pion.AttrXORMappedAddress); err == nil {
		a.seenAt(p, mapped)
	}
	p.acknowledged = max(p.acknowledged, f.nomination)
	p.concluded = p.concluded || f.nominates && p == a.nominated
	p.answered, p.heard, p.sends = now, now, 0
	if !f.sent.Before(p.unanswered) {
		p.unanswered, p.late = time.Time{}, false
	}
	if !f.sent.Before(p.elsewhere) {
		p.elsewhere = time.Time{}
	}
	if p.state != succeeded && a.validSince.IsZero() && !p.former {
		a.validSince = now
	}
	p.state = succeeded
	p.triggered = false
	p.next = time.Time{}
	if !p.elsewhere.IsZero() {
		p.next = now // that was before it was heard elsewhere
	}
	if p.named {
		a.recogniseNamed()
	}
	a.scheduleConsent(now, p)
}

// asymmetric is what RFC 8445 section 7.2.5.2.1 wants of an answer that comes from
// another address than was probed. An extended agent goes on: it is an answer to
// another copy, maybe, of what took the right way.
func (a *Agent) asymmetric(now time.Time, p *pair) {
	a.stats.Asymmetric++
	if !a.cfg.Extended && p.state != succeeded {
		p.fail()
		a.step(now)
	}
}

func (a *Agent) handleError(now time.Time, f flight, m *pion.Message) {
	p := f.pair
	switch err := stun.ErrorOf(m); {
	case stun.IsCode(err, codeRoleConflict):
		if f.controlling == a.controlling {
			a.stats.RoleConflicts++
			a.setRole(!a.controlling)
			a.cfg.TieBreaker = binary.BigEndian.Uint64(a.draw(8))
		}
		if p.state == inProgress {
			p.state = waiting
		}
		p.next, p.triggered = now, true
	case stun.IsCode(err, stun.CodeForbidden):
		// Consent is revoked (RFC 7675 section 5.2).
		p.fail()
		p.closed = true
		if p == a.selected {
			a.lose(now)
		}
	case !a.cfg.Extended:
		p.fail() // RFC 8445 section 7.2.5.2.4
		if p == a.selected {
			a.lose(now)
		}
	default:
		return // the check counts as unanswered; its pair runs out of time
	}
	a.step(now)
}
