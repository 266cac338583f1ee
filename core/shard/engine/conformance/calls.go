package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"p2pmodel/core/shard/engine"
)

func (s *suite) call() {
	a, b := s.connect(), s.connect()
	before := time.Now()
	s.serve(b, "served.echo", "q", engine.Limits{}, func(r engine.Request) string {
		if r.Received.Before(before) || r.Received.After(time.Now()) {
			s.Errorf("received at %v, not between %v and now", r.Received, before)
		}
		return r.Subject + ":" + string(r.Data)
	})
	if got := s.ask(a, "served.echo", "hello"); got != "served.echo:hello" {
		s.Errorf("got %q", got)
	}
	if got := s.ask(b, "served.echo", ""); got != "served.echo:" {
		s.Errorf("a call to itself got %q", got)
	}
	// An answer of no bytes is one.
	s.serve(b, "served.empty", "q", engine.Limits{}, func(engine.Request) string { return "" })
	if got := s.ask(a, "served.empty", "x"); got != "" {
		s.Errorf("got %q, want nothing", got)
	}
}

func (s *suite) concurrentCalls() {
	a, b := s.connect(), s.connect()
	s.serve(b, "served.*", "q", engine.Limits{Workers: 8, Queue: 1000}, func(r engine.Request) string { return r.Subject + string(r.Data) })
	s.ask(a, "served.x", "")
	ctx := s.context()
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 50 {
				subject, data := fmt.Sprintf("served.%d", i), fmt.Sprint(j)
				if got, err := a.Call(ctx, subject, []byte(data)); err != nil || string(got) != subject+data {
					s.Errorf("got %q, %v, want %s%s", got, err, subject, data)
				}
			}
		})
	}
	all.Wait()
}

func (s *suite) noResponder() {
	a, b := s.connect(), s.connect()
	began := time.Now()
	_, err := a.Call(s.context(), "served.nobody", nil)
	s.wants(err, engine.ErrNoResponder)
	if took := time.Since(began); took > patience/2 {
		s.Errorf("took %v: nobody there is known at once", took)
	}
	// An event's subscriber is no server.
	if _, err := b.Subscribe("served.event", 1, func(engine.Event) {}); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) deadline() {
	a, b := s.connect(), s.connect()
	if _, err := a.Call(context.Background(), "served.x", nil); err == nil {
		s.Error("a call without a deadline was let through")
	}
	// A nil answer is none.
	sub, err := b.Serve("served.silent", "q", engine.Limits{}, func(context.Context, engine.Request) []byte { return nil })
	s.ok(err)
	defer sub.Close()
	s.until("the deadline", func() bool {
		ctx, cancel := context.WithTimeout(s.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := a.Call(ctx, "served.silent", nil)
		if !errors.Is(err, engine.ErrNoResponder) && !errors.Is(err, context.DeadlineExceeded) {
			s.Fatalf("got %v", err)
		}
		return errors.Is(err, context.DeadlineExceeded)
	})
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = a.Call(ctx, "served.silent", nil)
	s.wants(err, context.Canceled)
	_, err = a.Call(ctx, "served.silent", nil)
	s.wants(err, context.Canceled)
}

func (s *suite) tooLarge() {
	a, b := s.connect(), s.connect()
	s.serve(b, "served.size", "q", engine.Limits{}, func(r engine.Request) string { return string(r.Data) })
	most := bytes.Repeat([]byte("x"), engine.MaxPayload)
	if got := s.ask(a, "served.size", string(most)); got != string(most) {
		s.Errorf("%d bytes came back as %d", len(most), len(got))
	}
	_, err := a.Call(s.context(), "served.size", append(most, 'x'))
	s.wants(err, engine.ErrTooLarge)
	s.wants(a.Publish("served.size", append(most, 'x')), engine.ErrTooLarge)
}

func (s *suite) wildcards() {
	a, b := s.connect(), s.connect()
	s.serve(b, "served.*.one", "q", engine.Limits{}, func(r engine.Request) string { return "*" })
	s.serve(b, "served.rest.>", "q", engine.Limits{}, func(r engine.Request) string { return ">" })
	for subject, want := range map[string]string{"served.a.one": "*", "served.rest.a": ">", "served.rest.a.b.c": ">"} {
		if got := s.ask(a, subject, ""); got != want {
			s.Errorf("%s was answered by %s, want %s", subject, got, want)
		}
	}
	for _, subject := range []string{"served.a.two", "served.one", "served.a.b.one", "served.rest"} {
		_, err := a.Call(s.context(), subject, nil)
		if !errors.Is(err, engine.ErrNoResponder) {
			s.Errorf("%s: got %v, want that nobody answers", subject, err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a b", "a.*", ">", "a.>"} {
		if _, err := a.Call(s.context(), bad, nil); err == nil || errors.Is(err, engine.ErrNoResponder) {
			s.Errorf("subject %q was called: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "a.", "a b", "a.>.b", "a.b*", "a.>b"} {
		if _, err := a.Subscribe(bad, 1, func(engine.Event) {}); err == nil {
			s.Errorf("pattern %q was subscribed to", bad)
		}
	}
}

func (s *suite) queueGroup() {
	caller := s.connect()
	var got [3]atomic.Int64
	for i := range got {
		s.serve(s.connect(), "served.work", "workers", engine.Limits{}, func(engine.Request) string {
			got[i].Add(1)
			return ""
		})
	}
	// Each takes part once its subscription is known everywhere.
	calls := int64(0)
	s.until("all of the queue have been asked", func() bool {
		s.ask(caller, "served.work", "")
		calls++
		return got[0].Load() > 0 && got[1].Load() > 0 && got[2].Load() > 0
	})
	if sum := got[0].Load() + got[1].Load() + got[2].Load(); sum != calls {
		s.Errorf("%d calls were handled %d times", calls, sum)
	}
}

func (s *suite) firstAnswer() {
	caller := s.connect()
	var slow atomic.Int64
	release := make(chan struct{})
	s.serve(s.connect(), "served.all", "", engine.Limits{}, func(engine.Request) string {
		slow.Add(1)
		<-release
		return "slow"
	})
	s.serve(s.connect(), "served.all", "", engine.Limits{}, func(engine.Request) string { return "fast" })
	s.until("both are asked", func() bool {
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		answer, err := caller.Call(ctx, "served.all", nil)
		if err == nil && string(answer) != "fast" {
			s.Fatalf("got %q before it was answered", answer)
		}
		// It may be asked after the other one has answered, and it takes no more of
		// them than it has workers.
		return err == nil && slow.Load() > 0
	})
	close(release)
}

func (s *suite) overload() {
	a, b := s.connect(), s.connect()
	release := make(chan struct{})
	var running, most atomic.Int64
	sub := s.serve(b, "served.slow", "q", engine.Limits{
		Workers: 2, Queue: 3,
		Overflow: func(r engine.Request) []byte { return []byte("overflow") },
	}, func(engine.Request) string {
		most.Store(max(most.Load(), running.Add(1)))
		<-release
		running.Add(-1)
		return "done"
	})
	ctx := s.context()
	var got log
	var all sync.WaitGroup
	call := func() {
		all.Go(func() {
			answer, err := a.Call(ctx, "served.slow", nil)
			got.add("%s%v", answer, err)
		})
	}
	s.until("the first is handled", func() bool {
		short, cancel := context.WithTimeout(s.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := a.Call(short, "served.slow", nil)
		return errors.Is(err, context.DeadlineExceeded) && running.Load() > 0
	})
	// The ones that gave up hold workers or places, too; fill up what is left. Nobody
	// tells of a call that waits: each is given a moment to be refused.
	for end := time.Now().Add(patience); sub.Dropped() == 0; {
		if time.Now().After(end) {
			s.Fatalf("none of %d calls is too much", got.len())
		}
		call()
		for moment := time.Now().Add(50 * time.Millisecond); sub.Dropped() == 0 && time.Now().Before(moment); {
			time.Sleep(time.Millisecond)
		}
	}
	dropped := sub.Dropped()
	for range 5 {
		call()
	}
	s.until("five more are refused", func() bool { return sub.Dropped() >= dropped+5 })
	close(release)
	all.Wait()
	overflows := 0
	for _, word := range got.all() {
		switch word {
		case "overflow<nil>":
			overflows++
		case "done<nil>":
		default:
			s.Errorf("a call got %s", word)
		}
	}
	if uint64(overflows) != sub.Dropped() {
		s.Errorf("%d were told of an overflow, %d are counted", overflows, sub.Dropped())
	}
	if most.Load() > 2 {
		s.Errorf("%d handlers ran at once, want 2", most.Load())
	}
}
