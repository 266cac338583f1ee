package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/engine"
)

// ClientConfig is what a Client is made of. Only Engine is needed.
type ClientConfig struct {
	Engine engine.Engine
	// Timeout bounds calls whose context has no deadline, or a later one; 0: 2 s.
	Timeout time.Duration
	// Attempts is how often an idempotent call is sent at most, 0: 3, 1: no call is
	// sent again; the wait between is RetryWait, 0: 50 ms, doubled each time and spread by half.
	Attempts  int
	RetryWait time.Duration
	// A target that lets Failures calls in a row pass their deadline, 0: 5, is
	// called no more for Cooldown, 0: 1 s; then one call tries it.
	Failures uint32
	Cooldown time.Duration
	// Metrics is where to register; nil: nowhere.
	Metrics prometheus.Registerer
}

// Client calls methods. It is safe for use by any goroutine.
type Client struct {
	cfg     ClientConfig
	metrics *clientMetrics

	mu       sync.Mutex
	breakers map[string]*breaker
}

// NewClient makes a client.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Engine == nil {
		return nil, errors.New("rpc client: no engine")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 3
	}
	if cfg.RetryWait == 0 {
		cfg.RetryWait = 50 * time.Millisecond
	}
	if cfg.Failures == 0 {
		cfg.Failures = 5
	}
	if cfg.Cooldown == 0 {
		cfg.Cooldown = time.Second
	}
	if cfg.Timeout < 0 || cfg.Attempts < 0 || cfg.RetryWait < 0 || cfg.Cooldown < 0 {
		return nil, errors.New("rpc client: times and attempts are not negative")
	}
	metrics, err := newClientMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("rpc client: %w", err)
	}
	return &Client{cfg: cfg, metrics: metrics, breakers: map[string]*breaker{}}, nil
}

// Option says something about one call.
type Option func(*options)

type options struct {
	pass       []byte
	idempotent bool
	timeout    time.Duration
}

// WithPass sends the capability of the session that the call is for.
func WithPass(pass []byte) Option { return func(o *options) { o.pass = pass } }

// Idempotent says that the call may be done twice: it is sent again, up to
// ClientConfig.Attempts, if nobody serves the subject or the engine is not
// available. Others are sent once more if nobody serves the subject, which means
// that nobody has got them.
func Idempotent() Option { return func(o *options) { o.idempotent = true } }

// WithTimeout bounds this call instead of ClientConfig.Timeout.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// Call calls the method that is served at a subject:
//
//	found, err := rpc.Call[insidev1.FindRoomResponse](ctx, client, shard.DirectorySubject("FindRoom"),
//		&insidev1.FindRoomRequest{Room: room}, rpc.Idempotent())
//
// Errors are of type *Error: what the server answered, or what has become of the
// call, with the engine's or the context's error wrapped: Unavailable if it was
// not done, DeadlineExceeded or Canceled if nobody knows.
func Call[Resp any, P interface {
	*Resp
	proto.Message
}](ctx context.Context, c *Client, subject string, req proto.Message, opts ...Option) (P, error) {
	o := options{timeout: c.cfg.Timeout}
	for _, opt := range opts {
		opt(&o)
	}
	began := time.Now()
	resp := P(new(Resp))
	err := c.call(ctx, subject, req, resp, o)
	c.metrics.observe(shard.Method(subject), err, time.Since(began))
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (c *Client) call(ctx context.Context, subject string, req, resp proto.Message, o options) error {
	body, err := proto.Marshal(req)
	if err != nil {
		return Errorf(connect.CodeInternal, "%s: the request cannot be encoded: %v", shard.Method(subject), err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	breaker := c.breaker(shard.Target(subject))
	wait := c.cfg.RetryWait
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, breaker, subject, body, resp, o.pass)
		if attempt >= c.attempts(err, o.idempotent) || !pause(ctx, wait/2+rand.N(wait)) {
			return err
		}
		wait *= 2
	}
}

// attempts is how often to send a call that ended so. Where nobody served the
// subject it was not done, whatever it is; one more attempt bridges the moment in
// which a server of the engine reloads its configuration.
func (c *Client) attempts(err error, idempotent bool) int {
	switch absent := errors.Is(err, engine.ErrNoResponder); {
	case idempotent && (absent || errors.Is(err, engine.ErrUnavailable)):
		return c.cfg.Attempts
	case absent:
		return min(2, c.cfg.Attempts)
	}
	return 1
}

// once sends one request. It does not give up before the deadline of its context.
func (c *Client) once(ctx context.Context, b *breaker, subject string, body []byte, resp proto.Message, pass []byte) error {
	deadline, _ := ctx.Deadline()
	request, err := encodeRequest(time.Until(deadline), pass, body)
	if err != nil {
		return err
	}
	done, err := b.Allow()
	if err != nil {
		return &Error{Code: connect.CodeUnavailable, Message: b.Name() + " has not answered lately", Retry: c.cfg.Cooldown, cause: err}
	}
	answer, err := c.cfg.Engine.Call(ctx, subject, request)
	done(err)
	if err != nil {
		return fromEngine(shard.Method(subject), err)
	}
	return decodeResponse(answer, resp)
}

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

type breaker = gobreaker.TwoStepCircuitBreaker[any]

// breaker gives the breaker of a target. What counts is that a call passed its
// deadline: an answer, be it an error, costs no waiting, and nor does it if nobody
// serves the subject, or if the engine itself is not available.
func (c *Client) breaker(target string) *breaker {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.breakers[target]
	if b == nil {
		b = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
			Name:         target,
			Timeout:      c.cfg.Cooldown,
			ReadyToTrip:  func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= c.cfg.Failures },
			IsSuccessful: func(err error) bool { return !errors.Is(err, context.DeadlineExceeded) },
			IsExcluded: func(err error) bool {
				return errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrClosed)
			},
			OnStateChange: func(name string, _, to gobreaker.State) { c.metrics.breaker(name, to) },
		})
		c.breakers[target] = b
	}
	return b
}

// Forget drops what is known of a target that is no more, so that its metrics end.
func (c *Client) Forget(target string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.breakers, target)
	c.metrics.forget(target)
}
