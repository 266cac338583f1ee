package directory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/lease"
	"p2pmodel/core/shard/rpc"
)

// member is what this process does for itself and not for all directories: it
// grants leases and hears from shards. It has a lock of its own, so that no
// heartbeat waits for anything else.
type member struct {
	mu      sync.Mutex
	granter *lease.Granter
	loads   map[string]load
	// replaced is closed when another process is this member.
	replaced chan struct{}
	entered  bool
}

// load is what a shard said of itself with its last heartbeat.
type load struct{ rooms, players int }

// enter makes this process the member of its number. It returns when the copy has
// everything that was in the register before that: what package lease wants of a
// member before it grants. That the process wrote to the same bucket and has seen
// that come back proves it, whatever a machine of a split engine may say.
func (s *Server) enter(ctx context.Context) error {
	s.member.mu.Lock()
	s.member.granter = lease.NewGranter(s.cfg.Grant, time.Now())
	s.member.loads = map[string]load{}
	s.member.replaced = make(chan struct{})
	s.member.mu.Unlock()
	for _, m := range s.kv.mirrors {
		select {
		case <-m.synced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.checkMembers(); err != nil {
		return err
	}
	own := &insidev1.StoredMember{Incarnation: s.incarnation, Members: uint32(s.cfg.Members)}
	written, err := retry(ctx, func() (row[*insidev1.StoredMember], error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return s.state.members.put(ctx, strconv.Itoa(s.cfg.Index), own)
	})
	if err != nil {
		return fmt.Errorf("directory %d: enter: %w", s.cfg.Index, err)
	}
	if err := s.kv.shards.reach(ctx, written.revision); err != nil {
		return err
	}
	s.state.mu.RLock()
	shards := maps.Clone(s.state.shards.rows)
	s.state.mu.RUnlock()
	s.member.mu.Lock()
	defer s.member.mu.Unlock()
	for id, sh := range shards {
		s.member.granter.Recall(id, sh.value.Epoch)
	}
	s.member.entered = true
	return nil
}

// checkMembers refuses to start beside members that count otherwise: two
// majorities need not meet then.
func (s *Server) checkMembers() error {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	for id, m := range s.state.members.rows {
		if n := int(m.value.Members); n != s.cfg.Members && id != strconv.Itoa(s.cfg.Index) && !s.cfg.Renumber {
			return fmt.Errorf("directory %d is one of %d, but directory %s was started as one of %d: stop all of them, then start all with the same number"+
				" (or, if %s was killed and will not come back, start with renumber)", s.cfg.Index, s.cfg.Members, id, n, id)
		}
	}
	return nil
}

// memberChanged notices that another process is this member. The lock is held.
func (s *Server) memberChanged(id string, old, m *insidev1.StoredMember) {
	if id != strconv.Itoa(s.cfg.Index) || old == nil || old.Incarnation != s.incarnation || m == nil || m.Incarnation == s.incarnation {
		return
	}
	close(s.member.replaced)
}

// exit takes the member's entry away, so that the next start may be with another
// number of members.
func (s *Server) exit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	id := strconv.Itoa(s.cfg.Index)
	own, ok := s.state.members.find(id)
	if !ok || own.value.Incarnation != s.incarnation {
		return
	}
	if err := s.state.members.remove(ctx, id, own.revision); err != nil && !errors.Is(err, engine.ErrConflict) {
		s.log.Warn("the member's entry stays", "error", err)
	}
}

// heartbeat grants a lease, and tells what a shard has to know. It needs no
// bucket.
func (s *Server) heartbeat(_ context.Context, r *rpc.Request, req *insidev1.HeartbeatRequest) (*insidev1.HeartbeatResponse, error) {
	if err := isCaller(r, req.Shard); err != nil {
		return nil, err
	}
	now := time.Now()
	s.member.mu.Lock()
	granted := s.member.granter.Grant(req.Shard, req.Epoch, now)
	if granted {
		s.member.loads[req.Shard] = load{int(req.Rooms), int(req.Players)}
	}
	s.member.mu.Unlock()
	s.metrics.heartbeat(granted)
	sh, _ := s.state.shards.find(req.Shard)
	return &insidev1.HeartbeatResponse{Granted: granted, Draining: sh.value.GetDraining(), PassKeys: s.publicKeys()}, nil
}

// fence promises another directory to grant an epoch no more. Without a shard it
// only says that this member is there.
func (s *Server) fence(_ context.Context, _ *rpc.Request, req *insidev1.FenceRequest) (*insidev1.FenceResponse, error) {
	if req.Shard == "" {
		return &insidev1.FenceResponse{}, nil
	}
	promised, remaining := s.promise(req.Shard, req.Epoch)
	return &insidev1.FenceResponse{Fenced: promised, RemainingMs: uint32((remaining + time.Millisecond - 1) / time.Millisecond)}, nil
}

func (s *Server) promise(id string, epoch uint64) (bool, time.Duration) {
	s.member.mu.Lock()
	defer s.member.mu.Unlock()
	return s.member.granter.Fence(id, epoch, time.Now())
}

// silence is for how long a shard has not been heard here, and how much longer
// this member is bound by what it may have granted.
func (s *Server) silence(id string, now time.Time) (heard time.Time, remaining time.Duration) {
	s.member.mu.Lock()
	defer s.member.mu.Unlock()
	return s.member.granter.Heard(id), s.member.granter.Remaining(id, now)
}

// isCaller checks that a shard speaks for itself: the subject says who it is, and
// the engine who may use the subject.
func isCaller(r *rpc.Request, id string) error {
	if len(r.Wildcards) == 0 || r.Wildcards[len(r.Wildcards)-1] != id {
		return rpc.Errorf(connect.CodePermissionDenied, "shard %q is not who called", id)
	}
	return nil
}
