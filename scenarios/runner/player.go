package runner

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/login"
	"p2pmodel/core/shard/player"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

const (
	// mode is what the rooms of a lab play.
	mode = "lab"
	// matchSeconds outlives any scenario.
	matchSeconds = 3600
	tokenLife    = time.Hour
	// loginPatience is how long players may take to be in a running match, beside
	// the time for their peers: Agents let clients of one address in slowly.
	loginPatience = 20 * time.Second
)

// session is a player's end of an Agent.
type session struct {
	client *client.Client
	player *player.Player
	cancel context.CancelFunc
	ended  chan struct{} // closed when the player has stopped

	// Guarded by the actor's lock.
	ids     []string // of the session at the Agents, distinct, in order
	absent  []outage
	running bool   // the match has begun
	at      string // the rendezvous that it was told last, IP:PORT
}

// outage is a time without an Agent; until is zero while it lasts.
type outage struct {
	from, until time.Time
	agent       string // the one that it was resumed at
	err         error
}

func (o outage) String() string {
	if o.until.IsZero() {
		return fmt.Sprintf("gone without return: %v", o.err)
	}
	return fmt.Sprintf("away for %v, resumed at %s: %v", o.until.Sub(o.from).Round(time.Millisecond), o.agent, o.err)
}

// outages are those that began in a stretch of time.
func (a *actor) outages(from, to time.Time) (all []outage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.session.absent {
		if !o.from.Before(from) && o.from.Before(to) {
			all = append(all, o)
		}
	}
	return all
}

// accounts are the distinct ids of the player's session at the Agents.
func (a *actor) accounts() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.session.ids)
}

// clientConfig is what clients on a host need: its network, the authority that signed the
// Agents' certificates, and a fresh token each time.
func (y *system) clientConfig(h sim.RunningHost, name string, first int) client.Config {
	endpoints := slices.Clone(y.endpoints)
	first %= len(endpoints)
	return client.Config{
		Endpoints: append(endpoints[first:], endpoints[:first]...),
		TLS:       &tls.Config{RootCAs: y.authorities},
		Dial:      h.Dial,
		Credential: func(context.Context) (*agentv1.LoginRequest, error) {
			token, err := login.Sign(y.accountKey, login.Grant{Player: name, Rating: 1000, Expires: time.Now().Add(tokenLife)})
			if err != nil {
				return nil, err
			}
			return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: token}}, nil
		},
	}
}

// startPlayers logs all players in, lets them into their rooms, has them ready, and
// waits until each has a peer that is registered at the rendezvous of the room's
// shard, or until it is clear that it will not be. What is to be done before the
// peers start is done when all rooms have been entered: a shard takes no room while
// it knows that its relay is cut.
func (s *stage) startPlayers(ctx context.Context, first *phase, noPunching bool) error {
	for i, p := range s.v.scenario.Peers {
		if err := s.logIn(ctx, i, p, noPunching); err != nil {
			return fmt.Errorf("player %s on host %s: %w", p.Name, p.Host, err)
		}
	}
	for _, r := range s.v.scenario.Rooms {
		if err := s.gather(ctx, r); err != nil {
			return fmt.Errorf("room %s: %w", r.Name, err)
		}
	}
	if err := s.launch(ctx, first); err != nil {
		return err
	}
	for _, r := range s.v.scenario.Rooms {
		for _, name := range r.Peers {
			if err := s.actors[name].session.player.SetReady(ctx, true); err != nil {
				return fmt.Errorf("room %s: %s is ready: %w", r.Name, name, err)
			}
		}
	}
	limit := s.net.Now().Add(loginPatience)
	for _, p := range s.v.scenario.Peers {
		a := s.actors[p.Name]
		if !a.wait(ctx, until(s.net.Now(), limit), func() bool { return a.session.running }) {
			return errors.Join(ctx.Err(), fmt.Errorf("player %s: its match had not begun after %v", p.Name, loginPatience))
		}
	}
	limit = s.net.Now().Add(s.patience())
	for _, p := range s.v.scenario.Peers {
		a := s.actors[p.Name]
		if !a.wait(ctx, until(s.net.Now(), limit), func() bool { return a.registered }) {
			s.log.add(s.net.Now(), a.name, fmt.Sprintf("did not register at the rendezvous within %v", s.patience()))
		}
	}
	return ctx.Err()
}

// logIn makes a player and logs it in.
func (s *stage) logIn(ctx context.Context, i int, p scenarios.Peer, noPunching bool) error {
	h, err := s.net.Host(p.Host)
	if err != nil {
		return err
	}
	key, err := identity.NewKey(s.source("key of " + p.Name))
	if err != nil {
		return err
	}
	a := newActor(p, key.ID(), s.net)
	s.actors[p.Name], s.byID[key.ID()] = a, p.Name
	changes := player.NewChanges()
	cfg := s.system.clientConfig(h, p.Name, i)
	cfg.Notify = func(c client.Change) {
		s.fares(a, c)
		changes.Notify(c)
	}
	a.session = &session{ended: make(chan struct{})}
	if a.session.client, err = client.New(cfg); err != nil {
		return err
	}
	got, err := a.session.client.Login(ctx)
	if err != nil {
		return errors.Join(err, a.session.client.Close())
	}
	s.log.add(s.net.Now(), a.name, fmt.Sprintf("logged in at %s, session %s", a.session.client.Endpoint(), got.Id))
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.session.cancel = cancel
	a.session.player, err = player.New(player.Config{
		Agent: a.session.client, Changes: changes, Key: key, Rand: s.source("peer " + p.Name),
		Peer:    peer.Config{Keepalive: s.v.settings.Keepalive, Techniques: techniques(s.v.techniques, noPunching)},
		Start:   s.starter(a, h),
		OnEvent: func(at time.Time, e player.Event) { s.hear(a, at, e) },
	})
	if err != nil {
		cancel()
		return errors.Join(err, a.session.client.Close())
	}
	go func() {
		defer close(a.session.ended)
		if err := a.session.player.Run(run); err != nil {
			s.log.add(s.net.Now(), a.name, "the session ended: "+err.Error())
		}
	}()
	return nil
}

// starter runs the peer of a player with something to say on its host.
func (s *stage) starter(a *actor, h sim.RunningHost) player.Start {
	return func(ctx context.Context, m *peer.Machine, onEvent func(at time.Time, e sansio.Event)) (player.Runner, error) {
		if a.machine != nil {
			return nil, errors.New("the match began anew: the laboratory follows one match of a player")
		}
		a.agent = &agent{
			Machine: m, name: a.name,
			interval: s.v.settings.Interval, size: s.v.settings.Size,
			random: rand.New(s.source("payload of " + a.name)),
			names:  s.byID, quiet: true,
			links: map[identity.ID]*conversation{},
		}
		running, err := h.Run(ctx, a.agent, func(at time.Time, e sansio.Event) {
			s.observe(a, at, e)
			switch e.(type) {
			case heard, stood: // ours
			default:
				onEvent(at, e)
			}
		})
		if err != nil {
			return nil, err
		}
		a.machine = running
		a.mu.Lock()
		a.session.running = true
		a.stir()
		a.mu.Unlock()
		return running, nil
	}
}

// gather lets the players of a room into it.
func (s *stage) gather(ctx context.Context, r scenarios.Room) error {
	n := uint32(len(r.Peers))
	room, err := s.actors[r.Peers[0]].session.player.CreateRoom(ctx, &agentv1.RoomSettings{
		Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: r.Name, Mode: mode, Capacity: n, MinPlayers: n, MatchSeconds: matchSeconds,
	})
	if err != nil {
		return fmt.Errorf("%s creates it: %w", r.Peers[0], err)
	}
	s.log.add(s.net.Now(), r.Peers[0], fmt.Sprintf("created room %s: %s", r.Name, room.Id))
	for _, name := range r.Peers[1:] {
		if _, err := s.actors[name].session.player.EnterRoom(ctx, room.Id); err != nil {
			return fmt.Errorf("%s enters it: %w", name, err)
		}
	}
	return nil
}

// fares notes how a player's session fares.
func (s *stage) fares(a *actor, c client.Change) {
	now := s.net.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.session
	switch c.State {
	case client.Away, client.Ended:
		if n := len(k.absent); n == 0 || !k.absent[n-1].until.IsZero() {
			k.absent = append(k.absent, outage{from: now, err: c.Err})
		}
	case client.Resumed:
		if n := len(k.absent); n > 0 {
			k.absent[n-1].until, k.absent[n-1].agent = now, c.Endpoint
		}
	}
	if got := k.client.Session(); got != nil && !slices.Contains(k.ids, got.Id) {
		k.ids = append(k.ids, got.Id)
	}
	text := fmt.Sprintf("session at the Agents: %v %s", c.State, c.Endpoint)
	if c.Err != nil {
		text += ": " + c.Err.Error()
	}
	s.log.add(now, a.name, text)
	a.stir()
}

// hear logs what a player says, and makes its payload known to nobody: who heard
// what is judged by the wire.
func (s *stage) hear(a *actor, at time.Time, e player.Event) {
	switch e := e.(type) {
	case player.Started:
		a.told(e.Rendezvous)
		s.log.add(at, a.name, fmt.Sprintf("has a ticket for mesh %s, rendezvous %s, relay %s", e.Mesh, e.Rendezvous, e.Relay))
	case player.Moved:
		a.told(e.Rendezvous)
		s.log.add(at, a.name, fmt.Sprintf("room moved (%s): mesh %s, rendezvous %s, after %v", e.Reason, e.Mesh, e.Rendezvous, e.After.Round(time.Millisecond)))
	case player.Failed:
		s.log.add(at, a.name, fmt.Sprintf("%s failed: %v", e.What, e.Err))
	case player.Ended:
		s.log.add(at, a.name, "match ended: "+e.Reason)
	case player.Left:
		s.log.add(at, a.name, "left the room: "+e.Reason)
	}
}

func (a *actor) told(rendezvous string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session.at = rendezvous
}

// leave ends a player.
func (a *actor) leave() error {
	k := a.session
	k.cancel()
	<-k.ended
	return k.client.Close()
}
