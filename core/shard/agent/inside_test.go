package agent_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

// inside stands for directories and shards: the least of them that Agents see.
// Its passes are real, and shards check them as real ones do.
type inside struct {
	t      testing.TB
	hub    *memory.Hub
	own    engine.Engine
	key    ed25519.PrivateKey
	life   time.Duration // of a pass
	resume time.Duration // of a session without an Agent
	verify map[string]*pass.Verifier

	mu       sync.Mutex
	sessions map[string]*insideSession
	used     map[string]bool // token ids
	rooms    map[string]*insideRoom
	calls    map[string]int             // by method
	fails    map[string]error           // by method: what it answers
	blocks   map[string]chan struct{}   // by method: what it waits for
	online   map[string]map[string]bool // presence by room and player
}

type insideSession struct {
	player     string
	rating     int32
	generation uint64
	agent      string
	resume     string
	before     string // the resume token before, good until the new one is used
}

type insideRoom struct {
	shard   string
	epoch   uint64
	room    *agentv1.Room
	members map[string]string // player to session
}

var shardNames = []string{"zurich-1", "zurich-2"}

func newInside(t testing.TB, hub *memory.Hub, own engine.Engine) *inside {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	in := &inside{
		t: t, hub: hub, own: own, key: key, life: time.Minute, resume: 2 * time.Minute, verify: map[string]*pass.Verifier{},
		sessions: map[string]*insideSession{}, used: map[string]bool{}, rooms: map[string]*insideRoom{},
		calls: map[string]int{}, fails: map[string]error{}, blocks: map[string]chan struct{}{}, online: map[string]map[string]bool{},
	}
	in.serveDirectory()
	for _, id := range shardNames {
		in.verify[id] = pass.New(key.Public().(ed25519.PublicKey))
		in.serveShard(id)
	}
	return in
}

func (in *inside) server(pattern string) *rpc.Server {
	s, err := rpc.NewServer(rpc.ServerConfig{Engine: in.own, Pattern: pattern, Limits: engine.Limits{Workers: 64, Queue: 4096}})
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { s.Close() })
	return s
}

func (in *inside) start(s *rpc.Server) {
	if err := s.Start(); err != nil {
		in.t.Fatal(err)
	}
}

// enter counts a call and does what the test wants of it.
func (in *inside) enter(ctx context.Context, method string) error {
	in.mu.Lock()
	in.calls[method]++
	err, block := in.fails[method], in.blocks[method]
	in.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// fail makes a method answer an error; nil: no more.
func (in *inside) fail(method string, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.fails[method] = err
}

// block makes a method wait until the function it gives is called.
func (in *inside) block(method string) (release func()) {
	wait := make(chan struct{})
	in.mu.Lock()
	defer in.mu.Unlock()
	in.blocks[method] = wait
	return func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		delete(in.blocks, method)
		close(wait)
	}
}

func (in *inside) called(method string) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.calls[method]
}

func (in *inside) isOnline(room, player string) (online, told bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	online, told = in.online[room][player]
	return online, told
}

// move gives a room to another shard.
func (in *inside) move(room string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	r := in.rooms[room]
	r.shard = shardNames[1-slices.Index(shardNames, r.shard)]
	r.epoch++
}

// supersede is another Agent that takes a session over.
func (in *inside) supersede(session string) (resume string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	x := in.sessions[session]
	x.generation++
	x.agent = "another"
	x.before, x.resume = x.resume, "resume-"+rand.Text()
	return x.resume
}

func (in *inside) answer(id string) (*insidev1.SessionResponse, error) {
	x := in.sessions[id]
	raw, err := pass.Sign(in.key, &insidev1.Pass{
		Session: id, Player: x.player, Rating: x.rating, Generation: x.generation, ExpiresMs: time.Now().Add(in.life).UnixMilli(), Agent: x.agent,
	})
	if err != nil {
		return nil, err
	}
	resp := &insidev1.SessionResponse{
		Session: id, Player: x.player, Rating: x.rating, Generation: x.generation, ResumeToken: x.resume, Pass: raw,
		PassSeconds: uint32(in.life / time.Second), ResumeSeconds: uint32(in.resume / time.Second),
	}
	for name, r := range in.rooms {
		if _, in := r.members[x.player]; in {
			resp.Rooms = append(resp.Rooms, &insidev1.RoomPlace{Room: name, Shard: r.shard, Epoch: r.epoch})
		}
	}
	return resp, nil
}

// holder checks a pass as a directory does.
func (in *inside) holder(r *rpc.Request) (string, error) {
	p, err := pass.New(in.key.Public().(ed25519.PublicKey)).Verify(r.Pass, time.Now())
	if err != nil {
		return "", rpc.Errorf(connect.CodeUnauthenticated, "%v", err)
	}
	x := in.sessions[p.Session]
	switch {
	case x == nil:
		return "", rpc.Errorf(connect.CodeNotFound, "the session has ended")
	case x.generation != p.Generation:
		return "", rpc.Errorf(connect.CodeFailedPrecondition, "the session is held by another Agent now")
	}
	return p.Session, nil
}

func (in *inside) serveDirectory() {
	s := in.server(shard.DirectorySubject("*"))
	handle(in, s, "OpenSession", func(_ *rpc.Request, m *insidev1.OpenSessionRequest) (*insidev1.SessionResponse, error) {
		if m.TokenId != "" {
			if in.used[m.TokenId] {
				return nil, rpc.Errorf(connect.CodeAlreadyExists, "used before")
			}
			in.used[m.TokenId] = true
		}
		id := strings.ToLower(rand.Text())
		in.sessions[id] = &insideSession{player: m.Player, rating: m.Rating, generation: 1, agent: m.Agent, resume: "resume-" + rand.Text()}
		return in.answer(id)
	})
	handle(in, s, "ResumeSession", func(_ *rpc.Request, m *insidev1.ResumeSessionRequest) (*insidev1.SessionResponse, error) {
		for id, x := range in.sessions {
			if m.ResumeToken != x.resume && m.ResumeToken != x.before {
				continue
			}
			if m.ResumeToken == x.resume {
				x.before = x.resume
			}
			x.generation++
			x.agent, x.resume = m.Agent, "resume-"+rand.Text()
			return in.answer(id)
		}
		return nil, rpc.Errorf(connect.CodeUnauthenticated, "no such token in directory.sessions")
	})
	handle(in, s, "RenewPass", func(r *rpc.Request, _ *insidev1.RenewPassRequest) (*insidev1.SessionResponse, error) {
		id, err := in.holder(r)
		if err != nil {
			return nil, err
		}
		return in.answer(id)
	})
	handle(in, s, "CloseSession", func(r *rpc.Request, _ *insidev1.CloseSessionRequest) (*insidev1.CloseSessionResponse, error) {
		id, err := in.holder(r)
		if err != nil {
			return nil, err
		}
		delete(in.sessions, id)
		return &insidev1.CloseSessionResponse{}, nil
	})
	handle(in, s, "PlaceRoom", func(r *rpc.Request, m *insidev1.PlaceRoomRequest) (*insidev1.PlaceRoomResponse, error) {
		id, err := in.holder(r)
		if err != nil {
			return nil, err
		}
		if m.Key == "" {
			return nil, rpc.Errorf(connect.CodeInvalidArgument, "no key")
		}
		x, name := in.sessions[id], roomID()
		room := &insideRoom{shard: shardNames[0], epoch: 1, members: map[string]string{}, room: &agentv1.Room{
			Id: name, Settings: m.Settings, State: agentv1.RoomState_ROOM_STATE_OPEN, Revision: 1,
		}}
		in.rooms[name] = room
		in.join(room, x.player, id, x.rating)
		return &insidev1.PlaceRoomResponse{Place: &insidev1.RoomPlace{Room: name, Shard: room.shard, Epoch: room.epoch}, Room: room.room}, nil
	})
	handle(in, s, "FindRoom", func(_ *rpc.Request, m *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
		room := in.rooms[m.Room]
		if room == nil {
			return nil, rpc.Errorf(connect.CodeNotFound, "there is no such room")
		}
		return &insidev1.FindRoomResponse{Place: &insidev1.RoomPlace{Room: m.Room, Shard: room.shard, Epoch: room.epoch}}, nil
	})
	handle(in, s, "ListRooms", func(_ *rpc.Request, _ *agentv1.ListRoomsRequest) (*agentv1.ListRoomsResponse, error) {
		resp := &agentv1.ListRoomsResponse{}
		for _, name := range slices.Sorted(maps.Keys(in.rooms)) {
			r := in.rooms[name].room
			resp.Rooms = append(resp.Rooms, &agentv1.RoomSummary{Id: r.Id, Settings: r.Settings, State: r.State, Players: uint32(len(r.Members))})
		}
		return resp, nil
	})
	handle(in, s, "QuickMatch", func(_ *rpc.Request, _ *agentv1.QuickMatchRequest) (*agentv1.QuickMatchResponse, error) {
		return &agentv1.QuickMatchResponse{EstimatedSeconds: 7}, nil
	})
	handle(in, s, "CancelMatch", func(_ *rpc.Request, _ *agentv1.CancelMatchRequest) (*agentv1.CancelMatchResponse, error) {
		return &agentv1.CancelMatchResponse{}, nil
	})
	in.start(s)
}

// roomID draws an id.
func roomID() string {
	b := make([]byte, limits.RoomIDLength)
	rand.Read(b)
	for i := range b {
		b[i] = limits.RoomIDAlphabet[b[i]%32]
	}
	return string(b)
}

func (in *inside) join(room *insideRoom, player, session string, rating int32) {
	if _, there := room.members[player]; !there {
		room.room.Members = append(room.room.Members, &agentv1.Member{Player: player, Rating: rating, Online: true, Leader: len(room.members) == 0})
		room.room.Revision++
	}
	room.members[player] = session
}

// publish sends an event to one session.
func (in *inside) publish(from, session string, e *agentv1.Event) {
	data, err := proto.Marshal(&insidev1.SessionEvent{Session: session, Event: e})
	if err != nil {
		in.t.Error(err)
		return
	}
	if err := in.own.Publish(shard.EventSubject(from, session), data); err != nil {
		in.t.Error(err)
	}
}

// admit checks a pass as a shard does and finds the room.
func (in *inside) admit(id string, r *rpc.Request, room string) (*insidev1.Pass, *insideRoom, error) {
	p, err := in.verify[id].Verify(r.Pass, time.Now())
	switch {
	case errors.Is(err, pass.ErrSuperseded):
		return nil, nil, rpc.Errorf(connect.CodeFailedPrecondition, "%v", err)
	case err != nil:
		return nil, nil, rpc.Errorf(connect.CodeUnauthenticated, "%v", err)
	}
	found := in.rooms[room]
	if found == nil || found.shard != id {
		return nil, nil, rpc.Errorf(connect.CodeNotFound, "shard %s has no room %s", id, room)
	}
	return p, found, nil
}

func (in *inside) serveShard(id string) {
	lobby := in.server(shard.LobbySubject(id, "*"))
	handle(in, lobby, "JoinRoom", func(r *rpc.Request, m *agentv1.JoinRoomRequest) (*agentv1.JoinRoomResponse, error) {
		p, room, err := in.admit(id, r, m.Room)
		if err != nil {
			return nil, err
		}
		if len(room.members) >= int(room.room.Settings.Capacity) {
			return nil, rpc.Errorf(connect.CodeFailedPrecondition, "the room is full")
		}
		in.join(room, p.Player, p.Session, p.Rating)
		for _, session := range room.members {
			in.publish(id, session, &agentv1.Event{Kind: &agentv1.Event_RoomChanged{RoomChanged: &agentv1.RoomChanged{Room: room.room}}})
		}
		return &agentv1.JoinRoomResponse{Room: room.room}, nil
	})
	handle(in, lobby, "LeaveRoom", func(r *rpc.Request, m *agentv1.LeaveRoomRequest) (*agentv1.LeaveRoomResponse, error) {
		p, room, err := in.admit(id, r, m.Room)
		if err != nil {
			return nil, err
		}
		delete(room.members, p.Player)
		room.room.Members = slices.DeleteFunc(room.room.Members, func(m *agentv1.Member) bool { return m.Player == p.Player })
		return &agentv1.LeaveRoomResponse{}, nil
	})
	handle(in, lobby, "GetRoom", func(r *rpc.Request, m *agentv1.GetRoomRequest) (*agentv1.GetRoomResponse, error) {
		_, room, err := in.admit(id, r, m.Room)
		if err != nil {
			return nil, err
		}
		return &agentv1.GetRoomResponse{Room: room.room}, nil
	})
	handle(in, lobby, "SetReady", func(r *rpc.Request, m *agentv1.SetReadyRequest) (*agentv1.SetReadyResponse, error) {
		p, room, err := in.admit(id, r, m.Room)
		if err != nil {
			return nil, err
		}
		for _, member := range room.room.Members {
			if member.Player == p.Player {
				member.Ready = m.Ready
			}
		}
		return &agentv1.SetReadyResponse{Room: room.room}, nil
	})
	handle(in, lobby, "Chat", func(r *rpc.Request, m *agentv1.ChatRequest) (*agentv1.ChatResponse, error) {
		p, room, err := in.admit(id, r, m.Room)
		if err != nil {
			return nil, err
		}
		for _, session := range room.members {
			in.publish(id, session, &agentv1.Event{Kind: &agentv1.Event_Chat{Chat: &agentv1.ChatMessage{Room: m.Room, Player: p.Player, Text: m.Text}}})
		}
		return &agentv1.ChatResponse{}, nil
	})
	handle(in, lobby, "Presence", func(r *rpc.Request, m *insidev1.PresenceRequest) (*insidev1.PresenceResponse, error) {
		p, _, err := in.admit(id, r, m.Room)
		if err != nil {
			return nil, err
		}
		if in.online[m.Room] == nil {
			in.online[m.Room] = map[string]bool{}
		}
		in.online[m.Room][p.Player] = m.Online
		return &insidev1.PresenceResponse{}, nil
	})
	in.start(lobby)

	game := in.server(shard.GameSubject(id, "*"))
	handle(in, game, "PlayTicket", func(r *rpc.Request, m *agentv1.PlayTicketRequest) (*agentv1.PlayTicketResponse, error) {
		if _, _, err := in.admit(id, r, m.Room); err != nil {
			return nil, err
		}
		return &agentv1.PlayTicketResponse{Rendezvous: "192.0.2.1:3478", Mesh: m.Room, ExpiresSeconds: 60}, nil
	})
	handle(in, game, "Report", func(r *rpc.Request, m *agentv1.ReportRequest) (*agentv1.ReportResponse, error) {
		_, _, err := in.admit(id, r, m.Room)
		return &agentv1.ReportResponse{}, err
	})
	handle(in, game, "Finish", func(r *rpc.Request, m *agentv1.FinishRequest) (*agentv1.FinishResponse, error) {
		_, _, err := in.admit(id, r, m.Room)
		return &agentv1.FinishResponse{}, err
	})
	handle(in, game, "GetMatch", func(r *rpc.Request, m *agentv1.GetMatchRequest) (*agentv1.GetMatchResponse, error) {
		if _, _, err := in.admit(id, r, m.Room); err != nil {
			return nil, err
		}
		return &agentv1.GetMatchResponse{Match: &agentv1.Match{Room: m.Room, EndReason: fmt.Sprintf("shard %s drained", id)}}, nil
	})
	in.start(game)
}

// handle adds a method that runs with everything of the inside locked.
func handle[Req, Resp any, PReq interface {
	*Req
	proto.Message
}, PResp interface {
	*Resp
	proto.Message
}](in *inside, s *rpc.Server, method string, h func(*rpc.Request, PReq) (PResp, error)) {
	rpc.Handle(s, method, func(ctx context.Context, r *rpc.Request, m PReq) (PResp, error) {
		if err := in.enter(ctx, method); err != nil {
			return nil, err
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		resp, err := h(r, m)
		if err != nil {
			return nil, err
		}
		// What is answered must not change while it is being encoded.
		return proto.Clone(resp).(PResp), nil
	})
}

// passOf signs a pass of a session as it is now.
func (in *inside) passOf(session string) []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	resp, err := in.answer(session)
	if err != nil {
		in.t.Fatal(err)
	}
	return resp.Pass
}
