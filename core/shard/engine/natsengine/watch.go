package natsengine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"p2pmodel/core/shard/engine"
)

// heartbeat is how often the server says that a consumer lives; one that has been
// silent for three of them does not.
const heartbeat = time.Second

// pass is one reading of a bucket: the last message of each key, then all that
// comes, by a consumer that the server pushes from. It ends with an error as soon
// as anything may have been missed; then another pass begins from the start.
type pass struct {
	bucket   *bucket
	sub      *nats.Subscription
	consumer jetstream.PushConsumer
	pending  uint64 // of the first part
	given    uint64 // messages taken, the consumer's sequence
	initial  bool   // the first part has been given
}

// errGap ends a pass.
var errGap = errors.New("messages of the consumer are missing")

// open begins a pass over the keys of a pattern.
func (b *bucket) open(ctx context.Context, pattern string, keysOnly bool) (*pass, error) {
	e := b.engine
	sub, err := e.nc.SubscribeSync(e.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	p := &pass{bucket: b, sub: sub}
	p.consumer, err = e.js.CreatePushConsumer(ctx, "KV_"+b.cfg.Name, jetstream.ConsumerConfig{
		Name:              nuid.Next(),
		DeliverSubject:    sub.Subject,
		DeliverPolicy:     jetstream.DeliverLastPerSubjectPolicy,
		FilterSubject:     b.prefix + pattern,
		AckPolicy:         jetstream.AckNonePolicy,
		MaxDeliver:        1,
		IdleHeartbeat:     heartbeat,
		FlowControl:       true,
		HeadersOnly:       keysOnly,
		InactiveThreshold: 10 * heartbeat,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		_ = sub.Unsubscribe()
		return nil, err
	}
	p.pending = p.consumer.CachedInfo().NumPending + p.consumer.CachedInfo().Delivered.Consumer
	return p, nil
}

// close ends the pass. The server forgets the consumer by itself when nobody
// listens; being told, it does so at once.
func (p *pass) close() {
	_ = p.sub.Unsubscribe()
	if p.bucket.engine.usable() != nil {
		return
	}
	subject := "$JS.API.CONSUMER.DELETE.KV_" + p.bucket.cfg.Name + "." + p.consumer.CachedInfo().Name
	_ = p.bucket.engine.nc.Publish(subject, nil)
}

// next gives the next entry, with Initial set between the first part and the
// rest.
func (p *pass) next(ctx context.Context) (engine.Entry, error) {
	for {
		if !p.initial && p.given >= p.pending {
			p.initial = true
			return engine.Entry{Initial: true}, nil
		}
		waiting, cancel := context.WithTimeout(ctx, 3*heartbeat)
		m, err := p.sub.NextMsgWithContext(waiting)
		cancel()
		if err != nil {
			return engine.Entry{}, err
		}
		switch m.Header.Get("Status") {
		case "":
			return p.entry(m)
		case "100":
			if err := p.control(m); err != nil {
				return engine.Entry{}, err
			}
		default:
			return engine.Entry{}, fmt.Errorf("%w: %s %s", errGap, m.Header.Get("Status"), m.Header.Get("Description"))
		}
	}
}

// control answers flow control and compares what was sent with what has come.
func (p *pass) control(m *nats.Msg) error {
	if stalled := m.Header.Get("Nats-Consumer-Stalled"); stalled != "" {
		return p.bucket.engine.nc.Publish(stalled, nil)
	}
	if m.Reply != "" {
		return m.Respond(nil)
	}
	last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	if err == nil && last != p.given {
		return fmt.Errorf("%w: %d of %d came", errGap, p.given, last)
	}
	p.pending = p.given // a consumer that idles has sent all that was there
	return nil
}

func (p *pass) entry(m *nats.Msg) (engine.Entry, error) {
	meta, err := m.Metadata()
	if err != nil {
		return engine.Entry{}, err
	}
	if meta.Sequence.Consumer != p.given+1 {
		return engine.Entry{}, fmt.Errorf("%w: %d after %d", errGap, meta.Sequence.Consumer, p.given)
	}
	p.given++
	if meta.NumPending == 0 { // fewer than were counted, if some have gone since
		p.pending = p.given
	}
	e := engine.Entry{Key: strings.TrimPrefix(m.Subject, p.bucket.prefix), Value: m.Data, Revision: meta.Sequence.Stream}
	// A mark of a deleted key is ours, or the server's for the end of a life.
	if m.Header.Get("KV-Operation") != "" || m.Header.Get("Nats-Marker-Reason") != "" {
		e.Deleted, e.Value = true, nil
	}
	return e, nil
}

// watcher is one Watch, through as many passes as it takes.
type watcher struct {
	bucket  *bucket
	pattern string
	out     chan engine.Entry
	// known has the revisions of the keys that were given. The first part of
	// another pass is compared with it: what is not in that part has gone.
	known   map[string]uint64
	initial bool // has been given
}

// Watch implements engine.Bucket.
func (b *bucket) Watch(ctx context.Context, pattern string) (<-chan engine.Entry, error) {
	if err := engine.CheckPattern(pattern); err != nil {
		return nil, err
	}
	var first *pass
	err := b.operate(ctx, "", func(ctx context.Context) (err error) {
		first, err = b.open(ctx, pattern, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	e := b.engine
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		first.close()
		return nil, fmt.Errorf("%s: %w", e.cfg.Name, engine.ErrClosed)
	}
	e.running.Add(1)
	e.mu.Unlock()

	w := &watcher{bucket: b, pattern: pattern, out: make(chan engine.Entry), known: map[string]uint64{}}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(e.ctx, cancel)
	go func() {
		defer e.running.Done()
		defer close(w.out)
		defer cancel()
		defer stop()
		w.run(ctx, first)
	}()
	return w.out, nil
}

// run makes passes until the context ends.
func (w *watcher) run(ctx context.Context, p *pass) {
	for {
		if p != nil {
			err := w.follow(ctx, p)
			p.close()
			if ctx.Err() != nil {
				return
			}
			w.bucket.engine.cfg.Log.Debug("a watch begins anew", "bucket", w.bucket.cfg.Name, "error", err)
		}
		p = w.again(ctx)
		if p == nil && !sleep(ctx, 100*time.Millisecond+rand.N(200*time.Millisecond)) {
			return
		}
	}
}

// again opens another pass once there is a connection; nil: not yet.
func (w *watcher) again(ctx context.Context) *pass {
	e := w.bucket.engine
	for changed := e.Changed(); !e.Connected(); changed = e.Changed() {
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
	var p *pass
	err := w.bucket.operate(ctx, "", func(ctx context.Context) (err error) {
		p, err = w.bucket.open(ctx, w.pattern, false)
		return err
	})
	if err != nil {
		e.cfg.Log.Debug("a watch cannot begin", "bucket", w.bucket.cfg.Name, "error", err)
		return nil
	}
	return p
}

// follow gives what a pass has, until something may have been missed. A connection
// that breaks loses the consumer's messages, so it ends the pass too.
func (w *watcher) follow(ctx context.Context, p *pass) error {
	ctx, done := w.bucket.engine.flights.take(ctx, func(string) bool { return false })
	defer done()
	found := map[string]struct{}{} // the keys of the first part
	for {
		entry, err := p.next(ctx)
		if err != nil {
			return err
		}
		switch {
		case entry.Initial:
			if err := w.vanished(ctx, found); err != nil {
				return err
			}
			found = nil
			if !w.initial {
				w.initial = true
				if !w.give(ctx, entry) {
					return ctx.Err()
				}
			}
		default:
			if found != nil && !entry.Deleted {
				found[entry.Key] = struct{}{}
			}
			if err := w.change(ctx, entry); err != nil {
				return err
			}
		}
	}
}

// change gives an entry unless it was given before.
func (w *watcher) change(ctx context.Context, e engine.Entry) error {
	revision, known := w.known[e.Key]
	if e.Deleted && !known || known && (revision > e.Revision || revision == e.Revision && !e.Deleted) {
		return nil
	}
	if !w.give(ctx, e) {
		return ctx.Err()
	}
	if e.Deleted {
		delete(w.known, e.Key)
	} else {
		w.known[e.Key] = e.Revision
	}
	return nil
}

// vanished gives the keys that were there and are no more, after a time in which
// nobody watched. The consumer may read a replica that is behind, so the stream's
// leader is asked.
func (w *watcher) vanished(ctx context.Context, found map[string]struct{}) error {
	for key, revision := range w.known {
		if _, ok := found[key]; ok {
			continue
		}
		now, err := w.bucket.Get(ctx, key)
		switch {
		case errors.Is(err, engine.ErrNotFound):
			now = engine.Entry{Key: key, Revision: revision, Deleted: true}
		case err != nil:
			return err
		}
		if err := w.change(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) give(ctx context.Context, e engine.Entry) bool {
	select {
	case w.out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
