// Package agent is what clients reach: the service of agentv1 by TLS 1.3, in the
// forms of Connect, gRPC, gRPC-Web and plain HTTP. It checks and bounds every
// request and passes it on to directories and shards by an engine; it opens all
// connections to the inside itself, and holds no secret but its certificate, the
// passes of the sessions attached to it, and its credential of the engine.
//
// A client names rooms, never servers: where a room is, the Agent asks a
// directory. Nothing that a client is told names a server of the inside.
//
// A session is attached to one Agent at a time. It is so while it has an event
// stream or sends requests, and for Times.DetachAfter beyond. Meanwhile its pass
// is renewed at half its life and its rooms are told that the player is online.
// When another Agent has taken it over, the first call or renewal that is refused
// for it ends it here.
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/shard/api/agentv1/agentv1connect"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/login"
	"p2pmodel/core/shard/rpc"
)

// Config is what an Agent is made of.
type Config struct {
	// Name is this Agent's, among all that stand side by side: letters, digits,
	// - and _.
	Name string
	// Listener takes the TCP connections of clients. Run closes it.
	Listener net.Listener
	// GetCertificate gives the certificate for a handshake, as
	// tls.Config.GetCertificate does, so that it may change.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Login says who clients are.
	Login login.Authenticator
	// Engine reaches the inside. Run does not close it.
	Engine engine.Engine
	// Proxies are the addresses of balancers that begin each connection with a
	// header of the PROXY protocol, version 2, from which the client's address is
	// taken. A connection from them without one is refused.
	Proxies []netip.Prefix
	Limits  Limits
	Times   Times
	Log     *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none
}

// Server is an Agent. Make it with New, and Run it once.
type Server struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	inside    *rpc.Client
	gate      *gate // to the inside
	upkeep    *gate // of sessions' own work
	addresses *addresses
	places    *places
	sessions  *sessions
	handler   http.Handler
	errors    *connect.ErrorWriter

	requests atomic.Int64 // in work
	away     atomic.Int64 // of them, those that wait for a room
	streams  atomic.Int64
	serving  atomic.Bool
	draining atomic.Bool

	// What sessions do on their own, with this context; begin adds to it.
	background struct {
		sync.Mutex
		sync.WaitGroup
		ctx    context.Context
		cancel context.CancelFunc
		closed bool
	}
}

// New makes an Agent.
func New(cfg Config) (*Server, error) {
	var err error
	switch {
	case limits.CheckSession("name", cfg.Name) != nil:
		return nil, fmt.Errorf("agent: the name %q is not 1 to %d letters, digits, - and _", cfg.Name, limits.MaxSession)
	case cfg.Listener == nil:
		return nil, errors.New("agent: no listener")
	case cfg.GetCertificate == nil:
		return nil, errors.New("agent: no certificate")
	case cfg.Login == nil:
		return nil, errors.New("agent: nothing says who may log in")
	case cfg.Engine == nil:
		return nil, errors.New("agent: no engine")
	}
	if cfg.Limits, err = fill(cfg.Limits, defaults); err != nil {
		return nil, fmt.Errorf("agent: limits: %w", err)
	}
	if cfg.Times, err = fill(cfg.Times, defaultTimes); err != nil {
		return nil, fmt.Errorf("agent: times: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, log: cfg.Log}
	if s.inside, err = rpc.NewClient(rpc.ClientConfig{Engine: cfg.Engine, Metrics: cfg.Metrics}); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	s.gate = newGate(cfg.Limits.Inside, cfg.Limits.InsideQueue)
	s.upkeep = newGate(upkeepAtOnce, 4*cfg.Limits.Sessions)
	s.addresses = newAddresses(cfg.Limits)
	s.places = newPlaces(cfg.Times.Places)
	s.sessions = newSessions(cfg.Limits.Sessions)
	s.background.ctx, s.background.cancel = context.WithCancel(context.Background())
	if s.metrics, err = newMetrics(cfg.Metrics, s); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	options := s.options()
	s.errors = connect.NewErrorWriter(options...)
	_, s.handler = agentv1connect.NewAgentServiceHandler(&service{s}, options...)
	return s, nil
}

// Addr is where the Agent listens.
func (s *Server) Addr() net.Addr { return s.cfg.Listener.Addr() }

// Sessions is how many sessions are attached here.
func (s *Server) Sessions() int { return s.sessions.count() }

// Streams is how many event streams are open.
func (s *Server) Streams() int { return int(s.streams.Load()) }

// Connections is how many connections of clients there are.
func (s *Server) Connections() int { return s.addresses.connections() }

// InWork is how many requests are in work, event streams left out.
func (s *Server) InWork() int { return int(s.requests.Load()) }

// Ready is nil while the Agent serves and reaches the inside.
func (s *Server) Ready() error {
	switch {
	case s.draining.Load():
		return errors.New("the agent is ending")
	case !s.serving.Load():
		return errors.New("the agent has not begun")
	case !s.cfg.Engine.Connected():
		return errors.New("the agent has no connection to the inside")
	}
	return nil
}

// Run serves until the context ends. Then clients are told to resume elsewhere,
// requests in work are finished, sessions are detached, all within Times.Drain,
// and nothing of the Agent is left.
func (s *Server) Run(ctx context.Context) error {
	server := s.httpServer()
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(&listener{Listener: s.cfg.Listener, server: s}, "", "") }()
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watchEngine(watching)
	}()
	defer func() {
		stop()
		<-watched
	}()
	s.serving.Store(true)
	s.log.Info("agent: serving", "address", s.Addr().String(), "name", s.cfg.Name)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("agent: serve: %w", err)
	}
	s.drain(server)
	if err == nil {
		<-failed // http.ErrServerClosed
	}
	return err
}

// drain is the orderly end.
func (s *Server) drain(server *http.Server) {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Times.Drain)
	defer cancel()
	// Balancers and clients see the listener go first; streams end with a
	// Goodbye, so that Shutdown does not wait for them.
	s.sessions.each(func(x *session) { x.goodbye(leaving) })
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("agent: requests were cut off at the end", "error", err)
		server.Close()
	}
	s.sessions.each(func(x *session) { s.end(x, leaving) })
	s.finish(ctx)
	s.log.Info("agent: ended")
}

// finish waits for the sessions' own work, until the context ends.
func (s *Server) finish(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.background.cancel)
	defer stop()
	s.background.Lock()
	s.background.closed = true
	s.background.Unlock()
	s.background.Wait()
	s.background.cancel()
}

// begin starts work that a session does on its own, unless the Agent has ended.
func (s *Server) begin(work func(ctx context.Context)) {
	s.background.Lock()
	defer s.background.Unlock()
	if s.background.closed {
		return
	}
	s.background.Add(1)
	go func() {
		defer s.background.Done()
		work(s.background.ctx)
	}()
}

// httpServer is the server with its bounds.
func (s *Server) httpServer() *http.Server {
	l := s.cfg.Limits
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout: l.HeaderTimeout,
		IdleTimeout:       l.IdleTimeout,
		MaxHeaderBytes:    l.HeaderBytes,
		ConnContext:       connContext,
		ConnState:         connState,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.cfg.GetCertificate},
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          l.StreamsPerConnection,
			MaxReceiveBufferPerConnection: 64 << 10,
			MaxReceiveBufferPerStream:     64 << 10,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
			WriteByteTimeout:              l.WriteTimeout,
		},
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	return server
}

// Connections by HTTP/2 that are silent are asked whether they live.
const (
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// upkeepAtOnce is how many sessions renew their passes or tell their presence at
// once.
const upkeepAtOnce = 64
