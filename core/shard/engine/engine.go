// Package engine is how servers reach each other: calls, events and key-value
// buckets with compare-and-set. Memory is an engine within one process, for
// tests and for trying things out; package nats is the real one, embedded or a
// cluster. Package conformance checks any of them.
package engine

import (
	"context"
	"errors"
	"time"
)

// Errors of engines; test with errors.Is. Errors of contexts are passed on.
var (
	// ErrNoResponder: nobody serves the subject, or nobody who may be called.
	ErrNoResponder = errors.New("nobody answers at this subject")
	// ErrUnavailable: the engine cannot do it at present: no connection, or a
	// bucket without a leader. If that happened during a call or a write, it may
	// have been done.
	ErrUnavailable = errors.New("the engine is not available")
	// ErrPermission: this connection may not use the subject or the bucket.
	ErrPermission = errors.New("not permitted")
	// ErrTooLarge: more than MaxPayload bytes.
	ErrTooLarge = errors.New("payload too large")
	ErrClosed   = errors.New("the engine is closed")

	ErrNotFound = errors.New("no such key")
	ErrExists   = errors.New("the key exists")
	// ErrConflict: the key's revision is not the one given.
	ErrConflict = errors.New("the key was changed by another")
)

// MaxPayload is the most bytes of a request, an answer, an event or a value.
const MaxPayload = 512 << 10

// Engine is one server's connection. All methods may be called from any
// goroutine. Subjects are tokens joined by dots; in those of Serve and Subscribe,
// * stands for one token and a last > for one or more.
type Engine interface {
	// Call sends a request and waits for the answer of one who serves the
	// subject. It is sent once; whoever repeats it has to know that it may have
	// been done. The context needs a deadline.
	Call(ctx context.Context, subject string, request []byte) ([]byte, error)
	// Serve answers requests. Of those who serve a subject under one queue name,
	// one gets each request; an empty name: all get it, the first answer counts.
	// Handlers run concurrently, at most Limits.Workers of them; at most
	// Limits.Queue requests wait; what comes beyond is given to Limits.Overflow,
	// which must not block.
	Serve(subject, queue string, limits Limits, h Handler) (Subscription, error)

	// Publish sends an event to all who subscribe at present; it may get lost.
	Publish(subject string, event []byte) error
	// Subscribe calls h for each event, one after another in the order of each
	// publisher. At most pending events wait; older ones are dropped for newer
	// ones and counted by Dropped.
	Subscribe(subject string, pending int, h func(Event)) (Subscription, error)

	// Bucket opens a bucket, and makes it if it is not there.
	Bucket(ctx context.Context, cfg BucketConfig) (Bucket, error)

	// Connected reports whether the engine can be reached at present. Changed is
	// closed when that has changed; then it is another channel.
	Connected() bool
	Changed() <-chan struct{}
	// Close ends all subscriptions and watches, waits for handlers that run, and
	// disconnects.
	Close() error
}

// Handler answers one request. The context ends when the engine is closed. A nil
// answer sends none, and the caller waits for its deadline.
type Handler func(ctx context.Context, r Request) []byte

// Request is a request to a Handler.
type Request struct {
	Subject string
	Data    []byte
	// Received is when it arrived, before it waited for a worker.
	Received time.Time
}

// Event is what a publisher published.
type Event struct {
	Subject string
	Data    []byte
}

// Limits bound what requests cost a server.
type Limits struct {
	// Workers is how many handlers run at once, 0: 16; Queue how many requests
	// may wait, 0: 256.
	Workers, Queue int
	// Overflow gives the answer to a request for which there is no place; nil:
	// none.
	Overflow func(r Request) []byte
}

// Subscription is one Serve or Subscribe.
type Subscription interface {
	// Dropped counts the requests or events for which there was no place.
	Dropped() uint64
	// Close ends it and waits for handlers that run; not to be called from one.
	Close() error
}

// BucketConfig says what a bucket is like. Opening with another configuration
// than it was made with is an error.
type BucketConfig struct {
	// Name is letters, digits, - and _.
	Name string
	// TTL is how long an entry lives after its last change; 0: for ever.
	TTL time.Duration
	// MaxValue bounds a value, in bytes; 0: MaxPayload. MaxBytes the whole; 0: 1 GiB.
	MaxValue, MaxBytes int
}

// Bucket is a map of keys to values with revisions. Changes are linearizable: an
// acknowledged one is seen by all that begins later, and stays if a minority of
// the engine's machines fails. Keys are tokens (letters, digits, - _ =) joined by
// dots.
type Bucket interface {
	//
	// Get gives what was there when the call began, or later. While the engine's
	// machines are split, those on the smaller side may for some seconds give what
	// was there before; so what must not be decided twice is decided by Create and
	// Update, which fail there.
	Get(ctx context.Context, key string) (Entry, error)
	// Create writes a key that is not there (ErrExists), Update one whose
	// revision is known (ErrConflict), Put in any case. They give the new revision.
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Put(ctx context.Context, key string, value []byte) (uint64, error)
	// Delete deletes a key of this revision (ErrConflict), 0: of any.
	Delete(ctx context.Context, key string, revision uint64) error
	// Keys lists the keys that match the pattern, which is like a subject's.
	Keys(ctx context.Context, pattern string) ([]string, error)
	// Watch gives what is there, then one Entry with Initial set and no key, then
	// all changes, in order, until the context ends; then the channel is closed.
	// It goes on after a time without connection, missing nothing but values
	// that were overwritten meanwhile. What was written just before the watch began
	// may come after Initial; so may Keys leave it out.
	Watch(ctx context.Context, pattern string) (<-chan Entry, error)
}

// Entry is a key with its value.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	// Deleted: the key has gone; a TTL's end counts too, where the engine tells.
	Deleted bool
	// Initial: everything that was there has been given. The other fields are
	// empty.
	Initial bool
}
