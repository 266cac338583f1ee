// Package lobby answers the LobbyService of a shard: rooms are opened, adopted and
// released for directories, entered and talked in for Agents, and players who look
// for a match wait in its queues. The rooms themselves are those of package game;
// the lobby has no state of them.
//
// Agents tell the Presence of a session's rooms when the session is attached, each
// time its pass has been renewed, and when its connection has gone. A session
// whose pass ends without a newer one having been seen counts as offline.
package lobby

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
)

// Work of one server at once, and what may wait for it. Handlers wait for rooms
// only, so that more of them than processors make sense.
var serverLimits = engine.Limits{Workers: 64, Queue: 1024}

// Config is what a Server is made of.
type Config struct {
	// Shard is this shard's id.
	Shard  string
	Engine engine.Engine
	// Client calls directories.
	Client *rpc.Client
	Rooms  *game.Rooms
	Guard  game.Guard
	// Healthy says why no room can be played in at present; nil: they always can.
	// While there is a reason, rooms are not opened or adopted.
	Healthy func() error
	// Draining reports whether the shard takes nobody new into its queues; nil: it
	// never drains.
	Draining func() bool
	Log      *slog.Logger          // nil: discard
	Metrics  prometheus.Registerer // nil: none
}

// Server answers the LobbyService of a shard.
type Server struct {
	cfg    Config
	rpc    *rpc.Server
	queues *queues
	up     chan struct{} // closed once it serves
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	if cfg.Shard == "" || cfg.Engine == nil || cfg.Client == nil || cfg.Rooms == nil || cfg.Guard.Lease == nil || cfg.Guard.Passes == nil {
		return nil, errors.New("lobby: a shard's id, an engine, a client, rooms and a guard are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Healthy == nil {
		cfg.Healthy = func() error { return nil }
	}
	if cfg.Draining == nil {
		cfg.Draining = func() bool { return false }
	}
	server, err := rpc.NewServer(rpc.ServerConfig{
		Engine: cfg.Engine, Pattern: shard.LobbySubject(cfg.Shard, "*"), Limits: serverLimits, Log: cfg.Log, Metrics: cfg.Metrics,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, rpc: server, up: make(chan struct{})}
	if s.queues, err = newQueues(cfg); err != nil {
		return nil, err
	}
	rpc.Handle(server, "OpenRoom", s.OpenRoom)
	rpc.Handle(server, "AdoptRoom", s.AdoptRoom)
	rpc.Handle(server, "ReleaseRoom", s.ReleaseRoom)
	rpc.Handle(server, "Enqueue", s.Enqueue)
	rpc.Handle(server, "Dequeue", s.Dequeue)
	rpc.Handle(server, "JoinRoom", s.JoinRoom)
	rpc.Handle(server, "LeaveRoom", s.LeaveRoom)
	rpc.Handle(server, "GetRoom", s.GetRoom)
	rpc.Handle(server, "SetReady", s.SetReady)
	rpc.Handle(server, "Chat", s.Chat)
	rpc.Handle(server, "Presence", s.Presence)
	return s, nil
}

// Run answers until ctx ends. It is called once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.rpc.Start(); err != nil {
		return err
	}
	close(s.up)
	s.queues.run(ctx)
	return s.rpc.Close()
}

// Ready is nil once it serves.
func (s *Server) Ready() error {
	select {
	case <-s.up:
		return nil
	default:
		return errors.New("the lobby does not serve yet")
	}
}

// admitDirectory checks what directories ask: only the lease, as who may call is
// the engine's to say.
func (s *Server) admitDirectory() error {
	if !s.cfg.Guard.Lease.Held() {
		return &rpc.Error{Code: connect.CodeUnavailable, Message: "the shard does not hold its lease at present", Retry: time.Second}
	}
	return nil
}

// admitRoom checks that rooms can be taken.
func (s *Server) admitRoom() error {
	if err := s.admitDirectory(); err != nil {
		return err
	}
	if err := s.cfg.Healthy(); err != nil {
		return &rpc.Error{Code: connect.CodeUnavailable, Message: "the shard takes no rooms: " + err.Error(), Retry: 2 * time.Second}
	}
	return nil
}

// OpenRoom answers LobbyService.OpenRoom.
func (s *Server) OpenRoom(ctx context.Context, _ *rpc.Request, req *insidev1.OpenRoomRequest) (*insidev1.OpenRoomResponse, error) {
	if err := s.admitRoom(); err != nil {
		return nil, err
	}
	if err := limits.CheckRoomID("room", req.Room); err != nil {
		return nil, err
	}
	for _, p := range req.Members {
		if err := limits.CheckParticipant("members", p); err != nil {
			return nil, err
		}
	}
	view, err := s.cfg.Rooms.Open(ctx, req)
	if err != nil {
		return nil, err
	}
	return &insidev1.OpenRoomResponse{Room: view}, nil
}

// AdoptRoom answers LobbyService.AdoptRoom.
func (s *Server) AdoptRoom(ctx context.Context, _ *rpc.Request, req *insidev1.AdoptRoomRequest) (*insidev1.AdoptRoomResponse, error) {
	if err := s.admitRoom(); err != nil {
		return nil, err
	}
	if err := s.cfg.Rooms.Adopt(ctx, req.Record, req.Reason); err != nil {
		return nil, err
	}
	return &insidev1.AdoptRoomResponse{}, nil
}

// ReleaseRoom answers LobbyService.ReleaseRoom.
func (s *Server) ReleaseRoom(ctx context.Context, _ *rpc.Request, req *insidev1.ReleaseRoomRequest) (*insidev1.ReleaseRoomResponse, error) {
	if err := s.admitDirectory(); err != nil {
		return nil, err
	}
	if err := limits.CheckRoomID("room", req.Room); err != nil {
		return nil, err
	}
	rec, err := s.cfg.Rooms.Release(ctx, req.Room, req.Epoch)
	if err != nil {
		return nil, err
	}
	return &insidev1.ReleaseRoomResponse{Record: rec}, nil
}

// JoinRoom answers LobbyService.JoinRoom.
func (s *Server) JoinRoom(ctx context.Context, call *rpc.Request, req *agentv1.JoinRoomRequest) (*agentv1.JoinRoomResponse, error) {
	c, err := s.cfg.Guard.Admit(call, req)
	if err != nil {
		return nil, err
	}
	view, err := s.cfg.Rooms.Join(ctx, req.Room, c)
	if err != nil {
		return nil, err
	}
	return &agentv1.JoinRoomResponse{Room: view}, nil
}

// LeaveRoom answers LobbyService.LeaveRoom.
func (s *Server) LeaveRoom(ctx context.Context, call *rpc.Request, req *agentv1.LeaveRoomRequest) (*agentv1.LeaveRoomResponse, error) {
	c, err := s.cfg.Guard.Admit(call, req)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Rooms.Do(ctx, req.Room, func(now time.Time, r *room.Room) error { return r.Leave(now, c) })
	if err != nil {
		return nil, err
	}
	return &agentv1.LeaveRoomResponse{}, nil
}

// GetRoom answers LobbyService.GetRoom. Whoever knows a room's id may look at it.
func (s *Server) GetRoom(ctx context.Context, call *rpc.Request, req *agentv1.GetRoomRequest) (*agentv1.GetRoomResponse, error) {
	if _, err := s.cfg.Guard.Admit(call, req); err != nil {
		return nil, err
	}
	view, err := s.view(ctx, req.Room, func(time.Time, *room.Room) error { return nil })
	if err != nil {
		return nil, err
	}
	return &agentv1.GetRoomResponse{Room: view}, nil
}

// SetReady answers LobbyService.SetReady.
func (s *Server) SetReady(ctx context.Context, call *rpc.Request, req *agentv1.SetReadyRequest) (*agentv1.SetReadyResponse, error) {
	c, err := s.cfg.Guard.Admit(call, req)
	if err != nil {
		return nil, err
	}
	view, err := s.view(ctx, req.Room, func(now time.Time, r *room.Room) error { return r.SetReady(now, c, req.Ready) })
	if err != nil {
		return nil, err
	}
	return &agentv1.SetReadyResponse{Room: view}, nil
}

// Chat answers LobbyService.Chat.
func (s *Server) Chat(ctx context.Context, call *rpc.Request, req *agentv1.ChatRequest) (*agentv1.ChatResponse, error) {
	c, err := s.cfg.Guard.Admit(call, req)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Rooms.Do(ctx, req.Room, func(now time.Time, r *room.Room) error { return r.Chat(now, c, req.Text) })
	if err != nil {
		return nil, err
	}
	return &agentv1.ChatResponse{}, nil
}

// Presence answers LobbyService.Presence.
func (s *Server) Presence(ctx context.Context, call *rpc.Request, req *insidev1.PresenceRequest) (*insidev1.PresenceResponse, error) {
	c, err := s.cfg.Guard.Admit(call, nil)
	if err != nil {
		return nil, err
	}
	if err := limits.CheckRoomID("room", req.Room); err != nil {
		return nil, err
	}
	err = s.cfg.Rooms.Do(ctx, req.Room, func(now time.Time, r *room.Room) error { return r.Presence(now, c, req.Online) })
	if err != nil {
		return nil, err
	}
	return &insidev1.PresenceResponse{}, nil
}

// view does something with a room and gives how it is then.
func (s *Server) view(ctx context.Context, id string, f func(now time.Time, r *room.Room) error) (*agentv1.Room, error) {
	var view *agentv1.Room
	err := s.cfg.Rooms.Do(ctx, id, func(now time.Time, r *room.Room) error {
		err := f(now, r)
		view = r.View()
		return err
	})
	if err != nil {
		return nil, err
	}
	return view, nil
}
