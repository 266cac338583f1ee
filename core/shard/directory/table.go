package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/rpc"
)

// retryWait is between attempts to reach the engine at the start.
const retryWait = 200 * time.Millisecond

// mirror copies a bucket into tables, one for each prefix of keys.
type mirror struct {
	bucket engine.Bucket
	mu     *sync.RWMutex
	tables []applier
	// seen is the last revision that the watch has brought: whatever is older
	// has been taken in, or was overwritten.
	seen   uint64
	synced chan struct{}
	moved  *sync.Cond
}

// applier is a table, whatever its messages are.
type applier interface {
	prefixed() string
	apply(e engine.Entry) error
}

func newMirror(b engine.Bucket, mu *sync.RWMutex, tables ...applier) *mirror {
	return &mirror{bucket: b, mu: mu, tables: tables, synced: make(chan struct{}), moved: sync.NewCond(mu)}
}

// run watches until the context ends.
func (m *mirror) run(ctx context.Context, complain func(error)) error {
	defer func() {
		m.mu.Lock()
		m.moved.Broadcast()
		m.mu.Unlock()
	}()
	entries, err := retry(ctx, func() (<-chan engine.Entry, error) { return m.bucket.Watch(ctx, ">") })
	if err != nil {
		return err
	}
	for e := range entries {
		if e.Initial {
			close(m.synced)
			continue
		}
		m.take(e, complain)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("the engine has ended a watch")
}

func (m *mirror) take(e engine.Entry, complain func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.tables {
		if strings.HasPrefix(e.Key, t.prefixed()) {
			if err := t.apply(e); err != nil {
				complain(fmt.Errorf("key %s: %w", e.Key, err))
			}
			break
		}
	}
	m.seen = max(m.seen, e.Revision)
	m.moved.Broadcast()
}

// reach waits until the watch has brought all up to a revision.
func (m *mirror) reach(ctx context.Context, revision uint64) error {
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.moved.Broadcast()
	})
	defer stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.seen < revision && ctx.Err() == nil {
		m.moved.Wait()
	}
	return ctx.Err()
}

// barrier returns when the copy has all that was acknowledged before: unlike what
// a machine of a split engine may answer to a read. It costs a write.
func (m *mirror) barrier(ctx context.Context, key string) error {
	revision, err := m.bucket.Put(ctx, key, []byte{1})
	if err != nil {
		return err
	}
	return m.reach(ctx, revision)
}

// row is a message as it is in a bucket. The message is shared: nobody changes it.
type row[P proto.Message] struct {
	value    P
	revision uint64
}

// table is the copy of those keys of a bucket that begin with a prefix.
type table[M any, P interface {
	*M
	proto.Message
}] struct {
	prefix string
	mirror *mirror
	rows   map[string]row[P]
	// changed is told of each change, with the lock held; either may be nil.
	changed func(id string, old, new P)
}

func (t *table[M, P]) prefixed() string { return t.prefix }

// apply takes what the watch brought. The lock is held.
func (t *table[M, P]) apply(e engine.Entry) error {
	id := strings.TrimPrefix(e.Key, t.prefix)
	old := t.rows[id]
	if e.Revision != 0 && e.Revision <= old.revision {
		return nil
	}
	if e.Deleted {
		delete(t.rows, id)
		t.tell(id, old.value, nil)
		return nil
	}
	value := P(new(M))
	if err := proto.Unmarshal(e.Value, value); err != nil {
		return err
	}
	t.rows[id] = row[P]{value, e.Revision}
	t.tell(id, old.value, value)
	return nil
}

func (t *table[M, P]) tell(id string, old, value P) {
	if t.changed != nil {
		t.changed(id, old, value)
	}
}

// find gives the copy of a row.
func (t *table[M, P]) find(id string) (row[P], bool) {
	t.mirror.mu.RLock()
	defer t.mirror.mu.RUnlock()
	r, ok := t.rows[id]
	return r, ok
}

// get reads the row itself; engine.ErrNotFound.
func (t *table[M, P]) get(ctx context.Context, id string) (row[P], error) {
	e, err := t.mirror.bucket.Get(ctx, t.prefix+id)
	if err != nil {
		return row[P]{}, err
	}
	value := P(new(M))
	if err := proto.Unmarshal(e.Value, value); err != nil {
		return row[P]{}, fmt.Errorf("key %s%s: %w", t.prefix, id, err)
	}
	return row[P]{value, e.Revision}, nil
}

// create, update and remove write, and what they wrote is in the copy at once.
func (t *table[M, P]) create(ctx context.Context, id string, value P) (row[P], error) {
	return t.write(id, value, func(raw []byte) (uint64, error) { return t.mirror.bucket.Create(ctx, t.prefix+id, raw) })
}

func (t *table[M, P]) update(ctx context.Context, id string, value P, revision uint64) (row[P], error) {
	return t.write(id, value, func(raw []byte) (uint64, error) { return t.mirror.bucket.Update(ctx, t.prefix+id, raw, revision) })
}

func (t *table[M, P]) put(ctx context.Context, id string, value P) (row[P], error) {
	return t.write(id, value, func(raw []byte) (uint64, error) { return t.mirror.bucket.Put(ctx, t.prefix+id, raw) })
}

func (t *table[M, P]) write(id string, value P, do func(raw []byte) (uint64, error)) (row[P], error) {
	raw, err := proto.Marshal(value)
	if err != nil {
		return row[P]{}, err
	}
	revision, err := do(raw)
	if err != nil {
		return row[P]{}, err
	}
	t.mirror.mu.Lock()
	defer t.mirror.mu.Unlock()
	// What the watch has passed already it has brought, or something newer.
	if old := t.rows[id]; revision > t.mirror.seen && revision > old.revision {
		t.rows[id] = row[P]{value, revision}
		t.tell(id, old.value, value)
	}
	return row[P]{value, revision}, nil
}

func (t *table[M, P]) remove(ctx context.Context, id string, revision uint64) error {
	return t.mirror.bucket.Delete(ctx, t.prefix+id, revision)
}

// retry does something again while the engine is not available, or others get in
// its way, as members do that start at once.
func retry[T any](ctx context.Context, do func() (T, error)) (T, error) {
	for {
		v, err := do()
		passing := errors.Is(err, engine.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || rpc.CodeOf(err) == connect.CodeUnavailable
		if err == nil || !passing || ctx.Err() != nil {
			return v, err
		}
		timer := time.NewTimer(retryWait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return v, ctx.Err()
		case <-timer.C:
		}
	}
}
