package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"p2pmodel/core/shard/engine"
)

// hear subscribes and waits until what is published comes.
func (s *suite) hear(e engine.Engine, subject, probe string, pending int, h func(engine.Event)) engine.Subscription {
	s.Helper()
	var heard atomic.Bool
	sub, err := e.Subscribe(subject, pending, func(ev engine.Event) {
		if string(ev.Data) == "probe" {
			heard.Store(true)
			return
		}
		h(ev)
	})
	s.ok(err)
	s.until("an event comes at "+subject, func() bool {
		s.ok(e.Publish(probe, []byte("probe")))
		return heard.Load()
	})
	return sub
}

func (s *suite) eventOrder() {
	a, b := s.connect(), s.connect()
	var got log
	sub := s.hear(b, "served.event.*", "served.event.x", 10000, func(e engine.Event) { got.add("%s", e.Data) })
	const n = 2000
	var want []string
	s.awaitRoute(a, b)
	for i := range n {
		s.ok(a.Publish("served.event.y", fmt.Appendf(nil, "%d", i)))
		want = append(want, fmt.Sprint(i))
	}
	s.until("all events came", func() bool { return got.len() == n })
	if !slices.Equal(got.all(), want) {
		s.Error("the order is another one")
	}
	if sub.Dropped() != 0 {
		s.Errorf("%d dropped", sub.Dropped())
	}
}

// awaitRoute waits until a subscription of one connection is known to another.
func (s *suite) awaitRoute(from, to engine.Engine) {
	s.Helper()
	var heard atomic.Bool
	sub, err := to.Subscribe("served.route", 10, func(engine.Event) { heard.Store(true) })
	s.ok(err)
	s.until("the subscription is known", func() bool {
		s.ok(from.Publish("served.route", nil))
		return heard.Load()
	})
	s.ok(sub.Close())
}

func (s *suite) eventDrop() {
	e := s.connect()
	var got log
	begun, release := make(chan struct{}), make(chan struct{})
	sub := s.hear(e, "served.event", "served.event", 4, func(ev engine.Event) {
		if got.len() == 0 {
			close(begun)
			<-release
		}
		got.add("%s", ev.Data)
	})
	before := sub.Dropped()
	s.ok(e.Publish("served.event", []byte("first")))
	<-begun
	for i := range 10 {
		s.ok(e.Publish("served.event", fmt.Appendf(nil, "%d", i)))
	}
	s.until("six are dropped", func() bool { return sub.Dropped() == before+6 })
	close(release)
	want := []string{"first", "6", "7", "8", "9"}
	s.until("the newest four come", func() bool { return got.len() == len(want) })
	if !slices.Equal(got.all(), want) {
		s.Errorf("got %v, want %v", got.all(), want)
	}
}

func (s *suite) eventFan() {
	a, b := s.connect(), s.connect()
	var one, two, other log
	s.hear(a, "served.*.event.s1", "served.x.event.s1", 100, func(e engine.Event) { one.add("%s %s", e.Subject, e.Data) })
	s.hear(b, "served.*.event.s1", "served.x.event.s1", 100, func(e engine.Event) { two.add("%s %s", e.Subject, e.Data) })
	s.hear(b, "served.*.event.s2", "served.x.event.s2", 100, func(e engine.Event) { other.add("%s %s", e.Subject, e.Data) })
	s.awaitRoute(a, b)
	s.ok(a.Publish("served.z.event.s1", []byte("1")))
	s.until("both hear it", func() bool { return one.len() == 1 && two.len() == 1 })
	if one.all()[0] != "served.z.event.s1 1" {
		s.Errorf("got %q", one.all())
	}
	if other.len() != 0 {
		s.Errorf("another subscription heard %v", other.all())
	}
}

func (s *suite) closedSubscription() {
	e := s.connect()
	var got log
	sub := s.hear(e, "served.event", "served.event", 10, func(engine.Event) { got.add("event") })
	s.ok(sub.Close())
	s.ok(sub.Close()) // twice is once
	s.ok(e.Publish("served.event", nil))
	served := s.serve(e, "served.call", "q", engine.Limits{}, func(engine.Request) string { return "" })
	s.ask(e, "served.call", "")
	s.ok(served.Close())
	s.until("nobody answers any more", func() bool {
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		_, err := e.Call(ctx, "served.call", nil)
		return err != nil
	})
	_, err := e.Call(s.context(), "served.call", nil)
	s.wants(err, engine.ErrNoResponder)
	if got.len() != 0 {
		s.Errorf("got %v after the end", got.all())
	}
}

func (s *suite) closeWaits() {
	a, b := s.connect(), s.backend.Connect(s.T)
	begun := make(chan struct{})
	var ended atomic.Bool
	sub, err := b.Serve("served.slow", "q", engine.Limits{}, func(ctx context.Context, r engine.Request) []byte {
		if string(r.Data) == "" {
			return []byte{}
		}
		close(begun)
		<-ctx.Done() // Close ends it
		ended.Store(true)
		return []byte("late")
	})
	s.ok(err)
	s.ask(a, "served.slow", "")
	answered := make(chan string, 1)
	ctx := s.context()
	go func() {
		answer, err := a.Call(ctx, "served.slow", []byte("x"))
		answered <- fmt.Sprintf("%s %v", answer, err)
	}()
	<-begun
	s.ok(b.Close())
	if !ended.Load() {
		s.Error("a handler still runs")
	}
	_ = sub
	if got := <-answered; got != "late <nil>" {
		s.Errorf("the last answer was lost: %s", got)
	}
}

func (s *suite) closedEngine() {
	e := s.backend.Connect(s.T)
	changed := e.Changed()
	bucket := s.bucket(e, engine.BucketConfig{Name: "closed"})
	s.ok(e.Close())
	s.ok(e.Close())
	<-changed
	if e.Connected() {
		s.Error("it says that it is connected")
	}
	_, err := e.Call(s.context(), "served.x", nil)
	s.wants(err, engine.ErrClosed)
	s.wants(e.Publish("served.x", nil), engine.ErrClosed)
	_, err = e.Serve("served.x", "", engine.Limits{}, func(context.Context, engine.Request) []byte { return nil })
	s.wants(err, engine.ErrClosed)
	_, err = e.Subscribe("served.x", 1, func(engine.Event) {})
	s.wants(err, engine.ErrClosed)
	_, err = bucket.Get(s.context(), "k")
	s.wants(err, engine.ErrClosed)
	_, err = bucket.Watch(s.context(), ">")
	s.wants(err, engine.ErrClosed)
}

func (s *suite) permissions() {
	full, restricted := s.connect(), s.closing(s.backend.Restricted(s.T))
	s.serve(full, "allowed.x", "q", engine.Limits{}, func(engine.Request) string { return "answer" })
	s.serve(full, "secret.x", "q", engine.Limits{}, func(engine.Request) string {
		s.Error("a request came through that is not permitted")
		return ""
	})
	if got := s.ask(restricted, "allowed.x", ""); got != "answer" {
		s.Errorf("got %q", got)
	}
	began := time.Now()
	_, err := restricted.Call(s.context(), "secret.x", nil)
	s.wants(err, engine.ErrPermission)
	if took := time.Since(began); took > patience/2 {
		s.Errorf("it took %v to learn that it is not permitted", took)
	}
	// The first event that is not permitted may get lost silently.
	s.until("publishing fails", func() bool { return restricted.Publish("secret.event", nil) != nil })
	s.wants(restricted.Publish("secret.event", nil), engine.ErrPermission)
	_, err = restricted.Subscribe("secret.*", 1, func(engine.Event) {})
	s.wants(err, engine.ErrPermission)
	_, err = restricted.Serve("secret.*", "q", engine.Limits{}, func(context.Context, engine.Request) []byte { return nil })
	s.wants(err, engine.ErrPermission)
	_, err = restricted.Bucket(s.context(), engine.BucketConfig{Name: "secret"})
	s.wants(err, engine.ErrPermission)
	// What is permitted goes on.
	s.serve(restricted, "served.y", "q", engine.Limits{}, func(engine.Request) string { return "y" })
	if got := s.ask(full, "served.y", ""); got != "y" {
		s.Errorf("got %q", got)
	}
}

func (s *suite) interruption() {
	a, b := s.connect(), s.connect()
	begun := make(chan struct{})
	s.serve(b, "served.x", "q", engine.Limits{}, func(r engine.Request) string {
		if string(r.Data) == "hang" {
			close(begun)
			time.Sleep(time.Second)
		}
		return "x"
	})
	var events log
	s.hear(b, "served.event", "served.event", 10, func(e engine.Event) { events.add("%s", e.Data) })
	bucket := s.bucket(a, engine.BucketConfig{Name: "interrupted"})
	revision, err := bucket.Put(s.context(), "k", []byte("before"))
	s.ok(err)
	s.ask(a, "served.x", "")

	hanging := make(chan error, 1)
	ctx := s.context()
	go func() {
		_, err := a.Call(ctx, "served.x", []byte("hang"))
		hanging <- err
	}()
	<-begun
	restore := s.backend.Interrupt(s.T)
	s.until("both notice", func() bool { return !a.Connected() && !b.Connected() })
	s.wants(<-hanging, engine.ErrUnavailable)
	changed := a.Changed()
	_, err = a.Call(ctx, "served.x", nil)
	s.wants(err, engine.ErrUnavailable)
	s.wants(a.Publish("served.event", nil), engine.ErrUnavailable)
	_, err = bucket.Get(ctx, "k")
	s.wants(err, engine.ErrUnavailable)
	_, err = bucket.Put(ctx, "k", nil)
	s.wants(err, engine.ErrUnavailable)
	restore()
	<-changed
	s.until("both are back", func() bool { return a.Connected() && b.Connected() })
	s.ask(a, "served.x", "")
	s.until("events come", func() bool {
		_ = a.Publish("served.event", []byte("after"))
		return events.len() > 0
	})
	s.until("the bucket is back", func() bool {
		entry, err := bucket.Get(ctx, "k")
		if err == nil && (string(entry.Value) != "before" || entry.Revision != revision) {
			s.Fatalf("the bucket has %+v, want revision %d", entry, revision)
		}
		return err == nil
	})
}
