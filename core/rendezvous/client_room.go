package rendezvous

import (
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
)

// clientRoom is a room that we are in, or want to be in.
type clientRoom struct {
	name string
	// listed are the members of the pages that have come so far.
	listed []identity.ID
	// latest is, for each peer, the sequence of what we were told last, so that
	// a join that is late does not undo a leave.
	latest map[identity.ID]uint64
}

// maxLatest bounds clientRoom.latest: many times the size of a room.
const maxLatest = 1024

// Join enters a room; Members, or RoomFailed, will answer, and Member tells of
// changes from then on. The client enters its rooms anew whenever it has
// registered anew. The error says what is wrong with the name.
func (c *Client) Join(now time.Time, name string) error {
	if err := checkRoom(name); err != nil {
		return err
	}
	if c.room(name) == nil {
		if len(c.rooms) == maxRooms {
			return ErrBusy
		}
		// A LEAVE that is still being sent again would undo the JOIN.
		c.inFlight.CancelIf(func(p *pending) bool { return p.method == stun.MethodLeave && p.room.name == name })
		r := &clientRoom{name: name, latest: make(map[identity.ID]uint64)}
		c.rooms = append(c.rooms, r)
		if c.admitted() {
			c.enter(now, r)
		}
	}
	return nil
}

// Leave leaves a room.
func (c *Client) Leave(now time.Time, name string) {
	r := c.room(name)
	if r == nil {
		return
	}
	c.forget(r)
	if c.registered {
		c.send(now, &pending{method: stun.MethodLeave, room: r})
	}
}

func (c *Client) room(name string) *clientRoom {
	for _, r := range c.rooms {
		if r.name == name {
			return r
		}
	}
	return nil
}

// forget drops a room and what is in flight about it.
func (c *Client) forget(r *clientRoom) {
	about := func(p *pending) bool { return p.room == r }
	c.rooms = slices.DeleteFunc(c.rooms, func(o *clientRoom) bool { return o == r })
	c.inFlight.CancelIf(about)
	c.waiting = slices.DeleteFunc(c.waiting, about)
}

// rejoin enters all rooms, after a registration that may be new to the server.
func (c *Client) rejoin(now time.Time) {
	if !c.admitted() {
		return
	}
	for _, r := range c.rooms {
		c.enter(now, r)
	}
}

func (c *Client) enter(now time.Time, r *clientRoom) {
	about := func(p *pending) bool { return p.room == r }
	c.inFlight.CancelIf(about)
	c.waiting = slices.DeleteFunc(c.waiting, about)
	r.listed = nil
	c.send(now, &pending{method: stun.MethodJoin, room: r})
}

// joined takes a page of the list of members.
func (c *Client) joined(now time.Time, p *pending, m *pion.Message) {
	ids, err := getMembers(m)
	if err != nil {
		c.failed(now, p, err)
		return
	}
	r := p.room
	r.listed = append(r.listed, ids...)
	if len(r.listed) > 2*MaxRoomMembers {
		c.failed(now, p, ErrBusy)
		return
	}
	if cursor, err := getID(m, stun.AttrCursor); err == nil && cursor.Compare(p.cursor) > 0 {
		c.send(now, &pending{method: stun.MethodJoin, room: r, cursor: cursor})
		return
	}
	c.emit(Members{Room: r.name, IDs: r.listed})
	r.listed = nil
}

// member takes the news of a join or a leave; false if it makes no sense.
func (c *Client) member(peer identity.ID, m *pion.Message) bool {
	name, err := getRoom(m)
	if err != nil {
		return false
	}
	presence, err := stun.GetFixed(m, stun.AttrPresence, 1)
	if err != nil {
		return false
	}
	sequence, err := getSequence(m)
	if err != nil {
		return false
	}
	r := c.room(name)
	if r == nil || r.latest[peer] >= sequence {
		return true // we have left, or know better
	}
	if len(r.latest) >= maxLatest {
		clear(r.latest)
	}
	r.latest[peer] = sequence
	c.emit(Member{Room: name, ID: peer, Joined: presence[0] == 1})
	return true
}
