package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

// maxPlaces bounds the rooms whose place is remembered, maxShards the shards
// whose names are.
const (
	maxPlaces = 1 << 16
	maxShards = 1 << 12
)

// place is which shard has a room, as far as is known here.
type place struct {
	shard string
	epoch uint64
	since time.Time
}

// places remembers where rooms are. It is a hint: a shard that does not have a
// room says so.
type places struct {
	life   time.Duration
	mu     sync.Mutex
	known  map[string]place
	shards map[string]bool // all names seen, which no client is to see
	asked  map[string]*question
}

func newPlaces(life time.Duration) *places {
	return &places{life: life, known: map[string]place{}, shards: map[string]bool{}, asked: map[string]*question{}}
}

func (p *places) get(room string) (place, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.known[room]
	if !ok || time.Since(at.since) > p.life {
		return place{}, false
	}
	return at, true
}

// put notes a place, and reports whether it can be one.
func (p *places) put(at *insidev1.RoomPlace) (place, bool) {
	if limits.CheckSession("shard", at.GetShard()) != nil || limits.CheckRoomID("room", at.GetRoom()) != nil {
		return place{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.known[at.Room]; ok && old.epoch > at.Epoch {
		// The news have overtaken this answer.
		return old, true
	}
	if len(p.known) >= maxPlaces {
		for room := range p.known { // any: they are asked for again
			delete(p.known, room)
			break
		}
	}
	if len(p.shards) < maxShards {
		p.shards[at.Shard] = true
	}
	now := place{at.Shard, at.Epoch, time.Now()}
	p.known[at.Room] = now
	return now, true
}

// forget drops what is known of a room's place.
func (p *places) forget(room string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, room)
}

// isShard reports whether this is the name of a shard that was seen.
func (p *places) isShard(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shards[name]
}

// find asks a directory for a room's place.
func (s *Server) find(ctx context.Context, x *session, room string) (place, error) {
	found, err := rpc.Call[insidev1.FindRoomResponse](ctx, s.inside, shard.DirectorySubject("FindRoom"),
		&insidev1.FindRoomRequest{Room: room}, rpc.WithPass(x.currentPass()), rpc.Idempotent())
	if err != nil {
		return place{}, err
	}
	if found.GetPlace().GetRoom() != room {
		return place{}, rpc.Errorf(connect.CodeInternal, "a directory gave the place of another room")
	}
	at, ok := s.places.put(found.Place)
	if !ok {
		return place{}, rpc.Errorf(connect.CodeInternal, "a directory gave a place that is none")
	}
	return at, nil
}

// How long a call waits for a room that is on its way from one shard to another:
// longer than it takes to find out that a shard has died; and where a directory
// still names the one that says that it has let go of it: longer than the news
// take.
const (
	transit = 3 * time.Second
	news    = 500 * time.Millisecond
)

// inRoom calls a method of the shard that has a room. If that shard does not have
// it, or does not answer, a directory is asked where it is until it names another
// place, and the call goes there: it was not done before. Meanwhile the call's turn
// is others'; a call without one has nil.
func inRoom[Resp any, P interface {
	*Resp
	proto.Message
}](ctx context.Context, s *Server, x *session, t *turn, room string, subject func(id, method string) string, method string, req proto.Message) (P, error) {
	began := time.Now()
	at, cached := s.places.get(room)
	if !cached {
		var err error
		if at, err = s.seek(ctx, x, t, room, place{}, began.Add(transit)); err != nil {
			return nil, err
		}
	}
	for {
		resp, err := asSession[Resp, P](ctx, s, x, subject(at.shard, method), req)
		if !moved(err) {
			return resp, err
		}
		limit := began.Add(transit)
		if rpc.CodeOf(err) == connect.CodeNotFound {
			limit = time.Now().Add(news)
		}
		s.places.forget(room)
		now, findErr := s.seek(ctx, x, t, room, at, limit)
		switch {
		case findErr == nil:
			at = now
		case errors.Is(findErr, errStays):
			return nil, err
		default:
			return nil, findErr
		}
	}
}

// errStays: a directory still names the same place.
var errStays = errors.New("the room is where it was")

// seek asks a directory where a room is until it names another place than one, or
// until a limit. While the room moves it names none, and the limit is that of
// transit.
func (s *Server) seek(ctx context.Context, x *session, t *turn, room string, not place, limit time.Time) (place, error) {
	began, pause := time.Now(), time.Duration(0)
	for {
		at, err := s.ask(ctx, x, t, room, pause)
		late := errMoving
		switch {
		case rpc.CodeOf(err) == connect.CodeUnavailable:
			limit = maxTime(limit, began.Add(transit))
		case err != nil && ctx.Err() != nil:
			return place{}, errMoving
		case err != nil:
			return place{}, err // it has ended, or nobody knows
		case at.shard != not.shard || at.epoch != not.epoch:
			return at, nil
		default:
			late = errStays
		}
		if time.Now().After(limit) || ctx.Err() != nil || errors.Is(err, errCrowd) {
			return place{}, late
		}
		pause = min(max(2*pause, 10*time.Millisecond), 200*time.Millisecond)
	}
}

// errCrowd: so many calls wait for rooms that no more may.
var errCrowd error = &rpc.Error{Code: connect.CodeUnavailable, Message: "too many calls wait for rooms", Retry: time.Second}

// question is one to a directory, and its answer for all who wait for it.
type question struct {
	done chan struct{}
	at   place
	err  error
	gone bool // who asked has given up, and there is no answer
}

// ask asks a directory where a room is, after a pause. One call asks for all that
// wait for a room: where a shard has died these are many.
func (s *Server) ask(ctx context.Context, x *session, t *turn, room string, pause time.Duration) (place, error) {
	for {
		q, mine := s.places.question(room)
		if mine {
			return s.answer(ctx, x, t, room, pause, q)
		}
		err := t.away(ctx, func() {
			select {
			case <-q.done:
			case <-ctx.Done():
			}
		})
		switch {
		case err != nil:
			return place{}, err
		case ctx.Err() != nil:
			return place{}, ctx.Err()
		case !q.gone:
			return q.at, q.err
		}
	}
}

// answer asks a question, for others too.
func (s *Server) answer(ctx context.Context, x *session, t *turn, room string, pause time.Duration, q *question) (place, error) {
	defer s.places.answered(room, q)
	q.gone = true
	if pause > 0 {
		if err := t.away(ctx, func() {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}); err != nil {
			return place{}, err
		}
	}
	q.at, q.err = s.find(ctx, x, room)
	q.gone = ctx.Err() != nil
	return q.at, q.err
}

// question gives the question about a room that is being asked, or a new one, which
// is the caller's to answer.
func (p *places) question(room string) (q *question, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q = p.asked[room]; q != nil {
		return q, false
	}
	q = &question{done: make(chan struct{})}
	p.asked[room] = q
	return q, true
}

// answered tells all who wait.
func (p *places) answered(room string, q *question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.asked, room)
	close(q.done)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// errMoving is what a client gets that may try again.
var errMoving error = &rpc.Error{Code: connect.CodeUnavailable, Message: "the room is on its way to another server; try again", Retry: time.Second}

// moved reports whether an error can mean that a room is at another shard.
func moved(err error) bool {
	switch rpc.CodeOf(err) {
	case connect.CodeNotFound, connect.CodeUnavailable, connect.CodeAborted:
		return true
	}
	return false
}

// asSession calls a method with the session's pass. If the pass is refused, it is
// renewed, which tells whether the session is still held here, and the call is
// repeated once.
func asSession[Resp any, P interface {
	*Resp
	proto.Message
}](ctx context.Context, s *Server, x *session, subject string, req proto.Message, opts ...rpc.Option) (P, error) {
	used := x.currentPass()
	resp, err := rpc.Call[Resp, P](ctx, s.inside, subject, req, append(opts, rpc.WithPass(used))...)
	if !refusesPass(err) {
		return resp, err
	}
	if err := s.renewPass(ctx, x, used); err != nil {
		return nil, err
	}
	return rpc.Call[Resp, P](ctx, s.inside, subject, req, append(opts, rpc.WithPass(x.currentPass()))...)
}

// refusesPass reports whether a server of the inside wants another pass: it has
// expired, or knows of a later one. The latter is for a directory to confirm.
func refusesPass(err error) bool {
	var e *rpc.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Code == connect.CodeUnauthenticated ||
		e.Code == connect.CodeFailedPrecondition && e.Message == pass.ErrSuperseded.Error()
}
