package punch

import (
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
	// controlling is the role it claimed, for a 487 that comes late.
	controlling bool
}

// maxFlights bounds what an agent remembers; flightLife is past the longest
// round trip that still is one.
const (
	maxFlights = 1024
	flightLife = 10 * time.Second
	// usualFlights are those of the checks of two or three pairs.
	usualFlights = 8
)

// flights are the checks in flight, in order of sending. There are few: an agent
// whose path stands has one every some seconds.
type flights []flight

func (f *flights) add(fl flight) {
	if *f == nil {
		*f = make(flights, 0, usualFlights)
	}
	past := 0
	for past < len(*f) && (len(*f)-past >= maxFlights || fl.sent.Sub((*f)[past].sent) >= flightLife) {
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

// draw fills what was drawn last from the random source, which is not allowed to
// fail: a machine without randomness is not safe to go on.
func (a *Agent) draw(size int) []byte {
	if _, err := io.ReadFull(a.cfg.Rand, a.drawn[:size]); err != nil {
		panic(fmt.Sprintf("punch: random source: %v", err))
	}
	return a.drawn[:size]
}

func (a *Agent) newID() transactionID { return transactionID(a.draw(pion.TransactionIDSize)) }

// send sends one check over a pair and schedules the next.
func (a *Agent) send(now time.Time, p *pair) {
	c := check{
		id:          a.newID(),
		priority:    checkPriority(p.local),
		controlling: a.controlling,
		tieBreaker:  a.cfg.TieBreaker,
		ride:        a.ride(now),
	}
	if a.controlling && p == a.selected {
		c.useCandidate, c.nomination = true, a.nomination
	}
	a.flights.add(flight{id: c.id, pair: p, sent: now, nomination: c.nomination, controlling: c.controlling})
	a.transmits.Push(Transmit{p.base, p.remote.Addr, writeCheck(c, a.local, a.remote)})
	a.stats.ChecksSent++
	p.triggered = false
	p.lastSent = now
	if p.state == waiting {
		p.state = inProgress
		p.started, p.sends = now, 0
	}
	p.sends++
	p.next = now.Add(a.interCheck(p))
	if p.unanswered.IsZero() {
		p.unanswered = now
	}
}

// sendIndication keeps a NAT's mapping without asking the peer anything.
func (a *Agent) sendIndication(p *pair) {
	a.transmits.Push(Transmit{p.base, p.remote.Addr, writeIndication(a.newID())})
}
