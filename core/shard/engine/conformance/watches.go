package conformance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/shard/engine"
)

// next takes the next entry of a watch.
func (s *suite) next(watch <-chan engine.Entry) engine.Entry {
	s.Helper()
	select {
	case e, ok := <-watch:
		if !ok {
			s.Fatal("the watch has ended")
		}
		return e
	case <-time.After(patience):
		s.Fatalf("the watch gives nothing for %v", patience)
	}
	return engine.Entry{}
}

func word(e engine.Entry) string {
	switch {
	case e.Initial:
		return "initial"
	case e.Deleted:
		return "-" + e.Key
	}
	return e.Key + "=" + string(e.Value)
}

// watched compares what a watch gives next.
func (s *suite) watched(watch <-chan engine.Entry, want ...string) {
	s.Helper()
	for i, w := range want {
		if got := word(s.next(watch)); got != w {
			s.Fatalf("entry %d is %s, want %s", i, got, w)
		}
	}
}

func (s *suite) watch() {
	ctx := s.context()
	b := s.bucket(s.connect(), engine.BucketConfig{Name: "watch"})
	other := s.bucket(s.connect(), engine.BucketConfig{Name: "watch"})
	for _, key := range []string{"room.a", "room.b", "room.c", "shard.x"} {
		_, err := b.Put(ctx, key, []byte("1"))
		s.ok(err)
	}
	_, err := b.Put(ctx, "room.a", []byte("2"))
	s.ok(err)
	s.ok(b.Delete(ctx, "room.c", 0))
	// A replica may be a moment behind.
	s.until("the keys are there", func() bool {
		keys, err := other.Keys(ctx, "room.*")
		s.ok(err)
		return slices.Equal(keys, []string{"room.a", "room.b"})
	})
	watch, err := other.Watch(ctx, "room.*")
	s.ok(err)
	// The replica that watches may be a moment behind the one that was asked for the
	// keys: then some of it comes after Initial, but before what is written now.
	_, err = b.Put(ctx, "room.last", []byte("1"))
	s.ok(err)
	told, initial := map[string]string{}, 0
	for initial == 0 || told["room.last"] == "" {
		switch e := s.next(watch); {
		case e.Initial:
			initial++
		case e.Deleted: // a mark of a deleted key may be told
			delete(told, e.Key)
		default:
			told[e.Key] = string(e.Value)
		}
	}
	if initial != 1 || !maps.Equal(told, map[string]string{"room.a": "2", "room.b": "1", "room.last": "1"}) {
		s.Errorf("the first part, which ended %d times, is %v", initial, told)
	}
	revision, err := b.Put(ctx, "room.b", []byte("3"))
	s.ok(err)
	if e := s.next(watch); word(e) != "room.b=3" || e.Revision != revision {
		s.Errorf("got %+v, want room.b=3 of revision %d", e, revision)
	}
	_, err = b.Put(ctx, "shard.x", []byte("2"))
	s.ok(err)
	s.ok(b.Delete(ctx, "room.a", 0))
	s.watched(watch, "-room.a")
	_, err = b.Create(ctx, "room.a", []byte("4"))
	s.ok(err)
	s.watched(watch, "room.a=4")
}

func (s *suite) watchEmpty() {
	ctx := s.context()
	b := s.bucket(s.connect(), engine.BucketConfig{Name: "empty"})
	watch, err := b.Watch(ctx, ">")
	s.ok(err)
	s.watched(watch, "initial")
	const n = 500
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		for i := range n {
			if _, err := b.Put(ctx, "k", fmt.Append(nil, i)); err != nil {
				s.Error(err)
				return
			}
		}
	})
	// Values may be left out, but the last one comes, and none comes twice.
	last := uint64(0)
	for {
		e := s.next(watch)
		if e.Revision <= last {
			s.Errorf("revision %d after %d", e.Revision, last)
		}
		last = e.Revision
		if string(e.Value) == fmt.Sprint(n-1) {
			return
		}
	}
}

// watchInterruption changes keys while the watch has no connection.
func (s *suite) watchInterruption() {
	ctx := s.context()
	e := s.connect()
	b := s.bucket(e, engine.BucketConfig{Name: "interruption"})
	for _, key := range []string{"kept", "changed", "deleted"} {
		_, err := b.Put(ctx, key, []byte("1"))
		s.ok(err)
	}
	watch, err := b.Watch(ctx, ">")
	s.ok(err)
	// What was written a moment before may come after Initial: all of it is there
	// before anything is interrupted.
	seen := map[string]bool{}
	for initial := false; !initial || len(seen) < 3; {
		e := s.next(watch)
		initial = initial || e.Initial
		if !e.Initial {
			seen[e.Key] = true
		}
	}
	for round := range 2 {
		restore := s.backend.Interrupt(s.T)
		s.until("the interruption is noticed", func() bool { return !e.Connected() })
		restore()
		s.until("the connection is back", e.Connected)
		// Not through e: its watch may not be back yet.
		other := s.connect()
		s.until("another one is connected", other.Connected)
		value := fmt.Sprint("round", round)
		var ob engine.Bucket
		s.until("the bucket can be written", func() bool {
			if ob, err = other.Bucket(ctx, engine.BucketConfig{Name: "interruption"}); err != nil {
				return false
			}
			_, err := ob.Put(ctx, "changed", []byte(value))
			return err == nil
		})
		if round == 0 {
			s.ok(ob.Delete(ctx, "deleted", 0))
		}
		_, err = ob.Put(ctx, "last", []byte(value))
		s.ok(err)
		got := map[string]string{}
		for got["last"] != value {
			e := s.next(watch)
			if e.Initial {
				s.Error("Initial came twice")
			}
			got[e.Key] = string(e.Value)
			if e.Deleted {
				got[e.Key] = "deleted"
			}
		}
		want := map[string]string{"changed": value, "last": value}
		if round == 0 {
			want["deleted"] = "deleted"
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("round %d: the watch gave %v, want %v", round, got, want)
		}
	}
}

func (s *suite) watchEnd() {
	b := s.bucket(s.connect(), engine.BucketConfig{Name: "end"})
	ctx, cancel := context.WithCancel(s.Context())
	watch, err := b.Watch(ctx, ">")
	s.ok(err)
	unread, err := b.Watch(ctx, ">")
	s.ok(err)
	s.watched(watch, "initial")
	cancel()
	for _, w := range []<-chan engine.Entry{watch, unread} {
		s.until("the channel is closed", func() bool {
			select {
			case _, open := <-w:
				return !open
			default:
				return false
			}
		})
	}
	// Closing the engine ends a watch whose context goes on.
	e := s.backend.Connect(s.T)
	b = s.bucket(e, engine.BucketConfig{Name: "end"})
	watch, err = b.Watch(s.Context(), ">")
	s.ok(err)
	s.ok(e.Close())
	for range watch {
	}
}
