package rpc_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/rpc"
)

func found(context.Context, *rpc.Request, *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
	return &insidev1.FindRoomResponse{Place: &insidev1.RoomPlace{Room: "r"}}, nil
}

// series gives the metrics of a name.
func series(t *testing.T, r *prometheus.Registry, name string) []*dto.Metric {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric
		}
	}
	return nil
}

// TestWhatIsSentAgain: which calls reach the engine how often, and how they end.
func TestWhatIsSentAgain(t *testing.T) {
	for _, row := range []struct {
		name       string
		begin      func(p *pair)
		idempotent bool
		after      func(p *pair) // 60 ms later
		code       connect.Code
		cause      error
		took       time.Duration // at most
	}{
		{name: "nobody there, idempotent", idempotent: true, code: connect.CodeUnavailable, cause: engine.ErrNoResponder, took: 225 * time.Millisecond},
		{name: "nobody there", code: connect.CodeUnavailable, cause: engine.ErrNoResponder, took: 75 * time.Millisecond},
		{name: "somebody comes, idempotent", idempotent: true, after: func(p *pair) { p.serve(engine.Limits{}, found) }, took: 225 * time.Millisecond},
		{name: "no connection, idempotent", begin: func(p *pair) { p.serve(engine.Limits{}, found); p.caller.Disconnect() }, idempotent: true,
			after: func(p *pair) { p.caller.Reconnect() }, took: 225 * time.Millisecond},
		{name: "no connection", begin: func(p *pair) { p.serve(engine.Limits{}, found); p.caller.Disconnect() },
			after: func(p *pair) { p.caller.Reconnect() }, code: connect.CodeUnavailable, cause: engine.ErrUnavailable},
		{name: "no answer, idempotent", begin: func(p *pair) { p.serve(engine.Limits{}, found); p.callee.Stall() }, idempotent: true,
			code: connect.CodeDeadlineExceeded, cause: context.DeadlineExceeded, took: 2 * time.Second},
		{name: "an error is an answer", begin: func(p *pair) {
			p.serve(engine.Limits{}, func(context.Context, *rpc.Request, *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
				return nil, rpc.Errorf(connect.CodeUnavailable, "drains")
			})
		}, idempotent: true, code: connect.CodeUnavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, rpc.ClientConfig{})
				if row.begin != nil {
					row.begin(p)
				}
				if row.after != nil {
					time.AfterFunc(20*time.Millisecond, func() { row.after(p) })
				}
				var opts []rpc.Option
				if row.idempotent {
					opts = append(opts, rpc.Idempotent())
				}
				began := time.Now()
				_, err := p.find(t.Context(), opts...)
				if rpc.CodeOf(err) != row.code || row.cause != nil && !errors.Is(err, row.cause) {
					t.Errorf("got %v, want %v of %v", err, row.code, row.cause)
				}
				if took := time.Since(began); took > row.took {
					t.Errorf("took %v, want at most %v", took, row.took)
				}
			})
		})
	}
}

// TestABreakerSparesCallers of a server that lets deadlines pass, and finds out when
// it answers again.
func TestABreakerSparesCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		p := newPair(t, rpc.ClientConfig{Metrics: registry, Timeout: 100 * time.Millisecond, Failures: 3, Cooldown: time.Second})
		p.serve(engine.Limits{}, found)
		p.callee.Stall()
		timed := func() (time.Duration, error) {
			began := time.Now()
			_, err := p.find(t.Context())
			return time.Since(began), err
		}
		for i := range 3 {
			if took, err := timed(); rpc.CodeOf(err) != connect.CodeDeadlineExceeded || took != 100*time.Millisecond {
				t.Errorf("call %d: %v after %v", i, err, took)
			}
		}
		took, err := timed()
		var e *rpc.Error
		if !errors.As(err, &e) || e.Code != connect.CodeUnavailable || e.Retry != time.Second || took != 0 {
			t.Errorf("the breaker let it wait: %v after %v", err, took)
		}
		state := func(want map[string]float64) {
			t.Helper()
			got := map[string]float64{}
			for _, m := range series(t, registry, "p2pmodel_rpc_breaker_state") {
				got[m.Label[0].GetValue()] = m.Gauge.GetValue()
			}
			if !maps.Equal(got, want) {
				t.Errorf("the breakers are %v, want %v", got, want)
			}
		}
		state(map[string]float64{"directory": 2})
		// Another target is called all the same.
		_, err = rpc.Call[insidev1.FindRoomResponse](t.Context(), p.client, shard.GameSubject("b", "Report"), &insidev1.FindRoomRequest{})
		if !errors.Is(err, engine.ErrNoResponder) {
			t.Errorf("another target: %v", err)
		}
		time.Sleep(1100 * time.Millisecond)
		if took, err := timed(); rpc.CodeOf(err) != connect.CodeDeadlineExceeded || took != 100*time.Millisecond {
			t.Errorf("the one that tries: %v after %v", err, took)
		}
		p.callee.Reconnect()
		time.Sleep(1100 * time.Millisecond)
		for range 2 {
			if _, err := timed(); err != nil {
				t.Errorf("it answers, but %v", err)
			}
		}
		state(map[string]float64{"directory": 0})
		p.client.Forget("directory")
		state(map[string]float64{})
	})
}

// TestWhatABreakerDoesNotCount: only a deadline that passes is a server's fault.
func TestWhatABreakerDoesNotCount(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, p *pair) error{
		"errors": func(t *testing.T, p *pair) error {
			_, err := rpc.Call[insidev1.FindRoomResponse](t.Context(), p.client, shard.DirectoryFrom("a", "Unknown"), &insidev1.FindRoomRequest{})
			return err
		},
		"callers who give up": func(t *testing.T, p *pair) error {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			p.callee.Stall()
			defer p.callee.Reconnect()
			_, err := p.find(ctx)
			return err
		},
		"no connection": func(t *testing.T, p *pair) error {
			p.caller.Disconnect()
			defer p.caller.Reconnect()
			_, err := p.find(t.Context())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, rpc.ClientConfig{Failures: 2})
				p.serve(engine.Limits{}, found)
				for range 5 {
					if fail(t, p) == nil {
						t.Fatal("it should fail")
					}
				}
				if _, err := p.find(t.Context()); err != nil {
					t.Errorf("the next call: %v", err)
				}
			})
		})
	}
}

// TestWorkThatNobodyWaitsForIsNotBegun: requests that waited for a worker beyond
// their callers' deadlines.
func TestWorkThatNobodyWaitsForIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, rpc.ClientConfig{Failures: 100})
		var begun atomic.Int64
		p.serve(engine.Limits{Workers: 1, Queue: 10}, func(ctx context.Context, _ *rpc.Request, _ *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
			begun.Add(1)
			<-ctx.Done() // a slow handler notices the deadline
			return nil, ctx.Err()
		})
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if _, err := p.find(t.Context(), rpc.WithTimeout(time.Second)); rpc.CodeOf(err) != connect.CodeDeadlineExceeded {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		if n := begun.Load(); n != 1 {
			t.Errorf("%d calls were begun, want the first only", n)
		}
		// And it serves on.
		if _, err := p.find(t.Context(), rpc.WithTimeout(time.Second)); rpc.CodeOf(err) != connect.CodeDeadlineExceeded || begun.Load() != 2 {
			t.Errorf("afterwards: %v, %d begun", err, begun.Load())
		}
	})
}

func TestOverloadIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, rpc.ClientConfig{})
		release := make(chan struct{})
		p.serve(engine.Limits{Workers: 1, Queue: 1}, func(ctx context.Context, r *rpc.Request, req *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
			<-release
			return found(ctx, r, req)
		})
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if _, err := p.find(t.Context()); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		began := time.Now()
		_, err := p.find(t.Context())
		var e *rpc.Error
		if !errors.As(err, &e) || e.Code != connect.CodeResourceExhausted || e.Retry != 100*time.Millisecond || time.Since(began) != 0 {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		close(release)
		all.Wait()
	})
}

func TestACallWithNoTimeIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, rpc.ClientConfig{})
		p.serve(engine.Limits{}, func(context.Context, *rpc.Request, *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
			t.Error("it was sent")
			return nil, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Microsecond)
		defer cancel()
		if _, err := p.find(ctx); rpc.CodeOf(err) != connect.CodeDeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// TestMetricsNameMethodsThatThereAre: a caller cannot make new series.
func TestMetricsNameMethodsThatThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		hub := memory.NewHub()
		e := hub.Connect("e")
		defer e.Close()
		for _, id := range []string{"a", "b"} { // two servers share one registry
			s, err := rpc.NewServer(rpc.ServerConfig{Engine: e, Pattern: shard.LobbySubject(id, "*"), Metrics: registry})
			if err != nil {
				t.Fatal(err)
			}
			rpc.Handle(s, "FindRoom", found)
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			if s.Start() == nil {
				t.Error("it was started twice")
			}
		}
		client, err := rpc.NewClient(rpc.ClientConfig{Engine: e})
		if err != nil {
			t.Fatal(err)
		}
		for _, subject := range []string{"shard.a.lobby.FindRoom", "shard.b.lobby.FindRoom", "shard.a.lobby.Evil1", "shard.a.lobby.Evil2"} {
			_, _ = rpc.Call[insidev1.FindRoomResponse](t.Context(), client, subject, &insidev1.FindRoomRequest{})
		}
		got := map[string]uint64{}
		for _, m := range series(t, registry, "p2pmodel_rpc_serve_seconds") {
			got[m.Label[1].GetValue()+" "+m.Label[0].GetValue()] = m.Histogram.GetSampleCount()
		}
		if len(got) != 2 || got["lobby.FindRoom ok"] != 2 || got["unknown unimplemented"] != 2 {
			t.Errorf("the series are %v", got)
		}
	})
}

func TestConfigurationsThatAreWrong(t *testing.T) {
	e := memory.NewHub().Connect("e")
	defer e.Close()
	for name, cfg := range map[string]rpc.ServerConfig{
		"no engine": {Pattern: "a.*"}, "no method": {Engine: e, Pattern: "a.b"}, "rest": {Engine: e, Pattern: "a.>"}, "nothing": {Engine: e},
	} {
		if _, err := rpc.NewServer(cfg); err == nil {
			t.Errorf("%s: a server was made", name)
		}
	}
	for name, cfg := range map[string]rpc.ClientConfig{"no engine": {}, "timeout": {Engine: e, Timeout: -1}, "attempts": {Engine: e, Attempts: -1}} {
		if _, err := rpc.NewClient(cfg); err == nil {
			t.Errorf("%s: a client was made", name)
		}
	}
}
