// Package directory is the server that knows which shards are alive, which of them
// has which room, and which Agent has which session. One to several members work
// side by side on the same buckets; any of them answers any call, but for
// heartbeats and promises, which are each member's own (package lease).
//
// # What may be stale
//
// Each member keeps a copy of the buckets by watching them. FindRoom, ListRooms,
// RenewPass and heartbeats are answered from it, so that they go on while the
// engine elects a leader or loses a machine, and cost no round trip. The copy is
// behind by the time that a change takes to arrive, usually milliseconds, and by
// any length while the engine is split. That is safe, because whatever changes an
// owner is a compare-and-set in the bucket, and who acts on an old answer meets
// somebody who knows better: a shard that lost a room has been fenced or has given
// it away itself before another one got it (it answers UNAVAILABLE or NOT_FOUND);
// SaveRoom is refused by the room's epoch; a pass of an earlier attachment is
// refused by shards that saw a later one, and ends after PassLife.
//
// # Rooms and their owners
//
// A room has an epoch of its own, which grows with each change of its owner, by
// compare-and-set on the room's entry: of several directories that want to move
// it, one does. After it the new owner is asked to open or adopt the room; until
// that has saved the room once, or answered, the room is pending: FindRoom says to
// wait, and if the shard does not answer the room is given to another, by
// compare-and-set again. So an owner serves a room only after a SaveRoom with the
// room's epoch was answered without an error.
//
// A dead shard's rooms are given to the least loaded shard; without one for
// OrphanTimeout they end.
package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/lease"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

// Config is what a Server is made of. Engine, Index and Members are needed; a zero
// elsewhere means the default.
type Config struct {
	Engine engine.Engine
	// Index is which of the Members directories this one is, from 0. All have to
	// agree on Members; it changes only while none runs.
	Index, Members int
	// Renumber starts although other members were started with another number
	// and did not stop in an orderly manner. They must not run any more.
	Renumber bool
	// Grant and Heartbeat are the terms of leases; 2 s and 500 ms.
	Grant, Heartbeat time.Duration
	// SessionLife is how long a session outlives its last connection, 10 minutes;
	// PassLife how long a pass is good, 60 s.
	SessionLife, PassLife time.Duration
	// MaxSessions and MaxRooms bound what there is, 100,000 each.
	MaxSessions, MaxRooms int
	// MaxSessionsPlayer bounds those of one player, 16: some devices, and some
	// sessions that were left without a farewell and have not ended yet. One account
	// must not take the place of all.
	MaxSessionsPlayer int
	// OrphanTimeout is how long rooms without any live shard are kept, 30 s.
	OrphanTimeout time.Duration
	// History gets what is done with ownership, as lines of JSON; nil: nothing.
	History io.Writer
	Log     *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none
}

const (
	// MaxTokenLife is how far ahead a login token may end that is to be used once.
	MaxTokenLife = 24 * time.Hour
	// MaxRecord is the most bytes of a room's record.
	MaxRecord = 64 << 10
)

func (c Config) withDefaults() Config {
	or := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	or(&c.Grant, lease.DefaultGrant)
	or(&c.Heartbeat, lease.DefaultHeartbeat)
	or(&c.SessionLife, 10*time.Minute)
	or(&c.PassLife, time.Minute)
	or(&c.OrphanTimeout, 30*time.Second)
	if c.MaxSessionsPlayer == 0 {
		c.MaxSessionsPlayer = 16
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = 100_000
	}
	if c.MaxRooms == 0 {
		c.MaxRooms = 100_000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Engine == nil:
		return errors.New("no engine")
	case c.Index < 0 || c.Index >= c.Members:
		return fmt.Errorf("there is no member %d of %d; they are numbered from 0", c.Index, c.Members)
	case c.SessionLife < time.Second || c.OrphanTimeout < 0 || c.MaxSessions < 1 || c.MaxSessionsPlayer < 1 || c.MaxRooms < 1:
		return errors.New("sessions live a second at least; other limits are more than 0")
	case c.PassLife < time.Second || c.PassLife > pass.MaxLife:
		return fmt.Errorf("passes of %v: they live 1 s to %v", c.PassLife, pass.MaxLife)
	}
	return lease.Terms{Members: c.Members, Grant: c.Grant, Heartbeat: c.Heartbeat}.Check()
}

// Server is one member. Its exported methods may be called from any goroutine.
type Server struct {
	cfg         Config
	log         *slog.Logger
	terms       lease.Terms
	incarnation string
	client      *rpc.Client
	verifier    *pass.Verifier
	history     *history.Recorder
	metrics     *metrics

	member  member
	kv      buckets
	state   state
	started atomic.Bool
	// sweep wakes the one who moves rooms.
	sweep chan struct{}
	moves moves
	// created and resumed are how often each session had a room made, and was
	// resumed, lately.
	created, resumed *paces
	keys             atomic.Pointer[keyring]
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	metrics, err := newMetrics(cfg.Metrics, cfg.Index)
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	// Fences and hand-overs call servers that may be dead, and wait briefly.
	client, err := rpc.NewClient(rpc.ClientConfig{Engine: cfg.Engine, Failures: math.MaxUint32, Metrics: cfg.Metrics})
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	s := &Server{
		cfg: cfg, log: cfg.Log.With("directory", cfg.Index), metrics: metrics, client: client,
		terms:       lease.Terms{Members: cfg.Members, Grant: cfg.Grant, Heartbeat: cfg.Heartbeat},
		incarnation: rand.Text(), verifier: pass.New(),
		history: history.NewRecorder(cfg.History, fmt.Sprintf("directory-%d", cfg.Index)),
		sweep:   make(chan struct{}, 1),
	}
	s.state.init()
	s.moves.init()
	s.created, s.resumed = newPaces(createEvery, createBurst), newPaces(resumeEvery, resumeBurst)
	return s, nil
}

// Ready is nil once it serves, or says what it waits for.
func (s *Server) Ready() error {
	if !s.started.Load() {
		return errors.New("the directory waits for the engine's buckets")
	}
	return nil
}

// Run serves until the context ends, or until another process is the same member
// (an error).
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.openBuckets(ctx); err != nil {
		return s.ended(ctx, err)
	}
	group, working := errgroup.WithContext(ctx)
	s.watchBuckets(working, group)
	group.Go(func() error { return s.serve(working) })
	return s.ended(ctx, group.Wait())
}

// ended leaves out an error that only says that the context has ended.
func (s *Server) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}

// serve begins to answer when the copy of the buckets is complete.
func (s *Server) serve(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if err := s.loadKeys(ctx); err != nil {
		return err
	}
	servers, err := s.servers()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer func() {
		cancel()
		s.started.Store(false)
		for _, server := range servers {
			_ = server.Close()
		}
		background.Wait()
		s.exit(ctx)
	}()
	s.state.mu.Lock()
	s.state.serving = time.Now()
	s.state.mu.Unlock()
	for _, server := range servers {
		if err := server.Start(); err != nil {
			return err
		}
	}
	background.Go(func() { s.detect(ctx) })
	background.Go(func() { s.moveRooms(ctx) })
	background.Go(func() { s.tidy(ctx) })
	s.started.Store(true)
	s.log.Info("the directory serves", "members", s.cfg.Members)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.member.replaced:
		return fmt.Errorf("directory %d: another process has started as member %d; each member is one process", s.cfg.Index, s.cfg.Index)
	}
}
