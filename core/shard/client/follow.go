package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1"
)

// errSilent: nothing came by the event stream for too long.
var errSilent = errors.New("the event stream is silent for too long")

// follow keeps an event stream open as long as the session lives.
func (c *Client) follow(l *link) {
	defer c.work.Done()
	defer close(c.events)
	for {
		endpoint := l.endpoint
		err := c.listen(l)
		if errors.Is(err, ErrEnded) {
			c.end(err)
		} else if err = c.lose(l, err); err != nil {
			c.cfg.Notify(Change{State: Away, Endpoint: endpoint, Err: err})
			l = c.reattach()
		}
		if err := c.Err(); err != nil {
			if !errors.Is(err, ErrClosed) {
				c.cfg.Notify(Change{State: Ended, Endpoint: endpoint, Err: err})
			}
			return
		}
	}
}

// streams is how often in a row a stream is opened anew at one Agent, should it
// end while the connection lives.
const streams = 3

// listen takes events from a link until it is of no more use.
func (c *Client) listen(l *link) error {
	var err error
	for failures := 0; failures < streams; failures++ {
		heard := false
		heard, err = c.stream(l)
		if !errors.Is(err, errStreamEnded) {
			return err
		}
		if heard {
			failures = 0
		}
		if !pause(l.ctx, spread(c.cfg.Timeouts.Backoff)) {
			return err
		}
	}
	return err
}

// errStreamEnded: the stream has ended, and the connection may be sound.
var errStreamEnded = errors.New("the event stream has ended")

// stream takes events from one stream; heard is whether the Agent said Hello.
func (c *Client) stream(l *link) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	silence := time.AfterFunc(c.cfg.Timeouts.Request, func() { cancel(errSilent) })
	defer silence.Stop()
	request := connect.NewRequest(&agentv1.EventsRequest{})
	l.authorize(request)
	s, err := l.rpc.Events(ctx, request)
	if err != nil {
		return false, reason(ctx, err)
	}
	defer s.Close()
	for s.Receive() {
		silence.Reset(c.cfg.Timeouts.Silence)
		heard = true
		switch k := s.Msg().Kind.(type) {
		case nil, *agentv1.Event_Hello:
		case *agentv1.Event_Goodbye:
			if k.Goodbye.GetFinal() {
				return heard, fmt.Errorf("%w: %s", ErrEnded, k.Goodbye.GetReason())
			}
			return heard, fmt.Errorf("the Agent said goodbye: %s", k.Goodbye.GetReason())
		default:
			c.push(s.Msg())
		}
	}
	if s.Err() == nil {
		return heard, errStreamEnded
	}
	return heard, reason(ctx, s.Err())
}

// reason tells why a stream broke: an answer that refuses it leaves the connection
// sound, unless it is the token that is refused.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	if connect.IsWireError(err) && !refusesToken(err) && !elsewhere(err) {
		return fmt.Errorf("%w: %w", errStreamEnded, err)
	}
	return err
}

// push gives an event to whoever reads them, or counts it as missed.
func (c *Client) push(e *agentv1.Event) {
	if c.missed > 0 {
		overflow := &agentv1.Event{Kind: &agentv1.Event_Overflow{Overflow: &agentv1.Overflow{Missed: c.missed}}}
		select {
		case c.events <- overflow:
			c.missed = 0
		default:
		}
	}
	if c.missed == 0 {
		select {
		case c.events <- e:
			return
		default:
		}
	}
	c.missed++
}

func roomChanged(r *agentv1.Room) *agentv1.Event {
	return &agentv1.Event{Kind: &agentv1.Event_RoomChanged{RoomChanged: &agentv1.RoomChanged{Room: r}}}
}

// lose notes that a link is of no more use, and gives what was found wrong with it
// first; nil if the client has ended.
func (c *Client) lose(l *link, why error) error {
	l.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == l {
		c.link, c.lostBy = nil, why
		c.awayFrom = l.lastHeard()
		c.changeLocked()
		c.log.Info("client: away", "endpoint", l.endpoint, "error", why)
	}
	if c.err != nil {
		return nil
	}
	return c.lostBy
}

// reattach resumes the session somewhere; nil if it has ended.
func (c *Client) reattach() *link {
	var rooms []*agentv1.Room
	pause(c.ctx, rand.N(c.cfg.Timeouts.Backoff))
	l, session, err := c.attempt(c.ctx, c.cfg.Timeouts.Resume, func(ctx context.Context, l *link) (*agentv1.Session, error) {
		resp, err := l.rpc.Resume(ctx, connect.NewRequest(&agentv1.ResumeRequest{ResumeToken: c.Session().GetResumeToken()}))
		if err != nil {
			return nil, err
		}
		rooms = resp.Msg.Rooms
		return resp.Msg.Session, nil
	})
	if err != nil {
		c.end(fmt.Errorf("%w: %w", ErrEnded, err))
		return nil
	}
	away, current := c.take(l, session)
	if !current {
		l.close()
		return nil
	}
	c.log.Info("client: resumed", "endpoint", l.endpoint, "away", away)
	c.cfg.Notify(Change{State: Resumed, Endpoint: l.endpoint, Away: away, Rooms: rooms})
	for _, r := range rooms {
		c.push(roomChanged(r))
	}
	return l
}

// take makes a resumed session the client's, unless it has ended meanwhile.
func (c *Client) take(l *link, session *agentv1.Session) (away time.Duration, current bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, false
	}
	c.link, c.session = l, session
	c.changeLocked()
	return time.Since(c.awayFrom), true
}

// attempt tries one endpoint after another until one gives a session or the
// context ends; a credential that is refused ends it at once.
func (c *Client) attempt(ctx context.Context, timeout time.Duration, open func(context.Context, *link) (*agentv1.Session, error)) (*link, *agentv1.Session, error) {
	wait := c.cfg.Timeouts.Backoff
	var before error // why the try before gave nothing
	for tried := 1; ; tried++ {
		c.mu.Lock()
		endpoint := c.cfg.Endpoints[c.next%len(c.cfg.Endpoints)]
		c.next++
		c.mu.Unlock()
		l := c.newLink(endpoint)
		session, err := openWithin(ctx, timeout, l, open)
		if err == nil {
			l.access = session.GetAccessToken()
			return l, session, nil
		}
		l.close()
		if ctx.Err() != nil && before != nil {
			// That the time was over in the middle of a try says less than the former ones.
			return nil, nil, fmt.Errorf("%w; the try before: %w", err, before)
		}
		if ctx.Err() != nil || refused(err) {
			return nil, nil, err
		}
		before = err
		c.log.Info("client: an Agent gives no session", "endpoint", endpoint, "error", err)
		if tried%len(c.cfg.Endpoints) == 0 {
			if !pause(ctx, spread(wait)) {
				return nil, nil, err
			}
			wait = min(2*wait, c.cfg.Timeouts.BackoffMost)
		}
	}
}

func openWithin(ctx context.Context, timeout time.Duration, l *link, open func(context.Context, *link) (*agentv1.Session, error)) (*agentv1.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return open(ctx, l)
}

// refused reports whether trying again makes no sense: an Agent has refused what
// the client says of itself, or the client has nothing to say.
func refused(err error) bool {
	if errors.Is(err, errCredential) {
		return true
	}
	if !connect.IsWireError(err) {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodeInvalidArgument, connect.CodePermissionDenied, connect.CodeUnimplemented:
		return true
	}
	return false
}

// spread is a wait of half to the whole of d.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// pause lets time pass, and reports whether the context allows to go on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
