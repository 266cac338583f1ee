package directory

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/keeper"
	"p2pmodel/core/shard/rpc"
)

// attempts is how often a change is tried again that another one got in the way
// of.
const attempts = 8

// again is what a caller gets whose change others always got in the way of.
func again() error {
	return &rpc.Error{Code: connect.CodeUnavailable, Message: "others change the same at the moment", Retry: 50 * time.Millisecond}
}

// registerShard begins a lease: the next epoch is the caller's.
func (s *Server) registerShard(ctx context.Context, r *rpc.Request, req *insidev1.RegisterShardRequest) (*insidev1.RegisterShardResponse, error) {
	if err := isCaller(r, req.Shard); err != nil {
		return nil, err
	}
	if err := checkRegister(req); err != nil {
		return nil, err
	}
	for range attempts {
		present, err := s.state.shards.get(ctx, req.Shard)
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return nil, err
		}
		next, err := s.registration(ctx, req, present)
		if err != nil {
			return nil, err
		}
		if present.value == nil {
			_, err = s.state.shards.create(ctx, req.Shard, next)
		} else {
			_, err = s.state.shards.update(ctx, req.Shard, next, present.revision)
		}
		switch {
		case errors.Is(err, engine.ErrConflict), errors.Is(err, engine.ErrExists):
			continue
		case err != nil:
			return nil, err
		}
		if old := present.value; old.GetAlive() && old.Incarnation != req.Incarnation {
			s.history.Add(history.Operation{Kind: history.Fence, Shard: req.Shard, ShardEpoch: old.Epoch})
		}
		s.log.Info("a shard has registered", "shard", req.Shard, "epoch", next.Epoch, "incarnation", req.Incarnation)
		s.wakeSweep()
		return &insidev1.RegisterShardResponse{
			Epoch: next.Epoch, GrantMs: uint32(s.cfg.Grant.Milliseconds()), HeartbeatMs: uint32(s.cfg.Heartbeat.Milliseconds()),
			Members: uint32(s.cfg.Members), PassKeys: s.publicKeys(),
		}, nil
	}
	return nil, again()
}

func checkRegister(req *insidev1.RegisterShardRequest) error {
	switch {
	case !keeper.ValidID(req.Shard):
		return rpc.Errorf(connect.CodeInvalidArgument, "shard: 1 to 32 letters, digits, - and _ are wanted")
	case req.Incarnation == "" || len(req.Incarnation) > 64:
		return rpc.Errorf(connect.CodeInvalidArgument, "incarnation: 1 to 64 bytes are wanted")
	case req.CapacityRooms == 0 || req.CapacityPlayers == 0:
		return rpc.Errorf(connect.CodeInvalidArgument, "capacity: rooms and players have to be more than 0")
	}
	return nil
}

// registration is what the shard's entry becomes. While a former process may hold
// the lease it is an error.
func (s *Server) registration(ctx context.Context, req *insidev1.RegisterShardRequest, present row[*insidev1.StoredShard]) (*insidev1.StoredShard, error) {
	next := &insidev1.StoredShard{
		Epoch: 1, Incarnation: req.Incarnation, FirstEpoch: 1, Alive: true,
		CapacityRooms: req.CapacityRooms, CapacityPlayers: req.CapacityPlayers,
	}
	old := present.value
	if old == nil {
		return next, nil
	}
	next.Epoch = old.Epoch + 1
	next.FirstEpoch = next.Epoch
	if old.Incarnation == req.Incarnation {
		// The same process: what it was told stays.
		next.FirstEpoch, next.Draining, next.DrainDeadlineMs = old.FirstEpoch, old.Draining, old.DrainDeadlineMs
		return next, nil
	}
	if old.Alive && !s.fenced(ctx, req.Shard, old.Epoch) {
		return nil, &rpc.Error{
			Code:    connect.CodeFailedPrecondition,
			Message: "another process holds the lease of shard " + req.Shard + ": two must not have the same id; after a restart wait until the former lease ends",
			Retry:   200 * time.Millisecond,
		}
	}
	return next, nil
}

// unregisterShard ends a lease in an orderly manner: the shard says that it holds
// it no more.
func (s *Server) unregisterShard(ctx context.Context, r *rpc.Request, req *insidev1.UnregisterShardRequest) (*insidev1.UnregisterShardResponse, error) {
	if err := isCaller(r, req.Shard); err != nil {
		return nil, err
	}
	_, err := s.changeShard(ctx, req.Shard, func(sh *insidev1.StoredShard) (bool, error) {
		if sh.Epoch != req.Epoch {
			return false, nil // another process has registered, or it was taken over
		}
		sh.Alive, sh.Epoch = false, sh.Epoch+1
		return true, nil
	})
	if err != nil && rpc.CodeOf(err) != connect.CodeNotFound {
		return nil, err
	}
	s.log.Info("a shard has left", "shard", req.Shard, "epoch", req.Epoch)
	s.history.Add(history.Operation{Kind: history.Leave, Shard: req.Shard, ShardEpoch: req.Epoch})
	s.wakeSweep()
	return &insidev1.UnregisterShardResponse{}, nil
}

// changeShard changes a shard's entry by compare-and-set; change reports whether
// there is anything to write.
func (s *Server) changeShard(ctx context.Context, id string, change func(*insidev1.StoredShard) (bool, error)) (*insidev1.StoredShard, error) {
	for range attempts {
		present, err := s.state.shards.get(ctx, id)
		if errors.Is(err, engine.ErrNotFound) {
			return nil, rpc.Errorf(connect.CodeNotFound, "there is no shard %s", id)
		} else if err != nil {
			return nil, err
		}
		next := proto.CloneOf(present.value)
		if write, err := change(next); err != nil || !write {
			return present.value, err
		}
		_, err = s.state.shards.update(ctx, id, next, present.revision)
		if !errors.Is(err, engine.ErrConflict) {
			return next, err
		}
	}
	return nil, again()
}

// drainShard makes a shard take no new rooms, or lets it take some again.
func (s *Server) drainShard(ctx context.Context, _ *rpc.Request, req *insidev1.DrainShardRequest) (*insidev1.DrainShardResponse, error) {
	if !keeper.ValidID(req.Shard) {
		return nil, rpc.Errorf(connect.CodeInvalidArgument, "shard: 1 to 32 letters, digits, - and _ are wanted")
	}
	_, err := s.changeShard(ctx, req.Shard, func(sh *insidev1.StoredShard) (bool, error) {
		if !sh.Alive {
			return false, rpc.Errorf(connect.CodeFailedPrecondition, "shard %s is not alive", req.Shard)
		}
		sh.Draining, sh.DrainDeadlineMs = !req.Cancel, 0
		if !req.Cancel && req.DeadlineSeconds > 0 {
			sh.DrainDeadlineMs = time.Now().Add(time.Duration(req.DeadlineSeconds) * time.Second).UnixMilli()
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	s.log.Info("drain", "shard", req.Shard, "cancel", req.Cancel, "deadline_seconds", req.DeadlineSeconds)
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	return &insidev1.DrainShardResponse{Rooms: uint32(len(s.state.roomsOf[req.Shard]))}, nil
}

// listShards lists all that ever registered.
func (s *Server) listShards(context.Context, *rpc.Request, *insidev1.ListShardsRequest) (*insidev1.ListShardsResponse, error) {
	resp := &insidev1.ListShardsResponse{}
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	for id, sh := range s.state.shards.rows {
		used := s.used(id)
		resp.Shards = append(resp.Shards, &insidev1.Shard{
			Id: id, Epoch: sh.value.Epoch, State: stateOf(sh.value), Rooms: uint32(used.rooms), Players: uint32(used.players),
			CapacityRooms: sh.value.CapacityRooms, CapacityPlayers: sh.value.CapacityPlayers,
		})
	}
	slices.SortFunc(resp.Shards, func(a, b *insidev1.Shard) int { return cmp.Compare(a.Id, b.Id) })
	return resp, nil
}

func stateOf(sh *insidev1.StoredShard) insidev1.ShardState {
	switch {
	case !sh.Alive:
		return insidev1.ShardState_SHARD_STATE_DEAD
	case sh.Draining:
		return insidev1.ShardState_SHARD_STATE_DRAINING
	}
	return insidev1.ShardState_SHARD_STATE_ALIVE
}

// shardChanged: somebody's rooms may need another shard. The lock is held.
func (s *Server) shardChanged(id string, old, sh *insidev1.StoredShard) {
	if old != nil {
		s.metrics.shards.WithLabelValues(stateName(old)).Dec()
	}
	if sh != nil {
		s.metrics.shards.WithLabelValues(stateName(sh)).Inc()
	}
	switch {
	case sh != nil && !sh.Alive:
		s.client.Forget("shard." + id)
	case sh != nil && sh.Epoch > old.GetEpoch():
		s.state.registered[id] = time.Now()
	case sh == nil:
		delete(s.state.registered, id)
	}
	s.wakeSweep()
}

func stateName(sh *insidev1.StoredShard) string {
	switch stateOf(sh) {
	case insidev1.ShardState_SHARD_STATE_DEAD:
		return "dead"
	case insidev1.ShardState_SHARD_STATE_DRAINING:
		return "draining"
	}
	return "alive"
}
