package punch

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"
)

// flight is a check that was sent and may still be answered.
type flight struct {
	id         transactionID
	pair       *pair
	sent       time.Time
	nomination uint32 // 0: did not nominate
	// nominates: it carried USE-CANDIDATE. controlling is the role it claimed, for
	// a 487 that comes late.
	nominates, controlling bool
	// repeated: an answer may be that to an earlier copy, and gives no round-trip
	// time (RFC 6298 section 3).
	repeated bool
	// counts: it was sent over a valid pair, and says something of its loss if a
	// later one is answered. Those of the opening follow each other too closely.
	counts  bool
	payload []byte // to be repeated; standard agents only
}

// maxFlights bounds what an agent remembers; flightLife is past the longest
// round trip that still is one.
const (
	maxFlights = 1024
	flightLife = 10 * time.Second
	// standardLife is that of a check that is repeated.
	standardLife = time.Minute
	// usualFlights are those of the checks of two or three pairs.
	usualFlights = 8
)

// flights are the checks in flight, in order of sending. There are few: an agent
// whose path stands has one every some seconds.
type flights []flight

func (f *flights) add(fl flight, life time.Duration) {
	if *f == nil {
		*f = make(flights, 0, usualFlights)
	}
	past := 0
	for past < len(*f) && (len(*f)-past >= maxFlights || fl.sent.Sub((*f)[past].sent) >= life) {
		past++
	}
	*f = append(slices.Delete(*f, 0, past), fl)
}

// find gives the place of a check; -1: it is not in flight.
func (f flights) find(id transactionID) int {
	for i := len(f) - 1; i >= 0; i-- {
		if f[i].id == id {
			return i
		}
	}
	return -1
}

// overtaken notes that a check of a pair was answered: those before it are lost.
func (f flights) overtaken(answered flight) {
	for i := range f {
		if e := &f[i]; e.pair == answered.pair && e.counts && e.sent.Before(answered.sent) {
			e.counts = false
			e.pair.lose()
		}
	}
}

// draw fills what was drawn last from the random source, which is not allowed to
// fail: a machine without randomness is not safe to go on.
func (a *Agent) draw(size int) []byte {
	if _, err := io.ReadFull(a.cfg.Rand, a.drawn[:size]); err != nil {
		panic(fmt.Sprintf("punch: random source: %v", err))
	}
	return a.drawn[:size]
}

func (a *Agent) newID() transactionID { return transactionID(a.draw(pion.TransactionIDSize)) }

// send sends one check over a pair, or the last one again, and schedules the next.
func (a *Agent) send(now time.Time, p *pair) {
	payload := a.again(p)
	if payload == nil {
		payload = a.sendNew(now, p)
	}
	a.transmits.Push(Transmit{p.base, p.remote.Addr, payload})
	a.stats.ChecksSent++
	if a.charged(p) {
		p.spent += len(payload)
	}
	p.triggered = false
	p.lastSent = now
	p.sends++
	p.next = now.Add(a.interCheck(p))
	if p.unanswered.IsZero() {
		p.unanswered = now
	}
}

// again gives the check that is to be repeated; nil: a new one is to be sent.
func (a *Agent) again(p *pair) []byte {
	f, ok := a.repeats(p)
	if !ok {
		return nil
	}
	i := a.flights.find(f.id)
	a.flights[i].repeated = true
	return bytes.Clone(f.payload)
}

// sendNew makes a check that is a transaction of its own.
func (a *Agent) sendNew(now time.Time, p *pair) []byte {
	c := check{
		id:          a.newID(),
		priority:    checkPriority(p.local),
		controlling: a.controlling,
		tieBreaker:  a.cfg.TieBreaker,
		ride:        a.ride(now),
	}
	if a.nominates(p) {
		c.useCandidate = true
		if a.renominates() {
			c.nomination = a.nomination
		}
	}
	size := a.leastCheck() + rideRoom(c.ride)
	if a.charged(p) && size > a.credit(p) {
		c.ride = nil
	}
	c.fill = a.fill(p, size)
	if p.state == waiting {
		p.state = inProgress
		p.started, p.sends = now, 0
	}
	local, remote := a.keys(p)
	payload := writeCheck(c, local, remote)
	f := flight{id: c.id, pair: p, sent: now, nomination: c.nomination, nominates: c.useCandidate, controlling: c.controlling, counts: p.state == succeeded}
	life := flightLife
	if !a.cfg.Extended {
		f.payload, life = payload, standardLife
		p.check, p.rto, p.sends = c.id, a.rto(p), 0
	}
	a.flights.add(f, life)
	return payload
}

// sendIndication keeps a NAT's mapping without asking the peer anything.
func (a *Agent) sendIndication(p *pair) {
	a.transmits.Push(Transmit{p.base, p.remote.Addr, writeIndication(a.newID())})
}
