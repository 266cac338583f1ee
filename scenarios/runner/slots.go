package runner

import (
	"context"
	"slices"

	"p2pmodel/scenarios"
)

// Slots bounds how many labs stand at once.
type Slots struct {
	places chan struct{}
	// taking keeps two that want several places from having half of them each.
	taking chan struct{}
}

// NewSlots gives n slots.
func NewSlots(n int) *Slots {
	return &Slots{places: make(chan struct{}, max(n, 1)), taking: make(chan struct{}, 1)}
}

// of is how many slots a run takes: most labs wait most of the time, but one with
// a system runs a dozen processes, and a scan leaves nothing of the machine for
// others.
func (s *Slots) of(v *variant) int {
	if s == nil {
		return 0
	}
	scans := slices.ContainsFunc(v.phases, func(p scenarios.Phase) bool { return len(p.Expect.Scans) > 0 })
	switch {
	case scans:
		return cap(s.places)
	case v.scenario.System != nil:
		return (cap(s.places) + 1) / 2
	}
	return 1
}

// take waits for places.
func (s *Slots) take(ctx context.Context, places int) error {
	if s == nil {
		return ctx.Err()
	}
	select {
	case s.taking <- struct{}{}:
		defer func() { <-s.taking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for n := range places {
		select {
		case s.places <- struct{}{}:
		case <-ctx.Done():
			s.free(n)
			return ctx.Err()
		}
	}
	return nil
}

func (s *Slots) free(places int) {
	for range places {
		<-s.places
	}
}
