package rendezvous

import (
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
)

// room is a set of peers that want to know of each other.
type room struct {
	name    string
	members []*registration // in order of their IDs
}

func (r *room) find(id identity.ID) (int, bool) {
	return slices.BinarySearchFunc(r.members, id, func(m *registration, id identity.ID) int { return m.id.Compare(id) })
}

// join lets a peer into a room and lists the members. A peer that is in already
// gets the list and disturbs nobody.
func (s *Server) join(from origin, m *pion.Message, r *registration) {
	name, err := getRoom(m)
	if err != nil {
		s.refuse(from, m, r.key, stun.CodeBadRequest, "Bad ROOM")
		return
	}
	var cursor identity.ID
	if m.Contains(stun.AttrCursor) {
		if cursor, err = getID(m, stun.AttrCursor); err != nil {
			s.refuse(from, m, r.key, stun.CodeBadRequest, "Bad CURSOR")
			return
		}
	}
	if !s.mayEnter(r, name) {
		s.refuse(from, m, r.key, stun.CodeForbidden, "Not The Ticket's Mesh")
		return
	}
	k := s.rooms[name]
	if k == nil || !slices.Contains(r.rooms, k) {
		switch {
		case len(r.rooms) >= maxRooms, k != nil && len(k.members) >= MaxRoomMembers:
			s.refuse(from, m, r.key, stun.CodeTooMany, "Room Full")
			return
		case k == nil && len(s.rooms) >= s.cfg.Limits.Rooms:
			s.refuse(from, m, r.key, stun.CodeCapacity, "Too Many Rooms")
			return
		case !s.joins.Spend(from.now, from.remote.Addr()):
			s.refuse(from, m, r.key, stun.CodeTooMany, "Joining Too Often")
			return
		case k == nil:
			k = &room{name: name}
			s.rooms[name] = k
		}
		s.tell(from.now, k, r, true)
		at, _ := k.find(r.id)
		k.members = slices.Insert(k.members, at, r)
		r.rooms = append(r.rooms, k)
	}
	page, more := k.page(cursor, r.id)
	attributes := []pion.Setter{stun.Attribute{Type: stun.AttrRoom, Value: []byte(name)}, membersAttribute(page)}
	if more {
		attributes = append(attributes, idAttribute(stun.AttrCursor, page[len(page)-1]))
	}
	s.reply(from, seal(stun.MethodJoin, pion.ClassSuccessResponse, m.TransactionID, r.key, attributes...))
}

// page lists members after the cursor, but for the one who asks.
func (r *room) page(cursor, asking identity.ID) (ids []identity.ID, more bool) {
	for _, m := range r.members {
		if m.id == asking || m.id.Compare(cursor) <= 0 {
			continue
		}
		if len(ids) == pageSize {
			return ids, true
		}
		ids = append(ids, m.id)
	}
	return ids, false
}

// leave takes a peer out of a room; to leave where one is not is no error.
func (s *Server) leave(from origin, m *pion.Message, r *registration) {
	name, err := getRoom(m)
	if err != nil {
		s.refuse(from, m, r.key, stun.CodeBadRequest, "Bad ROOM")
		return
	}
	if k := s.rooms[name]; k != nil && slices.Contains(r.rooms, k) {
		s.depart(from.now, r, k)
	}
	s.reply(from, seal(stun.MethodLeave, pion.ClassSuccessResponse, m.TransactionID, r.key))
}

// depart takes a peer out of a room and tells the others.
func (s *Server) depart(now time.Time, r *registration, k *room) {
	r.rooms = slices.DeleteFunc(r.rooms, func(o *room) bool { return o == k })
	if at, in := k.find(r.id); in {
		k.members = slices.Delete(k.members, at, at+1)
	}
	if len(k.members) == 0 {
		delete(s.rooms, k.name)
		return
	}
	s.tell(now, k, r, false)
}

// tell tells a room's members that a peer came or went; what was being told
// about the same peer before is obsolete.
func (s *Server) tell(now time.Time, k *room, who *registration, joined bool) {
	s.notices.CancelIf(func(n notice) bool { return n.room == k.name && n.member == who.id })
	sequence := s.number(now)
	presence := byte(0)
	if joined {
		presence = 1
	}
	for _, m := range k.members {
		s.notify(now, m, stun.MethodMember, notice{to: m.id, room: k.name, member: who.id},
			idAttribute(stun.AttrPeerID, who.id), stun.Attribute{Type: stun.AttrRoom, Value: []byte(k.name)},
			stun.Attribute{Type: stun.AttrPresence, Value: []byte{presence}}, sequenceAttribute(sequence))
	}
}
