// Package client is the other end of an Agent: for players, for bots and for the
// laboratory. A Client logs in at one of several Agents, keeps an event stream
// open, and when its connection breaks, resumes its session at the next one. What
// it was asked to do meanwhile waits for that.
//
//	c, err := client.New(client.Config{Endpoints: []string{"a.example:7443", "b.example:7443"}, Credential: client.Token(token)})
//	…
//	defer c.Close()
//	session, err := c.Login(ctx)
//	room, err := c.CreateRoom(ctx, settings)
//	for e := range c.Events() { … }
//
// Errors of requests are *connect.Error, or ErrClosed and its like.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1"
)

// Errors of a Client; test with errors.Is.
var (
	ErrNotLoggedIn = errors.New("log in first")
	ErrLoggedIn    = errors.New("a client logs in once; make another one")
	// ErrEnded: the session has ended and cannot be resumed; what ended it is
	// wrapped too.
	ErrEnded  = errors.New("the session has ended")
	ErrClosed = errors.New("the client is closed")
)

// Config is what a Client is made of.
type Config struct {
	// Endpoints are the HOST:PORTs of Agents, in the order in which they are
	// tried.
	Endpoints []string
	// TLS says whom to trust; nil: the system's authorities. The least version is
	// TLS 1.3 whatever it says, and the server's name that of the endpoint if it
	// says none.
	TLS *tls.Config
	// Dial makes connections; nil: those of the system. The context ends after
	// Timeouts.Connect.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Credential is asked for at each attempt to log in, so that a token which is
	// good once can be a new one.
	Credential func(ctx context.Context) (*agentv1.LoginRequest, error)
	// Notify is told how the session fares, in order and before events that come
	// later, by one goroutine at a time; nil: nobody. It must not block.
	Notify func(Change)
	// Events is how many events wait to be read, 0: 256. What comes beyond is
	// dropped, and Overflow says so.
	Events   int
	Timeouts Timeouts
	Log      *slog.Logger // nil: discard
}

// Timeouts of a Client. A field that is 0 has its default. With the defaults a
// session is resumed at another Agent within 5 s of the death of its own.
type Timeouts struct {
	// Connect bounds TCP and TLS, 1.5 s, Resume a resumption with its connection,
	// 2 s, Request every other request, 5 s.
	Connect, Resume, Request time.Duration
	// Ping is after which silence the connection is tested, 1 s, PingAnswer how
	// long the answer may take, 1 s; then it is broken.
	Ping, PingAnswer time.Duration
	// Silence is how long the event stream may be without anything, 45 s; Agents
	// send something every 15 s.
	Silence time.Duration
	// Backoff is the first wait after all endpoints were tried in vain, 200 ms,
	// doubled up to BackoffMost, 3 s, and spread. By up to Backoff, a resumption
	// is put off, since the other clients of an Agent that died come too.
	Backoff, BackoffMost time.Duration
}

// Token is a Credential that is the same token each time.
func Token(token string) func(context.Context) (*agentv1.LoginRequest, error) {
	return func(context.Context) (*agentv1.LoginRequest, error) {
		return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: token}}, nil
	}
}

// Account is a Credential by name and password.
func Account(name, password string) func(context.Context) (*agentv1.LoginRequest, error) {
	return func(context.Context) (*agentv1.LoginRequest, error) {
		account := &agentv1.Account{Name: name, Password: password}
		return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Account{Account: account}}, nil
	}
}

// State is how a session fares.
type State int

// States. Attached comes first; then Away and Resumed take turns; Ended is last.
const (
	Attached State = iota + 1
	// Away: the connection is lost; the session lives on at the servers for a
	// while.
	Away
	Resumed
	Ended
)

// String names the state.
func (s State) String() string {
	switch s {
	case Attached:
		return "attached"
	case Away:
		return "away"
	case Resumed:
		return "resumed"
	case Ended:
		return "ended"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// Change is a change of State.
type Change struct {
	State State
	// Endpoint is that of the Agent which holds the session, or held it.
	Endpoint string
	// Away is how long nothing was heard of any Agent; of Resumed.
	Away time.Duration
	// Rooms are those that the session is in, as they are; of Resumed.
	Rooms []*agentv1.Room
	// Err is why; of Away and Ended.
	Err error
}

// Client is one session. Its methods may be called from any goroutine.
type Client struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	events chan *agentv1.Event
	missed uint64 // events since the last that was taken; the follower's own
	work   sync.WaitGroup

	mu       sync.Mutex
	begun    bool
	session  *agentv1.Session
	link     *link // nil while away
	next     int   // endpoint to try next
	awayFrom time.Time
	lostBy   error
	err      error         // why it has ended
	changed  chan struct{} // closed when link or err changes
}

// New makes a Client that has done nothing yet.
func New(cfg Config) (*Client, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("client: no endpoints")
	}
	for _, e := range cfg.Endpoints {
		if host, port, err := net.SplitHostPort(e); err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("client: the endpoint %q is not HOST:PORT", e)
		}
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.TLS == nil {
		cfg.TLS = &tls.Config{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Notify == nil {
		cfg.Notify = func(Change) {}
	}
	if cfg.Events <= 0 {
		cfg.Events = 256
	}
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	c := &Client{cfg: cfg, log: cfg.Log, events: make(chan *agentv1.Event, cfg.Events), changed: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

func (t Timeouts) withDefaults() Timeouts {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Connect, 1500 * time.Millisecond}, {&t.Resume, 2 * time.Second}, {&t.Request, 5 * time.Second},
		{&t.Ping, time.Second}, {&t.PingAnswer, time.Second}, {&t.Silence, 45 * time.Second},
		{&t.Backoff, 200 * time.Millisecond}, {&t.BackoffMost, 3 * time.Second},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return t
}

// Events gives what happens to the session and its rooms. Hello, Goodbye and
// events without a kind stay with the client. After a resumption each room of the
// session comes as RoomChanged, since what happened meanwhile is not known. The
// channel is closed when the session has ended or the client is closed.
func (c *Client) Events() <-chan *agentv1.Event { return c.events }

// Session is the session as it was given last, with its tokens; nil before Login.
func (c *Client) Session() *agentv1.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Endpoint is that of the Agent which holds the session, empty while away.
func (c *Client) Endpoint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return ""
	}
	return c.link.endpoint
}

// Err is why the session has ended; nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Login opens a session at the first endpoint that gives one. It tries until the
// context ends or a credential is refused.
func (c *Client) Login(ctx context.Context) (*agentv1.Session, error) {
	if c.cfg.Credential == nil {
		return nil, errors.New("client: no credential")
	}
	return c.begin(ctx, func(ctx context.Context, l *link) (*agentv1.Session, error) {
		credential, err := c.cfg.Credential(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errCredential, err)
		}
		resp, err := l.rpc.Login(ctx, connect.NewRequest(credential))
		if err != nil {
			return nil, err
		}
		return resp.Msg.Session, nil
	}, nil)
}

// Resume takes a session over by a resume token that was kept from an earlier
// Client, and gives the rooms that it is in.
func (c *Client) Resume(ctx context.Context, token string) (*agentv1.Session, []*agentv1.Room, error) {
	var rooms []*agentv1.Room
	s, err := c.begin(ctx, func(ctx context.Context, l *link) (*agentv1.Session, error) {
		resp, err := l.rpc.Resume(ctx, connect.NewRequest(&agentv1.ResumeRequest{ResumeToken: token}))
		if err != nil {
			return nil, err
		}
		rooms = resp.Msg.Rooms
		return resp.Msg.Session, nil
	}, func() []*agentv1.Room { return rooms })
	return s, rooms, err
}

// errCredential: no Agent was asked, since there was no credential.
var errCredential = errors.New("no credential to log in with")

// begin attaches for the first time.
func (c *Client) begin(ctx context.Context, open func(context.Context, *link) (*agentv1.Session, error), rooms func() []*agentv1.Room) (*agentv1.Session, error) {
	c.mu.Lock()
	if c.begun || c.err != nil {
		defer c.mu.Unlock()
		if c.err != nil {
			return nil, c.err
		}
		return nil, ErrLoggedIn
	}
	c.begun = true
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	l, session, err := c.attempt(ctx, c.cfg.Timeouts.Request, open)
	if err := c.accept(l, session, err); err != nil {
		return nil, err
	}
	c.cfg.Notify(Change{State: Attached, Endpoint: l.endpoint})
	if rooms != nil {
		for _, r := range rooms() {
			c.push(roomChanged(r))
		}
	}
	go c.follow(l)
	return session, nil
}

// accept takes what the first attempt gave. Without an error the follower has to
// be started.
func (c *Client) accept(l *link, session *agentv1.Session, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.err != nil { // closed meanwhile
		l.close()
		err = c.err
	}
	if err != nil {
		c.begun = false
		if c.err != nil {
			close(c.events)
			return c.err
		}
		return err
	}
	c.link, c.session = l, session
	c.changeLocked()
	c.work.Add(1)
	return nil
}

// changeLocked wakes those who wait for another state.
func (c *Client) changeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// attached gives the link, and waits for one while the session is away.
func (c *Client) attached(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, err, begun, changed := c.link, c.err, c.begun, c.changed
		c.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case l != nil:
			return l, nil
		case !begun:
			return nil, ErrNotLoggedIn
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for an Agent: %w", ctx.Err())
		}
	}
}

// Close leaves the session as it is at the servers, where it can be resumed for a
// while, and returns when nothing of the client is left.
func (c *Client) Close() error {
	c.end(ErrClosed)
	c.cancel()
	c.work.Wait()
	return nil
}

// end makes an error the client's end, unless it has one.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	if c.link != nil {
		c.link.close()
		c.link = nil
	}
	c.changeLocked()
	if !c.begun {
		close(c.events) // otherwise the follower does, or who begins
	}
}
