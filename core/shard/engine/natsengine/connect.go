// Package natsengine is the engine over NATS: core NATS for calls and events, and
// JetStream streams, laid out as NATS key-value buckets, for buckets. The server
// may be of this process or a cluster far away.
//
// What a bucket promises rests on its stream: writes are acknowledged once a
// majority of its replicas has them (and has synced them, where servers run with
// sync_interval: always), and the leader checks revisions, so that of two writers
// who know the same revision one fails. Reads ask the leader too (direct gets,
// which any replica answers, are off); but a leader that a split has put on the
// smaller side takes up to 20 s to step down (nats-server's lost quorum interval),
// and gives old values to those on its side until then. Writes fail there. So
// fencing has to rest on Create and Update.
package natsengine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"p2pmodel/core/shard/engine"
)

// Config says where the servers are, and who connects.
type Config struct {
	// Servers are URLs, tls://HOST:PORT or nats://HOST:PORT. They are tried in
	// random order for ever.
	Servers []string
	// InProcess is a server in this process, instead of Servers.
	InProcess nats.InProcessConnProvider
	// Name is the user's name, letters, digits and -: in messages, in the server's
	// lists, and in the subjects of its answers, which permissions are given for.
	Name string
	// Credentials are read again for each connection.
	Credentials Credentials
	// Replicas is of how many machines a bucket's entries are on: 1 (0), 3 or 5. A
	// bucket that has fewer gets more when it is opened.
	Replicas int
	// ReconnectWait is the wait between attempts, 0: 250 ms, spread from half to
	// one and a half.
	ReconnectWait time.Duration
	Log           *slog.Logger // nil: discard
}

func (c Config) check() error {
	switch {
	case c.InProcess == nil && len(c.Servers) == 0:
		return errors.New("nats: no server to connect to")
	case !nameRe.MatchString(c.Name):
		return fmt.Errorf("nats: name %q: letters, digits and - only", c.Name)
	case c.Replicas < 0 || c.Replicas > 5:
		return fmt.Errorf("nats: %d replicas; 1, 3 or 5", c.Replicas)
	}
	return nil
}

var nameRe = regexp.MustCompile(`^[a-zA-Z0-9-]+$`)

// timeouts of the connection. A server that is silent for three pings is left,
// so soon that a shard's lease (2 s) outlives the loss of the server that it is kept by.
const (
	dialTimeout  = 2 * time.Second
	pingInterval = 500 * time.Millisecond
	closeTimeout = 2 * time.Second
)

// Engine is a connection. It implements engine.Engine.
type Engine struct {
	cfg Config
	nc  *nats.Conn
	js  jetstream.JetStream
	// conn is nc, once there is one, for what dials.
	conn atomic.Pointer[nats.Conn]

	// ctx ends when the engine is closed; running counts subscriptions' and
	// watches' goroutines.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	flights flights
	denied  denials
	// starting lets subscriptions begin one after another.
	starting sync.Mutex
	closing  chan struct{} // closed by nats.go when it is done

	mu        sync.Mutex
	closed    bool
	connected bool
	changed   chan struct{}
	subs      map[*subscription]struct{}
}

var _ engine.Engine = (*Engine)(nil)

// Connect makes an engine. It fails only for a wrong configuration: if there is no
// server yet the engine is not Connected, and goes on trying.
func Connect(cfg Config) (*Engine, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = cfg.Log.With("engine", cfg.Name)
	if cfg.ReconnectWait == 0 {
		cfg.ReconnectWait = 250 * time.Millisecond
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	e := &Engine{cfg: cfg, changed: make(chan struct{}), closing: make(chan struct{}), subs: map[*subscription]struct{}{}}
	opts, err := e.options()
	if err != nil {
		return nil, err
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if e.nc, err = opts.Connect(); err != nil {
		e.cancel()
		return nil, fmt.Errorf("nats: %w", err)
	}
	e.conn.Store(e.nc)
	if e.nc.Status() == nats.CONNECTED {
		e.awaitConnected()
	}
	if e.js, err = jetstream.New(e.nc, jetstream.WithDefaultTimeout(operationTimeout)); err != nil {
		e.nc.Close()
		e.cancel()
		return nil, fmt.Errorf("nats: %w", err)
	}
	return e, nil
}

func (e *Engine) options() (nats.Options, error) {
	o := nats.GetDefaultOptions()
	o.Name = e.cfg.Name
	o.Servers = e.cfg.Servers
	o.Timeout = dialTimeout
	o.PingInterval, o.MaxPingsOut = pingInterval, 2
	o.RetryOnFailedConnect, o.AllowReconnect, o.MaxReconnect = true, true, -1
	o.IgnoreAuthErrorAbort = true
	o.ReconnectBufSize = -1 // what cannot be sent fails at once
	o.CustomReconnectDelayCB = func(int) time.Duration {
		return e.cfg.ReconnectWait/2 + rand.N(e.cfg.ReconnectWait)
	}
	connected := func(*nats.Conn) {
		e.denied.forget() // a server may have other permissions by now
		e.setConnected(true)
	}
	o.ConnectedCB, o.ReconnectedCB = connected, connected
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) {
		e.setConnected(false)
		e.flights.end(fmt.Errorf("%w: the connection broke meanwhile", engine.ErrUnavailable))
		if err != nil && !e.isClosed() {
			e.cfg.Log.Warn("disconnected", "error", err)
		}
	}
	o.ReconnectErrCB = func(_ *nats.Conn, err error) { e.cfg.Log.Warn("no connection", "error", err) }
	o.ClosedCB = func(*nats.Conn) {
		if !e.isClosed() {
			e.cfg.Log.Error("the connection ended for good; the process has to be started anew")
		}
		close(e.closing)
	}
	o.AsyncErrorCB = e.asyncError
	err := nats.CustomInboxPrefix("_INBOX." + e.cfg.Name)(&o)
	if err != nil {
		return o, fmt.Errorf("nats: name %q: %w", e.cfg.Name, err)
	}
	if err := e.cfg.Credentials.apply(&o); err != nil {
		return o, err
	}
	// Both kinds of dialing are wrapped, for the key of a new connection.
	if in := e.cfg.InProcess; in != nil {
		o.InProcessServer = inProcess{engine: e, server: in}
	} else {
		o.CustomDialer = &dialer{engine: e, net: net.Dialer{Timeout: dialTimeout}}
	}
	return o, nil
}

// awaitConnected waits for the callback that tells of a connection that is there
// already.
func (e *Engine) awaitConnected() {
	timer := time.NewTimer(dialTimeout)
	defer timer.Stop()
	for changed := e.Changed(); !e.Connected(); changed = e.Changed() {
		select {
		case <-changed:
		case <-timer.C:
			return
		}
	}
}

// setConnected is called by nats.go's callbacks, which come one after another. Its
// own status is not asked for: that waits while it dials.
func (e *Engine) setConnected(connected bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.connected == connected || e.closed {
		return
	}
	e.connected = connected
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *Engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// Connected implements engine.Engine.
func (e *Engine) Connected() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.connected && !e.closed
}

// Changed implements engine.Engine.
func (e *Engine) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// Reconnect leaves the server and connects anew, with credentials as they are now.
func (e *Engine) Reconnect() error { return e.nc.ForceReconnect() }

// Close implements engine.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	already, connected := e.closed, e.connected
	if !already {
		e.closed = true
		close(e.changed)
		e.changed = make(chan struct{})
	}
	subs := e.subs
	e.subs = map[*subscription]struct{}{}
	e.mu.Unlock()
	if already {
		<-e.closing
		return nil
	}
	for s := range subs {
		_ = s.sub.Unsubscribe()
	}
	e.cancel()
	for s := range subs {
		s.items.Close()
	}
	e.running.Wait()
	if connected {
		_ = e.nc.FlushTimeout(closeTimeout) // the last answers
	}
	e.flights.end(engine.ErrClosed)
	e.nc.Close()
	<-e.closing
	return nil
}
