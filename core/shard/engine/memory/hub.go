// Package memory is an engine within one process, for tests and for trying things
// out. A Hub is what a cluster is to other engines: whatever is connected to the
// same one reaches each other. It keeps nothing, and it works in the bubbles of
// testing/synctest.
//
// Tests can take parts of it away: connections (Engine.Disconnect, Engine.Stall),
// the buckets (Hub.SetBuckets), and time (Hub.SetDelay).
package memory

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/shard/engine"
)

// Permissions are the patterns of subjects that a connection may use; nil means
// all, and an empty list none.
type Permissions struct {
	// Call is for Call and Publish.
	Call []string
	// Serve is for Serve and Subscribe.
	Serve []string
	// Buckets are names.
	Buckets []string
}

func permits(patterns []string, subject string) bool {
	return patterns == nil || slices.ContainsFunc(patterns, func(p string) bool { return engine.Covers(p, subject) })
}

// Hub connects engines.
type Hub struct {
	mu      sync.Mutex
	engines []*Engine
	buckets map[string]*store
	down    bool
	delay   time.Duration
	turn    uint64
}

// NewHub makes a hub that nothing is connected to.
func NewHub() *Hub {
	return &Hub{buckets: map[string]*store{}}
}

// Connect makes an engine. The name is for messages. Permissions: at most one;
// none means that all is permitted.
func (h *Hub) Connect(name string, permissions ...Permissions) *Engine {
	e := newEngine(h, name)
	if len(permissions) > 0 {
		e.may = permissions[0]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.engines = append(h.engines, e)
	return e
}

// SetBuckets makes all buckets unavailable, as while a stream elects a leader, or
// available again. Watches wait meanwhile.
func (h *Hub) SetBuckets(available bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = !available
	for _, s := range h.buckets {
		s.wake()
	}
}

// SetDelay makes every request, answer and event take this long, and an operation
// of a bucket twice as long. Order is kept.
func (h *Hub) SetDelay(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = d
}

func (h *Hub) latency() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.delay
}

func (h *Hub) available() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.down
}

func (h *Hub) remove(e *Engine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.engines = slices.DeleteFunc(h.engines, func(other *Engine) bool { return other == e })
}

// servers picks who gets a request: one of each queue name, in turn, and all that
// have none. Servers whose connection stalls are picked like any, and answer not.
func (h *Hub) servers(subject string) []*subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn++
	queues := map[string][]*subscription{}
	var order []string
	for _, e := range h.engines {
		for _, s := range e.matching(subject, true) {
			if len(queues[s.queue]) == 0 {
				order = append(order, s.queue)
			}
			queues[s.queue] = append(queues[s.queue], s)
		}
	}
	var picked []*subscription
	for _, name := range order {
		if name == "" {
			picked = append(picked, queues[name]...)
			continue
		}
		picked = append(picked, queues[name][h.turn%uint64(len(queues[name]))])
	}
	return picked
}

// listeners gives the subscriptions to events of a subject.
func (h *Hub) listeners(subject string) []*subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*subscription
	for _, e := range h.engines {
		all = append(all, e.matching(subject, false)...)
	}
	return all
}

// open gives the store of a bucket.
func (h *Hub) open(cfg engine.BucketConfig) (*store, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return nil, fmt.Errorf("bucket %s: %w", cfg.Name, engine.ErrUnavailable)
	}
	s := h.buckets[cfg.Name]
	if s == nil {
		s = newStore(cfg)
		h.buckets[cfg.Name] = s
	}
	if s.cfg != cfg {
		return nil, fmt.Errorf("bucket %s was made with another configuration: has %+v, asked for %+v", cfg.Name, s.cfg, cfg)
	}
	return s, nil
}
