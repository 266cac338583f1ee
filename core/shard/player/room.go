package player

import (
	"context"
	"slices"
	"time"

	"p2pmodel/core/shard/api/agentv1"
)

// EnterRoom joins a room, or a party.
func (p *Player) EnterRoom(ctx context.Context, id string) (*agentv1.Room, error) {
	room, err := p.cfg.Agent.JoinRoom(ctx, id)
	return p.entered(room, err)
}

// CreateRoom makes a room, or a party, and enters it.
func (p *Player) CreateRoom(ctx context.Context, settings *agentv1.RoomSettings) (*agentv1.Room, error) {
	room, err := p.cfg.Agent.CreateRoom(ctx, settings)
	return p.entered(room, err)
}

// QuickMatch waits for players to play with; Joined or MatchFailed follows. The
// request names the party, if the player leads one.
func (p *Player) QuickMatch(ctx context.Context, request *agentv1.QuickMatchRequest) (estimated time.Duration, err error) {
	answer, err := p.cfg.Agent.QuickMatch(ctx, request)
	return time.Duration(answer.GetEstimatedSeconds()) * time.Second, err
}

// CancelMatch takes QuickMatch back.
func (p *Player) CancelMatch(ctx context.Context) error { return p.cfg.Agent.CancelMatch(ctx) }

func (p *Player) entered(room *agentv1.Room, err error) (*agentv1.Room, error) {
	if err != nil {
		return nil, err
	}
	return room, p.do(func() {
		p.left = ""
		p.update(time.Now(), room)
	})
}

// SetReady says in the room to play in whether we are ready.
func (p *Player) SetReady(ctx context.Context, ready bool) error {
	return p.inRoom(func(id string) error {
		room, err := p.cfg.Agent.SetReady(ctx, id, ready)
		if err != nil {
			return err
		}
		return p.do(func() { p.update(time.Now(), room) })
	})
}

// Say says something in the room to play in.
func (p *Player) Say(ctx context.Context, text string) error {
	return p.inRoom(func(id string) error { return p.SayIn(ctx, id, text) })
}

// SayIn says something in a room, or to a party.
func (p *Player) SayIn(ctx context.Context, room, text string) error {
	return p.cfg.Agent.Chat(ctx, room, text)
}

// Finish gives our account of the match's result.
func (p *Player) Finish(ctx context.Context, result []byte) error {
	return p.inRoom(func(id string) error { return p.cfg.Agent.Finish(ctx, id, result) })
}

// Leave leaves the room to play in.
func (p *Player) Leave(ctx context.Context) error {
	return p.inRoom(func(id string) error { return p.LeaveRoom(ctx, id) })
}

// LeaveRoom leaves a room, or a party. A match in it is over for us, and peers are
// told farewell, whether the Agent can be reached or not.
func (p *Player) LeaveRoom(ctx context.Context, room string) error {
	err := p.do(func() {
		p.left = room
		p.forget(time.Now(), room, "")
	})
	if err != nil {
		return err
	}
	return p.cfg.Agent.LeaveRoom(ctx, room)
}

// Room is the room to play in as it was told last, nil for none. It must not be
// changed.
func (p *Player) Room() (room *agentv1.Room) {
	_ = p.do(func() { room = p.playRoom() })
	return room
}

// inRoom calls f with the room to play in.
func (p *Player) inRoom(f func(id string) error) error {
	id := ""
	if err := p.do(func() { id = p.playRoom().GetId() }); err != nil {
		return err
	}
	if id == "" {
		return ErrNoRoom
	}
	return f(id)
}

// playRoom is the room to play in. A session is in one at a time; while it changes
// rooms it may be in two, of which the one with a match counts.
func (p *Player) playRoom() *agentv1.Room {
	if p.match != nil {
		return p.rooms[p.match.room]
	}
	var found *agentv1.Room
	for _, r := range p.rooms {
		if r.GetSettings().GetKind() == agentv1.RoomKind_ROOM_KIND_PLAY && (found == nil || r.Id < found.Id) {
			found = r
		}
	}
	return found
}

// update takes what a room is like, unless something newer is known.
func (p *Player) update(now time.Time, room *agentv1.Room) {
	if known := p.rooms[room.GetId()]; known == nil || room.GetRevision() >= known.Revision {
		p.take(now, room)
	}
}

// take takes what a room is like, whatever was known: another shard than before,
// which may know less, has said it.
func (p *Player) take(now time.Time, room *agentv1.Room) {
	known := p.rooms[room.GetId()]
	switch {
	case room.GetId() == "" || room.Id == p.left:
		return
	case !slices.ContainsFunc(room.Members, func(m *agentv1.Member) bool { return m.Player == p.Name() }):
		if known != nil {
			p.forget(now, room.Id, "the room does not know us any more")
		}
		return
	}
	p.rooms[room.Id] = room
	if known == nil {
		p.emit(now, Joined{room})
	} else if known.Revision != room.Revision {
		p.emit(now, RoomChanged{room})
	}
	if room.GetSettings().GetKind() == agentv1.RoomKind_ROOM_KIND_PLAY && room.State == agentv1.RoomState_ROOM_STATE_PLAYING {
		p.play(now, room.Id)
	}
}

// forget takes a room that we are in no more.
func (p *Player) forget(now time.Time, id, reason string) {
	if p.rooms[id] == nil {
		return
	}
	delete(p.rooms, id)
	p.endMatch(now, id, nil)
	p.emit(now, Left{Room: id, Reason: reason})
}
