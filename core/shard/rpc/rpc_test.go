package rpc_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a client and the engine of the servers that it calls.
type pair struct {
	t      *testing.T
	hub    *memory.Hub
	caller *memory.Engine
	callee *memory.Engine
	client *rpc.Client
}

func newPair(t *testing.T, cfg rpc.ClientConfig) *pair {
	t.Helper()
	hub := memory.NewHub()
	p := &pair{t: t, hub: hub, caller: hub.Connect("caller"), callee: hub.Connect("callee")}
	cfg.Engine = p.caller
	client, err := rpc.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.client = client
	t.Cleanup(func() {
		p.caller.Close()
		p.callee.Close()
	})
	return p
}

// serve answers directory.from.*.FindRoom.
func (p *pair) serve(limits engine.Limits, h func(context.Context, *rpc.Request, *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error)) *rpc.Server {
	p.t.Helper()
	s, err := rpc.NewServer(rpc.ServerConfig{Engine: p.callee, Pattern: shard.DirectoryFrom("*", "*"), Queue: "directory", Limits: limits})
	if err != nil {
		p.t.Fatal(err)
	}
	rpc.Handle(s, "FindRoom", h)
	if err := s.Start(); err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *pair) find(ctx context.Context, opts ...rpc.Option) (*insidev1.FindRoomResponse, error) {
	return rpc.Call[insidev1.FindRoomResponse](ctx, p.client, shard.DirectoryFrom("a", "FindRoom"), &insidev1.FindRoomRequest{Room: "r"}, opts...)
}

func TestCallReachesTheHandlerWithAllThatItHasToKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, rpc.ClientConfig{})
		p.hub.SetDelay(10 * time.Millisecond)
		p.serve(engine.Limits{}, func(ctx context.Context, r *rpc.Request, req *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
			deadline, _ := ctx.Deadline()
			if left := time.Until(deadline); left != time.Second {
				t.Errorf("the handler has %v, want the caller's 1 s from the request's arrival", left)
			}
			if string(r.Pass) != "pass" || len(r.Wildcards) != 1 || r.Wildcards[0] != "a" {
				t.Errorf("request %+v", r)
			}
			return &insidev1.FindRoomResponse{Place: &insidev1.RoomPlace{Room: req.Room, Shard: "a"}}, nil
		})
		began := time.Now()
		found, err := p.find(t.Context(), rpc.WithPass([]byte("pass")), rpc.WithTimeout(time.Second))
		if err != nil || found.Place.Room != "r" {
			t.Fatalf("%v, %v", found, err)
		}
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("took %v, want twice the delay", took)
		}
	})
}

func TestErrorsCrossACall(t *testing.T) {
	for _, row := range []struct {
		name   string
		fails  error
		code   connect.Code
		expect string
		retry  time.Duration
	}{
		{"ours", rpc.Errorf(connect.CodeNotFound, "no room %s", "r"), connect.CodeNotFound, "no room r", 0},
		{"with a time to retry", &rpc.Error{Code: connect.CodeAborted, Message: "m", Retry: time.Second}, connect.CodeAborted, "m", time.Second},
		{"a stranger shows nothing", errors.New("password wrong: secret"), connect.CodeInternal, "internal error", 0},
		{"engine", engine.ErrUnavailable, connect.CodeUnavailable, "the engine is not available", 100 * time.Millisecond},
		{"panic", nil, connect.CodeInternal, "internal error", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t, rpc.ClientConfig{})
				p.serve(engine.Limits{}, func(context.Context, *rpc.Request, *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
					if row.fails == nil {
						panic("secret")
					}
					return nil, row.fails
				})
				_, err := p.find(t.Context())
				var e *rpc.Error
				if !errors.As(err, &e) || e.Code != row.code || e.Message != row.expect || e.Retry != row.retry {
					t.Errorf("got %#v", err)
				}
			})
		})
	}
}
