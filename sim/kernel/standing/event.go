//go:build linux

package standing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"p2pmodel/sim"
)

// Happened is an event that was done to a lab.
type Happened struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"`
	// Proof is what was seen of it so far.
	Proof sim.Proof `json:"proof"`
	// Planned says that it is one of the file's timeline.
	Planned bool `json:"planned,omitempty"`
}

// memory is how many events are kept in mind.
const memory = 256

// history are the last events of a lab.
type history struct {
	mu   sync.Mutex
	done []*remembered
}

type remembered struct {
	*sim.Occurrence
	planned bool
}

func (r remembered) happened() Happened {
	return Happened{At: r.Begin, Event: r.Event.String(), Proof: r.Proof(), Planned: r.planned}
}

func (h *history) add(o *sim.Occurrence, planned bool) Happened {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &remembered{o, planned}
	h.done = append(h.done, r)
	h.done = slices.Clone(h.done[max(len(h.done)-memory, 0):])
	return r.happened()
}

func (h *history) all() []Happened {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Happened, len(h.done))
	for i, r := range h.done {
		all[i] = r.happened()
	}
	return all
}

// eventWords is the argument of an event, as a shell has split it.
type eventWords struct {
	Words []string `json:"words"`
}

func (s *server) answerEvent(c *conn, arguments json.RawMessage) error {
	var a eventWords
	if err := json.Unmarshal(arguments, &a); err != nil {
		return err
	}
	e, err := sim.ParseEventWords(s.network.Lab(), a.Words)
	if err != nil {
		return err
	}
	ctx, cancel := s.attend(c, nil)
	defer cancel()
	o, err := s.director.Apply(ctx, e)
	if err != nil {
		return err
	}
	return c.value(s.history.add(o, false))
}

func (s *server) answerHistory(c *conn, _ json.RawMessage) error { return c.value(s.history.all()) }

// play does the events of the lab's file, until ctx ends. What goes wrong with
// one of them ends the others.
func (s *server) play(ctx context.Context, onEvent func(Happened)) {
	if len(s.spec.Events) == 0 {
		return
	}
	var mu sync.Mutex
	err := s.spec.Events.Play(ctx, sim.RealTime{}, s.spec.Seed, func(ctx context.Context, e sim.Scheduled) error {
		o, err := s.director.Apply(ctx, e.Event)
		if err != nil {
			return err
		}
		h := s.history.add(o, true)
		if onEvent != nil {
			mu.Lock()
			defer mu.Unlock()
			onEvent(h)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.mishap.Store(fmt.Sprintf("the timeline has ended: %v", err))
	}
}

// Event does an event, given in the words of sim.ParseEventWords, and returns when
// it is done: one that ends by itself takes its time. When ctx ends before, what
// it began is ended.
func (c *Client) Event(ctx context.Context, words []string) (h Happened, err error) {
	err = c.ask(ctx, callEvent, eventWords{words}, &h)
	return h, err
}

// Events are those that were done so far, the last 256.
func (c *Client) Events(ctx context.Context) (all []Happened, err error) {
	err = c.ask(ctx, callHistory, nil, &all)
	return all, err
}

// fault joins what went wrong with the laboratory.
func (s *server) fault() string {
	err := s.network.Err()
	if text, ok := s.mishap.Load().(string); ok {
		err = errors.Join(err, errors.New(text))
	}
	if err == nil {
		return ""
	}
	return err.Error()
}
