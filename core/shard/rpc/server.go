package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/engine"
)

// ServerConfig is what a Server is made of.
type ServerConfig struct {
	Engine engine.Engine
	// Pattern is what is served; the last token, *, is the method:
	// "shard.a.lobby.*", "directory.from.*.*".
	Pattern string
	// Queue is the name under which several servers share requests; may be empty.
	Queue string
	// Limits bound the work; Overflow is set by the server.
	Limits engine.Limits
	// OverloadRetry is when callers that found no place may try again, 0: 100 ms.
	OverloadRetry time.Duration
	Log           *slog.Logger          // nil: discard
	Metrics       prometheus.Registerer // nil: none
}

// Server answers the methods of one pattern, with its own bounds. Methods are
// added by Handle before Start.
type Server struct {
	cfg     ServerConfig
	metrics *serverMetrics
	methods map[string]method

	mu  sync.Mutex
	sub engine.Subscription
}

type method func(ctx context.Context, call *Request, body []byte) (proto.Message, error)

// Request is what a handler knows of a call besides its message. The deadline of
// the caller is that of the handler's context.
type Request struct {
	Subject string
	// Wildcards are the tokens of the subject that a * of the server's pattern
	// stands for, the method left out: for directory.from.*.* the calling shard.
	Wildcards []string
	// Pass is the capability that came with the call; nobody has checked it.
	Pass     []byte
	Received time.Time
}

// NewServer makes a server that answers nothing yet.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Engine == nil {
		return nil, errors.New("rpc server: no engine")
	}
	if err := engine.CheckPattern(cfg.Pattern); err != nil || !strings.HasSuffix(cfg.Pattern, ".*") {
		return nil, fmt.Errorf("rpc server: pattern %q has to end in .* for the method", cfg.Pattern)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OverloadRetry == 0 {
		cfg.OverloadRetry = 100 * time.Millisecond
	}
	metrics, err := newServerMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("rpc server: %w", err)
	}
	return &Server{cfg: cfg, metrics: metrics, methods: map[string]method{}}, nil
}

// Handle answers a method by a function. What it returns as an *Error reaches the
// caller; of another error and of a panic the log has the details, the caller only
// CodeInternal.
func Handle[Req, Resp any, PReq interface {
	*Req
	proto.Message
}, PResp interface {
	*Resp
	proto.Message
}](s *Server, name string, h func(ctx context.Context, r *Request, req PReq) (PResp, error)) {
	s.methods[name] = func(ctx context.Context, r *Request, body []byte) (proto.Message, error) {
		req := PReq(new(Req))
		if err := unmarshal.Unmarshal(body, req); err != nil {
			return nil, Errorf(connect.CodeInvalidArgument, "the message is malformed")
		}
		resp, err := h(ctx, r, req)
		if err != nil {
			return nil, err
		}
		if resp == nil {
			return nil, errors.New("the handler gave neither an answer nor an error")
		}
		return resp, nil
	}
}

// Start begins to answer.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sub != nil {
		return fmt.Errorf("rpc server %s runs already", s.cfg.Pattern)
	}
	limits := s.cfg.Limits
	overload := encodeAnswer(nil, &Error{Code: connect.CodeResourceExhausted, Message: "the server has too much to do", Retry: s.cfg.OverloadRetry})
	limits.Overflow = func(r engine.Request) []byte {
		s.metrics.observe(s.label(r.Subject), Errorf(connect.CodeResourceExhausted, "overload"), 0)
		return overload
	}
	sub, err := s.cfg.Engine.Serve(s.cfg.Pattern, s.cfg.Queue, limits, s.serve)
	if err != nil {
		return fmt.Errorf("rpc server: %w", err)
	}
	s.sub = sub
	return nil
}

// Close ends it and waits for handlers that run. It may be started again.
func (s *Server) Close() error {
	s.mu.Lock()
	sub := s.sub
	s.sub = nil
	s.mu.Unlock()
	if sub == nil {
		return nil
	}
	return sub.Close()
}

func (s *Server) serve(ctx context.Context, r engine.Request) []byte {
	frame, err := decodeRequest(r.Data)
	if err != nil {
		s.metrics.observe(s.label(r.Subject), err, 0)
		return encodeAnswer(nil, err)
	}
	deadline := r.Received.Add(timeout(frame))
	if !time.Now().Before(deadline) {
		// The caller has gone: nobody reads an answer.
		s.metrics.observe(s.label(r.Subject), &Error{Code: connect.CodeDeadlineExceeded}, 0)
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	began := time.Now()
	resp, err := s.handle(ctx, &Request{
		Subject: r.Subject, Wildcards: wildcards(s.cfg.Pattern, r.Subject), Pass: frame.Pass, Received: r.Received,
	}, frame.Body)
	err = s.outward(ctx, r.Subject, err)
	s.metrics.observe(s.label(r.Subject), err, time.Since(began))
	return encodeAnswer(resp, err)
}

func (s *Server) handle(ctx context.Context, r *Request, body []byte) (resp proto.Message, err error) {
	name := r.Subject[strings.LastIndexByte(r.Subject, '.')+1:]
	h, ok := s.methods[name]
	if !ok {
		return nil, Errorf(connect.CodeUnimplemented, "no such method")
	}
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.ErrorContext(ctx, "a handler panicked", "subject", r.Subject, "panic", p, "stack", string(debug.Stack()))
			s.metrics.panicked()
			resp, err = nil, Errorf(connect.CodeInternal, "internal error")
		}
	}()
	return h(ctx, r, body)
}

// outward makes an error such that a caller may see it.
func (s *Server) outward(ctx context.Context, subject string, err error) error {
	var e *Error
	switch {
	case err == nil, errors.As(err, &e):
		return err
	case errors.Is(err, engine.ErrUnavailable):
		return &Error{Code: connect.CodeUnavailable, Message: "the engine is not available", Retry: s.cfg.OverloadRetry}
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return Errorf(connect.CodeDeadlineExceeded, "not done in time")
	}
	s.cfg.Log.ErrorContext(ctx, "a call failed", "subject", subject, "error", err)
	return Errorf(connect.CodeInternal, "internal error")
}

// label names a method in metrics. Only methods that there are have one, so that a
// caller cannot make new ones.
func (s *Server) label(subject string) string {
	if _, ok := s.methods[subject[strings.LastIndexByte(subject, '.')+1:]]; !ok {
		return "unknown"
	}
	return shard.Method(subject)
}

func wildcards(pattern, subject string) []string {
	var found []string
	tokens := strings.Split(subject, ".")
	for i, p := range strings.Split(pattern, ".") {
		if p == "*" && i < len(tokens)-1 {
			found = append(found, tokens[i])
		}
	}
	return found
}
