package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"p2pmodel/core/shard/engine"
)

// watcher keeps what a watch has still to give. A key that changes again before
// it was given is given once, so that it never keeps more than the bucket has
// keys.
type watcher struct {
	bucket  *bucket
	pattern string
	woken   chan struct{}

	mu      sync.Mutex
	pending []engine.Entry
}

func (w *watcher) add(e engine.Entry) {
	if !engine.Matches(w.pattern, e.Key) {
		return
	}
	w.mu.Lock()
	w.pending = slices.DeleteFunc(w.pending, func(p engine.Entry) bool { return !p.Initial && p.Key == e.Key })
	w.pending = append(w.pending, e)
	w.mu.Unlock()
	w.nudge()
}

func (w *watcher) nudge() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

func (w *watcher) next() (engine.Entry, bool) {
	if !w.bucket.engine.reachable() || !w.bucket.engine.hub.available() {
		return engine.Entry{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		return engine.Entry{}, false
	}
	e := w.pending[0]
	w.pending = w.pending[1:]
	e.Value = append([]byte{}, e.Value...)
	return e, true
}

func (b *bucket) watch(ctx context.Context, pattern string) (<-chan engine.Entry, error) {
	w := &watcher{bucket: b, pattern: pattern, woken: make(chan struct{}, 1)}
	e, s := b.engine, b.store

	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", e.name, engine.ErrClosed)
	}
	e.running.Add(1)
	e.mu.Unlock()

	s.mu.Lock()
	w.pending = append(s.matching(pattern), engine.Entry{Initial: true})
	s.watchers[w] = struct{}{}
	s.mu.Unlock()

	out := make(chan engine.Entry)
	go func() {
		defer e.running.Done()
		defer close(out)
		defer func() {
			s.mu.Lock()
			delete(s.watchers, w)
			s.mu.Unlock()
		}()
		w.run(ctx, out)
	}()
	return out, nil
}

func (w *watcher) run(ctx context.Context, out chan<- engine.Entry) {
	closed := w.bucket.engine.ctx.Done()
	for {
		entry, ok := w.next()
		if !ok {
			select {
			case <-w.woken:
			case <-ctx.Done():
				return
			case <-closed:
				return
			}
			continue
		}
		select {
		case out <- entry:
		case <-ctx.Done():
			return
		case <-closed:
			return
		}
	}
}
