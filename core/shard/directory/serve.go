package directory

import (
	"context"
	"fmt"
	"time"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

// queue is the name under which directories share the calls to any of them.
const queue = "directory"

// servers makes what answers calls. A call that is for any directory and comes from
// a shard has the shard in its subject. Heartbeats have a server of their own, so
// that nothing holds them up.
func (s *Server) servers() ([]*rpc.Server, error) {
	var all []*rpc.Server
	add := func(pattern, name string, limits engine.Limits) (*rpc.Server, error) {
		server, err := rpc.NewServer(rpc.ServerConfig{
			Engine: s.cfg.Engine, Pattern: pattern, Queue: name, Limits: limits, Log: s.log, Metrics: s.cfg.Metrics,
		})
		if err != nil {
			return nil, fmt.Errorf("directory %d: %w", s.cfg.Index, err)
		}
		all = append(all, server)
		return server, nil
	}
	anyone, err := add(shard.DirectorySubject("*"), queue, engine.Limits{Workers: 64, Queue: 1024})
	if err != nil {
		return nil, err
	}
	rpc.Handle(anyone, "OpenSession", s.openSession)
	rpc.Handle(anyone, "ResumeSession", s.resumeSession)
	rpc.Handle(anyone, "RenewPass", s.renewPass)
	rpc.Handle(anyone, "CloseSession", s.closeSession)
	rpc.Handle(anyone, "PlaceRoom", s.placeRoom)
	rpc.Handle(anyone, "FindRoom", s.findRoom)
	rpc.Handle(anyone, "ListRooms", s.listRooms)
	rpc.Handle(anyone, "QuickMatch", s.quickMatch)
	rpc.Handle(anyone, "CancelMatch", s.cancelMatch)
	rpc.Handle(anyone, "DrainShard", s.drainShard)
	rpc.Handle(anyone, "ListShards", s.listShards)

	shards, err := add(shard.DirectoryFrom("*", "*"), queue, engine.Limits{Workers: 64, Queue: 4096})
	if err != nil {
		return nil, err
	}
	rpc.Handle(shards, "RegisterShard", s.registerShard)
	rpc.Handle(shards, "UnregisterShard", s.unregisterShard)
	rpc.Handle(shards, "SaveRoom", s.saveRoom)
	rpc.Handle(shards, "DropRoom", s.dropRoom)
	rpc.Handle(shards, "PlaceRoom", s.placeRoom)

	beats, err := add(shard.MemberFrom(s.cfg.Index, "*", "*"), "", engine.Limits{Workers: 4, Queue: 1024})
	if err != nil {
		return nil, err
	}
	rpc.Handle(beats, "Heartbeat", s.heartbeat)

	members, err := add(shard.MemberSubject(s.cfg.Index, "*"), "", engine.Limits{Workers: 4, Queue: 1024})
	if err != nil {
		return nil, err
	}
	rpc.Handle(members, "Fence", s.fence)
	return all, nil
}

const (
	// tidyInterval is how often what is over is taken away.
	tidyInterval = 15 * time.Second
	// idleRoom is how long a room is kept that its shard has not saved: longer
	// than a match may be.
	idleRoom = limits.MaxMatch + 2*time.Hour
)

// tidy takes away sessions that have expired and rooms that were forgotten, and
// changes keys.
func (s *Server) tidy(ctx context.Context) {
	ticker := time.NewTicker(tidyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.tidyOnce(ctx, now)
		}
	}
}

func (s *Server) tidyOnce(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, tidyInterval)
	defer cancel()
	sessions, rooms := map[string]uint64{}, []string{}
	s.state.mu.RLock()
	for id, session := range s.state.sessions.rows {
		// One directory does it at once, the others if it has not.
		over := now.Sub(time.UnixMilli(session.value.ExpiresMs))
		if over >= 0 && s.turnOf(id) == 0 || over > time.Minute {
			sessions[id] = session.revision
		}
	}
	for id, room := range s.state.rooms.rows {
		if last := max(room.value.SavedMs, room.value.SinceMs); now.Sub(time.UnixMilli(last)) > idleRoom {
			rooms = append(rooms, id)
		}
	}
	open := len(s.state.sessions.rows)
	s.state.mu.RUnlock()
	s.created.sweep(now)
	s.resumed.sweep(now)
	s.metrics.open.Set(float64(open - len(sessions)))
	for id, revision := range sessions {
		_ = s.state.sessions.remove(ctx, id, revision) // or the next time
	}
	for _, id := range rooms {
		if room, ok := s.state.rooms.find(id); ok {
			s.log.Warn("a room ends: its shard has not saved it for long", "room", id, "shard", room.value.Record.Shard)
			s.forget(ctx, room)
		}
	}
	if err := s.rotateKeys(ctx, now); err != nil && ctx.Err() == nil {
		s.log.Info("keys of passes were not looked at", "error", err)
	}
}
