package peer

import (
	"errors"
	"slices"
	"time"

	"p2pmodel/core/identity"
)

// ErrNotAllowed is returned where a session with a peer is asked for that
// SetAllowed does not name, and given in Closed for one that it does not name any
// more.
var ErrNotAllowed = errors.New("sessions with this peer are not allowed")

// SetAllowed says with whom there may be sessions: with these, or with anybody if
// the list is nil. Sessions with others are closed, and introductions of others are
// ignored and counted. Members of our rooms who are allowed now are connected to.
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
	for _, r := range m.rooms {
		for _, id := range slices.Clone(r.members) {
			m.meet(now, r, id)
		}
	}
	m.pump(now)
}

func (m *Machine) allows(peer identity.ID) bool { return m.allowed == nil || m.allowed[peer] }
