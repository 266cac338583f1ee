package agent

import (
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/rpc"
)

// stream is one event stream of a session.
type stream struct {
	once sync.Once
	stop chan struct{}
	why  ending // set before stop is closed
}

func (st *stream) end(why ending) {
	st.once.Do(func() {
		st.why = why
		close(st.stop)
	})
}

// goodbye ends the session's stream, if there is one.
func (x *session) goodbye(why ending) {
	x.mu.Lock()
	st := x.stream
	x.mu.Unlock()
	if st != nil {
		st.end(why)
	}
}

// open makes a stream the session's; it ends the one before.
func (s *Server) open(x *session) (*stream, error) {
	st := &stream{stop: make(chan struct{})}
	x.mu.Lock()
	if x.ended != nil {
		defer x.mu.Unlock()
		return nil, endedError(*x.ended)
	}
	before := x.stream
	x.stream = st
	x.mu.Unlock()
	s.streams.Add(1)
	if before != nil {
		before.end(replaced)
	}
	return st, nil
}

func (s *Server) close(x *session, st *stream) {
	s.streams.Add(-1)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stream == st {
		x.stream = nil
		// The request that carries the stream is still counted; its end begins
		// the wait for the next sign of life.
	}
}

// deliver takes an event of the inside for a session. It is called for one event
// after another.
func (s *Server) deliver(x *session, e engine.Event) {
	m := &insidev1.SessionEvent{}
	if proto.Unmarshal(e.Data, m) != nil || m.Session != x.id || m.Event.GetKind() == nil {
		s.metrics.events.WithLabelValues("malformed").Inc()
		return
	}
	s.learn(x, m.Event)
	s.discreet(m.Event)
	if n := x.queue.push(m.Event, len(e.Data)); n > 0 {
		s.metrics.events.WithLabelValues("dropped").Add(float64(n))
	}
}

// learn takes from an event which rooms the session is in, and where they are
// not any more.
func (s *Server) learn(x *session, e *agentv1.Event) {
	switch k := e.Kind.(type) {
	case *agentv1.Event_RoomChanged:
		if room := k.RoomChanged.GetRoom(); x.memberOf(room) {
			x.enter(room.GetId())
		}
	case *agentv1.Event_Matched:
		x.enter(k.Matched.GetRoom().GetId())
	case *agentv1.Event_RoomMoved:
		s.places.forget(k.RoomMoved.GetRoom().GetId())
	case *agentv1.Event_RoomClosed:
		x.leave(k.RoomClosed.GetRoom())
		s.places.forget(k.RoomClosed.GetRoom())
	}
}

// discreet keeps names of the inside out of the texts of an event.
func (s *Server) discreet(e *agentv1.Event) {
	switch k := e.Kind.(type) {
	case *agentv1.Event_RoomMoved:
		k.RoomMoved.Reason = s.discreetText(k.RoomMoved.GetReason(), "another server has the room now")
	case *agentv1.Event_RoomClosed:
		k.RoomClosed.Reason = s.discreetText(k.RoomClosed.GetReason(), "the room was closed")
	case *agentv1.Event_MatchFailed:
		k.MatchFailed.Reason = s.discreetText(k.MatchFailed.GetReason(), "no match was found")
	case *agentv1.Event_MatchEnded:
		if m := k.MatchEnded.GetMatch(); m != nil {
			m.EndReason = s.discreetText(m.EndReason, "the match was ended by the server")
		}
	}
}

// missed counts events that the engine had no place for.
func (x *session) missed() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.events == nil {
		return
	}
	if dropped := x.events.Dropped(); dropped > x.lost {
		x.queue.miss(dropped - x.lost)
		x.lost = dropped
	}
}

// run sends events until the stream, its client or the session ends.
func (s *Server) run(ctx context.Context, x *session, st *stream, to *connect.ServerStream[agentv1.Event], deadlines *http.ResponseController) error {
	send := func(e *agentv1.Event) error {
		// A deadline ends the stream when it passes, even if nothing waits to be
		// written then.
		_ = deadlines.SetWriteDeadline(time.Now().Add(s.cfg.Limits.WriteTimeout))
		if err := to.Send(e); err != nil {
			return err
		}
		_ = deadlines.SetWriteDeadline(time.Time{})
		s.metrics.events.WithLabelValues("sent").Inc()
		return nil
	}
	silence := time.NewTimer(s.cfg.Times.KeepAlive)
	defer silence.Stop()
	if err := send(&agentv1.Event{Kind: &agentv1.Event_Hello{Hello: &agentv1.Hello{Session: x.id}}}); err != nil {
		return err
	}
	for {
		x.missed()
		for e := x.queue.pop(); e != nil; e = x.queue.pop() {
			if err := send(e); err != nil {
				return err
			}
			silence.Reset(s.cfg.Times.KeepAlive)
		}
		select {
		case <-x.queue.wake:
		case <-st.stop:
			return send(&agentv1.Event{Kind: &agentv1.Event_Goodbye{Goodbye: &agentv1.Goodbye{Reason: st.why.reason, Final: st.why.final}}})
		case <-ctx.Done():
			return rpc.Errorf(connect.CodeCanceled, "the client ended the stream")
		case <-silence.C:
			if err := send(&agentv1.Event{}); err != nil {
				return err
			}
			silence.Reset(s.cfg.Times.KeepAlive)
		}
	}
}

// watchEngine tells all sessions that they have missed events when the engine comes
// back: what was published meanwhile did not come here, and nobody knows what that
// was.
func (s *Server) watchEngine(ctx context.Context) {
	connected := s.cfg.Engine.Connected()
	for {
		changed := s.cfg.Engine.Changed()
		now := s.cfg.Engine.Connected()
		if now && !connected {
			s.log.Warn("agent: the engine is back; all sessions ask for what they have missed")
			s.sessions.each(func(x *session) { x.queue.miss(1) })
		}
		connected = now
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}
