package signalling

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"p2pmodel/core/ice"
	"p2pmodel/core/sansio"
)

// Config says who talks with whom.
type Config struct {
	Mailbox Mailbox
	ICE     ice.Config
	// Trickle tells of candidates as they come (RFC 8838); otherwise all are told at
	// once when there will be no more.
	Trickle bool
	// Network is where the agent runs; nil: this machine's.
	Network sansio.Network
	// OnEvent gets the agent's events, as ice.NewAgent says.
	OnEvent func(sansio.Event)
	// OnRemote is called when the other side's credentials have come, also new ones.
	OnRemote func()
}

// Session is an agent whose other side is told by mailboxes what it has to know.
type Session struct {
	*ice.Agent
	cancel context.CancelFunc
	group  sync.WaitGroup
	err    chan error // the first failure
}

// notesSize is more than what a restart has to tell.
const notesSize = 4 * ice.MaxCandidates

// Start starts an agent and tells the other side of it. It ends with ctx or Close.
func Start(ctx context.Context, cfg Config) (*Session, error) {
	if cfg.Network == nil {
		cfg.Network = sansio.System()
	}
	notes := make(chan sansio.Event, notesSize)
	agent, err := ice.NewAgent(ctx, cfg.ICE, cfg.Network, func(e sansio.Event) {
		switch e.(type) {
		case ice.Gathered, ice.GatheringDone, ice.Restarted:
			select {
			case notes <- e:
			default: // the server is out of reach for several restarts
			}
		}
		if cfg.OnEvent != nil {
			cfg.OnEvent(e)
		}
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Session{Agent: agent, cancel: cancel, err: make(chan error, 1)}
	run := func(f func() error) {
		s.group.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				select {
				case s.err <- err:
				default:
				}
			}
		})
	}
	run(func() error { return s.report(ctx, cfg, notes) })
	run(func() error {
		return cfg.Mailbox.listen(ctx, func(m Message) error { return s.hear(m, cfg.OnRemote) })
	})
	return s, nil
}

// Failed gives why signalling has failed; the agent goes on.
func (s *Session) Failed() <-chan error { return s.err }

// Close ends signalling and the agent, and waits.
func (s *Session) Close() {
	s.cancel()
	s.group.Wait()
	s.Agent.Close()
}

// report tells the other side what there is to tell.
func (s *Session) report(ctx context.Context, cfg Config, notes <-chan sansio.Event) error {
	local, err := s.Local()
	if err != nil {
		return err
	}
	credentials := func() error {
		return cfg.Mailbox.tell(ctx, Message{Ufrag: local.Ufrag, Password: local.Password, Options: local.Options})
	}
	candidate := func(c ice.Candidate) error {
		c.Ufrag = local.Ufrag
		return cfg.Mailbox.tell(ctx, Message{Candidate: c.String()})
	}
	var waiting []ice.Candidate // for the end of candidates
	if cfg.Trickle {
		err = credentials()
	}
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case e := <-notes:
			switch e := e.(type) {
			case ice.Restarted:
				local, waiting = e.Local, nil
				if cfg.Trickle {
					err = credentials()
				}
			case ice.Gathered:
				if cfg.Trickle {
					err = candidate(e.Candidate)
				} else {
					waiting = append(waiting, e.Candidate)
				}
			case ice.GatheringDone:
				if !cfg.Trickle {
					err = credentials()
				}
				for _, c := range waiting {
					err = errors.Join(err, candidate(c))
				}
				err = errors.Join(err, cfg.Mailbox.tell(ctx, Message{Complete: true}))
			}
		}
	}
	return err
}

// hear takes a message of the other side's. What is of no use is left out.
func (s *Session) hear(m Message, onRemote func()) error {
	var err error
	switch {
	case m.Ufrag != "":
		if onRemote != nil {
			onRemote()
		}
		err = s.SetRemote(ice.Description{Ufrag: m.Ufrag, Password: m.Password, Options: m.Options, Lite: m.Lite})
	case m.Candidate != "":
		var c ice.Candidate
		if c, err = ice.ParseCandidate(m.Candidate); err == nil {
			err = s.AddRemote(c)
		}
	case m.Complete:
		err = s.EndOfCandidates()
	}
	for _, late := range []error{ice.ErrUnsupported, ice.ErrNoRemote, ice.ErrConsent, ice.ErrNoPath} {
		if errors.Is(err, late) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("what the other side says: %w", err)
	}
	return nil
}
