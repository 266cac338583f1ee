package natsengine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"p2pmodel/core/shard/engine"
)

const (
	// operationTimeout bounds an operation of a bucket whose context does not.
	operationTimeout = 5 * time.Second
	// openTimeout bounds opening one, each attempt of which has attachTimeout.
	openTimeout   = 15 * time.Second
	attachTimeout = 2 * time.Second
	// markerLife is how long the mark of a deleted key stays, for those who watch.
	// Those who were away longer compare (see watch).
	markerLife = time.Minute
	// headerSpace is what a stream's limit on messages has for headers.
	headerSpace = 1 << 10
)

// bucket is a stream with one subject a key, and the last message of each.
type bucket struct {
	engine *Engine
	cfg    engine.BucketConfig
	kv     jetstream.KeyValue
	prefix string // of the subjects
}

// Bucket implements engine.Engine.
func (e *Engine) Bucket(ctx context.Context, cfg engine.BucketConfig) (engine.Bucket, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.Normal()
	b := &bucket{engine: e, cfg: cfg, prefix: "$KV." + cfg.Name + "."}
	// A cluster that has just begun, or in which several make the bucket at once,
	// does not always answer; to ask again is harmless.
	for began := time.Now(); ; {
		err := b.operate(ctx, "", b.attach)
		again := errors.Is(err, engine.ErrUnavailable) && e.Connected() && time.Since(began) < openTimeout
		if !again || !sleep(ctx, 50*time.Millisecond+rand.N(100*time.Millisecond)) {
			if err != nil {
				return nil, err
			}
			return b, nil
		}
	}
}

// attach makes or finds the stream, in one attempt.
func (b *bucket) attach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	err := b.ensure(ctx)
	if err == nil {
		b.kv, err = b.engine.js.KeyValue(ctx, b.cfg.Name)
	}
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		// It was there, or was made, a moment ago: not all know it yet.
		err = fmt.Errorf("%w: %v", engine.ErrUnavailable, err)
	}
	return err
}

// stream is the configuration of a bucket's stream, as clients of NATS know it.
// Direct gets are off, since any replica answers them, how far behind it may be.
func (b *bucket) stream() jetstream.StreamConfig {
	duplicates := 2 * time.Minute
	if b.cfg.TTL > 0 {
		duplicates = min(duplicates, b.cfg.TTL)
	}
	return jetstream.StreamConfig{
		Name:                   "KV_" + b.cfg.Name,
		Subjects:               []string{b.prefix + ">"},
		Storage:                jetstream.FileStorage,
		Replicas:               b.engine.cfg.Replicas,
		MaxMsgsPerSubject:      1,
		MaxMsgs:                -1,
		MaxConsumers:           -1,
		MaxAge:                 b.cfg.TTL,
		MaxBytes:               int64(b.cfg.MaxBytes),
		MaxMsgSize:             int32(b.cfg.MaxValue + headerSpace),
		Discard:                jetstream.DiscardNew,
		Duplicates:             duplicates,
		AllowRollup:            true,
		DenyDelete:             true,
		AllowMsgTTL:            true,
		SubjectDeleteMarkerTTL: markerLife,
		AllowDirect:            false,
	}
}

// ensure makes the stream, or finds that the one that is there is the same.
func (b *bucket) ensure(ctx context.Context) error {
	want := b.stream()
	s, err := b.engine.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		// Of several who find nothing, all but one find it made alike.
		if s, err = b.engine.js.CreateStream(ctx, want); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			s, err = b.engine.js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return err
	}
	has := s.CachedInfo().Config
	if has.MaxAge != want.MaxAge || has.MaxBytes != want.MaxBytes || has.MaxMsgSize != want.MaxMsgSize || has.AllowDirect {
		return fmt.Errorf("bucket %s was made with another configuration: has a TTL of %v, %d bytes a value, %d bytes, direct gets: %t; asked for %+v",
			b.cfg.Name, has.MaxAge, has.MaxMsgSize-headerSpace, has.MaxBytes, has.AllowDirect, b.cfg)
	}
	if has.Replicas < want.Replicas {
		has.Replicas = want.Replicas
		_, err = b.engine.js.UpdateStream(ctx, has)
	}
	return err
}

// operate does something that the server may deny or have no leader for, and puts
// what goes wrong into the engine's words.
func (b *bucket) operate(ctx context.Context, key string, do func(context.Context) error) error {
	e := b.engine
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.usable(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	flying, done := e.flights.take(bounded, func(subject string) bool {
		return strings.HasPrefix(subject, b.prefix) || strings.HasPrefix(subject, "$JS.API.") && strings.Contains(subject, "KV_"+b.cfg.Name)
	})
	defer done()
	err := do(flying)
	if err == nil {
		return nil
	}
	what := "bucket " + b.cfg.Name
	if key != "" {
		what += ", key " + key
	}
	if e.isClosed() {
		return fmt.Errorf("%s: %w", what, engine.ErrClosed)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c := cause(flying); c != nil && bounded.Err() == nil {
		return fmt.Errorf("%s: %w", what, c)
	}
	return fmt.Errorf("%s: %w", what, translate(err))
}

// Codes of JetStream that jetstream has no names for.
const (
	codeStoreFailed  = 10077 // "maximum bytes exceeded" and other refusals of the store
	codeTooManyBytes = 10122
	codeNoPeers      = 10005 // "no suitable peers for placement": of a cluster that is not whole yet
)

// translate puts an error of nats.go into the engine's words.
func translate(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		switch {
		case api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence, api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return engine.ErrConflict
		case api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return engine.ErrTooLarge
		case api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, "maximum bytes"), api.ErrorCode == codeTooManyBytes:
			return fmt.Errorf("the bucket is full: %w", engine.ErrTooLarge)
		case api.ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount:
			return fmt.Errorf("%w: %w", engine.ErrPermission, err)
		case api.Code >= 500, api.ErrorCode == codeNoPeers:
			return fmt.Errorf("%w: %w", engine.ErrUnavailable, err)
		}
		return err
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return engine.ErrNotFound
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse),
		errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrDisconnected):
		return fmt.Errorf("%w: %w", engine.ErrUnavailable, err)
	}
	return err
}

// Get implements engine.Bucket.
func (b *bucket) Get(ctx context.Context, key string) (engine.Entry, error) {
	if err := engine.CheckKey(key); err != nil {
		return engine.Entry{}, err
	}
	var entry engine.Entry
	err := b.operate(ctx, key, func(ctx context.Context) error {
		found, err := b.kv.Get(ctx, key)
		if err == nil {
			entry = engine.Entry{Key: key, Value: found.Value(), Revision: found.Revision()}
		}
		return err
	})
	return entry, err
}

func (b *bucket) write(ctx context.Context, key string, value []byte, do func(context.Context) (uint64, error)) (uint64, error) {
	if err := engine.CheckKey(key); err != nil {
		return 0, err
	}
	if len(value) > b.cfg.MaxValue {
		return 0, fmt.Errorf("bucket %s, key %s: %d bytes, at most %d: %w", b.cfg.Name, key, len(value), b.cfg.MaxValue, engine.ErrTooLarge)
	}
	var revision uint64
	err := b.operate(ctx, key, func(ctx context.Context) (err error) {
		revision, err = do(ctx)
		return err
	})
	return revision, err
}

// Create implements engine.Bucket.
func (b *bucket) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	revision, err := b.write(ctx, key, value, func(ctx context.Context) (uint64, error) { return b.kv.Create(ctx, key, value) })
	if errors.Is(err, engine.ErrConflict) {
		err = fmt.Errorf("bucket %s, key %s: %w", b.cfg.Name, key, engine.ErrExists)
	}
	return revision, err
}

// Update implements engine.Bucket.
func (b *bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if revision == 0 { // which would be a Create
		return 0, fmt.Errorf("bucket %s, key %s: %w", b.cfg.Name, key, engine.ErrConflict)
	}
	return b.write(ctx, key, value, func(ctx context.Context) (uint64, error) { return b.kv.Update(ctx, key, value, revision) })
}

// Put implements engine.Bucket.
func (b *bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	return b.write(ctx, key, value, func(ctx context.Context) (uint64, error) { return b.kv.Put(ctx, key, value) })
}

// Delete implements engine.Bucket. A mark stays for a minute, so that deleted keys
// do not add up.
func (b *bucket) Delete(ctx context.Context, key string, revision uint64) error {
	_, err := b.write(ctx, key, nil, func(ctx context.Context) (uint64, error) {
		opts := []jetstream.KVDeleteOpt{jetstream.PurgeTTL(markerLife)}
		if revision != 0 {
			opts = append(opts, jetstream.LastRevision(revision))
		}
		return 0, b.kv.Purge(ctx, key, opts...)
	})
	return err
}

// Keys implements engine.Bucket.
func (b *bucket) Keys(ctx context.Context, pattern string) ([]string, error) {
	if err := engine.CheckPattern(pattern); err != nil {
		return nil, err
	}
	var keys []string
	err := b.operate(ctx, "", func(ctx context.Context) error {
		p, err := b.open(ctx, pattern, true)
		if err != nil {
			return err
		}
		defer p.close()
		for {
			entry, err := p.next(ctx)
			if err != nil || entry.Initial {
				return err
			}
			if !entry.Deleted {
				keys = append(keys, entry.Key)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}
