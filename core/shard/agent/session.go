package agent

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/rpc"
)

// ending is why a session is attached here no more.
type ending struct {
	name   string // for metrics
	reason string // for the client
	final  bool   // resuming makes no sense
}

var (
	leaving    = ending{"leaving", "this server is ending; resume at another one", false}
	superseded = ending{"superseded", "the session was resumed elsewhere", false}
	detached   = ending{"detached", "nothing was heard of the session for too long; resume it", false}
	refused    = ending{"refused", "the session could not be kept; resume it, or log in", false}
	gone       = ending{"gone", "the session has ended; log in again", true}
	loggedOut  = ending{"logged_out", "logged out", true}
	replaced   = ending{"stream_replaced", "another event stream of this session was opened", true}
)

// session is a session that is attached here.
type session struct {
	id, player string
	rating     int32
	access     accessHash
	limiter    *rate.Limiter
	queue      *queue

	mu           sync.Mutex
	events       engine.Subscription
	lost         uint64 // of what events dropped, already counted
	pass         []byte
	passEnds     time.Time
	generation   uint64
	rooms        map[string]bool
	active       int // requests in work
	stream       *stream
	idle         *time.Timer
	renewal      *time.Timer
	presence     *time.Timer
	renewing     chan struct{} // closed when a renewal that runs has ended
	renewalError error
	ended        *ending
}

func (x *session) currentPass() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.pass
}

func (x *session) latest() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.generation
}

// attach begins to hold a session as a directory has given it.
func (s *Server) attach(given *insidev1.SessionResponse) (*session, string, error) {
	token, hash := newAccess()
	l := s.cfg.Limits
	x := &session{
		id: given.Session, player: given.Player, rating: given.Rating, access: hash,
		limiter: rate.NewLimiter(rate.Limit(l.RequestRate), l.RequestBurst),
		queue:   newQueue(l.Events, l.EventBytes),
		rooms:   map[string]bool{},
		active:  1, // the request that attaches it
	}
	x.take(s, given)
	sub, err := s.cfg.Engine.Subscribe(shard.SessionEvents(x.id), l.Events, func(e engine.Event) { s.deliver(x, e) })
	if err != nil {
		return nil, "", rpc.Errorf(connect.CodeUnavailable, "the inside cannot be reached at present; try again")
	}
	x.mu.Lock()
	x.events = sub
	x.renewal = time.AfterFunc(renewIn(given), func() { s.begin(func(ctx context.Context) { s.keep(ctx, x) }) })
	x.presence = time.AfterFunc(jitter(s.cfg.Times.Presence), func() { s.begin(func(ctx context.Context) { s.tellPresence(ctx, x) }) })
	x.mu.Unlock()
	old, added := s.sessions.add(x, given.Generation)
	switch {
	case !added:
		s.end(x, superseded)
		return nil, "", endedError(superseded)
	case old != nil:
		s.end(old, superseded)
	}
	if s.draining.Load() {
		// It came while the others were told to leave.
		s.end(x, leaving)
		return nil, "", errLeaving
	}
	return x, token, nil
}

// take takes over what a directory says of the session. Rooms are only added: a
// directory hears of them later than the Agent does.
func (x *session) take(s *Server, given *insidev1.SessionResponse) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pass, x.generation = given.Pass, given.Generation
	x.passEnds = time.Now().Add(time.Duration(given.PassSeconds) * time.Second)
	for _, r := range given.Rooms {
		if _, ok := s.places.put(r); ok {
			x.enterLocked(r.Room)
		}
	}
}

// maxRooms bounds the rooms of a session that presence is told to.
const maxRooms = 16

func (x *session) enter(room string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.enterLocked(room)
}

func (x *session) enterLocked(room string) {
	if len(x.rooms) < maxRooms {
		x.rooms[room] = true
	}
}

func (x *session) leave(room string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.rooms, room)
}

// inRooms gives the rooms that the session is in, in order.
func (x *session) inRooms() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Sorted(maps.Keys(x.rooms))
}

// use notes that a request begins; done that it has ended.
func (x *session) use() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended != nil {
		return false
	}
	x.active++
	if x.idle != nil {
		x.idle.Stop()
		x.idle = nil
	}
	return true
}

func (s *Server) done(x *session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.active--
	s.restLocked(x)
}

// restLocked begins to wait for the session's next sign of life.
func (s *Server) restLocked(x *session) {
	if x.active > 0 || x.stream != nil || x.ended != nil {
		return
	}
	x.idle = time.AfterFunc(s.cfg.Times.DetachAfter, func() {
		x.mu.Lock()
		resting := x.idle != nil && x.active == 0 && x.stream == nil
		x.mu.Unlock()
		if resting {
			s.end(x, detached)
		}
	})
}

// end ends the attachment, if it has not ended. Its rooms are told that the
// player is offline, unless another Agent holds the session now or there is none.
func (s *Server) end(x *session, why ending) {
	x.mu.Lock()
	if x.ended != nil {
		x.mu.Unlock()
		return
	}
	x.ended = &why
	events := x.events
	for _, t := range []*time.Timer{x.idle, x.renewal, x.presence} {
		if t != nil {
			t.Stop()
		}
	}
	x.mu.Unlock()
	x.goodbye(why)
	s.sessions.remove(x)
	s.metrics.ended.WithLabelValues(why.name).Inc()
	s.log.Debug("agent: session ended", "session", x.id, "player", x.player, "why", why.name)
	s.begin(func(ctx context.Context) {
		// Not to be closed from its own handler, which may be what ends the session.
		if events != nil {
			events.Close()
		}
		if (why == detached || why == leaving) && s.upkeep.enter(ctx) == nil {
			defer s.upkeep.leave()
			s.eachRoom(ctx, x, false)
		}
	})
}

// jitter spreads intervals by a tenth, so that sessions that came at once do not
// stay in step.
func jitter(d time.Duration) time.Duration {
	return d - d/20 + rand.N(d/10+1)
}

// renewIn is when to renew a pass: at half its life.
func renewIn(given *insidev1.SessionResponse) time.Duration {
	return jitter(max(time.Duration(given.PassSeconds)*time.Second/2, time.Second))
}

// renewAgain is when to try again to renew, if nobody could be asked.
const renewAgain = 2 * time.Second

// keep renews the pass in time.
func (s *Server) keep(ctx context.Context, x *session) {
	if s.upkeep.enter(ctx) != nil {
		return
	}
	defer s.upkeep.leave()
	err := s.renewPass(ctx, x, x.currentPass())
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil && x.ended == nil {
		s.log.Warn("agent: a pass was not renewed", "session", x.id, "ends_in", time.Until(x.passEnds).Round(time.Second), "error", err)
		x.renewal.Reset(jitter(renewAgain))
	}
}

// renewPass gets a new pass unless the session has another one than that used
// already. It ends the session if a directory says that it is not held here.
func (s *Server) renewPass(ctx context.Context, x *session, used []byte) error {
	x.mu.Lock()
	switch {
	case x.ended != nil:
		defer x.mu.Unlock()
		return endedError(*x.ended)
	case string(x.pass) != string(used):
		x.mu.Unlock()
		return nil
	case x.renewing != nil:
		running := x.renewing
		x.mu.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.renewalError
	}
	running := make(chan struct{})
	x.renewing = running
	x.mu.Unlock()

	err := s.askForPass(ctx, x, used)
	x.mu.Lock()
	x.renewing, x.renewalError = nil, err
	x.mu.Unlock()
	close(running)
	return err
}

func (s *Server) askForPass(ctx context.Context, x *session, used []byte) error {
	given, err := rpc.Call[insidev1.SessionResponse](ctx, s.inside, shard.DirectorySubject("RenewPass"),
		&insidev1.RenewPassRequest{}, rpc.WithPass(used), rpc.Idempotent())
	if err == nil && (given.Session != x.id || len(given.Pass) == 0) {
		err = rpc.Errorf(connect.CodeInternal, "a directory renewed another session's pass")
	}
	if err == nil {
		x.take(s, given)
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.ended == nil {
			x.renewal.Reset(renewIn(given))
		}
		return nil
	}
	var why ending
	switch rpc.CodeOf(err) {
	case connect.CodeFailedPrecondition:
		why = superseded
	case connect.CodeNotFound:
		why = gone
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		why = refused
	default:
		return err
	}
	s.end(x, why)
	return endedError(why)
}

// endedError is what a request gets whose session has ended.
func endedError(why ending) error {
	return rpc.Errorf(connect.CodeUnauthenticated, "%s", why.reason)
}

// tellPresence tells the session's rooms from time to time that it is online.
func (s *Server) tellPresence(ctx context.Context, x *session) {
	if s.upkeep.enter(ctx) != nil {
		return
	}
	defer s.upkeep.leave()
	s.eachRoom(ctx, x, true)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended == nil {
		x.presence.Reset(jitter(s.cfg.Times.Presence))
	}
}

// eachRoom tells all rooms of a session whether it is online.
func (s *Server) eachRoom(ctx context.Context, x *session, online bool) {
	for _, room := range x.inRooms() {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.RequestTimeout)
		_, err := inRoom[insidev1.PresenceResponse](ctx, s, x, nil, room, shard.LobbySubject, "Presence",
			&insidev1.PresenceRequest{Room: room, Online: online})
		cancel()
		switch rpc.CodeOf(err) {
		case 0:
		case connect.CodeNotFound:
			x.leave(room)
		default:
			s.log.Debug("agent: presence was not told", "session", x.id, "room", room, "online", online, "error", err)
		}
		if online && x.hasEnded() {
			return
		}
	}
}

func (x *session) hasEnded() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ended != nil
}

// memberOf reports whether the player is in a room.
func (x *session) memberOf(r *agentv1.Room) bool {
	return slices.ContainsFunc(r.GetMembers(), func(m *agentv1.Member) bool { return m.GetPlayer() == x.player })
}
