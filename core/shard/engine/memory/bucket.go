package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"p2pmodel/core/shard/engine"
)

// store is a bucket of a hub.
type store struct {
	cfg engine.BucketConfig

	mu       sync.Mutex
	entries  map[string]*entry
	bytes    int
	revision uint64
	watchers map[*watcher]struct{}
}

type entry struct {
	value    []byte
	revision uint64
	expiry   *time.Timer // nil: never
}

func newStore(cfg engine.BucketConfig) *store {
	return &store{cfg: cfg, entries: map[string]*entry{}, watchers: map[*watcher]struct{}{}}
}

// write stores a value if the condition on the entry that is there (nil: none)
// holds.
func (s *store) write(key string, value []byte, condition func(*entry) error) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.entries[key]
	if err := condition(old); err != nil {
		return 0, fmt.Errorf("bucket %s, key %s: %w", s.cfg.Name, key, err)
	}
	bytes := s.bytes + len(key) + len(value)
	if old != nil {
		bytes -= len(key) + len(old.value)
	}
	if bytes > s.cfg.MaxBytes {
		return 0, fmt.Errorf("bucket %s is full, %d bytes: %w", s.cfg.Name, s.cfg.MaxBytes, engine.ErrTooLarge)
	}
	s.bytes = bytes
	s.forget(old)
	s.revision++
	e := &entry{value: append([]byte{}, value...), revision: s.revision}
	if s.cfg.TTL > 0 {
		revision := s.revision
		e.expiry = time.AfterFunc(s.cfg.TTL, func() { _ = s.remove(key, revision) })
	}
	s.entries[key] = e
	s.tell(engine.Entry{Key: key, Value: e.value, Revision: e.revision})
	return e.revision, nil
}

// remove deletes a key that has the revision, 0: any. One that is not there is
// deleted already.
func (s *store) remove(key string, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if revision != 0 && (e == nil || e.revision != revision) {
		return fmt.Errorf("bucket %s, key %s: %w", s.cfg.Name, key, engine.ErrConflict)
	}
	if e == nil {
		return nil
	}
	s.forget(e)
	s.bytes -= len(key) + len(e.value)
	delete(s.entries, key)
	s.revision++
	s.tell(engine.Entry{Key: key, Revision: s.revision, Deleted: true})
	return nil
}

func (s *store) forget(e *entry) {
	if e != nil && e.expiry != nil {
		e.expiry.Stop()
	}
}

func (s *store) get(key string) (engine.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if e == nil {
		return engine.Entry{}, fmt.Errorf("bucket %s, key %s: %w", s.cfg.Name, key, engine.ErrNotFound)
	}
	return engine.Entry{Key: key, Value: append([]byte{}, e.value...), Revision: e.revision}, nil
}

// matching lists the entries of a pattern by revision.
func (s *store) matching(pattern string) []engine.Entry {
	var all []engine.Entry
	for key, e := range s.entries {
		if engine.Matches(pattern, key) {
			all = append(all, engine.Entry{Key: key, Value: e.value, Revision: e.revision})
		}
	}
	slices.SortFunc(all, func(a, b engine.Entry) int { return int(a.Revision) - int(b.Revision) })
	return all
}

func (s *store) tell(e engine.Entry) {
	for w := range s.watchers {
		w.add(e)
	}
}

// wake lets watchers look again whether they may go on.
func (s *store) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		w.nudge()
	}
}

// Bucket implements engine.Engine.
func (e *Engine) Bucket(ctx context.Context, cfg engine.BucketConfig) (engine.Bucket, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if !permits(e.may.Buckets, cfg.Name) {
		return nil, fmt.Errorf("%s, bucket %s: %w", e.name, cfg.Name, engine.ErrPermission)
	}
	if err := e.operate(ctx); err != nil {
		return nil, err
	}
	s, err := e.hub.open(cfg.Normal())
	if err != nil {
		return nil, err
	}
	return &bucket{engine: e, store: s}, nil
}

// operate lets pass what an operation of a bucket waits for, and says why there
// can be none.
func (e *Engine) operate(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.usable(); err != nil {
		return err
	}
	if !e.reachable() {
		return e.lost(ctx)
	}
	if err := wait(ctx, 2*e.hub.latency()); err != nil {
		return err
	}
	if !e.hub.available() {
		return fmt.Errorf("buckets: %w", engine.ErrUnavailable)
	}
	return nil
}

// bucket is an engine's view of a store.
type bucket struct {
	engine *Engine
	store  *store
}

// Get implements engine.Bucket.
func (b *bucket) Get(ctx context.Context, key string) (engine.Entry, error) {
	if err := engine.CheckKey(key); err != nil {
		return engine.Entry{}, err
	}
	if err := b.engine.operate(ctx); err != nil {
		return engine.Entry{}, err
	}
	return b.store.get(key)
}

func (b *bucket) write(ctx context.Context, key string, value []byte, condition func(*entry) error) (uint64, error) {
	if err := engine.CheckKey(key); err != nil {
		return 0, err
	}
	if len(value) > b.store.cfg.MaxValue {
		return 0, fmt.Errorf("bucket %s, key %s: %d bytes, at most %d: %w", b.store.cfg.Name, key, len(value), b.store.cfg.MaxValue, engine.ErrTooLarge)
	}
	if err := b.engine.operate(ctx); err != nil {
		return 0, err
	}
	return b.store.write(key, value, condition)
}

// Create implements engine.Bucket.
func (b *bucket) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return b.write(ctx, key, value, func(e *entry) error {
		if e != nil {
			return engine.ErrExists
		}
		return nil
	})
}

// Update implements engine.Bucket.
func (b *bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return b.write(ctx, key, value, func(e *entry) error {
		if e == nil || e.revision != revision {
			return engine.ErrConflict
		}
		return nil
	})
}

// Put implements engine.Bucket.
func (b *bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return b.write(ctx, key, value, func(*entry) error { return nil })
}

// Delete implements engine.Bucket.
func (b *bucket) Delete(ctx context.Context, key string, revision uint64) error {
	if err := engine.CheckKey(key); err != nil {
		return err
	}
	if err := b.engine.operate(ctx); err != nil {
		return err
	}
	return b.store.remove(key, revision)
}

// Keys implements engine.Bucket.
func (b *bucket) Keys(ctx context.Context, pattern string) ([]string, error) {
	if err := engine.CheckPattern(pattern); err != nil {
		return nil, err
	}
	if err := b.engine.operate(ctx); err != nil {
		return nil, err
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	var keys []string
	for _, e := range b.store.matching(pattern) {
		keys = append(keys, e.Key)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys, nil
}

// Watch implements engine.Bucket.
func (b *bucket) Watch(ctx context.Context, pattern string) (<-chan engine.Entry, error) {
	if err := engine.CheckPattern(pattern); err != nil {
		return nil, err
	}
	if err := b.engine.operate(ctx); err != nil {
		return nil, err
	}
	return b.watch(ctx, pattern)
}
