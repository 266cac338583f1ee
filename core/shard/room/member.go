package room

import (
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

// A member may say so much, and then so much a second.
const (
	chatBurst = 5
	chatRate  = rate.Limit(1)
)

// member is a player's place in the room.
type member struct {
	session, player string
	rating          int32
	generation      uint64 // the newest seen; 0: none yet
	ready, leader   bool
	online          bool
	// until is the end of the newest pass seen: whose Agent does not renew it
	// is offline then, and lapsed, which any sign of life ends.
	until        time.Time
	lapsed       bool
	offlineSince time.Time
	peer         identity.ID // zero: has asked for no ticket
	part         *part       // in the match; nil before it
}

func (r *Room) bySession(session string) *member {
	for _, m := range r.members {
		if m.session == session {
			return m
		}
	}
	return nil
}

func (r *Room) byPlayer(player string) *member {
	for _, m := range r.members {
		if m.player == player {
			return m
		}
	}
	return nil
}

// caller finds the member that calls, and takes the call as a sign of life.
func (r *Room) caller(now time.Time, c Caller) (*member, error) {
	if err := r.alive(); err != nil {
		return nil, err
	}
	m := r.bySession(c.Session)
	switch {
	case m == nil && r.byPlayer(c.Player) != nil:
		return nil, rpc.Errorf(connect.CodeFailedPrecondition, "you are in the room %s with another session; join it to take the place over", r.id)
	case m == nil:
		return nil, rpc.Errorf(connect.CodePermissionDenied, "you are not in the room %s", r.id)
	case c.Generation < m.generation:
		return nil, superseded()
	}
	r.seen(now, m, c, false)
	return m, nil
}

func superseded() error {
	return rpc.Errorf(connect.CodeFailedPrecondition, "the session was taken over by another connection")
}

// Has reports whether the player has a place.
func (r *Room) Has(player string) bool { return r.byPlayer(player) != nil }

// seen notes what a call says of a member's connection. One that is attached, or
// attached anew (the generation has grown), is online; so is one whose pass had
// only lapsed. Other calls prove nothing: they may have been overtaken by the word
// that the player has gone.
func (r *Room) seen(now time.Time, m *member, c Caller, attached bool) {
	anew := c.Generation > m.generation && m.generation != 0
	m.generation = max(m.generation, c.Generation)
	if c.Until.After(m.until) {
		m.until = c.Until
	}
	back := !m.online && (attached || anew || m.lapsed) && now.Before(m.until)
	if back {
		m.online, m.lapsed = true, false
		r.changed()
	}
	if (back || anew) && m.part != nil {
		m.part.reconnects++
	}
}

// Join gives a player a place, or the place that the player has. FailedPrecondition:
// the room is full, or takes nobody in any more.
func (r *Room) Join(now time.Time, c Caller) error {
	if err := r.alive(); err != nil {
		return err
	}
	defer r.settle(now)
	m := r.byPlayer(c.Player)
	switch {
	case m != nil && m.session == c.Session:
		if c.Generation < m.generation {
			return superseded()
		}
		r.seen(now, m, c, true)
		return nil
	case r.state == agentv1.RoomState_ROOM_STATE_ENDED:
		return rpc.Errorf(connect.CodeFailedPrecondition, "the match of the room %s is over", r.id)
	case m != nil:
		r.takeOver(now, m, c)
		return nil
	case r.bySession(c.Session) != nil:
		// A session has one player for its life.
		return rpc.Errorf(connect.CodePermissionDenied, "the session is another player's")
	case r.playing() && !r.settings.DropIn:
		return rpc.Errorf(connect.CodeFailedPrecondition, "the match of the room %s runs, and takes nobody in", r.id)
	case len(r.members) >= int(r.settings.Capacity):
		return rpc.Errorf(connect.CodeFailedPrecondition, "the room %s is full", r.id)
	}
	m = r.add(now, c, false)
	if r.playing() {
		r.match.enter(now, m)
	}
	return nil
}

// add makes a place. The first member leads, unless another one is said to.
func (r *Room) add(now time.Time, c Caller, leader bool) *member {
	m := &member{
		session: c.Session, player: c.Player, rating: c.Rating, generation: c.Generation,
		online: true, until: c.Until, leader: leader || len(r.members) == 0,
	}
	if leader {
		for _, other := range r.members {
			other.leader = false
		}
	}
	r.members = append(r.members, m)
	r.effects = append(r.effects, Entered{m.session})
	r.changedRecord()
	return m
}

// takeOver gives a player's place to a new session of the same player.
func (r *Room) takeOver(now time.Time, m *member, c Caller) {
	r.effects = append(r.effects, Tell{[]string{m.session}, &agentv1.Event{Kind: &agentv1.Event_RoomClosed{RoomClosed: &agentv1.RoomClosed{
		Room: r.id, Reason: "you have joined with another session",
	}}}}, Left{m.session}, Entered{c.Session})
	m.session, m.generation, m.rating = c.Session, c.Generation, c.Rating
	m.online, m.lapsed, m.until = true, false, c.Until
	if m.part != nil {
		m.part.reconnects++
	}
	r.changedRecord()
}

// Leave gives the caller's place up; without one it does nothing.
func (r *Room) Leave(now time.Time, c Caller) error {
	if err := r.alive(); err != nil {
		return err
	}
	m := r.bySession(c.Session)
	if m == nil {
		return nil
	}
	if c.Generation < m.generation {
		return superseded()
	}
	r.remove(now, m)
	r.settle(now)
	return nil
}

func (r *Room) remove(now time.Time, m *member) {
	r.members = slices.DeleteFunc(r.members, func(o *member) bool { return o == m })
	r.effects = append(r.effects, Left{m.session})
	if r.playing() {
		r.match.leave(now, m, r.times.Report)
		r.mesh.wanted = r.mesh.wanted || !m.peer.IsZero()
	}
	if len(r.members) == 0 {
		r.emptySince = now
	}
	if m.leader && len(r.members) > 0 {
		next := r.members[0]
		if i := slices.IndexFunc(r.members, func(o *member) bool { return o.online }); i >= 0 {
			next = r.members[i]
		}
		next.leader = true
	}
	r.changedRecord()
}

// Presence says whether an Agent holds a connection of the caller.
func (r *Room) Presence(now time.Time, c Caller, online bool) error {
	if online {
		m, err := r.caller(now, c)
		if err != nil {
			return err
		}
		r.seen(now, m, c, true)
		r.settle(now)
		return nil
	}
	if err := r.alive(); err != nil {
		return err
	}
	m := r.bySession(c.Session)
	switch {
	case m == nil:
		return nil // nobody is to be offline
	case c.Generation < m.generation:
		return superseded()
	}
	m.generation, m.lapsed = c.Generation, false
	if m.online {
		r.offline(now, m)
	}
	r.settle(now)
	return nil
}

func (r *Room) offline(now time.Time, m *member) {
	m.online, m.offlineSince = false, now
	r.changed()
}

// SetReady says whether the caller is ready. FailedPrecondition: it is too late.
func (r *Room) SetReady(now time.Time, c Caller, ready bool) error {
	m, err := r.caller(now, c)
	if err != nil {
		return err
	}
	defer r.settle(now)
	if m.ready == ready {
		return nil
	}
	if r.state != agentv1.RoomState_ROOM_STATE_OPEN {
		return rpc.Errorf(connect.CodeFailedPrecondition, "the match of the room %s has begun", r.id)
	}
	m.ready = ready
	r.changedRecord()
	return nil
}

// Chat tells all members, the caller too. The text was checked. ResourceExhausted:
// the caller has said much lately.
func (r *Room) Chat(now time.Time, c Caller, text string) error {
	m, err := r.caller(now, c)
	if err != nil {
		return err
	}
	defer r.settle(now)
	if !r.mayChat(now, m.player) {
		return &rpc.Error{Code: connect.CodeResourceExhausted, Message: "you have said much lately; wait a second", Retry: time.Second}
	}
	r.tell(&agentv1.Event{Kind: &agentv1.Event_Chat{Chat: &agentv1.ChatMessage{
		Room: r.id, Player: m.player, Text: text, AtMs: now.UnixMilli(),
	}}})
	return nil
}

// mayChat reports whether a player may say something now. What a player has said is
// remembered beyond the place, or who leaves and joins could say more.
func (r *Room) mayChat(now time.Time, player string) bool {
	l := r.chat[player]
	if l == nil {
		if len(r.chat) >= 2*limits.MaxCapacity {
			maps.DeleteFunc(r.chat, func(_ string, l *rate.Limiter) bool { return l.TokensAt(now) >= chatBurst })
		}
		l = rate.NewLimiter(chatRate, chatBurst)
		r.chat[player] = l
	}
	return l.AllowN(now, 1)
}
