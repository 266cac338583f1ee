// Package conformance checks that an engine keeps the promises of engine.Engine.
// Each backend has a test that runs it.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/shard/engine"
)

// Backend is one under test. Each test has its own, made by the function given to
// Run; it ends with the test.
type Backend struct {
	// Connect gives a new connection that may do all.
	Connect func(t *testing.T) engine.Engine
	// Restricted gives a new one that may Call and Publish allowed.>, and Serve and
	// Subscribe served.> only, and use no bucket.
	Restricted func(t *testing.T) engine.Engine
	// Interrupt takes the engine away from all connections, which notice it;
	// restore brings it back with what its buckets had.
	Interrupt func(t *testing.T) (restore func())
	// Shared: servers in this process serve several tests, so that a test's end is
	// not the end of all goroutines; goleak in TestMain looks for leaks then.
	Shared bool
}

// patience is how long a condition may take on a machine that is busy.
const patience = 30 * time.Second

// Run runs all tests.
func Run(t *testing.T, backend func(t *testing.T) Backend) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"a call is answered", (*suite).call},
		{"calls run side by side", (*suite).concurrentCalls},
		{"nobody answers", (*suite).noResponder},
		{"a call needs a deadline and keeps it", (*suite).deadline},
		{"payloads are bounded", (*suite).tooLarge},
		{"wildcards", (*suite).wildcards},
		{"one of a queue gets a request", (*suite).queueGroup},
		{"without a queue the first answer counts", (*suite).firstAnswer},
		{"what is too much gets the overflow's answer", (*suite).overload},
		{"events come in order", (*suite).eventOrder},
		{"older events make place for newer ones", (*suite).eventDrop},
		{"events reach those who subscribe", (*suite).eventFan},
		{"a closed subscription gets nothing", (*suite).closedSubscription},
		{"closing waits for handlers", (*suite).closeWaits},
		{"a closed engine says so", (*suite).closedEngine},
		{"permissions", (*suite).permissions},
		{"without a connection nothing hangs", (*suite).interruption},
		{"bucket: a key's life", (*suite).keyLife},
		{"bucket: what is refused", (*suite).bucketRefusals},
		{"bucket: configurations differ", (*suite).bucketConfig},
		{"bucket: of many who update one wins", (*suite).race},
		{"bucket: of many who create one wins", (*suite).createRace},
		{"bucket: entries live as long as they may", (*suite).expiry},
		{"bucket: keys by pattern", (*suite).keys},
		{"watch: what is there, then what changes", (*suite).watch},
		{"watch: nothing is there", (*suite).watchEmpty},
		{"watch: an interruption", (*suite).watchInterruption},
		{"watch: ends with its context", (*suite).watchEnd},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			shared := false
			t.Cleanup(func() { // runs last
				if !shared {
					goleak.VerifyNone(t, before)
				}
			})
			s := &suite{T: t, backend: backend(t)}
			shared = s.backend.Shared
			test.run(s)
		})
	}
}

// suite is one test.
type suite struct {
	*testing.T
	backend Backend
}

func (s *suite) connect() engine.Engine {
	s.Helper()
	return s.closing(s.backend.Connect(s.T))
}

func (s *suite) closing(e engine.Engine) engine.Engine {
	s.Cleanup(func() {
		if err := e.Close(); err != nil {
			s.Errorf("close: %v", err)
		}
	})
	return e
}

// context is one of patience.
func (s *suite) context() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) wants(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got %v, want %v", err, want)
	}
}

// until waits for a condition.
func (s *suite) until(what string, condition func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("%s: not so after %v", what, patience)
		}
	}
}

// serve answers with what answer makes of a request.
func (s *suite) serve(e engine.Engine, subject, queue string, limits engine.Limits, answer func(engine.Request) string) engine.Subscription {
	s.Helper()
	sub, err := e.Serve(subject, queue, limits, func(_ context.Context, r engine.Request) []byte { return []byte(answer(r)) })
	s.ok(err)
	return sub
}

// ask calls until somebody answers: it takes a moment until a connection knows what
// another one serves.
func (s *suite) ask(e engine.Engine, subject, data string) string {
	s.Helper()
	ctx := s.context()
	var answer []byte
	s.until("an answer at "+subject, func() bool {
		var err error
		answer, err = e.Call(ctx, subject, []byte(data))
		if !errors.Is(err, engine.ErrNoResponder) {
			s.ok(err)
		}
		return err == nil
	})
	return string(answer)
}

// bucket opens a bucket.
func (s *suite) bucket(e engine.Engine, cfg engine.BucketConfig) engine.Bucket {
	s.Helper()
	b, err := e.Bucket(s.context(), cfg)
	s.ok(err)
	return b
}

// log collects words from any goroutine.
type log struct {
	mu    sync.Mutex
	words []string
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.words = append(l.words, fmt.Sprintf(format, args...))
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.words...)
}

func (l *log) len() int { return len(l.all()) }
