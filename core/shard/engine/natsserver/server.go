// Package natsserver runs a NATS server in this process, from a configuration as
// nats-server has it (package layout makes them). It may listen, be a node of a
// cluster, and be reached from within the process with no socket at all.
package natsserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says what to run.
type Config struct {
	// File is the name of a configuration; Text is one, instead of a file.
	File, Text string
	// Quiet lets it not listen for clients, whatever the configuration says: they
	// come by InProcessConn.
	Quiet   bool
	Log     *slog.Logger          // nil: discard
	Metrics prometheus.Registerer // nil: none
}

const (
	startTimeout = 20 * time.Second
	// lameDuck is how long a node of a cluster that ends takes to send its clients
	// away, after grace, so that they do not all come to others at once.
	lameDuck = 2 * time.Second
	grace    = 500 * time.Millisecond
)

// reloads counts, see stamp.
var reloads atomic.Int64

// stamp makes the users of a configuration differ from those of any other. Else
// nats-server compares them with the ones it has as deep as they go, which is into
// accounts that are at work, with no lock. They have a field for when a token was
// issued, which means nothing without tokens and is compared first.
func stamp(opts *server.Options) {
	n := reloads.Add(1)
	for _, u := range opts.Nkeys {
		u.Issued = n
	}
}

// Server is a NATS server. It runs from New on: a connection in the process may
// be made before Run.
type Server struct {
	cfg Config
	ns  *server.Server
}

// New starts a server. It must be Run then, or Closed.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	opts, err := options(cfg)
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	s := &Server{cfg: cfg, ns: ns}
	log := logger{log: cfg.Log, fatal: make(chan string, 1)}
	ns.SetLoggerV2(log, false, false, false)
	if err := register(cfg.Metrics, s); err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	ns.Start()
	if err := s.await(log); err != nil {
		s.Close()
		return nil, fmt.Errorf("nats server: %w", err)
	}
	return s, nil
}

// await waits until clients are taken.
func (s *Server) await(log logger) error {
	for end := time.Now().Add(startTimeout); !s.ns.ReadyForConnections(50 * time.Millisecond); {
		select {
		case why := <-log.fatal:
			return errors.New(why)
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("not ready after %v; its log says why", startTimeout)
		}
	}
	return nil
}

// options reads the configuration and sets what a process decides.
func options(cfg Config) (*server.Options, error) {
	opts := &server.Options{}
	var err error
	switch {
	case (cfg.File == "") == (cfg.Text == ""):
		return nil, errors.New("nats server: either a file or the text of a configuration")
	case cfg.File != "":
		err = opts.ProcessConfigFile(cfg.File)
	default:
		err = opts.ProcessConfigString(cfg.Text)
	}
	if err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	stamp(opts)
	opts.NoSigs, opts.NoLog, opts.DisableJetStreamBanner = true, true, true
	opts.LameDuckDuration, opts.LameDuckGracePeriod = lameDuck, grace
	if cfg.Quiet {
		opts.DontListen = true
	}
	return opts, nil
}

// Run lets it serve until the context ends. A node of a cluster leaves it in good
// order then: it hands over what it leads, and sends its clients to other nodes.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.ns.WaitForShutdown()
	}()
	select {
	case <-ended:
		return errors.New("nats server: it ended by itself; its log says why")
	case <-ctx.Done():
	}
	if s.ns.JetStreamIsClustered() && s.ns.NumRoutes() > 0 && !s.cfg.Quiet {
		s.ns.LameDuckShutdown()
	}
	s.Close()
	<-ended
	return nil
}

// Close ends it at once.
func (s *Server) Close() error {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.Unregister(collector{s})
	}
	return nil
}

// Ready says why the server cannot be used, nil if it can: clients are taken, and
// in a cluster there is a leader of the streams whom this node follows.
func (s *Server) Ready() error {
	switch {
	case !s.ns.Running():
		return errors.New("nats server: it has ended")
	case !s.ns.ReadyForConnections(time.Millisecond):
		return errors.New("nats server: it takes no connections")
	case s.ns.JetStreamIsClustered() && !s.ns.JetStreamIsCurrent():
		return errors.New("nats server: this node knows no leader of the streams, or is behind it; are most of the cluster's nodes up?")
	}
	return nil
}

// Reload reads the configuration again: shards, users, permissions, certificates.
// Connections stay, except those of users who are no more. For a few milliseconds
// a call from one account to another may find nobody (engine.ErrNoResponder), which
// is safe to repeat. Nothing changes if it cannot be done.
func (s *Server) Reload() error {
	if s.cfg.File == "" {
		return errors.New("nats server: there is no file to read again")
	}
	return s.reload(s.cfg)
}

// ReloadText is Reload with another text.
func (s *Server) ReloadText(text string) error {
	cfg := s.cfg
	cfg.File, cfg.Text = "", text
	return s.reload(cfg)
}

// reload does it twice: nats-server begins to pass on what an account imports at
// its start, or when an account that is there already is reloaded, but not for one
// that comes by a reload.
func (s *Server) reload(cfg Config) error {
	for range 2 {
		opts, err := options(cfg)
		if err != nil {
			return err
		}
		if err := s.ns.ReloadOptions(opts); err != nil {
			return fmt.Errorf("nats server: the configuration stays as it was: %w", err)
		}
	}
	return nil
}

// InProcessConn connects a client within the process; natsengine.Config.InProcess
// takes the server.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// HasBucket reports whether this node has a copy of an account's bucket that is not
// behind.
func (s *Server) HasBucket(account, bucket string) bool {
	return s.ns.JetStreamIsStreamAssigned(account, "KV_"+bucket) && s.ns.JetStreamIsStreamCurrent(account, "KV_"+bucket)
}

// Addr is where clients connect; empty if it does not listen.
func (s *Server) Addr() string {
	if a := s.ns.Addr(); a != nil {
		return a.String()
	}
	return ""
}

// ClusterAddr is where other nodes connect; empty if it is in no cluster.
func (s *Server) ClusterAddr() string {
	if a := s.ns.ClusterAddr(); a != nil {
		return a.String()
	}
	return ""
}

// logger writes the server's log into ours.
type logger struct {
	log *slog.Logger
	// fatal gets the first of the errors that a program of its own would end for.
	fatal chan string
}

func (l logger) Noticef(format string, v ...any) { l.log.Info(line(format, v)) }
func (l logger) Warnf(format string, v ...any)   { l.log.Warn(line(format, v)) }
func (l logger) Errorf(format string, v ...any)  { l.log.Error(line(format, v)) }
func (l logger) Debugf(format string, v ...any)  { l.log.Debug(line(format, v)) }
func (l logger) Tracef(string, ...any)           {}

// Fatalf implements server.Logger.
func (l logger) Fatalf(format string, v ...any) {
	l.log.Error(line(format, v))
	select {
	case l.fatal <- strings.TrimSpace(fmt.Sprintf(format, v...)):
	default:
	}
}

func line(format string, v []any) string {
	return "nats: " + strings.TrimSpace(fmt.Sprintf(format, v...))
}
