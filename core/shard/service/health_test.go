package service

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadinessSaysWhatItWaitsFor(t *testing.T) {
	s := newService(t, Config{Version: "v1.2.3"})
	var connected atomic.Bool
	s.Check("engine", func() error {
		if !connected.Load() {
			return errors.New("no connection to nats://10.0.0.1:4222")
		}
		return nil
	})
	s.Check("key", func() error { return nil })
	h := s.Handler()
	if code, text := get(t, h, "/readyz"); code != http.StatusServiceUnavailable || text != "no  engine: no connection to nats://10.0.0.1:4222\nok  key\n" {
		t.Errorf("unready: %d %q", code, text)
	}
	if code, text := get(t, h, "/healthz"); code != http.StatusOK || text != "ok\n" {
		t.Errorf("health: %d %q", code, text)
	}
	connected.Store(true)
	if code, text := get(t, h, "/readyz"); code != http.StatusOK || text != "ok  engine\nok  key\n" {
		t.Errorf("ready: %d %q", code, text)
	}
	s.health.stop()
	if code, text := get(t, h, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "it stops") {
		t.Errorf("stopping: %d %q", code, text)
	}
	code, text := get(t, h, "/metrics")
	for _, want := range []string{`p2pmodel_build_info{command="test",version="v1.2.3"} 1`, "go_goroutines ", "process_open_fds "} {
		if code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("metrics: %d without %s", code, want)
		}
	}
}

func TestAPortInUseIsToldBeforeAnythingStarts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newService(t, Config{MetricsListen: l.Addr().String()})
	s.Add(Server{Name: "shard", Run: func(context.Context) error { t.Error("it was started"); return nil }})
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("it says %v, without %v", err, l.Addr())
	}
}

func TestMetricsAndHealthOverTheWire(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	overTheWire(t, Config{MetricsListen: address}, map[string]int{"/metrics": 200, "/healthz": 200, "/readyz": 200, "/": 404, "/debug/pprof/": 404})
	overTheWire(t, Config{MetricsListen: address, Profiles: true}, map[string]int{
		"/metrics": 200, "/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/nothing": 404,
		"/debug/pprof/profile?seconds=1": 200, "/debug/pprof/profile?seconds=600": 400,
	})
}

// TestProfilesNeedAListener: they are served beside metrics, and nowhere else.
func TestProfilesNeedAListener(t *testing.T) {
	if _, err := New(Config{Name: "test", Profiles: true}); err == nil || !strings.Contains(err.Error(), "--metrics-listen") {
		t.Errorf("it says %v", err)
	}
}

// overTheWire runs a service, asks it for paths, and looks that nothing of it is left.
func overTheWire(t *testing.T, cfg Config, paths map[string]int) {
	t.Helper()
	address := cfg.MetricsListen
	s := newService(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.Started(func() {
		defer cancel()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for path, want := range paths {
			response, err := client.Get("http://" + address + path)
			if err != nil {
				t.Error(err)
				continue
			}
			response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s: %s, want %d", path, response.Status, want)
			}
		}
	})
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it listens after its end")
	}
}
