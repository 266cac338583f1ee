package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"p2pmodel/sim/document"
)

// Scheduled is an event of a timeline, and when it is done.
type Scheduled struct {
	// At is when, from the beginning: of the first phase, or of the phase that is
	// named.
	At    time.Duration
	Phase string
	// Every has it done again and again, Times times in all; 0: for as long as the
	// timeline runs. Without Every it is done once.
	Every time.Duration
	Times int
	// Jitter makes each time later by a share of it that is drawn uniformly.
	Jitter time.Duration
	Event  Event
}

// String is one line: "at 5s every 10s: reboot router=nat-i".
func (s Scheduled) String() string {
	text := "at " + s.At.String()
	if s.Phase != "" {
		text += fmt.Sprintf(" of phase %q", s.Phase)
	}
	if s.Every > 0 {
		text += " every " + s.Every.String()
	}
	return text + ": " + s.Event.String()
}

// Endless reports whether it is done for as long as the timeline runs.
func (s Scheduled) Endless() bool { return s.Every > 0 && s.Times == 0 }

// Timeline are events with their times.
type Timeline []Scheduled

// TimelineKeys are the keys of an entry of a timeline, beside that of its event.
func TimelineKeys() []string { return []string{"at", "every", "times", "jitter", "phase"} }

// DecodeTimeline reads a timeline: a list of entries as {at: 5s, cut: nat-i}.
// phases are the names that an entry may count from; with none, it may name
// none.
func DecodeTimeline(n *document.Node, lab *Lab, phases ...string) Timeline {
	var all Timeline
	for _, entry := range n.List() {
		m := entry.Map(append(TimelineKeys(), kindWords()...)...)
		s := Scheduled{
			At: m.Get("at").Duration(), Every: m.Get("every").Duration(),
			Times: m.Get("times").Int(1, MaxTimes), Jitter: m.Get("jitter").Duration(),
		}
		if entry.Kind() != document.Mapping {
			continue
		}
		if v := m.Get("phase"); v.Exists() {
			if len(phases) == 0 {
				v.KeyErrorf("there are no phases here to count from")
			} else {
				s.Phase = v.Word("phase", phases...)
			}
		}
		events, unknown := 0, false
		for _, v := range m.Entries() {
			if !slices.Contains(kindWords(), v.Name()) {
				unknown = unknown || !slices.Contains(TimelineKeys(), v.Name()) // an error of its own
				continue
			}
			if events++; events == 1 {
				s.Event = DecodeEvent(v, lab)
			}
		}
		if events > 1 || events == 0 && !unknown {
			entry.Errorf("an entry of a timeline has one event, as in {at: 5s, cut: LINK}; events are %s", strings.Join(kindWords(), ", "))
		}
		for _, p := range s.problems() {
			if v := m.Get(p.key); v.Exists() {
				v.Errorf("%s", p.message)
			} else {
				entry.Errorf("%s", p.message)
			}
		}
		all = append(all, s)
	}
	return all
}

func (s Scheduled) problems() (found []eventProblem) {
	add := func(key, format string, args ...any) {
		found = append(found, eventProblem{key, fmt.Sprintf(format, args...)})
	}
	for key, d := range map[string]time.Duration{"at": s.At, "every": s.Every, "jitter": s.Jitter} {
		if d < 0 || d > MaxEventTime {
			add(key, "%s: %v is not between 0 and %v", key, d, MaxEventTime)
		}
	}
	switch {
	case s.Times < 0 || s.Times > MaxTimes:
		add("times", "times: %d is not between 0 and %d", s.Times, MaxTimes)
	case s.Times > 1 && s.Every == 0:
		add("times", "an event that is done %d times needs every: how long it is from one to the next", s.Times)
	case s.Every > 0 && s.Every < minEvery:
		add("every", "every: %v is shorter than %v", s.Every, minEvery)
	case s.Every > 0 && s.Jitter > s.Every:
		add("jitter", "a jitter of %v with every: %v would change the order of what is done", s.Jitter, s.Every)
	}
	return found
}

// minEvery bounds how often an event is done.
const minEvery = 10 * time.Millisecond

// Validate checks the timeline against a lab and the names of phases.
func (t Timeline) Validate(lab *Lab, phases ...string) error {
	var errs []error
	for i, s := range t {
		for _, p := range s.problems() {
			errs = append(errs, fmt.Errorf("entry %d of the timeline: %s", i+1, p.message))
		}
		if s.Phase != "" && !slices.Contains(phases, s.Phase) {
			errs = append(errs, fmt.Errorf("entry %d of the timeline: unknown phase %q%s", i+1, s.Phase, document.Suggest(s.Phase, phases)))
		}
		if err := s.Event.Validate(lab); err != nil {
			errs = append(errs, fmt.Errorf("entry %d of the timeline: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// Of gives the entries that count from a phase; "": from the first one.
func (t Timeline) Of(phase string) Timeline {
	return slices.DeleteFunc(slices.Clone(t), func(s Scheduled) bool { return s.Phase != phase })
}

// Scaled divides all times.
func (t Timeline) Scaled(by int) Timeline {
	out, d := slices.Clone(t), time.Duration(max(by, 1))
	for i := range out {
		out[i].At /= d
		out[i].Every /= d
		out[i].Jitter /= d
		out[i].Event = out[i].Event.Scaled(by)
	}
	return out
}

// Run does the events of a timeline to a lab that stands, whatever phase they
// count from, from now on. onDone is told of each that was done, as soon as it
// was; it may be nil, and is called by one goroutine at a time. Run returns when
// all are done, or when ctx ends; faults are in force then unless an event ended
// them, and are proved by what they took until then. The seed draws the jitter.
func (t Timeline) Run(ctx context.Context, net Network, seed uint64, onDone func(*Occurrence)) error {
	d := NewDirector(net)
	var mu sync.Mutex
	err := t.Play(ctx, net, seed, func(ctx context.Context, s Scheduled) error {
		o, err := d.Apply(ctx, s.Event)
		if err == nil && onDone != nil {
			mu.Lock()
			defer mu.Unlock()
			onDone(o)
		}
		return err
	})
	return errors.Join(err, d.Finish())
}

// Play calls do for each event when it is its time, counted from now by the clock. Entries do
// not wait for each other; times of one entry do. The first error ends all and is
// returned; the end of ctx is none.
func (t Timeline) Play(ctx context.Context, clock Clock, seed uint64, do func(ctx context.Context, s Scheduled) error) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start := clock.Now()
	var all []<-chan struct{}
	for i, s := range t {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		all = append(all, clock.Go(func() {
			for n := 0; s.Endless() || n < max(s.Times, 1); n++ {
				at := s.At + time.Duration(n)*s.Every
				if s.Jitter > 0 {
					at += time.Duration(random.Int64N(int64(s.Jitter)))
				}
				if Sleep(inner, clock, start.Add(at).Sub(clock.Now())) != nil {
					return
				}
				if err := do(inner, s); err != nil {
					if inner.Err() == nil {
						cancel(fmt.Errorf("%s: %w", s, err))
					}
					return
				}
			}
		}))
	}
	if err := WaitAll(clock, all...); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(inner)
}
