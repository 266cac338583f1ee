package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"p2pmodel/core/shard/engine"
)

func (s *suite) keyLife() {
	ctx := s.context()
	a := s.bucket(s.connect(), engine.BucketConfig{Name: "life"})
	b := s.bucket(s.connect(), engine.BucketConfig{Name: "life"})
	_, err := a.Get(ctx, "room.one")
	s.wants(err, engine.ErrNotFound)
	_, err = a.Update(ctx, "room.one", nil, 7)
	s.wants(err, engine.ErrConflict)
	first, err := a.Create(ctx, "room.one", []byte("1"))
	s.ok(err)
	_, err = b.Create(ctx, "room.one", []byte("x"))
	s.wants(err, engine.ErrExists)
	entry, err := b.Get(ctx, "room.one")
	s.ok(err)
	if entry.Key != "room.one" || string(entry.Value) != "1" || entry.Revision != first || entry.Deleted || entry.Initial {
		s.Errorf("got %+v, want revision %d", entry, first)
	}
	second, err := b.Update(ctx, "room.one", []byte("2"), first)
	s.ok(err)
	if second <= first {
		s.Errorf("revision %d after %d", second, first)
	}
	_, err = a.Update(ctx, "room.one", []byte("x"), first)
	s.wants(err, engine.ErrConflict)
	s.wants(a.Delete(ctx, "room.one", first), engine.ErrConflict)
	third, err := a.Put(ctx, "room.one", []byte("3"))
	s.ok(err)
	s.ok(b.Delete(ctx, "room.one", third))
	_, err = a.Get(ctx, "room.one")
	s.wants(err, engine.ErrNotFound)
	_, err = a.Update(ctx, "room.one", nil, third)
	s.wants(err, engine.ErrConflict)
	s.wants(a.Delete(ctx, "room.one", third), engine.ErrConflict)
	s.ok(a.Delete(ctx, "room.one", 0))
	s.ok(a.Delete(ctx, "never.there", 0))
	again, err := a.Create(ctx, "room.one", nil)
	s.ok(err)
	if again <= third {
		s.Errorf("revision %d after %d", again, third)
	}
	entry, err = a.Get(ctx, "room.one")
	s.ok(err)
	if len(entry.Value) != 0 {
		s.Errorf("got %q, want nothing", entry.Value)
	}
	s.ok(a.Delete(ctx, "room.one", 0))
	_, err = b.Get(ctx, "room.one")
	s.wants(err, engine.ErrNotFound)
}

func (s *suite) bucketRefusals() {
	ctx := s.context()
	e := s.connect()
	for _, cfg := range []engine.BucketConfig{
		{}, {Name: "a.b"}, {Name: "a b"}, {Name: "*"},
		{Name: "a", TTL: -1}, {Name: "a", MaxValue: engine.MaxPayload + 1}, {Name: "a", MaxBytes: -1},
	} {
		if _, err := e.Bucket(ctx, cfg); err == nil {
			s.Errorf("a bucket of %+v was opened", cfg)
		}
	}
	b := s.bucket(e, engine.BucketConfig{Name: "small", MaxValue: 10, MaxBytes: 4000})
	for _, key := range []string{"", ".", "a.", "a..b", "a b", "a.*", ">", "ä", "a/b"} {
		if _, err := b.Put(ctx, key, nil); err == nil {
			s.Errorf("key %q was written", key)
		}
		if _, err := b.Get(ctx, key); err == nil || errors.Is(err, engine.ErrNotFound) {
			s.Errorf("key %q was looked for: %v", key, err)
		}
	}
	_, err := b.Put(ctx, "k", bytes.Repeat([]byte("x"), 11))
	s.wants(err, engine.ErrTooLarge)
	_, err = b.Put(ctx, "A-z_0=.k", bytes.Repeat([]byte("x"), 10))
	s.ok(err)
	for i := 0; ; i++ {
		if _, err = b.Put(ctx, fmt.Sprint("k", i), bytes.Repeat([]byte("x"), 10)); err != nil {
			break
		}
		if i > 4000 {
			s.Fatal("the bucket takes more than its bytes")
		}
	}
	s.wants(err, engine.ErrTooLarge)
	_, err = b.Get(ctx, "k0")
	s.ok(err) // nothing was lost for the new
}

func (s *suite) bucketConfig() {
	ctx := s.context()
	e := s.connect()
	s.bucket(e, engine.BucketConfig{Name: "config", TTL: time.Minute})
	s.bucket(e, engine.BucketConfig{Name: "config", TTL: time.Minute, MaxValue: engine.MaxPayload})
	for _, cfg := range []engine.BucketConfig{
		{Name: "config"}, {Name: "config", TTL: time.Minute, MaxValue: 10}, {Name: "config", TTL: time.Minute, MaxBytes: 1 << 20},
	} {
		if _, err := e.Bucket(ctx, cfg); err == nil {
			s.Errorf("%+v was opened with another configuration", cfg)
		}
	}
	// Several may make it at once.
	var all sync.WaitGroup
	for range 4 {
		other := s.connect()
		all.Go(func() {
			if _, err := other.Bucket(ctx, engine.BucketConfig{Name: "together"}); err != nil {
				s.Error(err)
			}
		})
	}
	all.Wait()
}

func (s *suite) race() {
	ctx := s.context()
	const workers, each = 8, 12
	_, err := s.bucket(s.connect(), engine.BucketConfig{Name: "race"}).Create(ctx, "n", []byte("0"))
	s.ok(err)
	var all sync.WaitGroup
	var conflicts atomic.Int64
	for range workers {
		b := s.bucket(s.connect(), engine.BucketConfig{Name: "race"})
		all.Go(func() {
			for done := 0; done < each; {
				entry, err := b.Get(ctx, "n")
				if err != nil {
					s.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(entry.Value))
				switch _, err := b.Update(ctx, "n", []byte(strconv.Itoa(n+1)), entry.Revision); {
				case err == nil:
					done++
				case errors.Is(err, engine.ErrConflict):
					conflicts.Add(1)
				default:
					s.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	entry, err := s.bucket(s.connect(), engine.BucketConfig{Name: "race"}).Get(ctx, "n")
	s.ok(err)
	if string(entry.Value) != strconv.Itoa(workers*each) {
		s.Errorf("%s updates are there, %d were acknowledged (%d conflicts)", entry.Value, workers*each, conflicts.Load())
	}
}

func (s *suite) createRace() {
	ctx := s.context()
	var buckets []engine.Bucket
	for range 6 {
		buckets = append(buckets, s.bucket(s.connect(), engine.BucketConfig{Name: "creators"}))
	}
	for round := range 5 {
		key := fmt.Sprint("k", round)
		var won atomic.Int64
		var all sync.WaitGroup
		for _, b := range buckets {
			all.Go(func() {
				_, err := b.Create(ctx, key, nil)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, engine.ErrExists) {
					s.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			s.Errorf("%d have created %s", won.Load(), key)
		}
		if round%2 == 0 { // the next round finds a mark of a deleted key
			s.ok(buckets[0].Delete(ctx, fmt.Sprint("k", round+1), 0))
		}
	}
}

func (s *suite) expiry() {
	const life = time.Second
	ctx := s.context()
	b := s.bucket(s.connect(), engine.BucketConfig{Name: "expiry", TTL: life})
	watch, err := b.Watch(ctx, ">")
	s.ok(err)
	var seen log
	go func() {
		for e := range watch {
			seen.add("%s %s %t", e.Key, e.Value, e.Deleted)
		}
	}()
	began := time.Now()
	_, err = b.Create(ctx, "once", []byte("x"))
	s.ok(err)
	_, err = b.Create(ctx, "kept", []byte("x"))
	s.ok(err)
	renewed := time.Now()
	var gone time.Time
	for gone.IsZero() {
		if time.Since(began) > patience {
			s.Fatal("the entry stays")
		}
		renewed = time.Now()
		_, err := b.Put(ctx, "kept", []byte("y"))
		s.ok(err)
		if _, err := b.Get(ctx, "once"); errors.Is(err, engine.ErrNotFound) {
			gone = time.Now()
		} else {
			s.ok(err)
			time.Sleep(20 * time.Millisecond)
		}
	}
	if lived := gone.Sub(began); lived < life {
		s.Errorf("it lived %v, want %v", lived, life)
	}
	if _, err := b.Get(ctx, "kept"); err != nil && time.Since(renewed) < life {
		s.Errorf("an entry that was renewed has gone: %v", err)
	}
	s.until("the watch tells it", func() bool { return slices.Contains(seen.all(), "once  true") })
	_, err = b.Create(ctx, "once", []byte("again"))
	s.ok(err)
}

func (s *suite) keys() {
	ctx := s.context()
	b := s.bucket(s.connect(), engine.BucketConfig{Name: "keys"})
	keys, err := b.Keys(ctx, ">")
	if err != nil || len(keys) != 0 {
		s.Errorf("an empty bucket has %v, %v", keys, err)
	}
	for _, key := range []string{"shard.a", "shard.b", "shard.c", "room.a.b", "x"} {
		_, err := b.Put(ctx, key, []byte("v"))
		s.ok(err)
	}
	s.ok(b.Delete(ctx, "shard.b", 0))
	for _, row := range []struct {
		pattern string
		want    []string
	}{
		{"shard.*", []string{"shard.a", "shard.c"}},
		{"shard.a", []string{"shard.a"}},
		{"room.>", []string{"room.a.b"}},
		{"room.*", nil},
		{">", []string{"room.a.b", "shard.a", "shard.c", "x"}},
		{"nothing", nil},
	} {
		// A replica may be a moment behind.
		var got []string
		s.until(fmt.Sprintf("%s lists %v", row.pattern, row.want), func() bool {
			got, err = b.Keys(ctx, row.pattern)
			s.ok(err)
			return slices.Equal(got, row.want)
		})
	}
	if _, err := b.Keys(ctx, "a..b"); err == nil {
		s.Error("a wrong pattern was let through")
	}
}
