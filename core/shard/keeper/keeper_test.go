package keeper

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a directory of three members that answers what a test wants.
type fake struct {
	t    *testing.T
	hub  *memory.Hub
	keys [][]byte

	mu       sync.Mutex
	epoch    uint64
	register func() error // refuses a registration; nil: none
	grants   func(member int, epoch uint64) (granted, answer bool)
	draining bool
	beats    []*insidev1.HeartbeatRequest
	left     []*insidev1.UnregisterShardRequest
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, hub: memory.NewHub(), grants: func(int, uint64) (bool, bool) { return true, true }}
	e := f.hub.Connect("directories")
	serve := func(pattern string) *rpc.Server {
		s, err := rpc.NewServer(rpc.ServerConfig{Engine: e, Pattern: pattern})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	anyone := serve(shard.DirectoryFrom("*", "*"))
	rpc.Handle(anyone, "RegisterShard", func(context.Context, *rpc.Request, *insidev1.RegisterShardRequest) (*insidev1.RegisterShardResponse, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.register != nil {
			if err := f.register(); err != nil {
				return nil, err
			}
		}
		f.epoch++
		return &insidev1.RegisterShardResponse{Epoch: f.epoch, GrantMs: 2000, HeartbeatMs: 500, Members: 3, PassKeys: f.keys}, nil
	})
	rpc.Handle(anyone, "UnregisterShard", func(_ context.Context, _ *rpc.Request, req *insidev1.UnregisterShardRequest) (*insidev1.UnregisterShardResponse, error) {
		f.set(func() { f.left = append(f.left, req) })
		return &insidev1.UnregisterShardResponse{}, nil
	})
	servers := []*rpc.Server{anyone}
	for i := range 3 {
		member := serve(shard.MemberFrom(i, "*", "*"))
		rpc.Handle(member, "Heartbeat", func(ctx context.Context, _ *rpc.Request, req *insidev1.HeartbeatRequest) (*insidev1.HeartbeatResponse, error) {
			f.mu.Lock()
			f.beats = append(f.beats, req)
			granted, answer := f.grants(i, req.Epoch)
			resp := &insidev1.HeartbeatResponse{Granted: granted, Draining: f.draining, PassKeys: f.keys}
			f.mu.Unlock()
			if !answer {
				<-ctx.Done()
			}
			return resp, nil
		})
		servers = append(servers, member)
	}
	for _, s := range servers {
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, s := range servers {
			_ = s.Close()
		}
		_ = e.Close()
	})
	return f
}

// start runs a keeper until the test ends, or stop is called.
func (f *fake) start(change func(*Config)) (k *Keeper, stop func()) {
	f.t.Helper()
	e := f.hub.Connect("shard")
	cfg := Config{Engine: e, Shard: "s", CapacityRooms: 1, CapacityPlayers: 1}
	if change != nil {
		change(&cfg)
	}
	k, err := New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
		_ = e.Close()
	})
	f.t.Cleanup(stop)
	return k, stop
}

// after lets simulated time pass, and everything that happens at its end happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func in(t *testing.T, test func(t *testing.T, f *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFake(t)) })
}

func TestItHoldsAtOnceAndStays(t *testing.T) {
	in(t, func(t *testing.T, f *fake) {
		k, _ := f.start(func(c *Config) { c.Load = func() (int, int) { return 3, 7 } })
		after(time.Millisecond)
		if s := k.State(); s != (State{Held: true, Term: 1, Epoch: 1}) || k.Ready() != nil {
			t.Errorf("%+v, %v", s, k.Ready())
		}
		after(10 * time.Second)
		f.mu.Lock()
		defer f.mu.Unlock()
		if n := len(f.beats); n < 60 || n > 66 {
			t.Errorf("%d heartbeats in 10 s to three members", n)
		}
		if b := f.beats[10]; b.Rooms != 3 || b.Players != 7 || b.Shard != "s" || b.Incarnation == "" {
			t.Errorf("a heartbeat says %v", b)
		}
	})
}

// TestItKnowsTheEndOfItsLease: at the very moment, with nobody to tell it.
func TestItKnowsTheEndOfItsLease(t *testing.T) {
	in(t, func(t *testing.T, f *fake) {
		k, _ := f.start(nil)
		after(900 * time.Millisecond) // the last heartbeats were sent at 500 ms
		f.set(func() { f.grants = func(member int, _ uint64) (bool, bool) { return true, member == 0 } })
		until, changed := k.Until(), k.Changed()
		after(time.Until(until) - time.Millisecond)
		if !k.Held() {
			t.Error("it stops too early")
		}
		after(time.Millisecond)
		if k.Held() {
			t.Error("it goes on after the end")
		}
		select {
		case <-changed:
		default:
			t.Error("nobody is told")
		}
		if err := k.Ready(); err == nil {
			t.Error("it is ready without a lease")
		}
		// Nobody refused, so nobody took over: the same epoch, the same term.
		f.set(func() { f.grants = func(int, uint64) (bool, bool) { return true, true } })
		after(time.Second)
		if s := k.State(); s != (State{Held: true, Term: 1, Epoch: 1}) {
			t.Errorf("after the lapse: %+v", s)
		}
	})
}

func TestItRegistersAnewWhenItIsRefused(t *testing.T) {
	in(t, func(t *testing.T, f *fake) {
		k, _ := f.start(nil)
		after(time.Second)
		// One member has started again: it grants no epoch from before.
		f.set(func() {
			f.grants = func(member int, epoch uint64) (bool, bool) { return member != 1 || epoch > 1, true }
		})
		for range 20 {
			after(100 * time.Millisecond)
			if !k.Held() {
				t.Fatal("the lease lapses although two grant it")
			}
		}
		if s := k.State(); s.Epoch != 2 || s.Term != 1 {
			t.Errorf("%+v", s)
		}
		// All have fenced it: it was another's.
		f.set(func() { f.grants = func(_ int, epoch uint64) (bool, bool) { return epoch > 2, true } })
		f.set(func() { f.register = func() error { return rpc.Errorf(connect.CodeUnavailable, "not now") } })
		after(3 * time.Second)
		if k.Held() || !strings.Contains(fmt.Sprint(k.Ready()), "not now") {
			t.Errorf("held %v, ready: %v", k.Held(), k.Ready())
		}
		f.set(func() { f.register = nil })
		after(time.Second)
		if s := k.State(); s != (State{Held: true, Term: 2, Epoch: 3}) {
			t.Errorf("%+v", s)
		}
	})
}

func TestItSaysWhyItIsNotRegistered(t *testing.T) {
	in(t, func(t *testing.T, f *fake) {
		f.register = func() error { return rpc.Errorf(connect.CodeFailedPrecondition, "another process holds the lease") }
		k, _ := f.start(nil)
		after(5 * time.Second)
		if err := k.Ready(); err == nil || !strings.Contains(err.Error(), "another process holds the lease") {
			t.Error(err)
		}
		f.set(func() { f.register = nil })
		after(time.Second)
		if err := k.Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestItWaitsForDirectories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		e := hub.Connect("shard")
		defer e.Close()
		k, err := New(Config{Engine: e, Shard: "s", CapacityRooms: 1, CapacityPlayers: 1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
		if k.Held() || k.Ready() == nil || !k.Until().IsZero() || k.Epoch() != 0 {
			t.Errorf("%+v", k.State())
		}
	})
}

func TestItBringsKeysAndTheWordToDrain(t *testing.T) {
	in(t, func(t *testing.T, f *fake) {
		public, private, _ := ed25519.GenerateKey(nil)
		f.keys = [][]byte{public}
		k, _ := f.start(nil)
		after(time.Millisecond)
		sign := func(key ed25519.PrivateKey) []byte {
			raw, err := pass.Sign(key, &insidev1.Pass{Session: "x", ExpiresMs: time.Now().Add(time.Minute).UnixMilli()})
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		if _, err := k.Verifier().Verify(sign(private), time.Now()); err != nil {
			t.Error(err)
		}
		public2, private2, _ := ed25519.GenerateKey(nil)
		changed := k.Changed()
		f.set(func() { f.keys, f.draining = [][]byte{public2}, true })
		after(time.Second)
		if _, err := k.Verifier().Verify(sign(private2), time.Now()); err != nil {
			t.Error(err)
		}
		if !k.Draining() {
			t.Error("it does not drain")
		}
		select {
		case <-changed:
		default:
			t.Error("nobody is told")
		}
	})
}

func TestItGivesTheLeaseBack(t *testing.T) {
	in(t, func(t *testing.T, f *fake) {
		registry := prometheus.NewRegistry()
		k, stop := f.start(func(c *Config) { c.Metrics = registry })
		after(time.Second)
		stop()
		if k.Held() {
			t.Error("it holds what it gave back")
		}
		if len(f.left) != 1 || f.left[0].Shard != "s" || f.left[0].Epoch != 1 {
			t.Errorf("it unregistered with %v", f.left)
		}
		n := len(f.beats)
		after(5 * time.Second)
		if len(f.beats) != n {
			t.Error("heartbeats go on")
		}
		if all, err := registry.Gather(); err != nil || len(all) < 5 {
			t.Errorf("%d metrics, %v", len(all), err)
		}
	})
}

func TestWhatCannotBe(t *testing.T) {
	e := memory.NewHub().Connect("shard")
	defer e.Close()
	good := Config{Engine: e, Shard: "s", CapacityRooms: 1, CapacityPlayers: 1}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Config){
		"no engine":          func(c *Config) { c.Engine = nil },
		"no id":              func(c *Config) { c.Shard = "" },
		"an id of two parts": func(c *Config) { c.Shard = "a.b" },
		"a long id":          func(c *Config) { c.Shard = strings.Repeat("a", 33) },
		"no rooms":           func(c *Config) { c.CapacityRooms = 0 },
		"no players":         func(c *Config) { c.CapacityPlayers = -1 },
		"negative time":      func(c *Config) { c.LeaveTimeout = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// TestTermsThatCannotBe: a directory that is wrong does not make a shard believe
// that it holds a lease.
func TestTermsThatCannotBe(t *testing.T) {
	k, err := New(Config{Engine: memory.NewHub().Connect("shard"), Shard: "s", CapacityRooms: 1, CapacityPlayers: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, resp := range []*insidev1.RegisterShardResponse{
		{Epoch: 1}, {Epoch: 1, GrantMs: 2000, HeartbeatMs: 500}, {Epoch: 1, Members: 3, HeartbeatMs: 500}, {Epoch: 1, Members: 1000, GrantMs: 2000, HeartbeatMs: 500},
	} {
		if err := k.begin(resp, time.Now()); err == nil {
			t.Errorf("%v is taken", resp)
		}
	}
}
