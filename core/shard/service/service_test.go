package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// diary is what servers did, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("the diary says\n  %s\nwant\n  %s", strings.Join(d.lines, "\n  "), strings.Join(want, "\n  "))
	}
}

// server runs until its context ends, is ready after a while, and takes a while
// to stop.
func (d *diary) server(name string, readyAfter, stopsIn time.Duration) Server {
	var mu sync.Mutex
	var began time.Time
	return Server{
		Name: name,
		Run: func(ctx context.Context) error {
			mu.Lock()
			began = time.Now()
			mu.Unlock()
			d.write(name + " starts")
			<-ctx.Done()
			time.Sleep(stopsIn)
			d.write(name + " has stopped")
			return ctx.Err()
		},
		Ready: func() error {
			mu.Lock()
			defer mu.Unlock()
			if began.IsZero() || time.Since(began) < readyAfter {
				return errors.New("it warms up")
			}
			return nil
		},
	}
}

func newService(t *testing.T, cfg Config) *Service {
	t.Helper()
	cfg.Name = "test"
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServersStartInOrderAndStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		s := newService(t, Config{})
		s.Add(d.server("engine", 3*time.Second, time.Second))
		s.Add(d.server("directory", time.Second, 2*time.Second))
		s.Add(d.server("agent", 0, 0))
		s.Started(func() { d.write("all ready") })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 13*time.Second {
			t.Errorf("it ran for %v: want 10 s, and 1 + 2 s to stop", took)
		}
		d.expect(t, "engine starts", "directory starts", "agent starts", "all ready",
			"agent has stopped", "directory has stopped", "engine has stopped")
	})
}

func TestAServerThatEndsEndsTheProcess(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"with an error": {errors.New("the disk is full"), "relay: the disk is full"},
		"without":       {nil, "relay ended by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				s := newService(t, Config{})
				s.Add(d.server("engine", 0, 0))
				s.Add(Server{Name: "relay", Run: func(ctx context.Context) error {
					time.Sleep(time.Minute)
					return c.err
				}})
				err := s.Run(t.Context())
				if err == nil || err.Error() != c.says {
					t.Errorf("it says %v, want %q", err, c.says)
				}
				d.expect(t, "engine starts", "engine has stopped")
			})
		})
	}
}

func TestAServerThatFailsBeforeItIsReadyKeepsTheOthersFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		s := newService(t, Config{})
		s.Add(Server{Name: "engine",
			Run:   func(context.Context) error { return errors.New("port 4222 is in use") },
			Ready: func() error { return errors.New("not yet") }})
		s.Add(d.server("directory", 0, 0))
		if err := s.Run(t.Context()); err == nil || err.Error() != "engine: port 4222 is in use" {
			t.Errorf("it says %v", err)
		}
		d.expect(t)
	})
}

func TestAStopWhileOneWarmsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		s := newService(t, Config{})
		s.Add(d.server("engine", time.Hour, 0))
		s.Add(d.server("directory", 0, 0))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		d.expect(t, "engine starts", "engine has stopped")
	})
}

func TestAServerThatDoesNotStopIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		s := newService(t, Config{StopTimeout: 5 * time.Second})
		s.Add(d.server("engine", 0, time.Second))
		s.Add(d.server("shard", 0, time.Minute))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := s.Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "stop shard: not done after 5s") {
			t.Errorf("it says %v", err)
		}
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("it took %v, want 1 s and the 5 s of the timeout", took)
		}
		time.Sleep(time.Hour) // the bubble ends when all of its goroutines have
	})
}

func TestANameIsNeeded(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("there is a service without a name")
	}
	if _, err := New(Config{Name: "x", MetricsListen: "nowhere"}); err == nil {
		t.Error("nowhere is taken as an address")
	}
}
