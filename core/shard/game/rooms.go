// Package game runs rooms: one actor a room, which alone touches the room's
// state, around the pure room.Room. Rooms are what a shard has; Server answers the
// GameService of them. The lobby works on the same actors, so that a room has one
// authority.
//
// A shard acts while it holds its lease. When it does not, every request is
// refused with Unavailable and rooms stand still. A room serves nobody before its
// record was saved once in the present term of the lease: only that tells that it
// is this shard's.
package game

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
)

const (
	// MaxRoomsSession is in how many rooms of a shard a session may be.
	MaxRoomsSession = limits.MaxRoomsSession
	// mailbox is how many requests of one room may wait.
	mailbox = 64
	// saves is how many records may be on their way to the directory at once.
	saves       = 32
	saveTimeout = 2 * time.Second
	// fencedPause is how often a room looks whether the lease is held again.
	fencedPause = 250 * time.Millisecond
	// lastSaves bounds what is saved at the end.
	lastSaves = 5 * time.Second
)

// Lease says whether this shard may act. Term has grown when what it owned may have
// become another's meanwhile. Changed is closed when either has changed since it
// was asked for; then it is another channel.
type Lease interface {
	Held() bool
	Term() uint64
	Changed() <-chan struct{}
}

// RoomsConfig is what Rooms are made of.
type RoomsConfig struct {
	// Shard is this shard's id.
	Shard  string
	Engine engine.Engine
	// Client calls directories.
	Client *rpc.Client
	Lease  Lease
	// CapacityRooms and CapacityPlayers bound what is taken.
	CapacityRooms, CapacityPlayers int
	Times                          room.Times
	// Records gets each ended match as a line of JSON; nil: nobody does.
	Records io.Writer
	// History gets each act as a room's owner, as lines of package history, for
	// tests of ownership; nil: nobody does.
	History io.Writer
	Log     *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none
}

// Rooms are the rooms of a shard. All methods may be called from any goroutine.
type Rooms struct {
	cfg     RoomsConfig
	log     *slog.Logger
	past    *past
	history *history.Recorder
	metrics *metrics
	tokens  chan struct{} // one a save under way

	mu       sync.Mutex
	rooms    map[string]*actor
	sessions map[string]int // rooms of each session
	running  bool
	stop     chan struct{} // closed when rooms have to stop
	actors   sync.WaitGroup
	players  atomic.Int64
	// calls is of what is asked of directories; it ends some time after stop.
	calls  context.Context
	cancel context.CancelFunc
}

// NewRooms checks the configuration. Nothing can be opened before Run.
func NewRooms(cfg RoomsConfig) (*Rooms, error) {
	switch {
	case cfg.Shard == "" || cfg.Engine == nil || cfg.Client == nil || cfg.Lease == nil:
		return nil, errors.New("rooms: a shard's id, an engine, a client and a lease are needed")
	case cfg.CapacityRooms < 1 || cfg.CapacityPlayers < 1:
		return nil, fmt.Errorf("rooms: a capacity of %d rooms and %d players; at least 1 of each", cfg.CapacityRooms, cfg.CapacityPlayers)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Times = cfg.Times.WithDefaults()
	s := &Rooms{
		cfg: cfg, log: cfg.Log, past: newPast(cfg.Records), history: history.NewRecorder(cfg.History, "shard-"+cfg.Shard), tokens: make(chan struct{}, saves),
		rooms: map[string]*actor{}, sessions: map[string]int{}, stop: make(chan struct{}),
	}
	s.calls, s.cancel = context.WithCancel(context.Background())
	var err error
	if s.metrics, err = newMetrics(cfg.Metrics, s); err != nil {
		return nil, fmt.Errorf("rooms: %w", err)
	}
	return s, nil
}

// Run lets rooms live until ctx ends, and waits until all have stopped. They are
// not closed then: what has changed is saved, so that the directory can give them
// to another shard. It is called once.
func (s *Rooms) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	s.follow(ctx)
	s.mu.Lock()
	s.running = false
	close(s.stop)
	s.mu.Unlock()
	timer := time.AfterFunc(lastSaves, s.cancel)
	defer timer.Stop()
	defer s.cancel()
	s.actors.Wait()
	return nil
}

// follow has all rooms look whether they still are ours when there is a new term.
func (s *Rooms) follow(ctx context.Context) {
	for term := s.cfg.Lease.Term(); ; {
		changed := s.cfg.Lease.Changed()
		if now := s.cfg.Lease.Term(); now != term {
			term = now
			s.mu.Lock()
			for _, a := range s.rooms {
				a.nudge()
			}
			s.mu.Unlock()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Ready is nil while rooms can be opened.
func (s *Rooms) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return errors.New("rooms do not run")
	}
	return nil
}

// Load is how many rooms and players there are.
func (s *Rooms) Load() (rooms, players int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rooms), int(s.players.Load())
}

// unavailable is what every request gets while the lease is not held.
func unavailable() error {
	return &rpc.Error{Code: connect.CodeUnavailable, Message: "the shard does not hold its lease at present", Retry: time.Second}
}

func notHere(id string) error {
	return rpc.Errorf(connect.CodeNotFound, "the room %s is not on this shard", id)
}

// Open opens a room, and returns when the directory has its record; again, it
// gives the room as it is. Aborted: the room is here
// with a later epoch.
func (s *Rooms) Open(ctx context.Context, req *insidev1.OpenRoomRequest) (*agentv1.Room, error) {
	a, err := s.place(req.Room, req.Epoch, 1, len(req.Members), func(now time.Time) (*room.Room, error) {
		return room.Open(now, room.Config{
			ID: req.Room, Shard: s.cfg.Shard, Epoch: req.Epoch, Settings: req.Settings, Members: req.Members, Start: req.Start, Times: s.cfg.Times,
		})
	})
	if err != nil {
		return nil, err
	}
	var view *agentv1.Room
	err = a.do(ctx, func(_ time.Time, r *room.Room) error {
		view = r.View()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return view, nil
}

// Adopt goes on with a room of another shard; again, it does nothing. A shard takes
// up to twice its capacity of such rooms: they would be lost otherwise.
func (s *Rooms) Adopt(ctx context.Context, rec *insidev1.RoomRecord, reason string) error {
	a, err := s.place(rec.GetRoom(), rec.GetEpoch(), 2, len(rec.GetMembers()), func(now time.Time) (*room.Room, error) {
		return room.Adopt(now, s.cfg.Shard, rec, reason, s.cfg.Times)
	})
	if err != nil {
		return err
	}
	return a.do(ctx, func(time.Time, *room.Room) error { return nil })
}

// place finds the room of this epoch or makes it. A room of an earlier epoch is
// let go of: the directory has given it to another shard meanwhile, and back. So
// many times the capacity is the most that there may be.
func (s *Rooms) place(id string, epoch uint64, times, players int, open func(now time.Time) (*room.Room, error)) (*actor, error) {
	if !s.cfg.Lease.Held() {
		return nil, unavailable()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return nil, unavailable()
	}
	former := s.rooms[id]
	switch {
	case former != nil && former.epoch == epoch:
		return former, nil
	case former != nil && former.epoch > epoch:
		return nil, rpc.Errorf(connect.CodeAborted, "the room %s is here with epoch %d, not %d", id, former.epoch, epoch)
	case former == nil && len(s.rooms) >= times*s.cfg.CapacityRooms:
		return nil, rpc.Errorf(connect.CodeResourceExhausted, "the shard has %d rooms, as many as it can", len(s.rooms))
	case int(s.players.Load())+players > times*s.cfg.CapacityPlayers:
		return nil, rpc.Errorf(connect.CodeResourceExhausted, "the shard has %d players, %d can be at most", s.players.Load(), s.cfg.CapacityPlayers)
	}
	r, err := open(time.Now())
	if err != nil {
		return nil, err
	}
	if former != nil {
		former.replace()
	}
	a := newActor(s, r)
	s.rooms[id] = a
	s.actors.Go(func() { a.run(r) })
	return a, nil
}

// Release stops a room and gives its last record. Aborted: it has another epoch.
func (s *Rooms) Release(ctx context.Context, id string, epoch uint64) (*insidev1.RoomRecord, error) {
	var rec *insidev1.RoomRecord
	err := s.Do(ctx, id, func(now time.Time, r *room.Room) (err error) {
		rec, err = r.Release(now, epoch)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rec, nil
}

// Do calls f with a room, which f may not keep, between the room's other work.
// NotFound: it is not here. Unavailable: the lease is not held. ResourceExhausted:
// too much waits for the room. If the context ends first, f may still be called.
func (s *Rooms) Do(ctx context.Context, id string, f func(now time.Time, r *room.Room) error) error {
	if !s.cfg.Lease.Held() {
		return unavailable()
	}
	s.mu.Lock()
	a := s.rooms[id]
	s.mu.Unlock()
	if a == nil {
		return notHere(id)
	}
	return a.do(ctx, f)
}

// Join gives a caller a place in a room, within what the shard has and what a
// session may have.
func (s *Rooms) Join(ctx context.Context, id string, c room.Caller) (*agentv1.Room, error) {
	var view *agentv1.Room
	err := s.Do(ctx, id, func(now time.Time, r *room.Room) error {
		if !r.Has(c.Player) {
			if err := s.mayJoin(c.Session); err != nil {
				return err
			}
		}
		if err := r.Join(now, c); err != nil {
			return err
		}
		view = r.View()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return view, nil
}

func (s *Rooms) mayJoin(session string) error {
	if n := s.players.Load(); n >= int64(s.cfg.CapacityPlayers) {
		return rpc.Errorf(connect.CodeResourceExhausted, "the shard has %d players, as many as it can", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.sessions[session]; n >= MaxRoomsSession {
		return rpc.Errorf(connect.CodeResourceExhausted, "you are in %d rooms; leave one first", n)
	}
	return nil
}

// Match is the record of a match that runs, or of one of the last that ended.
// Those of private rooms are for who has played.
func (s *Rooms) Match(ctx context.Context, id string, c room.Caller) (*agentv1.Match, error) {
	var m *agentv1.Match
	err := s.Do(ctx, id, func(now time.Time, r *room.Room) error {
		if m = r.Match(now); m == nil {
			return rpc.Errorf(connect.CodeFailedPrecondition, "the room %s has had no match", id)
		}
		return nil
	})
	if rpc.CodeOf(err) == connect.CodeNotFound {
		m, err = s.past.find(id)
	}
	if err != nil {
		return nil, err
	}
	if m.Settings.GetPrivate() && !played(m, c.Player) {
		return nil, rpc.Errorf(connect.CodePermissionDenied, "the match of the private room %s is for its players", id)
	}
	return m, nil
}

func played(m *agentv1.Match, player string) bool {
	for _, p := range m.Players {
		if p.Player == player {
			return true
		}
	}
	return false
}

// entered and left keep account of who is in how many rooms.
func (s *Rooms) entered(session string) {
	s.players.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[session]++
}

func (s *Rooms) left(sessions ...string) {
	s.players.Add(-int64(len(sessions)))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range sessions {
		if s.sessions[session]--; s.sessions[session] <= 0 {
			delete(s.sessions, session)
		}
	}
}

// forget takes a room out of the index, unless another actor has its place.
func (s *Rooms) forget(a *actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[a.id] == a {
		delete(s.rooms, a.id)
	}
}
