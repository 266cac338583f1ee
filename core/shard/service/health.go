package service

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health answers whether the process is ready, and what it waits for.
type health struct {
	mu       sync.Mutex
	checks   []check
	stopping bool
}

type check struct {
	name  string
	ready func() error
}

func newHealth() *health { return &health{} }

func (h *health) add(name string, ready func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, check{name, ready})
}

// stop makes the process unready, so that balancers send nobody any more.
func (h *health) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

// report gives one line a check, and whether all are well.
func (h *health) report() (text string, ready bool) {
	h.mu.Lock()
	checks, stopping := h.checks, h.stopping
	h.mu.Unlock()
	var b strings.Builder
	ready = !stopping
	if stopping {
		b.WriteString("no  process: it stops\n")
	}
	for _, c := range checks {
		var err error
		if c.ready != nil {
			err = c.ready()
		}
		if err != nil {
			ready = false
			fmt.Fprintf(&b, "no  %s: %v\n", c.name, err)
		} else {
			fmt.Fprintf(&b, "ok  %s\n", c.name)
		}
	}
	return b.String(), ready
}

func (h *health) serveReady(w http.ResponseWriter, _ *http.Request) {
	text, ready := h.report()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(text))
}

// Handler serves /metrics, /healthz and /readyz, and /debug/pprof/ where profiles are on.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", s.health.serveReady)
	if s.cfg.Profiles {
		for path, serve := range map[string]http.HandlerFunc{
			"":        pprof.Index, // and those that it lists, by their names
			"cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		} {
			mux.HandleFunc("GET /debug/pprof/"+path, bounded(serve))
		}
	}
	return mux
}

// longestProfile is how long a profile or a trace may be asked to last. The time in which
// an answer has to be written is put off for it, without an end.
const longestProfile = 2 * time.Minute

// bounded refuses what would last longer.
func bounded(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			if n, err := strconv.ParseFloat(text, 64); err != nil || !(n >= 0 && n <= longestProfile.Seconds()) {
				http.Error(w, fmt.Sprintf("seconds=%s: want 0 to %v", text, longestProfile.Seconds()), http.StatusBadRequest)
				return
			}
		}
		serve(w, r)
	}
}

// checkListen says what is wrong with a HOST:PORT before it is listened on.
func checkListen(address string) error {
	if _, err := net.ResolveTCPAddr("tcp", address); err != nil {
		return fmt.Errorf("%q is no HOST:PORT to listen on, as in 127.0.0.1:9100: %w", address, err)
	}
	return nil
}

// listen serves metrics and health until the function that it gives is called.
func (s *Service) listen() (stop func(), err error) {
	if s.cfg.MetricsListen == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", s.cfg.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics and health: %w", err)
	}
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       log.New(errorLog{s.log}, "", 0),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("metrics and health are not served any more", "error", err)
		}
	}()
	s.log.Info("metrics and health", "listen", l.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}, nil
}

// errorLog takes what net/http wants to say about single connections.
type errorLog struct{ log *slog.Logger }

func (e errorLog) Write(p []byte) (int, error) {
	e.log.Debug("metrics", "http", strings.TrimSpace(string(p)))
	return len(p), nil
}
