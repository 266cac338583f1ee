package memory_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/memory"
)

func answer(context.Context, engine.Request) []byte { return []byte("answer") }

func open(t *testing.T, hub *memory.Hub, name string) *memory.Engine {
	t.Helper()
	e := hub.Connect(name)
	t.Cleanup(func() { e.Close() })
	return e
}

// TestFaultsOfConnections: how a call ends, and when, if one side is cut off.
func TestFaultsOfConnections(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault func(caller, callee *memory.Engine)
		want  error
		after time.Duration
	}{
		{"none", func(_, _ *memory.Engine) {}, nil, 0},
		{"the caller is cut off", func(caller, _ *memory.Engine) { caller.Disconnect() }, engine.ErrUnavailable, 0},
		{"the callee is cut off", func(_, callee *memory.Engine) { callee.Disconnect() }, engine.ErrNoResponder, 0},
		{"the caller's packets get lost", func(caller, _ *memory.Engine) { caller.Stall() }, context.DeadlineExceeded, time.Second},
		{"the callee's packets get lost", func(_, callee *memory.Engine) { callee.Stall() }, context.DeadlineExceeded, time.Second},
		{"cut and mended", func(caller, callee *memory.Engine) {
			caller.Disconnect()
			callee.Stall()
			caller.Reconnect()
			callee.Reconnect()
		}, nil, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := memory.NewHub()
				caller, callee := open(t, hub, "caller"), open(t, hub, "callee")
				if _, err := callee.Serve("s", "", engine.Limits{}, answer); err != nil {
					t.Fatal(err)
				}
				row.fault(caller, callee)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				_, err := caller.Call(ctx, "s", nil)
				if !errors.Is(err, row.want) || time.Since(began) != row.after {
					t.Errorf("got %v after %v, want %v after %v", err, time.Since(began), row.want, row.after)
				}
			})
		})
	}
}

// TestBucketsAreAway: nothing is done meanwhile, watches wait, and expiry goes on.
func TestBucketsAreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		e := open(t, hub, "e")
		bucket, err := e.Bucket(t.Context(), engine.BucketConfig{Name: "b", TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Put(t.Context(), "k", []byte("v")); err != nil {
			t.Fatal(err)
		}
		watch, err := bucket.Watch(t.Context(), ">")
		if err != nil {
			t.Fatal(err)
		}
		if first, second := <-watch, <-watch; first.Key != "k" || !second.Initial {
			t.Errorf("the watch gave %+v, %+v", first, second)
		}
		hub.SetBuckets(false)
		for name, do := range map[string]func() error{
			"get":    func() error { _, err := bucket.Get(t.Context(), "k"); return err },
			"put":    func() error { _, err := bucket.Put(t.Context(), "k", nil); return err },
			"delete": func() error { return bucket.Delete(t.Context(), "k", 0) },
			"keys":   func() error { _, err := bucket.Keys(t.Context(), ">"); return err },
			"watch":  func() error { _, err := bucket.Watch(t.Context(), ">"); return err },
			"open":   func() error { _, err := e.Bucket(t.Context(), engine.BucketConfig{Name: "c"}); return err },
		} {
			if err := do(); !errors.Is(err, engine.ErrUnavailable) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case e := <-watch:
			t.Errorf("the watch gave %+v", e)
		default:
		}
		hub.SetBuckets(true)
		if e := <-watch; e.Key != "k" || !e.Deleted {
			t.Errorf("the watch gave %+v", e)
		}
		if _, err := bucket.Get(t.Context(), "k"); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("it lives beyond its life: %v", err)
		}
	})
}

// TestDelay: everything takes its time, and events stay in order.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		a, b := open(t, hub, "a"), open(t, hub, "b")
		got := make(chan byte, 100)
		if _, err := b.Subscribe("e", 100, func(e engine.Event) { got <- e.Data[0] }); err != nil {
			t.Fatal(err)
		}
		bucket, err := a.Bucket(t.Context(), engine.BucketConfig{Name: "b"})
		if err != nil {
			t.Fatal(err)
		}
		hub.SetDelay(50 * time.Millisecond)
		want := []byte("abcdefgh")
		for _, c := range want {
			if err := a.Publish("e", []byte{c}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Errorf("%d came at once", len(got))
		}
		time.Sleep(51 * time.Millisecond)
		synctest.Wait()
		for _, c := range want {
			if came := <-got; came != c {
				t.Errorf("%c came, want %c", came, c)
			}
		}
		began := time.Now()
		if _, err := bucket.Put(t.Context(), "k", nil); err != nil || time.Since(began) != 100*time.Millisecond {
			t.Errorf("a write: %v after %v", err, time.Since(began))
		}
	})
}
