package play

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"p2pmodel/core/shard/player"
)

// Terminal plays in a terminal until somebody quits, ctx or the duration ends.
func Terminal(ctx context.Context, o *Options, in io.Reader) error {
	ctx, cancel := limited(ctx, o.Duration)
	defer cancel()
	s, err := open(ctx, o, 0, 0, newMeasures(), nil)
	if err != nil {
		return err
	}
	entered := make(chan struct{})
	go func() { // the terminal is there at once
		defer close(entered)
		if err := s.enter(ctx, o); err != nil && ctx.Err() == nil {
			s.game.note(time.Now(), err.Error(), lineBad)
		}
	}()
	ticking := s.tick(ctx)
	go func() {
		select {
		case <-s.ended:
			s.game.note(time.Now(), "the session is over: "+reason(s.err), lineBad)
		case <-ctx.Done():
		}
	}()
	err = terminal(ctx, s.game, func(text string) {
		if err := s.player.Say(ctx, text); err != nil && ctx.Err() == nil {
			s.game.note(time.Now(), "not said: "+err.Error(), lineBad)
		}
	}, in, o.Out)
	cancel()
	<-entered
	<-ticking
	return errors.Join(err, s.quit(ctx))
}

// linesEvery is how often Lines tells of links.
const linesEvery = time.Second

// Lines plays by itself, wandering about, and prints what happens, a line each,
// until ctx, the duration or the match ends.
func Lines(ctx context.Context, o *Options) error {
	ctx, cancel := limited(ctx, o.Duration)
	defer cancel()
	p := &printer{json: o.JSON, out: o.Out}
	s, err := open(ctx, o, 0, 1, newMeasures(), func(at time.Time, e player.Event) { p.event(at, e) })
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ticking := s.tick(ctx)
	err = s.enter(ctx, o)
	ticker := time.NewTicker(linesEvery)
	defer ticker.Stop()
	for err == nil {
		select {
		case <-ticker.C:
			p.links(time.Now(), s.game.scene(time.Now()))
			continue
		case <-s.ended:
			err = fmt.Errorf("the session is over: %w", s.err)
		case <-s.game.over:
		case <-ctx.Done():
		}
		break
	}
	if ctx.Err() != nil {
		err = nil // whatever failed, it was to end
	}
	cancel()
	<-ticking
	p.links(time.Now(), s.game.scene(time.Now()))
	err = errors.Join(err, s.quit(ctx))
	p.record(time.Now(), "done", attr{"error", errorText(err)})
	return err
}

// tick runs the game until ctx ends; the channel is closed then.
func (s *session) tick(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.game.run(ctx, s.player)
	}()
	return done
}

// limited is ctx, for no longer than d if that is not 0.
func limited(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
