// Package keeper keeps a shard's lease at the directory: it registers, sends
// heartbeats to every member, registers anew when it has to, and says whether the
// lease is held. It brings what directories tell shards: the keys of passes, and
// whether to drain.
//
// What a shard has to do with it:
//
//   - While Held is false it answers no request about a room, but
//     connect.CodeUnavailable. Held is looked at with each request, and again after
//     whatever may take long; it is cheap.
//   - When Term has changed, another shard may have had each of its rooms
//     meanwhile. It answers requests about a room again only after a SaveRoom of
//     that room, sent in the new term, was answered without error; ABORTED: the
//     room is another's, it lets go of it.
//   - While Draining it takes no new matches into its queues; directories give it
//     no rooms.
package keeper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/lease"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

// Config is what a Keeper is made of.
type Config struct {
	Engine engine.Engine
	// Shard is the id: letters, digits, - and _, at most 32.
	Shard string
	// Capacity for placement: how many rooms, and how many players in them; each
	// more than 0.
	CapacityRooms, CapacityPlayers int
	// Load gives what there is at present; nil: nothing. It must answer at once.
	Load func() (rooms, players int)
	// LeaveTimeout bounds the attempt to unregister at the end; 0: 2 s.
	LeaveTimeout time.Duration
	// History gets a line of JSON each time that the lease is seen to be held; nil:
	// nothing.
	History io.Writer
	Log     *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none
}

// Keeper keeps one shard's lease. Its methods may be called from any goroutine.
type Keeper struct {
	cfg         Config
	client      *rpc.Client
	incarnation string
	verifier    *pass.Verifier
	metrics     *metrics
	history     *history.Recorder

	// wake lets the loop look again.
	wake chan struct{}

	mu     sync.Mutex
	holder *lease.Holder // nil before the first registration
	terms  lease.Terms
	// earlier counts the terms of holders that were replaced.
	earlier  uint64
	draining bool
	left     bool
	// registering: a call is on its way; next is when to try again.
	registering bool
	next        time.Time
	reason      error
	told        State
	changed     chan struct{}
}

// State is what a Keeper knows.
type State struct {
	Held     bool
	Draining bool
	// Term and Epoch; see the package's comment and lease.Holder.
	Term, Epoch uint64
}

// New makes a keeper that has not registered yet.
func New(cfg Config) (*Keeper, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("keeper: %w", err)
	}
	if cfg.Load == nil {
		cfg.Load = func() (int, int) { return 0, 0 }
	}
	if cfg.LeaveTimeout == 0 {
		cfg.LeaveTimeout = 2 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	metrics, err := newMetrics(cfg.Metrics, cfg.Shard)
	if err != nil {
		return nil, fmt.Errorf("keeper: %w", err)
	}
	// A member that did not answer lately is asked all the same: that is what
	// heartbeats are for. So there is no breaker.
	client, err := rpc.NewClient(rpc.ClientConfig{Engine: cfg.Engine, Failures: math.MaxUint32, Metrics: cfg.Metrics})
	if err != nil {
		return nil, fmt.Errorf("keeper: %w", err)
	}
	return &Keeper{
		cfg: cfg, client: client, incarnation: rand.Text(), verifier: pass.New(), metrics: metrics,
		history: history.NewRecorder(cfg.History, "shard-"+cfg.Shard),
		wake:    make(chan struct{}, 1), changed: make(chan struct{}), reason: errors.New("not registered yet"),
	}, nil
}

func (c Config) check() error {
	switch {
	case c.Engine == nil:
		return errors.New("no engine")
	case !ValidID(c.Shard):
		return fmt.Errorf("shard id %q: 1 to 32 letters, digits, - and _", c.Shard)
	case c.CapacityRooms < 1 || c.CapacityRooms > math.MaxInt32 || c.CapacityPlayers < 1 || c.CapacityPlayers > math.MaxInt32:
		return fmt.Errorf("capacity of %d rooms and %d players: both have to be more than 0", c.CapacityRooms, c.CapacityPlayers)
	case c.LeaveTimeout < 0:
		return errors.New("the timeout for leaving is negative")
	}
	return nil
}

// ValidID reports whether a shard may have this id: it is a token of subjects and
// a key of buckets.
func ValidID(id string) bool {
	for _, r := range id {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return id != "" && len(id) <= 32
}

// Held reports whether the lease is held now.
func (k *Keeper) Held() bool { return k.State().Held }

// Term grows when what the shard owned may have become another's.
func (k *Keeper) Term() uint64 { return k.State().Term }

// Epoch is the shard's epoch; 0: not registered yet.
func (k *Keeper) Epoch() uint64 { return k.State().Epoch }

// Draining reports whether the shard shall empty itself.
func (k *Keeper) Draining() bool { return k.State().Draining }

// State is all of it, of one moment.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state(time.Now())
}

func (k *Keeper) state(now time.Time) State {
	s := State{Draining: k.draining, Term: k.earlier}
	if k.holder != nil {
		s.Held = k.holder.Held(now) && !k.left
		s.Term += k.holder.Term()
		s.Epoch = k.holder.Epoch()
	}
	return s
}

// Until is when the lease ends unless more is granted; zero: it was never held.
func (k *Keeper) Until() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder == nil {
		return time.Time{}
	}
	return k.holder.Until()
}

// Changed is closed when State has changed since it was asked for; then it is
// another channel.
func (k *Keeper) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// Verifier checks passes, by the keys that directories have given. It is always
// the same one.
func (k *Keeper) Verifier() *pass.Verifier { return k.verifier }

// Ready is nil while the lease is held, or says what it waits for.
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state(time.Now()).Held {
		return nil
	}
	return fmt.Errorf("shard %s holds no lease: %w", k.cfg.Shard, k.reason)
}

// Run keeps the lease until the context ends; then it gives it back, so that what
// is left of the shard's rooms is another's at once. Whoever has to finish
// something with the lease in hand does so before he ends the context.
func (k *Keeper) Run(ctx context.Context) error {
	working, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer k.leave(ctx)
	defer calls.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		k.step(working, &calls)
		timer.Reset(k.sleep())
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-k.wake:
		}
	}
}
