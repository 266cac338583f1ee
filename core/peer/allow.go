package peer

import (
	"errors"
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/rendezvous"
)

// ErrNotAllowed is returned where a session with a peer is asked for that
// SetAllowed does not name, and given in Closed for one that it does not name any
// more.
var ErrNotAllowed = errors.New("sessions with this peer are not allowed")

// SetAllowed says with whom there may be sessions: with these, or with anybody if
// the list is nil. Sessions with others are closed, and introductions of others are
// ignored and counted. Members of our rooms who are allowed now are connected to,
// and who has just introduced itself is welcome then: two that learn of each other
// at about the same time have one session, not two of which one is given up.
//
// While there is a list, it is what decides: Leave keeps the sessions with members
// who are on it.
func (m *Machine) SetAllowed(now time.Time, ids []identity.ID) {
	m.allowed = nil
	if ids != nil {
		m.allowed = make(map[identity.ID]bool, len(ids))
		for _, id := range ids {
			m.allowed[id] = true
		}
	}
	m.expected = slices.DeleteFunc(m.expected, func(e expectation) bool { return !m.allows(e.peer) })
	for _, s := range slices.Clone(m.sessions) {
		if !m.allows(s.peer) {
			m.sayBye(now, s)
			m.end(now, s, ErrNotAllowed)
		}
	}
	early := m.early
	m.early = nil
	for _, i := range early {
		if now.Before(i.until) {
			m.introduced(now, i.event)
		}
	}
	for _, r := range m.rooms {
		for _, id := range slices.Clone(r.members) {
			m.meet(now, r, id)
		}
	}
	m.pump(now)
}

// early is an introduction of a peer that was not allowed when it came.
type early struct {
	event rendezvous.Introduced
	until time.Time
}

const (
	// earlyFor is how much sooner than our list a peer may come: both were told by
	// the same server, over different ways.
	earlyFor = 2 * time.Second
	maxEarly = 64
)

// tooEarly keeps the last introduction of a peer that is not allowed yet.
func (m *Machine) tooEarly(now time.Time, e rendezvous.Introduced) {
	m.stats.NotAllowed++
	m.early = slices.DeleteFunc(m.early, func(i early) bool { return i.event.Peer == e.Peer || !now.Before(i.until) })
	if len(m.early) < maxEarly {
		m.early = append(m.early, early{event: e, until: now.Add(earlyFor)})
	}
}

func (m *Machine) allows(peer identity.ID) bool { return m.allowed == nil || m.allowed[peer] }
