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

// creations are the paces at which sessions have rooms made, each directory's own.
type creations struct {
	mu        sync.Mutex
	bySession map[string]*rate.Limiter
}

func (c *creations) init() { c.bySession = map[string]*rate.Limiter{} }

// allow reports whether a session may have one more room made now.
func (c *creations) allow(session string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.bySession[session]
	if l == nil {
		l = rate.NewLimiter(rate.Every(createEvery), createBurst)
		c.bySession[session] = l
	}
	return l.AllowN(now, 1)
}

// sweep forgets sessions that may do again whatever a new one may.
func (c *creations) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for session, l := range c.bySession {
		if l.TokensAt(now) >= createBurst {
			delete(c.bySession, session)
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
