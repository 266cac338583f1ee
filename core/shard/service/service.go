// Package service is what every server process has around its servers: a log,
// metrics and health on a listener of their own, servers that start in order and
// stop in reverse, files that are read again when they change, and word to
// systemd. It knows none of the servers.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// DefaultStopTimeout is how long servers have to stop, all together.
const DefaultStopTimeout = 20 * time.Second

// Config says what a process is like.
type Config struct {
	// Name is the command's: "agent".
	Name string
	// Version is of the build; it is a label of a metric.
	Version string
	// Log; nil discards.
	Log *slog.Logger
	// MetricsListen is the HOST:PORT of metrics and health; empty: none.
	MetricsListen string
	// Profiles has /debug/pprof/ beside them, for go tool pprof. What it gives is the
	// program's memory, and it takes processor time: for the inside only.
	Profiles bool
	// StopTimeout bounds the stop of all servers together; 0: DefaultStopTimeout.
	StopTimeout time.Duration
	// Reload asks for all files to be read again (SIGHUP); nil: never.
	Reload <-chan os.Signal
	// PollFiles is how often files are looked at for changes; 0: 2 s.
	PollFiles time.Duration
	// NotifySocket is systemd's NOTIFY_SOCKET; empty: nobody is told.
	NotifySocket string
}

// Server is one part of the process.
type Server struct {
	Name string
	// Run works until the context ends, and returns when nothing of it is left.
	Run func(ctx context.Context) error
	// Ready is nil once it serves, or says what it waits for; nil: at once.
	Ready func() error
}

// Service is one server process. Make it with New, add to it, then Run it once.
type Service struct {
	cfg      Config
	log      *slog.Logger
	registry *prometheus.Registry
	health   *health
	watch    *watcher
	notify   notifier
	servers  []Server
	started  []func()
}

// New makes a service with nothing in it.
func New(cfg Config) (*Service, error) {
	if cfg.Name == "" {
		return nil, errors.New("a service needs a name")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = DefaultStopTimeout
	}
	if cfg.PollFiles == 0 {
		cfg.PollFiles = 2 * time.Second
	}
	if cfg.Profiles && cfg.MetricsListen == "" {
		return nil, errors.New("profiles are served beside metrics: they need --metrics-listen, too")
	}
	if cfg.MetricsListen != "" {
		if err := checkListen(cfg.MetricsListen); err != nil {
			return nil, err
		}
	}
	s := &Service{cfg: cfg, log: cfg.Log, registry: prometheus.NewRegistry(), notify: notifier{cfg.NotifySocket}}
	s.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(cfg.Name, cfg.Version),
	)
	s.health = newHealth()
	s.watch = newWatcher(cfg.Log, s.registry, cfg.PollFiles)
	return s, nil
}

// Log is the process's log.
func (s *Service) Log() *slog.Logger { return s.log }

// Metrics is where servers register their metrics.
func (s *Service) Metrics() *prometheus.Registry { return s.registry }

// Add adds a server. Each is started when those before it are ready, and stopped
// before them.
func (s *Service) Add(server Server) { s.servers = append(s.servers, server) }

// Check adds something that has to be so for the process to be ready, beside its
// servers. It must answer at once.
func (s *Service) Check(name string, ready func() error) { s.health.add(name, ready) }

// Watch calls load when one of the files has changed, or on Config.Reload. A load
// that fails leaves what was loaded before in use, is logged, and is tried again
// with each look at the files. It is not called for what is there at the start.
func (s *Service) Watch(name string, load func() error, files ...string) {
	s.watch.add(name, load, files)
}

// Started calls f when all servers are ready for the first time.
func (s *Service) Started(f func()) { s.started = append(s.started, f) }

// Run starts the servers and returns when all have stopped: because the context
// has ended (nil), or one of them has (its error), or they did not stop in time.
func (s *Service) Run(ctx context.Context) error {
	for _, server := range s.servers {
		s.health.add(server.Name, server.Ready)
	}
	stopListening, err := s.listen()
	if err != nil {
		return err
	}
	defer stopListening()

	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch.run(watching, s.cfg.Reload, s.notify)
	}()
	defer func() { stopWatching(); <-watched }()

	g := newGroup(s.log)
	err = g.start(ctx, s.servers)
	if err == nil && ctx.Err() == nil {
		for _, f := range s.started {
			f()
		}
		s.notify.send("READY=1")
		err = g.wait(ctx)
	}
	s.health.stop()
	s.notify.send("STOPPING=1")
	if err == nil {
		s.log.Info("stopping")
	}
	if late := g.stop(s.cfg.StopTimeout); late != nil {
		err = errors.Join(err, late)
	}
	return err
}

func buildInfo(name, version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "p2pmodel_build_info",
		Help:        "Always 1; the labels say which command and version this is.",
		ConstLabels: prometheus.Labels{"command": name, "version": version},
	})
	g.Set(1)
	return g
}

// errEnded is of a server that stopped although nobody asked it to.
func errEnded(name string, err error) error {
	if err == nil {
		return fmt.Errorf("%s ended by itself", name)
	}
	return fmt.Errorf("%s: %w", name, err)
}
