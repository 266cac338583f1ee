package lobby

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/matchmaking"
	"p2pmodel/core/shard/rpc"
)

const (
	// maxModes is how many modes can have a queue at once.
	maxModes = 256
	// placeFor is how long a room is sought for a match that was made, placings
	// how many are sought at once.
	placeFor  = 10 * time.Second
	placings  = 16
	matchName = "Quick match"
)

// queues are who waits for matches, by mode.
type queues struct {
	cfg Config

	mu     sync.Mutex
	byMode map[string]*matchmaking.Queue
	modes  map[string]string // of each session that waits
	closed bool
	wake   chan struct{}

	tokens  chan struct{} // one a match whose room is sought
	placing sync.WaitGroup
	matched prometheus.Counter
	failed  prometheus.Counter
}

func newQueues(cfg Config) (*queues, error) {
	q := &queues{
		cfg: cfg, byMode: map[string]*matchmaking.Queue{}, modes: map[string]string{},
		wake: make(chan struct{}, 1), tokens: make(chan struct{}, placings),
		matched: prometheus.NewCounter(prometheus.CounterOpts{Name: "p2pmodel_shard_matches_made_total", Help: "Matches made from the queues that got a room."}),
		failed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "p2pmodel_shard_match_failures_total", Help: "Players who waited and were told that there is no match."}),
	}
	if cfg.Metrics == nil {
		return q, nil
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "p2pmodel_shard_waiting_players", Help: "Players who wait for a match."}, func() float64 {
		q.mu.Lock()
		defer q.mu.Unlock()
		return float64(len(q.modes))
	})
	for _, c := range []prometheus.Collector{q.matched, q.failed, waiting} {
		if err := cfg.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// Enqueue answers LobbyService.Enqueue. Asking again while the group waits does
// nothing.
func (s *Server) Enqueue(_ context.Context, _ *rpc.Request, req *insidev1.EnqueueRequest) (*agentv1.QuickMatchResponse, error) {
	if err := s.admitDirectory(); err != nil {
		return nil, err
	}
	if err := limits.CheckEnqueue(req); err != nil {
		return nil, err
	}
	if s.cfg.Draining() {
		return nil, rpc.Errorf(connect.CodeUnavailable, "the shard drains and takes nobody into its queues")
	}
	estimate, err := s.queues.add(time.Now(), req)
	if err != nil {
		return nil, err
	}
	return &agentv1.QuickMatchResponse{EstimatedSeconds: uint32(math.Ceil(estimate.Seconds()))}, nil
}

// Dequeue answers LobbyService.Dequeue. The others of the session's group are told.
func (s *Server) Dequeue(_ context.Context, _ *rpc.Request, req *insidev1.DequeueRequest) (*agentv1.CancelMatchResponse, error) {
	if err := s.admitDirectory(); err != nil {
		return nil, err
	}
	if err := limits.CheckSession("session", req.Session); err != nil {
		return nil, err
	}
	s.queues.remove(req.Session)
	return &agentv1.CancelMatchResponse{}, nil
}

func (q *queues) add(now time.Time, req *insidev1.EnqueueRequest) (time.Duration, error) {
	g := matchmaking.Group{Latency: req.LatencyMs, Players: int(req.Players)}
	if g.Players == 0 {
		g.Players = limits.DefaultMatching
	}
	for _, p := range req.Group {
		g.Members = append(g.Members, matchmaking.Player{Session: p.Session, Player: p.Player, Rating: int(p.Rating)})
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, rpc.Errorf(connect.CodeUnavailable, "the shard stops")
	}
	if q.waits(req.Mode, g) {
		return q.byMode[req.Mode].Estimate(now, g.Players), nil
	}
	for _, p := range g.Members {
		if _, waits := q.modes[p.Session]; waits {
			return 0, rpc.Errorf(connect.CodeAlreadyExists, "%s waits for another match; cancel that first", p.Player)
		}
	}
	queue := q.byMode[req.Mode]
	if queue == nil {
		if len(q.byMode) >= maxModes {
			q.sweep()
		}
		if len(q.byMode) >= maxModes {
			return 0, &rpc.Error{Code: connect.CodeResourceExhausted, Message: "players wait for too many modes", Retry: time.Second}
		}
		queue = matchmaking.New(0)
		q.byMode[req.Mode] = queue
	}
	switch err := queue.Add(now, g); {
	case errors.Is(err, matchmaking.ErrFull):
		return 0, &rpc.Error{Code: connect.CodeResourceExhausted, Message: err.Error(), Retry: 5 * time.Second}
	case err != nil:
		return 0, rpc.Errorf(connect.CodeInvalidArgument, "%v", err)
	}
	for _, p := range g.Members {
		q.modes[p.Session] = req.Mode
	}
	q.nudge()
	return queue.Estimate(now, g.Players), nil
}

// waits reports whether this very group waits already: all of its sessions do, in
// this mode. The answer to the first request got lost.
func (q *queues) waits(mode string, g matchmaking.Group) bool {
	return !slices.ContainsFunc(g.Members, func(p matchmaking.Player) bool {
		m, ok := q.modes[p.Session]
		return !ok || m != mode
	})
}

// sweep forgets queues that nobody waits in; what they knew of waiting times goes
// with them.
func (q *queues) sweep() {
	for mode, queue := range q.byMode {
		if queue.Len() == 0 {
			delete(q.byMode, mode)
		}
	}
}

func (q *queues) remove(session string) {
	q.mu.Lock()
	mode, ok := q.modes[session]
	var others []string
	if ok {
		g, _ := q.byMode[mode].Remove(session)
		others = slices.DeleteFunc(q.forget(g), func(s string) bool { return s == session })
	}
	q.mu.Unlock()
	q.fail("somebody of your group does not want to wait any more", others)
}

// forget takes a group that waits no more out of the index, and gives its
// sessions.
func (q *queues) forget(g matchmaking.Group) (sessions []string) {
	for _, p := range g.Members {
		delete(q.modes, p.Session)
		sessions = append(sessions, p.Session)
	}
	return sessions
}

func (q *queues) fail(reason string, sessions []string) {
	if len(sessions) == 0 {
		return
	}
	q.failed.Add(float64(len(sessions)))
	q.cfg.Rooms.Tell(&agentv1.Event{Kind: &agentv1.Event_MatchFailed{MatchFailed: &agentv1.MatchFailed{Reason: reason}}}, sessions...)
}

func (q *queues) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run makes matches until ctx ends. Whoever waits then is told.
func (q *queues) run(ctx context.Context) {
	// Whether the lease is held, or the shard drains, is looked at so often.
	const look = 500 * time.Millisecond
	timer := time.NewTimer(look)
	defer timer.Stop()
	for ctx.Err() == nil {
		switch {
		case !q.cfg.Guard.Lease.Held():
			q.empty("the shard with your match queue is cut off; ask again")
		case q.cfg.Draining():
			q.empty("the shard with your match queue stops; ask again")
		default:
			q.advance(ctx, time.Now())
		}
		timer.Reset(min(look, max(time.Until(q.next()), 0)))
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-timer.C:
		}
	}
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.empty("the shard with your match queue stops; ask again")
	q.placing.Wait()
}

// next is when a queue wants to be advanced; far away if none does.
func (q *queues) next() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := time.Now().Add(time.Hour)
	for _, queue := range q.byMode {
		if at := queue.Next(); !at.IsZero() && at.Before(first) {
			first = at
		}
	}
	return first
}

func (q *queues) empty(reason string) {
	q.mu.Lock()
	var sessions []string
	for s := range q.modes {
		sessions = append(sessions, s)
	}
	clear(q.modes)
	clear(q.byMode)
	q.mu.Unlock()
	q.fail(reason, sessions)
}

func (q *queues) advance(ctx context.Context, now time.Time) {
	var lost []string
	q.mu.Lock()
	for mode, queue := range q.byMode {
		if at := queue.Next(); at.IsZero() || at.After(now) {
			continue
		}
		matches, failed := queue.Advance(now)
		for _, g := range failed {
			lost = append(lost, q.forget(g)...)
		}
		for _, m := range matches {
			for _, g := range m.Groups {
				q.forget(g)
			}
			q.placing.Go(func() { q.place(ctx, mode, m) })
		}
	}
	q.mu.Unlock()
	q.fail("nobody to play with was found", lost)
}

// place has a directory open a room for a match, whose shard tells the players.
func (q *queues) place(ctx context.Context, mode string, m matchmaking.Match) {
	req := &insidev1.PlaceRoomRequest{Start: true, Key: rand.Text()}
	var sessions []string
	for _, g := range m.Groups {
		for _, p := range g.Members {
			sessions = append(sessions, p.Session)
			req.Members = append(req.Members, &insidev1.Participant{Session: p.Session, Player: p.Player, Rating: int32(p.Rating), Leader: len(req.Members) == 0})
		}
	}
	n := uint32(len(req.Members))
	req.Settings = &agentv1.RoomSettings{
		Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: matchName, Mode: mode, Capacity: n, MinPlayers: n, Private: true,
	}
	ctx, cancel := context.WithTimeout(ctx, placeFor)
	defer cancel()
	select {
	case q.tokens <- struct{}{}:
		defer func() { <-q.tokens }()
	case <-ctx.Done():
		q.fail("no room was found in time", sessions)
		return
	}
	if err := q.ask(ctx, req); err != nil {
		q.cfg.Log.Warn("no room for a match", "mode", mode, "players", n, "error", err)
		q.fail("no room was found for your match; ask again", sessions)
		return
	}
	q.matched.Inc()
}

// ask repeats the request until it is answered for good: its key makes it the same
// room each time.
func (q *queues) ask(ctx context.Context, req *insidev1.PlaceRoomRequest) error {
	for {
		_, err := rpc.Call[insidev1.PlaceRoomResponse](ctx, q.cfg.Client, shard.DirectoryFrom(q.cfg.Shard, "PlaceRoom"), req, rpc.Idempotent())
		switch rpc.CodeOf(err) {
		case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted:
		default:
			return err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
