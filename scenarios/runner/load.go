package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// load are clients that keep asking: real sessions at the Agents, in rooms whose
// matches run, without peers.
type load struct {
	y    *system
	spec *scenarios.ClientLoad
	host sim.RunningHost
	now  func() time.Time

	workers sync.WaitGroup
	cancel  context.CancelFunc

	mu       sync.Mutex
	clients  []*client.Client
	requests []request
}

// startLoad logs its clients in, starts their matches and lets them ask. A control
// has a load only if it expects something of it: one without a relay would end with
// a shard that notices and opens no room for it.
func (s *stage) startLoad(ctx context.Context) error {
	spec := s.v.scenario.Load
	expected := slices.ContainsFunc(s.v.phases, func(p scenarios.Phase) bool { return p.Expect.Load != nil })
	if spec == nil || s.v.control() && !expected {
		return nil
	}
	h, err := s.net.Host(spec.Host)
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &load{y: s.system, spec: spec, host: h, now: s.net.Now, cancel: cancel}
	s.system.load = l
	began := s.net.Now()
	for i := range spec.Rooms {
		pair, err := l.pair(ctx, i)
		if err != nil {
			return fmt.Errorf("load from host %s: %w", spec.Host, err)
		}
		room, shard, err := l.begin(ctx, pair)
		if err != nil {
			return fmt.Errorf("load from host %s: room %d: %w", spec.Host, i, err)
		}
		for n, c := range pair {
			l.workers.Go(func() { l.keepAsking(run, c, room, shard, n) })
		}
	}
	if spec.Fresh > 0 {
		pair, err := l.pair(ctx, spec.Rooms)
		if err != nil {
			return fmt.Errorf("load from host %s: %w", spec.Host, err)
		}
		l.workers.Go(func() { l.keepMaking(run, pair) })
	}
	s.log.add(s.net.Now(), "load", fmt.Sprintf("%d rooms play after %v", spec.Rooms, s.net.Now().Sub(began).Round(time.Millisecond)))
	return nil
}

// pair logs two clients in.
func (l *load) pair(ctx context.Context, i int) (pair [2]*client.Client, err error) {
	for n := range pair {
		c, err := client.New(l.y.clientConfig(l.host, fmt.Sprintf("load-%d-%d", i, n), i))
		if err != nil {
			return pair, err
		}
		l.mu.Lock()
		l.clients = append(l.clients, c)
		l.mu.Unlock()
		pair[n] = c
		if _, err := c.Login(ctx); err != nil {
			return pair, err
		}
		// Nobody reads the events of a client that only asks.
		l.workers.Go(func() {
			for range c.Events() {
			}
		})
	}
	return pair, nil
}

// begin makes a room whose match runs, and says which shard has it.
func (l *load) begin(ctx context.Context, pair [2]*client.Client) (room, shard string, err error) {
	made, err := pair[0].CreateRoom(ctx, &agentv1.RoomSettings{
		Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "load", Mode: mode, Capacity: 2, MinPlayers: 2, MatchSeconds: matchSeconds,
	})
	if err != nil {
		return "", "", fmt.Errorf("create: %w", err)
	}
	if _, err := pair[1].JoinRoom(ctx, made.Id); err != nil {
		return made.Id, "", fmt.Errorf("join: %w", err)
	}
	for _, c := range pair {
		if _, err := c.SetReady(ctx, made.Id, true); err != nil {
			return made.Id, "", fmt.Errorf("ready: %w", err)
		}
	}
	shard, err = l.ticket(ctx, pair[0], made.Id, 0)
	return made.Id, shard, err
}

// ticket asks for a ticket, and reads from its rendezvous which shard gave it.
func (l *load) ticket(ctx context.Context, c *client.Client, room string, n int) (shard string, err error) {
	id := make([]byte, 32)
	copy(id, fmt.Sprintf("%d %s", n, room))
	t, err := c.PlayTicket(ctx, room, id)
	if err != nil {
		return "", fmt.Errorf("ticket: %w", err)
	}
	at, err := netip.ParseAddrPort(t.Rendezvous)
	if err != nil {
		return "", fmt.Errorf("ticket: %w", err)
	}
	return l.y.shardAt(at.Addr()), nil
}

// keepAsking sends one request after the other about a room until ctx ends: each
// at its time, or at once where the one before took longer.
func (l *load) keepAsking(ctx context.Context, c *client.Client, room, shard string, n int) {
	ask := []struct {
		what string
		f    func() error
	}{
		{"GetRoom", func() error { _, err := c.GetRoom(ctx, room); return err }},
		{"GetMatch", func() error { _, err := c.GetMatch(ctx, room); return err }},
		{"Report", func() error { _, err := c.Report(ctx, room, nil); return err }},
		{"PlayTicket", func() error {
			now, err := l.ticket(ctx, c, room, n)
			if err == nil {
				shard = now
			}
			return err
		}},
	}
	tick := time.NewTicker(l.spec.Every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r := request{at: l.now(), what: ask[i%len(ask)].what, shard: shard}
		r.err = ask[i%len(ask)].f()
		l.note(ctx, r)
	}
}

// keepMaking makes one room after the other and leaves it.
func (l *load) keepMaking(ctx context.Context, pair [2]*client.Client) {
	tick := time.NewTicker(l.spec.Fresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r := request{at: l.now(), what: "a new room", fresh: true}
		var room string
		room, r.shard, r.err = l.begin(ctx, pair)
		l.note(ctx, r)
		for _, c := range pair {
			if room == "" {
				continue
			}
			r := request{at: l.now(), what: "LeaveRoom", shard: r.shard}
			r.err = c.LeaveRoom(ctx, room)
			l.note(ctx, r)
		}
	}
}

// note keeps a request that has ended; one that we ended ourselves says nothing.
func (l *load) note(ctx context.Context, r request) {
	if ctx.Err() != nil {
		return
	}
	r.took = l.now().Sub(r.at)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, r)
}

func (l *load) summary(begin, end time.Time, excused []string) summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	return summarize(l.requests, begin, end, excused)
}

// stop ends all clients and waits for them.
func (l *load) stop() error {
	l.cancel()
	l.mu.Lock()
	clients := l.clients
	l.mu.Unlock()
	var errs []error
	for _, c := range clients {
		errs = append(errs, c.Close())
	}
	l.workers.Wait()
	return errors.Join(errs...)
}
