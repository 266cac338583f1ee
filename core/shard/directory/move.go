package directory

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/rpc"
)

const (
	// sweepInterval is how often rooms are looked for that need another shard, if
	// nothing makes it sooner.
	sweepInterval = 250 * time.Millisecond
	// turn is how much later than its first choice each further directory moves a
	// room, so that they do not get in each other's way.
	turn = 400 * time.Millisecond
	// movers bounds how many rooms are moved at once.
	movers = 16
	// pendingTimeout is how long a moved room waits for its owner's word before
	// that is asked again; placingTimeout is how long a room that is being placed
	// may be left unsaved: whoever asked for it has gone.
	pendingTimeout = 2 * time.Second
	placingTimeout = 30 * time.Second
	// moveTimeout bounds the move of one room.
	moveTimeout = 3 * time.Second
)

// Reasons that players see.
const (
	reasonDied   = "the shard has failed"
	reasonDrains = "the shard is taken out of service"
)

// moves is what the sweep remembers.
type moves struct {
	mu sync.Mutex
	// since is when a room was first seen to need a move; busy are those being
	// moved; refused are shards that did not take a room, until it is moved.
	since   map[string]time.Time
	busy    map[string]bool
	refused map[string][]string
}

func (m *moves) init() {
	m.since, m.busy, m.refused = map[string]time.Time{}, map[string]bool{}, map[string][]string{}
}

func (s *Server) wakeSweep() {
	select {
	case s.sweep <- struct{}{}:
	default:
	}
}

// moveRooms gives rooms that have lost their shard, or shall leave it, to others.
func (s *Server) moveRooms(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	var working sync.WaitGroup
	defer working.Wait()
	places := make(chan struct{}, movers)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.sweep:
		}
		for id, do := range s.due(time.Now()) {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			s.moves.mu.Lock()
			s.moves.busy[id] = true
			s.moves.mu.Unlock()
			working.Go(func() {
				defer func() { <-places }()
				ctx, cancel := context.WithTimeout(ctx, moveTimeout)
				defer cancel()
				do(ctx, id)
				s.moves.mu.Lock()
				defer s.moves.mu.Unlock()
				delete(s.moves.busy, id)
			})
		}
	}
}

// due lists what has to be done with which rooms now.
func (s *Server) due(now time.Time) map[string]func(context.Context, string) {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	s.moves.mu.Lock()
	defer s.moves.mu.Unlock()
	found, needed := map[string]func(context.Context, string){}, map[string]bool{}
	need := func(id string, after time.Duration, do func(context.Context, string)) {
		needed[id] = true
		since, ok := s.moves.since[id]
		if !ok {
			since = now
			s.moves.since[id] = now
		}
		if !s.moves.busy[id] && now.Sub(since) >= after+s.turnOf(id) {
			found[id] = do
		}
	}
	for shardID, rooms := range s.state.roomsOf {
		sh := s.state.shards.rows[shardID].value
		leaving := sh.GetDraining() && sh.GetDrainDeadlineMs() != 0 && now.UnixMilli() >= sh.GetDrainDeadlineMs()
		for id := range rooms {
			room := s.state.rooms.rows[id].value
			switch {
			case s.state.lost(room):
				need(id, 0, s.rescue)
			case room.Pending && room.Reason == "":
				need(id, placingTimeout, s.abandon)
			case room.Pending:
				need(id, pendingTimeout, s.adopt)
			case leaving:
				need(id, 0, s.handOver)
			}
		}
	}
	for id := range s.moves.since {
		if !needed[id] {
			delete(s.moves.since, id)
			delete(s.moves.refused, id)
		}
	}
	return found
}

// turnOf is how long this directory lets others go first with a room.
func (s *Server) turnOf(id string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(id))
	first := int(h.Sum32() % uint32(s.cfg.Members))
	return time.Duration((s.cfg.Index-first+s.cfg.Members)%s.cfg.Members) * turn
}

// rescue moves a room whose shard is lost, or ends it if there has been none to
// take it for too long.
func (s *Server) rescue(ctx context.Context, id string) {
	room, ok := s.state.rooms.find(id)
	if !ok {
		return
	}
	s.state.mu.RLock()
	lost := s.state.lost(room.value)
	s.state.mu.RUnlock()
	if !lost {
		return
	}
	if room.value.Pending && room.value.Reason == "" {
		s.forget(ctx, room) // nobody was told that it is there
		return
	}
	moved, err := s.reassign(ctx, room, reasonDied, false, s.refusers(id))
	switch {
	case err == nil:
		s.deliver(ctx, moved)
	case s.waited(id) >= s.cfg.OrphanTimeout:
		s.log.Warn("a room ends: no shard has taken it", "room", id, "after", s.cfg.OrphanTimeout)
		s.metrics.ended.Inc()
		s.forget(ctx, room)
	case rpc.CodeOf(err) == connect.CodeUnavailable || rpc.CodeOf(err) == connect.CodeResourceExhausted:
		s.acquit(id) // ask those again that refused before
	default:
		s.complain(ctx, id, err)
	}
}

// deliver asks a room's new owner to adopt it.
func (s *Server) deliver(ctx context.Context, room row[*insidev1.StoredRoom]) {
	if !room.value.Pending {
		return
	}
	r := room.value.Record
	_, err := rpc.Call[insidev1.AdoptRoomResponse](ctx, s.client, shard.LobbySubject(r.Shard, "AdoptRoom"),
		&insidev1.AdoptRoomRequest{Record: proto.CloneOf(r), Reason: room.value.Reason}, rpc.WithTimeout(openTimeout), rpc.Idempotent())
	if err != nil {
		s.log.Info("a shard did not adopt a room", "room", r.Room, "shard", r.Shard, "epoch", r.Epoch, "error", err)
		s.moves.mu.Lock()
		s.moves.refused[r.Room] = append(s.moves.refused[r.Room], r.Shard)
		s.moves.mu.Unlock()
		return
	}
	s.confirm(ctx, room)
	s.metrics.moved.WithLabelValues(room.value.Reason).Inc()
	s.log.Info("a room was moved", "room", r.Room, "shard", r.Shard, "epoch", r.Epoch, "reason", room.value.Reason)
}

// adopt goes on with a move whose new owner has not said that it has the room: it
// is asked once more, if it has not refused; then another one gets the room.
func (s *Server) adopt(ctx context.Context, id string) {
	room, ok := s.state.rooms.find(id)
	if !ok || !room.value.Pending {
		return
	}
	refusers := s.refusers(id)
	if len(refusers) == 0 {
		s.deliver(ctx, room)
		return
	}
	moved, err := s.reassign(ctx, room, "", false, refusers)
	if err != nil {
		s.acquit(id)
		s.complain(ctx, id, err)
		return
	}
	s.deliver(ctx, moved)
}

// abandon takes away a room that was written and that no shard has opened.
func (s *Server) abandon(ctx context.Context, id string) {
	if room, ok := s.state.rooms.find(id); ok && room.value.Pending {
		s.forget(ctx, room)
	}
}

// handOver takes a room from a shard that is alive, which stops it first, and gives
// it to another.
func (s *Server) handOver(ctx context.Context, id string) {
	room, ok := s.state.rooms.find(id)
	if !ok || room.value.Pending {
		return
	}
	r := room.value.Record
	if _, ok := s.anyOther(r); !ok {
		return // better there than nowhere
	}
	released, err := rpc.Call[insidev1.ReleaseRoomResponse](ctx, s.client, shard.LobbySubject(r.Shard, "ReleaseRoom"),
		&insidev1.ReleaseRoomRequest{Room: r.Room, Epoch: r.Epoch}, rpc.WithTimeout(openTimeout))
	switch {
	case err == nil:
	case rpc.CodeOf(err) == connect.CodeNotFound:
		// It has released it before; what it saved last is the record then.
	default:
		// It may have it still. Until it says otherwise or is dead, it is its.
		s.complain(ctx, id, err)
		return
	}
	for range attempts {
		next := row[*insidev1.StoredRoom]{proto.CloneOf(room.value), room.revision}
		if got := released.GetRecord(); got != nil && got.Room == r.Room && got.Revision >= next.value.Record.Revision {
			got.Shard, got.Epoch = r.Shard, r.Epoch
			next.value.Record = got
		}
		moved, err := s.reassign(ctx, next, reasonDrains, false, []string{r.Shard})
		switch {
		case err != nil:
			s.complain(ctx, id, err)
			return
		case moved.value.Record.Epoch == r.Epoch:
			room = moved // a late save of the old owner came between
		default:
			s.deliver(ctx, moved)
			return
		}
	}
}

// anyOther is a shard that could take a room from its owner.
func (s *Server) anyOther(r *insidev1.RoomRecord) (candidate, bool) {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	return choose(s.candidates(r.Room, time.Now()), amount{1, len(r.Members)}, false, []string{r.Shard})
}

func (s *Server) refusers(id string) []string {
	s.moves.mu.Lock()
	defer s.moves.mu.Unlock()
	return s.moves.refused[id]
}

func (s *Server) acquit(id string) {
	s.moves.mu.Lock()
	defer s.moves.mu.Unlock()
	delete(s.moves.refused, id)
}

func (s *Server) waited(id string) time.Duration {
	s.moves.mu.Lock()
	defer s.moves.mu.Unlock()
	since, ok := s.moves.since[id]
	if !ok {
		return 0
	}
	return time.Since(since)
}

func (s *Server) complain(ctx context.Context, id string, err error) {
	if ctx.Err() == nil && !errors.Is(err, engine.ErrConflict) {
		s.log.Info("a room is not moved yet", "room", id, "error", err)
	}
}
