package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/pion/ice/v4"
)

// side is an agent and what it has told and heard.
type side struct {
	config
	agent       *ice.Agent
	credentials chan message  // the first of the other side's
	again       chan struct{} // there is a path, perhaps another one

	mu sync.Mutex
	// ufrag is the other side's; "" is nobody's. restarting: ours are new, and the
	// other side has not answered.
	ufrag      string
	restarting bool
	waiting    []string // candidates that are told at the end
}

// introduce tells our credentials, unless all is told at the end, and gathers.
func (s *side) introduce(ctx context.Context) error {
	s.mu.Lock()
	s.waiting = nil
	s.mu.Unlock()
	if !s.noTrickle {
		if err := s.tellCredentials(ctx); err != nil {
			return err
		}
	}
	return s.agent.GatherCandidates()
}

func (s *side) tellCredentials(ctx context.Context) error {
	ufrag, password, err := s.agent.GetLocalUserCredentials()
	if err != nil {
		return err
	}
	m := message{Ufrag: ufrag, Password: password, Lite: s.lite}
	if s.renomination {
		m.Options = []string{"renomination"}
	}
	return tell(ctx, s.signal, s.peer, m)
}

// found takes a candidate of ours, nil after the last one.
func (s *side) found(ctx context.Context, k ice.Candidate) error {
	if k != nil && s.holds(ctx, k, func() { _ = tell(ctx, s.signal, s.peer, message{Candidate: k.Marshal()}) }) {
		return nil
	}
	if k != nil && !s.noTrickle {
		return tell(ctx, s.signal, s.peer, message{Candidate: k.Marshal()})
	}
	s.mu.Lock()
	waiting := s.waiting
	if k != nil {
		s.waiting = append(s.waiting, k.Marshal())
	}
	s.mu.Unlock()
	if k != nil {
		return nil
	}
	if s.noTrickle {
		if !s.gathered {
			if err := s.tellCredentials(ctx); err != nil {
				return err
			}
		}
		for _, text := range waiting {
			if err := tell(ctx, s.signal, s.peer, message{Candidate: text}); err != nil {
				return err
			}
		}
		if s.gathered {
			return s.tellCredentials(ctx)
		}
	}
	if s.direct != nil {
		return nil // there will be more
	}
	return tell(ctx, s.signal, s.peer, message{Complete: true})
}

// holds keeps a candidate that is not relayed back until such are wanted, and reports
// whether it does.
func (s *side) holds(ctx context.Context, k ice.Candidate, then func()) bool {
	if s.direct == nil || k.Type() == ice.CandidateTypeRelay {
		return false
	}
	go func() {
		select {
		case <-s.direct:
			then()
		case <-ctx.Done():
		}
	}()
	return true
}

// hear takes a message of the other side's.
func (s *side) hear(ctx context.Context, m message) error {
	switch {
	case m.Ufrag != "":
		return s.hearCredentials(ctx, m)
	case m.Candidate != "":
		k, err := ice.UnmarshalCandidate(m.Candidate)
		if err != nil {
			return fmt.Errorf("a candidate of the other peer: %w", err)
		}
		if s.holds(ctx, k, func() { _ = s.agent.AddRemoteCandidate(k) }) {
			return nil
		}
		return s.agent.AddRemoteCandidate(k)
	}
	return nil // pion/ice does not ask for the end of candidates
}

// hearCredentials takes the other side's: the first ones, or those of a restart, in
// which we join unless it was ours.
func (s *side) hearCredentials(ctx context.Context, m message) error {
	event("introduced", s.peer, "", m.Ufrag)
	s.mu.Lock()
	first, ours := s.ufrag == "", s.restarting
	s.ufrag, s.restarting = m.Ufrag, false
	s.mu.Unlock()
	if first {
		s.credentials <- m
		return nil
	}
	if !ours {
		if err := s.agent.Restart("", ""); err != nil {
			return err
		}
		defer func() { _ = s.introduce(ctx) }()
	}
	return s.agent.SetRemoteCredentials(m.Ufrag, m.Password)
}

// restart begins an ICE restart.
func (s *side) restart(ctx context.Context) error {
	s.mu.Lock()
	s.restarting = true
	s.mu.Unlock()
	if err := s.agent.Restart("", ""); err != nil {
		return err
	}
	return s.introduce(ctx)
}

// reconnected says that there is a path.
func (s *side) reconnected() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}
