package peer

import (
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/rendezvous"
)

// membership is a room that we are in: with each other member there is a session.
type membership struct {
	name    string
	members []identity.ID
}

// expectation is a session that the other side of a room is to begin. If it has
// not by then, we do.
type expectation struct {
	peer identity.ID
	room string
	at   time.Time
}

// expectFor is how long to wait for the other side. It has learned of us when we
// learned of it, half a round trip sooner or later.
const expectFor = 2 * time.Second

// Join enters a room. MemberJoined tells of the others, now and later, and with
// each of them a session begins. The error says what is wrong with the name.
func (m *Machine) Join(now time.Time, name string) error {
	if err := m.rendezvous.Join(now, name); err != nil {
		return err
	}
	if m.room(name) == nil {
		m.rooms = append(m.rooms, &membership{name: name})
	}
	m.pump(now)
	return nil
}

// Leave leaves a room and closes the sessions with its members, but for those
// that Connect asked for or that another room wants.
func (m *Machine) Leave(now time.Time, name string) {
	left := m.room(name)
	if left == nil {
		return
	}
	m.rendezvous.Leave(now, name)
	m.rooms = slices.DeleteFunc(m.rooms, func(r *membership) bool { return r.name == name })
	m.expected = slices.DeleteFunc(m.expected, func(e expectation) bool { return e.room == name })
	for _, s := range slices.Clone(m.sessions) {
		with := func(r *membership) bool { return slices.Contains(r.members, s.peer) }
		if with(left) && !s.dialed && !slices.ContainsFunc(m.rooms, with) {
			m.Close(now, s.peer)
		}
	}
	m.pump(now)
}

func (m *Machine) room(name string) *membership {
	for _, r := range m.rooms {
		if r.name == name {
			return r
		}
	}
	return nil
}

// members takes the list of a room, which also says who has left while we were
// not told.
func (m *Machine) members(now time.Time, e rendezvous.Members) {
	r := m.room(e.Room)
	if r == nil {
		return
	}
	for _, id := range slices.Clone(r.members) {
		if !slices.Contains(e.IDs, id) {
			m.memberLeft(r, id)
		}
	}
	for _, id := range e.IDs {
		m.memberJoined(now, r, id)
	}
}

func (m *Machine) member(now time.Time, e rendezvous.Member) {
	r := m.room(e.Room)
	switch {
	case r == nil:
	case e.Joined:
		m.memberJoined(now, r, e.ID)
	default:
		m.memberLeft(r, e.ID)
	}
}

// memberJoined begins the session from the side of the smaller id; the other
// side waits for it.
func (m *Machine) memberJoined(now time.Time, r *membership, id identity.ID) {
	if id == m.ID() {
		return
	}
	if !slices.Contains(r.members, id) {
		r.members = append(r.members, id)
		m.Emit(MemberJoined{Room: r.name, Peer: id})
	}
	if m.sessionWith(id) != nil {
		return
	}
	if m.ID().Compare(id) < 0 {
		m.connectInRoom(now, id)
		return
	}
	if !slices.ContainsFunc(m.expected, func(e expectation) bool { return e.peer == id }) {
		m.expected = append(m.expected, expectation{peer: id, room: r.name, at: now.Add(expectFor)})
	}
}

// memberLeft leaves the session alone: a peer that goes closes it, and one that
// only the rendezvous has lost is still there.
func (m *Machine) memberLeft(r *membership, id identity.ID) {
	if !slices.Contains(r.members, id) {
		return
	}
	r.members = slices.DeleteFunc(r.members, func(o identity.ID) bool { return o == id })
	m.expected = slices.DeleteFunc(m.expected, func(e expectation) bool { return e.peer == id && e.room == r.name })
	m.Emit(MemberLeft{Room: r.name, Peer: id})
}

// meetExpected connects to members who should have connected to us.
func (m *Machine) meetExpected(now time.Time) {
	for _, e := range slices.Clone(m.expected) {
		if !due(now, e.at) {
			continue
		}
		m.expected = slices.DeleteFunc(m.expected, func(o expectation) bool { return o == e })
		if m.sessionWith(e.peer) == nil {
			m.connectInRoom(now, e.peer)
		}
	}
}

func (m *Machine) connectInRoom(now time.Time, id identity.ID) {
	s, err := m.connect(now, id)
	if err != nil {
		m.Emit(Failed{Peer: id, Err: err})
		return
	}
	m.introduce(now, s)
}
