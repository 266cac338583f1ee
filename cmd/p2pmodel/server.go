package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"p2pmodel/core/shard/service"
)

// serverFlags are those that every server process has.
type serverFlags struct {
	logFormat, logLevel string
	metricsListen       string
	pprof               bool
	stopTimeout         time.Duration
	checkOnly           bool
}

func (f *serverFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.logFormat, "log-format", "text", "`FORMAT` of the log on standard error: text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "least `LEVEL` that is logged: debug, info, warn or error")
	flags.StringVar(&f.metricsListen, "metrics-listen", "", "`HOST:PORT` of metrics and health: /metrics, /healthz, /readyz (default: none)")
	flags.BoolVar(&f.pprof, "pprof", false, "serve profiles, too, on the listener of metrics: /debug/pprof/")
	flags.DurationVar(&f.stopTimeout, "stop-timeout", service.DefaultStopTimeout, "how long to wait for everything to stop")
	flags.BoolVar(&f.checkOnly, "check", false, "check flags and files, then end")
}

// service makes what is around the servers of a process.
func (f *serverFlags) service(cmd *cobra.Command) (*service.Service, error) {
	log, err := service.NewLog(cmd.ErrOrStderr(), f.logFormat, f.logLevel)
	if err != nil {
		return nil, usage("%w", err)
	}
	if f.stopTimeout <= 0 {
		return nil, usage("--stop-timeout %v: want a time above 0", f.stopTimeout)
	}
	s, err := service.New(service.Config{
		Name: cmd.Name(), Version: version(), Log: log, MetricsListen: f.metricsListen, Profiles: f.pprof,
		StopTimeout: f.stopTimeout, NotifySocket: os.Getenv("NOTIFY_SOCKET"),
		Reload: hangups(cmd.Context()),
	})
	switch {
	case err != nil && f.metricsListen == "":
		return nil, usage("--pprof: %w", err)
	case err != nil:
		return nil, usage("--metrics-listen: %w", err)
	}
	return s, nil
}

// hangups gives the SIGHUPs that come until the context ends.
func hangups(ctx context.Context) <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	context.AfterFunc(ctx, func() { signal.Stop(c) })
	return c
}

// serverMetrics is where a server of a process registers its metrics. They carry
// its name, as their label part, since there may be several.
func serverMetrics(s *service.Service, name string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"part": name}, s.Metrics())
}
