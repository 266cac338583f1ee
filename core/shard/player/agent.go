package player

import (
	"context"
	"errors"
	"sync"
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
)

// errPeerEnded is why a mesh is left whose runner has stopped by itself.
var errPeerEnded = errors.New("the peer has ended")

// Agent is a session at the Agent, as far as a player needs it: a client.Client.
type Agent interface {
	Session() *agentv1.Session
	CreateRoom(ctx context.Context, settings *agentv1.RoomSettings) (*agentv1.Room, error)
	JoinRoom(ctx context.Context, room string) (*agentv1.Room, error)
	LeaveRoom(ctx context.Context, room string) error
	GetRoom(ctx context.Context, room string) (*agentv1.Room, error)
	SetReady(ctx context.Context, room string, ready bool) (*agentv1.Room, error)
	Chat(ctx context.Context, room, text string) error
	QuickMatch(ctx context.Context, r *agentv1.QuickMatchRequest) (*agentv1.QuickMatchResponse, error)
	CancelMatch(ctx context.Context) error
	PlayTicket(ctx context.Context, room string, peer []byte) (*agentv1.PlayTicketResponse, error)
	Report(ctx context.Context, room string, connections []*agentv1.Connection) (*agentv1.ReportResponse, error)
	Finish(ctx context.Context, room string, result []byte) error
	// Events is closed when the session is over; then Err says why.
	Events() <-chan *agentv1.Event
	Err() error
}

var _ Agent = (*client.Client)(nil)

// Changes carries a client's changes of state to its player: the client's Notify
// is Changes.Notify. Make it with NewChanges.
type Changes struct {
	mu   sync.Mutex
	list []client.Change
	wake chan struct{}
}

// NewChanges makes Changes for one client and its player.
func NewChanges() *Changes { return &Changes{wake: make(chan struct{}, 1)} }

// Notify takes a change. It does not block.
func (c *Changes) Notify(change client.Change) {
	c.mu.Lock()
	c.list = append(c.list, change)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take gives what has changed since it was called last.
func (c *Changes) take() []client.Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

// changes takes how the session fares. It comes before events, which the client
// has put after it.
func (p *Player) changes(now time.Time) {
	for _, c := range p.cfg.Changes.take() {
		switch c.State {
		case client.Attached:
			p.emit(now, Attached{Agent: c.Endpoint})
		case client.Away:
			p.emit(now, Disconnected{Err: c.Err})
		case client.Resumed:
			p.resumed(now, c)
		}
	}
}

func (p *Player) event(now time.Time, e *agentv1.Event) {
	switch e := e.Kind.(type) {
	case *agentv1.Event_RoomChanged:
		p.update(now, e.RoomChanged.Room)
	case *agentv1.Event_Chat:
		p.emit(now, Chat{Room: e.Chat.Room, Player: e.Chat.Player, Text: e.Chat.Text, At: time.UnixMilli(e.Chat.AtMs)})
	case *agentv1.Event_Matched:
		p.left = ""
		p.update(now, e.Matched.Room)
	case *agentv1.Event_MatchFailed:
		p.emit(now, MatchFailed{Reason: e.MatchFailed.Reason})
	case *agentv1.Event_MatchStarted:
		p.update(now, e.MatchStarted.Room)
		p.play(now, e.MatchStarted.Room.GetId())
	case *agentv1.Event_MeshChanged:
		p.meshChanged(now, e.MeshChanged.Room, e.MeshChanged.Peers)
	case *agentv1.Event_RoomMoved:
		p.roomMoved(now, e.RoomMoved)
	case *agentv1.Event_MatchEnded:
		if p.rooms[e.MatchEnded.Room] != nil {
			p.endMatch(now, e.MatchEnded.Room, nil)
			p.emit(now, Ended{Room: e.MatchEnded.Room, Reason: e.MatchEnded.Match.GetEndReason(), Match: e.MatchEnded.Match})
		}
	case *agentv1.Event_RoomClosed:
		p.forget(now, e.RoomClosed.Room, e.RoomClosed.Reason)
	case *agentv1.Event_Overflow:
		p.missed()
	}
}

// roomMoved goes to the servers of the shard that has the room now.
func (p *Player) roomMoved(now time.Time, e *agentv1.RoomMoved) {
	id := e.Room.GetId()
	if p.rooms[id] == nil {
		return
	}
	before := p.match
	p.take(now, e.Room)
	if m := p.match; m != nil && m == before && m.room == id {
		m.moved, m.movedReason = now, e.Reason
		p.askTicket()
	}
}

// resumed takes what rooms are like after a time without the Agent.
func (p *Player) resumed(now time.Time, e client.Change) {
	p.emit(now, Resumed{Agent: e.Endpoint, After: e.Away})
	known := map[string]bool{}
	running := p.match
	for _, room := range e.Rooms {
		known[room.Id] = true
		p.take(now, room)
	}
	for id := range p.rooms {
		if !known[id] {
			p.forget(now, id, "the room is gone, or the session was taken out of it, while the Agent could not be reached")
		}
	}
	p.checkMatch(now)
	if p.match != nil && p.match == running {
		p.askTicket() // changes of the mesh were missed
	}
}

// checkMatch ends the match if its room says that it does not run any more, which
// we have not been told.
func (p *Player) checkMatch(now time.Time) {
	if p.match == nil {
		return
	}
	room := p.rooms[p.match.room]
	switch room.GetState() {
	case agentv1.RoomState_ROOM_STATE_OPEN, agentv1.RoomState_ROOM_STATE_ENDED:
		p.endMatch(now, room.Id, nil)
		p.emit(now, Ended{Room: room.Id, Reason: "it ended while the Agent could not be reached"})
	}
}

// missed asks for everything anew: some events did not reach us.
func (p *Player) missed() {
	for id := range p.rooms {
		ask(p, func(ctx context.Context) (*agentv1.Room, error) { return p.cfg.Agent.GetRoom(ctx, id) },
			func(now time.Time, room *agentv1.Room, err error) {
				if err != nil {
					p.emit(now, Failed{What: "room", Err: err})
					return
				}
				if p.rooms[id] != nil {
					p.take(now, room)
					p.checkMatch(now)
				}
			})
	}
	p.askTicket()
}
