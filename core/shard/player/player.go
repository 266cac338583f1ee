package player

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/shard/api/agentv1"
)

// Config is what a Player needs.
type Config struct {
	// Agent is the session, which is logged in; its events are the player's from
	// now on. Changes is what it was made to notify.
	Agent   Agent
	Changes *Changes
	// Key is who the player's peer is.
	Key identity.Key
	// Rand gives session and transaction ids; it has to be unpredictable
	// wherever the network is not trusted.
	Rand io.Reader
	// Start runs the peers; nil: on the network of this machine.
	Start Start
	// Peer has what a peer's configuration does not take from a ticket: Listen,
	// Keepalive, Consent, DeadAfter, GiveUpAfter, Techniques, Roots.
	Peer peer.Config
	// OnEvent gets what happens, one event after another, some in the goroutine
	// of the peer. It must neither block nor call the player's methods.
	OnEvent func(at time.Time, e Event)
	// ReportEvery is how often the game server is told of connections that have
	// not changed; 0: DefaultReportEvery.
	ReportEvery time.Duration
}

const (
	// DefaultReportEvery is how often connections are reported.
	DefaultReportEvery = 3 * time.Second
	// reportSoon is how long changes of connections are gathered.
	reportSoon = 200 * time.Millisecond
	// RequestTimeout bounds each request to the Agent that the player makes by
	// itself.
	RequestTimeout = 5 * time.Second
	// retryFirst is the wait after a ticket that was not given; it doubles up to
	// retryMax.
	retryFirst = 250 * time.Millisecond
	retryMax   = 4 * time.Second
)

// Errors of a Player.
var (
	ErrConfig = errors.New("player: unusable configuration")
	ErrEnded  = errors.New("player: has ended")
	ErrNoRoom = errors.New("player: in no room to play in")
)

// Player is a session's player. Make it with New and run it with Run; its other
// methods may be called from any goroutine, and wait for Run.
type Player struct {
	cfg     Config
	calls   chan func()
	changed chan struct{} // paths have changed, or the peer has ended
	done    chan struct{} // closed when Run returns
	started atomic.Bool
	workers sync.WaitGroup
	ctx     context.Context // of Run, for workers

	emitting sync.Mutex
	mesh     atomic.Pointer[mesh] // nil: no match runs

	// What follows belongs to the goroutine of Run.
	rooms map[string]*agentv1.Room
	// left is the room that was left last: events about it may still come.
	left  string
	match *match // nil: none
}

// New checks the configuration.
func New(cfg Config) (*Player, error) {
	switch {
	case cfg.Agent == nil:
		return nil, fmt.Errorf("%w: no Agent", ErrConfig)
	case cfg.Changes == nil:
		return nil, fmt.Errorf("%w: no Changes, so that a lost Agent would not be noticed", ErrConfig)
	case cfg.Key.IsZero():
		return nil, fmt.Errorf("%w: no key", ErrConfig)
	case cfg.Rand == nil:
		return nil, fmt.Errorf("%w: no source of randomness", ErrConfig)
	case cfg.ReportEvery < 0:
		return nil, fmt.Errorf("%w: ReportEvery is negative", ErrConfig)
	}
	if cfg.Start == nil {
		cfg.Start = OnSystem
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(time.Time, Event) {}
	}
	if cfg.ReportEvery == 0 {
		cfg.ReportEvery = DefaultReportEvery
	}
	return &Player{
		cfg:     cfg,
		calls:   make(chan func()),
		changed: make(chan struct{}, 1),
		done:    make(chan struct{}),
		rooms:   make(map[string]*agentv1.Room),
	}, nil
}

// Run keeps the player until ctx ends or the session is over, for which it gives
// the reason. When it returns, the peer has said farewell and nothing of the
// player runs any more. The session is left alone: whoever wants to leave rooms
// or to log out does so before.
func (p *Player) Run(ctx context.Context) error {
	if p.started.Swap(true) {
		return fmt.Errorf("%w: it ran before", ErrEnded)
	}
	ctx, cancel := context.WithCancel(ctx)
	p.ctx = ctx
	defer func() {
		close(p.done)
		cancel()
		p.workers.Wait()
		p.stopMesh(nil)
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-p.calls:
			f()
		case <-p.cfg.Changes.wake:
			p.changes(time.Now())
		case e, open := <-p.cfg.Agent.Events():
			p.changes(time.Now())
			if !open {
				return p.over(ctx)
			}
			p.event(time.Now(), e)
		case <-p.changed:
			p.connectionsChanged(time.Now())
		case <-timer.C:
		}
		if at := p.due(time.Now()); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(at))
		}
	}
}

// over is why the session has ended; nil if we were to end.
func (p *Player) over(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	return p.cfg.Agent.Err()
}

// do calls f in the goroutine of Run and waits for it.
func (p *Player) do(f func()) error {
	called := make(chan struct{})
	select {
	case p.calls <- func() { defer close(called); f() }:
		<-called
		return nil
	case <-p.done:
		return ErrEnded
	}
}

// ask makes a request in a goroutine of its own, and calls then with the answer
// in that of Run.
func ask[A any](p *Player, request func(ctx context.Context) (A, error), then func(now time.Time, answer A, err error)) {
	p.workers.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, RequestTimeout)
		defer cancel()
		answer, err := request(ctx)
		select {
		case p.calls <- func() { then(time.Now(), answer, err) }:
		case <-p.ctx.Done():
		}
	})
}

func (p *Player) emit(at time.Time, e Event) {
	p.emitting.Lock()
	defer p.emitting.Unlock()
	p.cfg.OnEvent(at, e)
}

// wake has Run look at the connections; it never blocks.
func (p *Player) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Name is who the session says that we are.
func (p *Player) Name() string { return p.cfg.Agent.Session().GetPlayer() }

// Peer is the identity of the player's peer.
func (p *Player) Peer() identity.ID { return p.cfg.Key.ID() }

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func due(now, at time.Time) bool { return !at.IsZero() && !now.Before(at) }
