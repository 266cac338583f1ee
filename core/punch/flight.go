package punch

import (
	"fmt"
	"io"
	"time"
)

// flight is a check that was sent and may still be answered.
type flight struct {
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
)

// flights are the checks in flight, by transaction and in order of sending.
type flights struct {
	byID  map[transactionID]flight
	order []transactionID
}

func newFlights() flights { return flights{byID: make(map[transactionID]flight)} }

func (f *flights) add(id transactionID, fl flight) {
	for len(f.order) > 0 {
		oldest, ok := f.byID[f.order[0]]
		if ok && len(f.order) < maxFlights && fl.sent.Sub(oldest.sent) < flightLife {
			break
		}
		delete(f.byID, f.order[0])
		f.order = f.order[1:]
	}
	f.byID[id] = fl
	f.order = append(f.order, id)
}

// draw fills b from the random source, which is not allowed to fail: a machine
// without randomness is not safe to go on.
func (a *Agent) draw(b []byte) {
	if _, err := io.ReadFull(a.cfg.Rand, b); err != nil {
		panic(fmt.Sprintf("punch: random source: %v", err))
	}
}

func (a *Agent) newID() (id transactionID) {
	a.draw(id[:])
	return id
}

// send sends one check over a pair and schedules the next.
func (a *Agent) send(now time.Time, p *pair) {
	c := check{
		id:          a.newID(),
		priority:    checkPriority(p.local),
		controlling: a.controlling,
		tieBreaker:  a.cfg.TieBreaker,
	}
	if a.controlling && p == a.selected {
		c.useCandidate, c.nomination = true, a.nomination
	}
	a.flights.add(c.id, flight{pair: p, sent: now, nomination: c.nomination, controlling: c.controlling})
	a.transmits = append(a.transmits, Transmit{p.base, p.remote.Addr, writeCheck(c, a.local, a.remote)})
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
	a.transmits = append(a.transmits, Transmit{p.base, p.remote.Addr, writeIndication(a.newID())})
}
