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
	// moved: the rendezvous is another one, and members may come to it later than
	// we do. Those who have not are absent, and members still while there is a
	// session with them.
	moved  bool
	absent []identity.ID
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
// that Connect asked for, that another room wants or that SetAllowed names.
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
		listed := m.allowed != nil && m.allowed[s.peer]
		if with(left) && !listed && !s.dialed && !slices.ContainsFunc(m.rooms, with) {
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
		switch {
		case slices.Contains(e.IDs, id):
		case m.sessionWith(id) != nil && (r.moved || slices.Contains(r.absent, id)):
			if !slices.Contains(r.absent, id) {
				r.absent = append(r.absent, id)
			}
		default:
			m.memberLeft(r, id)
		}
	}
	r.moved = false
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

// memberJoined takes one more member. The session begins from the side of the
// smaller id; the other side waits for it.
func (m *Machine) memberJoined(now time.Time, r *membership, id identity.ID) {
	if id == m.ID() {
		return
	}
	r.absent = without(r.absent, id)
	if !slices.Contains(r.members, id) {
		r.members = append(r.members, id)
		m.Emit(MemberJoined{Room: r.name, Peer: id})
	}
	m.meet(now, r, id)
}

// meet begins the session with a member, or expects it, if there is none and may
// be one.
func (m *Machine) meet(now time.Time, r *membership, id identity.ID) {
	if m.sessionWith(id) != nil || !m.allows(id) || slices.Contains(r.absent, id) {
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
	r.members, r.absent = without(r.members, id), without(r.absent, id)
	m.expected = slices.DeleteFunc(m.expected, func(e expectation) bool { return e.peer == id && e.room == r.name })
	m.Emit(MemberLeft{Room: r.name, Peer: id})
}

func without(list []identity.ID, id identity.ID) []identity.ID {
	return slices.DeleteFunc(list, func(o identity.ID) bool { return o == id })
}

// missed ends the membership of an absent one with whom there is no session any
// more.
func (m *Machine) missed(id identity.ID) {
	for _, r := range m.rooms {
		if slices.Contains(r.absent, id) && m.sessionWith(id) == nil {
			m.memberLeft(r, id)
		}
	}
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
