package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// Where there are several relays to choose from, each is asked again and again how
// far it is, by Binding requests, which any relay answers without credentials. We
// have allocations at the two nearest that answer: peers are offered both, so that
// a session that goes over one of them goes on over the other when it dies, with
// nobody to ask first. Which of all relayed pairs a session takes is its agent's
// decision: a check's round trip has both sides' way to the relay in it.

// gauge measures a relay.
type gauge struct {
	cfg RelayConfig
	// rtt is the smoothed round trip; zero: it has never answered.
	rtt time.Duration
	// unanswered is when the oldest request was sent since the last answer, sends
	// how many there were; zero while nothing is outstanding.
	unanswered time.Time
	sends      int
	asked      []question
	next       time.Time
	down       bool
	// nearer counts its answers in a row in which it was nearer than the farthest
	// relay in use, by more than chance.
	nearer int
	// mapped is our address as it sees it.
	mapped netip.AddrPort
	// barred is until when it gets no allocation, because it refused one; refusals
	// how often in a row.
	barred   time.Time
	refusals int
}

// question is a Binding request in flight.
type question struct {
	id   [pion.TransactionIDSize]byte
	sent time.Time
}

const (
	// relaysUsed is how many relays hold an allocation of ours, where there are as
	// many: one to use and one to fall back on.
	relaysUsed = 2
	// gaugeEvery is the time between two questions to a relay that answers.
	gaugeEvery = 15 * time.Second
	// gaugeFirst is the time between two questions to one that has never answered.
	gaugeFirst = 250 * time.Millisecond
	// gaugeDown is the time between two questions to one that is down.
	gaugeDown = 5 * time.Second
	// relayDeadAfter is how long a relay may leave questions unanswered, and
	// relayDeadAsks how many.
	relayDeadAfter = 2 * time.Second
	relayDeadAsks  = 5
	// Another relay takes an allocation's place when it was nearer nearerTimes in a
	// row by nearerBy, and by a fifth.
	nearerTimes = 3
	nearerBy    = 10 * time.Millisecond
	// maxQuestions are as many as may still be answered.
	maxQuestions = 8
)

// errRelayDead is why an allocation was left.
var errRelayDead = errors.New("the relay has stopped answering")

// setGauges begins to measure relays, if there are several.
func (m *Machine) setGauges(now time.Time, list []RelayConfig) {
	before := m.gauges
	m.gauges = nil
	if len(list) < 2 {
		return
	}
	for _, cfg := range list {
		g := &gauge{cfg: cfg, next: now}
		if i := slices.IndexFunc(before, func(o *gauge) bool { return o.cfg.Server == cfg.Server }); i >= 0 {
			g = before[i]
			g.cfg, g.barred = cfg, time.Time{}
		}
		m.gauges = append(m.gauges, g)
	}
	m.ask(now)
}

// gaugeOf is the measure of an allocation's relay; nil: there is only one relay.
func (m *Machine) gaugeOf(a *allocation) *gauge {
	for _, g := range m.gauges {
		if g.cfg.Server == a.cfg.Server {
			return g
		}
	}
	return nil
}

// regauge begins anew with all measures: on another network everything is as far as
// it is.
func (m *Machine) regauge(now time.Time) {
	for _, g := range m.gauges {
		*g = gauge{cfg: g.cfg, next: now}
	}
	m.ask(now)
}

// ask asks the relays whose turn it is.
func (m *Machine) ask(now time.Time) {
	if !m.bound {
		return
	}
	for _, g := range m.gauges {
		if due(now, g.next) {
			m.question(now, g)
		}
	}
}

func (m *Machine) question(now time.Time, g *gauge) {
	q := question{sent: now}
	m.draw(q.id[:])
	if len(g.asked) == maxQuestions {
		g.asked = slices.Delete(g.asked, 0, 1)
	}
	g.asked = append(g.asked, q)
	m.toServer(g.cfg.Server, stun.Binding(q.id, stun.PaysForMapped))
	if g.unanswered.IsZero() {
		g.unanswered = now
	}
	g.sends++
	g.next = now.Add(g.wait())
}

// wait is how long to wait for an answer before the next question.
func (g *gauge) wait() time.Duration {
	switch {
	case g.down:
		return gaugeDown
	case g.rtt == 0:
		return gaugeFirst
	}
	return min(max(2*g.rtt, 100*time.Millisecond), relayDeadAfter/relayDeadAsks)
}

// answered takes the answer to a question.
func (m *Machine) answered(now time.Time, from netip.AddrPort, payload []byte) bool {
	if len(m.gauges) == 0 || !stun.Is(payload) || len(payload) < 20 {
		return false
	}
	for _, g := range m.gauges {
		if g.cfg.Server != from {
			continue
		}
		i := slices.IndexFunc(g.asked, func(q question) bool { return string(q.id[:]) == string(payload[8:20]) })
		if i < 0 {
			return false
		}
		m.seenByGauge(now, g, payload)
		g.measured(now.Sub(g.asked[i].sent))
		g.asked = slices.Delete(g.asked, 0, i+1)
		g.unanswered, g.sends, g.down = time.Time{}, 0, false
		g.next = now.Add(gaugeEvery)
		m.compare(g)
		m.steer(now)
		return true
	}
	return false
}

func (g *gauge) measured(rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	if g.rtt == 0 || g.down {
		g.rtt = rtt
		return
	}
	g.rtt += (rtt - g.rtt) / 4
}

// compare notes whether a relay without an allocation is nearer than one with.
func (m *Machine) compare(g *gauge) {
	far := m.farthest()
	if m.allocationAt(g) == nil && far != nil && g.rtt+max(nearerBy, far.rtt/5) < far.rtt {
		g.nearer++
		return
	}
	g.nearer = 0
}

// farthest is the farthest relay in use.
func (m *Machine) farthest() (far *gauge) {
	for _, a := range m.inUse() {
		if g := m.gaugeOf(a); g != nil && (far == nil || g.rtt > far.rtt) {
			far = g
		}
	}
	return far
}

func (m *Machine) allocationAt(g *gauge) *allocation {
	for _, a := range m.inUse() {
		if a.cfg.Server == g.cfg.Server {
			return a
		}
	}
	return nil
}

// bar keeps a relay that refused us from being asked again at once.
func (g *gauge) bar(now time.Time) {
	g.barred = now.Add(min(relayBackoff<<min(g.refusals, 10), relayBackoffMax))
	g.refusals++
}

// hurry has the relays in use asked at once whether they still answer.
func (m *Machine) hurry(now time.Time) {
	for _, a := range m.inUse() {
		if g := m.gaugeOf(a); g != nil && !g.down && g.unanswered.IsZero() {
			g.next = now
		}
	}
	m.ask(now)
}

// gaugeRelays asks whose turn it is, and leaves relays that have stopped answering.
func (m *Machine) gaugeRelays(now time.Time) {
	m.ask(now)
	for _, g := range m.gauges {
		if !due(now, g.deadAt()) {
			continue
		}
		g.down, g.nearer, g.next = true, 0, now.Add(gaugeDown)
		m.doubtUDP(now, g.cfg.Server)
		if a := m.allocationAt(g); a != nil {
			a.relayed = netip.AddrPort{}
			m.Emit(RelayFailed{Err: fmt.Errorf("relay %s: %w", g.cfg.Server, errRelayDead)})
			m.forgo(now, a)
		}
		m.steer(now)
	}
	if slices.ContainsFunc(m.gauges, func(g *gauge) bool { return due(now, g.barred) }) {
		for _, g := range m.gauges {
			if due(now, g.barred) {
				g.barred = time.Time{}
			}
		}
		m.steer(now)
	}
}

// deadAt is when a relay counts as down; zero: not while it answers.
func (g *gauge) deadAt() time.Time {
	if g.down || g.unanswered.IsZero() || g.sends < relayDeadAsks {
		return time.Time{}
	}
	return g.unanswered.Add(relayDeadAfter)
}

// wakeGauges is when gaugeRelays has something to do.
func (m *Machine) wakeGauges() (t time.Time) {
	for _, g := range m.gauges {
		t = earlier(earlier(earlier(t, g.next), g.deadAt()), g.barred)
	}
	return t
}

// steer holds allocations at the nearest relays that answer, or at the only one
// there is.
func (m *Machine) steer(now time.Time) {
	list := m.servers.Relays
	if len(list) == 1 {
		if len(m.inUse()) == 0 {
			m.allocate(now, list[0])
		}
		return
	}
	for len(m.inUse()) < min(relaysUsed, len(list)) {
		g := m.nearest()
		if g == nil {
			break
		}
		m.allocate(now, g.cfg)
	}
	m.improve(now)
	m.rank(now)
}

// nearest is the nearest relay that might get an allocation and has none.
func (m *Machine) nearest() (best *gauge) {
	for _, g := range m.gauges {
		if g.rtt > 0 && !g.down && g.barred.IsZero() && m.allocationAt(g) == nil && (best == nil || g.rtt < best.rtt) {
			best = g
		}
	}
	return best
}

// improve replaces the farthest relay in use by one that has proved nearer.
func (m *Machine) improve(now time.Time) {
	if slices.ContainsFunc(m.relays, func(a *allocation) bool { return a.leaving && a.until.IsZero() || !a.leaving && !a.relayed.IsValid() }) {
		return // one change at a time
	}
	g, far := m.nearest(), m.farthest()
	if g == nil || far == nil || g.nearer < nearerTimes {
		return
	}
	m.allocationAt(far).leaving = true
	m.arrange()
	m.allocate(now, g.cfg)
}

// rank puts the nearer one of the relays in use first, if it is by more than chance.
func (m *Machine) rank(now time.Time) {
	use := m.inUse()
	if len(use) < 2 {
		return
	}
	first, second := m.gaugeOf(use[0]), m.gaugeOf(use[1])
	if first == nil || second == nil || second.rtt == 0 || second.rtt+max(nearerBy, first.rtt/5) >= first.rtt {
		return
	}
	use[0], use[1] = use[1], use[0]
	m.updateOffer(now)
}
