package directory

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

// modeLife is how long a mode sticks to a shard that nobody asks for it; it is
// written again when half of that has passed.
const modeLife = 10 * time.Minute

// maxModes bounds the modes that stick: clients name them as they like, and each is
// a key in a bucket. The choice for any other one is by its name.
const maxModes = 1024

// quickMatch puts players into the queue of the mode's shard.
func (s *Server) quickMatch(ctx context.Context, r *rpc.Request, req *agentv1.QuickMatchRequest) (*agentv1.QuickMatchResponse, error) {
	p, err := s.pass(r)
	if err != nil {
		return nil, err
	}
	if err := limits.Check(req); err != nil {
		return nil, err
	}
	enqueue := &insidev1.EnqueueRequest{Mode: req.Mode, Players: max(req.Players, limits.DefaultMatching), LatencyMs: req.LatencyMs}
	enqueue.Group = []*insidev1.Participant{{Session: p.Session, Player: p.Player, Rating: p.Rating, Leader: true}}
	if req.Party != "" {
		if enqueue.Group, err = s.party(ctx, r, p, req.Party); err != nil {
			return nil, err
		}
	}
	if err := limits.CheckEnqueue(enqueue); err != nil {
		return nil, err
	}
	var tried []string
	for {
		id, err := s.modeShard(ctx, req.Mode, tried)
		if err != nil {
			return nil, err
		}
		resp, err := rpc.Call[agentv1.QuickMatchResponse](ctx, s.client, shard.LobbySubject(id, "Enqueue"), enqueue, rpc.WithTimeout(openTimeout))
		if err == nil {
			return resp, nil
		}
		s.log.Info("a shard did not take players into its queue", "shard", id, "mode", req.Mode, "error", err)
		if tried = append(tried, id); len(tried) == placements || !passing(err) || rpc.CodeOf(err) == connect.CodeFailedPrecondition {
			return nil, err
		}
		// Its answer may have got lost: nobody shall wait in two queues.
		s.dequeue(ctx, p.Session, []string{id})
	}
}

// cancelMatch takes a player and his party out of whichever queue they are in.
func (s *Server) cancelMatch(ctx context.Context, r *rpc.Request, _ *agentv1.CancelMatchRequest) (*agentv1.CancelMatchResponse, error) {
	p, err := s.pass(r)
	if err != nil {
		return nil, err
	}
	var alive []string
	s.state.mu.RLock()
	for id, sh := range s.state.shards.rows {
		if sh.value.Alive {
			alive = append(alive, id)
		}
	}
	s.state.mu.RUnlock()
	if err := s.dequeue(ctx, p.Session, alive); err != nil {
		return nil, err
	}
	return &agentv1.CancelMatchResponse{}, nil
}

// dequeue asks shards to take a session out of their queues. Errors of those that
// do not answer are given, as the player may wait there still.
func (s *Server) dequeue(ctx context.Context, session string, ids []string) error {
	errs := make([]error, len(ids))
	var calls sync.WaitGroup
	for i, id := range ids {
		calls.Go(func() {
			_, err := rpc.Call[agentv1.CancelMatchResponse](ctx, s.client, shard.LobbySubject(id, "Dequeue"),
				&insidev1.DequeueRequest{Session: session}, rpc.Idempotent(), rpc.WithTimeout(openTimeout))
			if rpc.CodeOf(err) != connect.CodeNotFound {
				errs[i] = err
			}
		})
	}
	calls.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// party is whom a leader brings: the party's members as its shard knows them, with
// their sessions as the record has them.
func (s *Server) party(ctx context.Context, r *rpc.Request, leader *insidev1.Pass, id string) ([]*insidev1.Participant, error) {
	room, err := s.lookUp(ctx, id)
	if err != nil {
		return nil, err
	}
	if room.value.Record.Settings.GetKind() != agentv1.RoomKind_ROOM_KIND_PARTY {
		return nil, rpc.Errorf(connect.CodeInvalidArgument, "party: room %s is no party", id)
	}
	got, err := rpc.Call[agentv1.GetRoomResponse](ctx, s.client, shard.LobbySubject(room.value.Record.Shard, "GetRoom"),
		&agentv1.GetRoomRequest{Room: id}, rpc.WithPass(r.Pass), rpc.Idempotent(), rpc.WithTimeout(openTimeout))
	if err != nil {
		return nil, err
	}
	// Shards save a room a little after it has changed.
	for range 3 {
		group, complete, err := partyGroup(got.Room, room.value.Record, leader)
		if err != nil || complete {
			return group, err
		}
		timer := time.NewTimer(150 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
		if room, err = s.state.rooms.get(ctx, id); err != nil {
			return nil, err
		}
	}
	return nil, &rpc.Error{Code: connect.CodeUnavailable, Message: "the party has just changed", Retry: 250 * time.Millisecond}
}

// partyGroup puts together what the shard says and what the record says. It is not
// complete while the record does not know all members.
func partyGroup(room *agentv1.Room, record *insidev1.RoomRecord, leader *insidev1.Pass) (group []*insidev1.Participant, complete bool, err error) {
	leads := slices.ContainsFunc(room.GetMembers(), func(m *agentv1.Member) bool { return m.Leader && m.Player == leader.Player })
	if !leads {
		return nil, false, rpc.Errorf(connect.CodePermissionDenied, "only the party's leader asks for a match")
	}
	for _, m := range room.Members {
		i := slices.IndexFunc(record.Members, func(k *insidev1.RoomMember) bool { return k.GetParticipant().GetPlayer() == m.Player })
		if i < 0 {
			return nil, false, nil
		}
		group = append(group, &insidev1.Participant{
			Session: record.Members[i].Participant.Session, Player: m.Player, Rating: m.Rating, Leader: m.Leader,
		})
	}
	return group, true, nil
}

// modeShard is the shard that has a mode's queue: the one that had it, as long as
// it takes rooms; else another one, on which all directories agree by
// compare-and-set. While the bucket cannot be written the choice is by the mode's
// name, which all make alike who see the same shards.
func (s *Server) modeShard(ctx context.Context, mode string, without []string) (string, error) {
	key := hex.EncodeToString([]byte(mode))
	present, known := s.state.modes.find(key)
	for range attempts {
		s.state.mu.RLock()
		all := s.candidates("mode "+mode, time.Now())
		s.state.mu.RUnlock()
		current, id := present.value.GetShard(), ""
		if i := slices.IndexFunc(all, func(c candidate) bool { return c.id == current }); i >= 0 && all[i].alive && !all[i].draining && !slices.Contains(without, current) {
			id = current
			if time.Since(time.UnixMilli(present.value.SinceMs)) < modeLife/2 {
				return id, nil
			}
		} else if c, ok := preferred(all, without); ok {
			id = c.id
		} else {
			return "", s.noShard()
		}
		if !known && s.manyModes() {
			return id, nil
		}
		var err error
		next := &insidev1.StoredMode{Shard: id, SinceMs: time.Now().UnixMilli()}
		if known {
			_, err = s.state.modes.update(ctx, key, next, present.revision)
		} else {
			_, err = s.state.modes.create(ctx, key, next)
		}
		if !errors.Is(err, engine.ErrConflict) && !errors.Is(err, engine.ErrExists) {
			if err != nil {
				s.log.Info("a mode's shard cannot be written", "mode", mode, "error", err)
			}
			return id, nil
		}
		present, err = s.state.modes.get(ctx, key)
		if known = err == nil; err != nil && !errors.Is(err, engine.ErrNotFound) {
			return id, nil
		}
	}
	return "", again()
}

func (s *Server) manyModes() bool {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	return len(s.state.modes.rows) >= maxModes
}

// preferred is the first choice among those that take rooms.
func preferred(all []candidate, without []string) (candidate, bool) {
	// A queue costs a shard little whatever it has: load does not count.
	for i := range all {
		all[i].used = amount{}
	}
	return choose(all, amount{}, false, without)
}
