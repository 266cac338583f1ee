package play

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/player"
)

// session is one player from login to logout.
type session struct {
	agent  *measured
	player *player.Player
	game   *game
	ready  bool
	cancel context.CancelFunc
	ended  chan struct{} // closed when the player has ended
	err    error         // why, once ended is closed
}

// farewell bounds what is said at the end: finish, log out.
const farewell = 1200 * time.Millisecond

// open logs the i-th player in. It tries until the options' time is over or the
// credential is refused.
func open(ctx context.Context, o *Options, i int, seed uint64, m *measures, handle func(at time.Time, e player.Event)) (*session, error) {
	account := o.Account(i)
	changes := player.NewChanges()
	cfg := client.Config{Endpoints: o.Agents, TLS: o.TLS, Credential: account.Credential, Notify: changes.Notify}
	if o.Dial != nil {
		cfg.Dial = o.Dial(i)
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	agent := &measured{Client: c, measures: m}
	s := &session{agent: agent, ready: o.Ready, ended: make(chan struct{})}
	patience, cancel := context.WithTimeout(ctx, o.LoginTimeout)
	defer cancel()
	name, err := agent.login(patience)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("log in as %s: %w", account.Name, err)
	}
	s.game = newGame(time.Now(), name, seed)
	key := o.Key
	if key.IsZero() || i > 0 {
		if key, err = identity.NewKey(rand.Reader); err != nil {
			c.Close()
			return nil, err
		}
	}
	s.player, err = player.New(player.Config{
		Agent: agent, Changes: changes, Key: key, Rand: rand.Reader, Peer: o.Peer, Start: o.Start,
		OnEvent: func(at time.Time, e player.Event) {
			s.game.event(at, e)
			m.event(e)
			if handle != nil {
				handle(at, e)
			}
		},
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = stop
	go func() {
		defer close(s.ended)
		s.err = s.player.Run(run)
	}()
	return s, nil
}

// enter goes where the options say.
func (s *session) enter(ctx context.Context, o *Options) error {
	switch {
	case o.Room != "":
		return s.join(ctx, o.Room)
	case o.Create:
		return s.create(ctx, o.Settings)
	case o.Quick:
		_, err := s.player.QuickMatch(ctx, &agentv1.QuickMatchRequest{Mode: o.Settings.Mode, Players: o.Settings.Capacity})
		if err != nil {
			return fmt.Errorf("quick match: %w", err)
		}
		return nil
	}
	return s.anywhere(ctx, o.Settings)
}

func (s *session) join(ctx context.Context, room string) error {
	r, err := s.player.EnterRoom(ctx, room)
	if err != nil {
		return fmt.Errorf("join room %s: %w", room, err)
	}
	if r.State == agentv1.RoomState_ROOM_STATE_PLAYING {
		return nil // we are in the match already
	}
	return s.setReady(ctx)
}

func (s *session) create(ctx context.Context, settings *agentv1.RoomSettings) error {
	if _, err := s.player.CreateRoom(ctx, settings); err != nil {
		return fmt.Errorf("create a room: %w", err)
	}
	return s.setReady(ctx)
}

func (s *session) setReady(ctx context.Context) error {
	if !s.ready {
		return nil
	}
	err := s.player.SetReady(ctx, true)
	if connect.CodeOf(err) == connect.CodeFailedPrecondition {
		return nil // the match has begun meanwhile
	}
	if err != nil {
		return fmt.Errorf("be ready: %w", err)
	}
	return nil
}

// anywhere joins a room of the mode that has a place, or makes one.
func (s *session) anywhere(ctx context.Context, settings *agentv1.RoomSettings) error {
	list, err := s.agent.ListRooms(ctx, &agentv1.ListRoomsRequest{Mode: settings.Mode})
	if err != nil {
		return fmt.Errorf("list rooms: %w", err)
	}
	for _, r := range list.Rooms {
		err := s.join(ctx, r.Id)
		switch connect.CodeOf(err) {
		case connect.CodeNotFound, connect.CodeFailedPrecondition, connect.CodeResourceExhausted:
			continue // somebody was faster, or it is over
		}
		return err
	}
	return s.create(ctx, settings)
}

// stop ends it in order: it gives its account of the match, says farewell to
// peers, logs out, which leaves the room, and closes the connection. It waits for
// answers no longer than ctx.
func (s *session) stop(ctx context.Context) error {
	if s.game.playing() {
		// Whether the record has it matters to nobody who quits.
		_ = s.player.Finish(ctx, s.game.result())
	}
	s.cancel()
	<-s.ended
	err := s.agent.logout(ctx)
	if errors.Is(err, client.ErrEnded) || errors.Is(err, client.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.agent.Close())
}

// quit is stop for one who has no more time than farewell.
func (s *session) quit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	return s.stop(ctx)
}
