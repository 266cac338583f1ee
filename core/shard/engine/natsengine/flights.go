package natsengine

import (
	"context"
	"fmt"
	"regexp"
	"sync"

	"github.com/nats-io/nats.go"

	"p2pmodel/core/shard/engine"
)

// flights are the calls and operations that wait for an answer. NATS tells of some
// of their ends elsewhere: a permission that is missing comes as an error of the
// connection, and after the connection has broken nothing comes.
type flights struct {
	mu  sync.Mutex
	all map[*flight]struct{}
}

type flight struct {
	sends  func(subject string) bool
	cancel context.CancelCauseFunc
}

// take begins a flight that sends to the subjects for which sends reports true.
// Its context ends with a cause if that is denied, or with all others; done has to
// be called.
func (f *flights) take(ctx context.Context, sends func(subject string) bool) (flying context.Context, done func()) {
	flying, cancel := context.WithCancelCause(ctx)
	one := &flight{sends: sends, cancel: cancel}
	f.mu.Lock()
	if f.all == nil {
		f.all = map[*flight]struct{}{}
	}
	f.all[one] = struct{}{}
	f.mu.Unlock()
	return flying, func() {
		f.mu.Lock()
		delete(f.all, one)
		f.mu.Unlock()
		cancel(nil)
	}
}

func (f *flights) end(cause error) { f.endThose(func(*flight) bool { return true }, cause) }

func (f *flights) deny(subject string) {
	f.endThose(func(one *flight) bool { return one.sends(subject) }, engine.ErrPermission)
}

func (f *flights) endThose(chosen func(*flight) bool, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.all {
		if chosen(one) {
			one.cancel(cause)
		}
	}
}

// cause gives the reason why a flight's context has ended, if it was ended here.
func cause(flying context.Context) error {
	if c := context.Cause(flying); c != nil && c != flying.Err() {
		return c
	}
	return nil
}

// published finds the subject in "Permissions Violation for Publish to "S"", which
// is all that a server tells of what it has not passed on.
var published = regexp.MustCompile(`Publish to "([^"]+)"`)

// asyncError takes the errors that belong to no call of nats.go.
func (e *Engine) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if m := published.FindStringSubmatch(err.Error()); m != nil {
		e.denied.add(m[1])
		e.flights.deny(m[1])
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	e.cfg.Log.Warn("the server reports an error", "subject", subject, "error", err)
}

// denials are the subjects that a server has lately not let us publish to.
// Publishing has no answer: the first event gets lost, later ones fail.
type denials struct {
	mu       sync.Mutex
	subjects map[string]struct{}
}

// maxDenials bounds what is kept; whoever is denied that much is misconfigured or
// probes.
const maxDenials = 256

func (d *denials) add(subject string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.subjects == nil || len(d.subjects) >= maxDenials {
		d.subjects = map[string]struct{}{}
	}
	d.subjects[subject] = struct{}{}
}

func (d *denials) has(subject string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.subjects[subject]
	return ok
}

// forget is for when permissions may have changed.
func (d *denials) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subjects = nil
}

func denied(name, subject string) error {
	return fmt.Errorf("%s to %s: %w", name, subject, engine.ErrPermission)
}
