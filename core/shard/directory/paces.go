package directory

import (
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

// A session may have so many rooms made at once, and then one each createEvery. A
// room that is left at once lives on for a while: without a pace one player could
// fill all shards.
const (
	createBurst = 2 * limits.MaxRoomsSession
	createEvery = 400 * time.Millisecond
)

// A session may be resumed so often at once, and then once each resumeEvery: each
// time is a write to the disks of all engines, and its Agent asks all of its rooms.
const (
	resumeBurst = 20
	resumeEvery = 2 * time.Second
)

// paces are how often each session may have something done, each directory's own.
type paces struct {
	every time.Duration
	burst int

	mu        sync.Mutex
	bySession map[string]*rate.Limiter
}

func newPaces(every time.Duration, burst int) *paces {
	return &paces{every: every, burst: burst, bySession: map[string]*rate.Limiter{}}
}

// allow reports whether it may be done for a session once more now.
func (p *paces) allow(session string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.bySession[session]
	if l == nil {
		l = rate.NewLimiter(rate.Every(p.every), p.burst)
		p.bySession[session] = l
	}
	return l.AllowN(now, 1)
}

// sweep forgets sessions that may do again whatever a new one may.
func (p *paces) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for session, l := range p.bySession {
		if l.TokensAt(now) >= float64(p.burst) {
			delete(p.bySession, session)
		}
	}
}

// mayCreate checks that a session may have this room made. One that is there is
// asked for again, and costs nothing.
func (s *Server) mayCreate(session, room string) error {
	s.state.mu.RLock()
	rooms := s.state.inRooms[session]
	n, again := len(rooms), rooms[room]
	s.state.mu.RUnlock()
	switch {
	case again:
	case n >= limits.MaxRoomsSession:
		return rpc.Errorf(connect.CodeResourceExhausted, "you are in %d rooms; leave one first", n)
	case !s.created.allow(session, time.Now()):
		return &rpc.Error{Code: connect.CodeResourceExhausted, Message: "you have had many rooms made lately; wait a second", Retry: time.Second}
	}
	return nil
}
