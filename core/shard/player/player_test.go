package player_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/player"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// simulate runs f in simulated time.
func simulate(t *testing.T, f func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newHouse(t)) })
}

// play has players enter the room and the match start, and waits until all are
// connected.
func (h *house) play(t *testing.T, names ...string) (guests []*guest) {
	t.Helper()
	for i, name := range names {
		g := h.guest(name, "10.0.9."+string(rune('1'+i)))
		guests = append(guests, g)
		if _, err := g.player.EnterRoom(context.Background(), room); err != nil {
			t.Fatalf("%s enters: %v", name, err)
		}
	}
	h.start()
	until(t, 10*time.Second, "all connected", connected(guests...), guests...)
	return guests
}

func TestAMatchConnectsItsPlayers(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob", "carl")
		for _, g := range guests {
			if n := len(events[player.PeerUp](g)); n != 2 {
				t.Errorf("%s: %d peers came up, want 2%s", g.name, n, g.history())
			}
			for _, l := range g.player.Links() {
				if l.RTT < 10*time.Millisecond || l.RTT > 12*time.Millisecond || l.Session.IsZero() {
					t.Errorf("%s to %s: %+v; want a session, and twice the delay of 5 ms", g.name, l.Player, l)
				}
			}
		}
		sent := guests[0].player.Send(func(_ time.Time, to string) []byte { return []byte("hello " + to) })
		time.Sleep(time.Second)
		for _, g := range guests[1:] {
			got := events[player.Received](g)
			if sent != 2 || len(got) != 1 || got[0].Player != "ann" || string(got[0].Payload) != "hello "+g.name {
				t.Errorf("ann has sent %d, %s has %+v", sent, g.name, got)
			}
		}
	})
}

func TestReportsTellConnectionsOnChangeAndAtIntervals(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob")
		time.Sleep(time.Second)
		h.mu.Lock()
		before := h.reached["ann"]
		want := agentv1.Connection{Player: "bob", Path: agentv1.PathKind_PATH_KIND_DIRECT, RttMs: 11}
		if got := h.reports["ann"]; len(got) != 1 || got[0].Player != want.Player || got[0].Path != want.Path || got[0].RttMs < 10 || got[0].RttMs > want.RttMs {
			t.Errorf("a second after the start ann has reported %v, want about %v", got, &want)
		}
		h.mu.Unlock()
		time.Sleep(30 * time.Second)
		h.mu.Lock()
		if n := h.reached["ann"] - before; n < 9 || n > 11 {
			t.Errorf("%d reports in 30 s without changes, want one each 3 s", n)
		}
		h.mu.Unlock()
		guests[1].host.unplug(true)
		until(t, 15*time.Second, "bob reported lost", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			got := h.reports["ann"]
			return len(got) == 1 && got[0].Path == agentv1.PathKind_PATH_KIND_NONE
		}, guests...)
		lost := events[player.PathLost](guests[0])
		if len(lost) == 0 || lost[0].Player != "bob" {
			t.Errorf("no path was lost%s", guests[0].history())
		}
	})
}

func TestTicketsAreRenewedInTime(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob")
		session := guests[0].player.Links()[0].Session
		h.mu.Lock()
		before := h.tickets["ann"]
		h.mu.Unlock()
		time.Sleep(5 * h.life)
		h.mu.Lock()
		got := h.tickets["ann"] - before
		h.mu.Unlock()
		if got < 7 || got > 9 { // a ticket each 40 s, and 5 minutes
			t.Errorf("%d tickets in five lives of one, want one each two thirds", got)
		}
		if n := len(events[player.Renewed](guests[0])); n < 7 {
			t.Errorf("%d renewals%s", n, guests[0].history())
		}
		// The rendezvous knows them still: a third one is introduced.
		carl := h.guest("carl", "10.0.9.9")
		if _, err := carl.player.EnterRoom(context.Background(), room); err != nil {
			t.Fatal(err)
		}
		all := append(guests, carl)
		until(t, 10*time.Second, "connected with one who came late", connected(all...), all...)
		if now := guests[0].player.Links()[0].Session; now != session {
			t.Errorf("ann and bob have another session than %v: %v", session, now)
		}
	})
}

func TestWhatWasMissedIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		name      string
		meanwhile func(h *house)
		want      func(h *house, ann *guest) bool
	}{
		{"another one joined the mesh", func(h *house) {
			id := keyOf("dora").ID()
			h.peers = append(h.peers, &agentv1.Peer{Player: "dora", PeerId: id[:]})
		}, func(_ *house, ann *guest) bool {
			links := ann.player.Links()
			return len(links) == 2 && links[1].Player == "dora"
		}},
		{"the match ended", func(h *house) {
			h.room.State = agentv1.RoomState_ROOM_STATE_ENDED
			h.room.Revision++
		}, func(_ *house, ann *guest) bool {
			return len(events[player.Ended](ann)) == 1 && len(events[player.Stopped](ann)) == 1
		}},
		{"the room is gone", func(h *house) { h.room = nil }, func(_ *house, ann *guest) bool {
			return len(events[player.Left](ann)) == 1 && ann.player.Room() == nil && len(events[player.Stopped](ann)) == 1
		}},
		{"the room moved", func(h *house) {
			h.mu.Unlock()
			h.serve("10.0.0.3")
			h.mu.Lock()
			h.room.Revision = 1
		}, func(_ *house, ann *guest) bool { return len(events[player.Moved](ann)) == 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, func(t *testing.T, h *house) {
				ann := h.play(t, "ann", "bob")[0]
				h.lose(4*time.Second, func() { c.meanwhile(h) })
				until(t, 5*time.Second, "known", func() bool { return c.want(h, ann) }, ann)
			})
		})
	}
}

func TestOverflowHasEverythingAskedAnew(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		ann := h.play(t, "ann", "bob")[0]
		h.mu.Lock()
		h.room.Settings.Title = "another title"
		h.room.Revision++
		id := keyOf("dora").ID()
		h.peers = append(h.peers, &agentv1.Peer{Player: "dora", PeerId: id[:]})
		ann.events <- &agentv1.Event{Kind: &agentv1.Event_Overflow{Overflow: &agentv1.Overflow{Missed: 2}}}
		h.mu.Unlock()
		until(t, 5*time.Second, "known", func() bool {
			return len(ann.player.Links()) == 2 && ann.player.Room().Settings.Title == "another title"
		}, ann)
	})
}

// Events may get lost on the way from a shard to an Agent, and nobody knows: what
// the game server says to a report tells.
func TestReportsFindOutWhatEventsDidNotTell(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob")
		time.Sleep(10 * time.Second)
		asked := func() int {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.tickets["ann"]
		}
		tickets := asked()
		h.serve("10.0.0.2") // another shard has the room: no event
		until(t, 2*player.DefaultReportEvery, "moved", func() bool {
			return len(events[player.Moved](guests[0])) == 1 && len(events[player.Moved](guests[1])) == 1
		}, guests...)
		h.mu.Lock()
		id := keyOf("dora").ID()
		h.peers = append(h.peers, &agentv1.Peer{Player: "dora", PeerId: id[:]}) // no event either
		h.mu.Unlock()
		until(t, 2*player.DefaultReportEvery, "dora known", func() bool {
			return len(guests[0].player.Links()) == 2 && len(guests[1].player.Links()) == 2
		}, guests...)
		time.Sleep(time.Minute)
		if n := asked() - tickets; n > 3 {
			t.Errorf("ann asked for %d tickets, want one for each change and no more", n)
		}
	})
}

func TestAPlayerWhoComesBackWithAnotherPeer(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob")
		ann, bob := guests[0], guests[1]
		bob.host.unplug(true) // says no farewell
		bob.stop()
		time.Sleep(time.Second)
		bob.host.unplug(false)
		again := h.guest("bob", "10.0.9.7", func(c *player.Config) { c.Key = keyOf("bob's other key") })
		if _, err := again.player.EnterRoom(context.Background(), room); err != nil {
			t.Fatal(err)
		}
		until(t, 10*time.Second, "connected with the other peer", connected(ann, again), ann, again)
		down := events[player.PeerDown](ann)
		if len(down) != 1 || down[0].Player != "bob" || !errors.Is(down[0].Err, peer.ErrNotAllowed) {
			t.Errorf("the session with the former peer: %+v, want it ended as not allowed any more", down)
		}
		if links := ann.player.Links(); len(links) != 1 || links[0].Peer != keyOf("bob's other key").ID() {
			t.Errorf("links %+v, want one, with the other peer", links)
		}
	})
}

func TestTicketsAreAskedForUntilGiven(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		ann, bob := h.guest("ann", "10.0.9.1"), h.guest("bob", "10.0.9.2")
		for _, g := range []*guest{ann, bob} {
			if _, err := g.player.EnterRoom(context.Background(), room); err != nil {
				t.Fatal(err)
			}
		}
		h.mu.Lock()
		h.refuse = connect.NewError(connect.CodeUnavailable, errors.New("the shard has no lease"))
		h.mu.Unlock()
		h.start()
		time.Sleep(30 * time.Second)
		if n := len(events[player.Failed](ann)); n < 8 || n > 12 {
			t.Errorf("%d attempts in 30 s, want some, with longer and longer waits%s", n, ann.history())
		}
		h.mu.Lock()
		h.refuse = nil
		h.mu.Unlock()
		until(t, 10*time.Second, "connected", connected(ann, bob), ann, bob)
	})
}

// TestAPeerThatCannotStart is a port that is taken: the player tries again.
func TestAPeerThatCannotStart(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		local := netip.MustParseAddrPort("10.0.9.1:7000")
		taken, err := h.net.host("10.0.9.1").ListenPacket(t.Context(), "udp4", local.String())
		if err != nil {
			t.Fatal(err)
		}
		ann := h.guest("ann", "10.0.9.1", func(c *player.Config) { c.Peer.Listen = local })
		bob := h.guest("bob", "10.0.9.2")
		for _, g := range []*guest{ann, bob} {
			if _, err := g.player.EnterRoom(t.Context(), room); err != nil {
				t.Fatal(err)
			}
		}
		h.start()
		time.Sleep(10 * time.Second)
		stopped := events[player.Stopped](ann)
		if len(stopped) < 3 || stopped[0].Err == nil {
			t.Errorf("stopped %+v, want several attempts, and why%s", stopped, ann.history())
		}
		taken.Close()
		until(t, 10*time.Second, "connected", connected(ann, bob), ann, bob)
	})
}

func TestTheSessionsEndIsThePlayers(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		ann := h.play(t, "ann", "bob")[0]
		ann.closed = client.ErrEnded
		close(ann.events)
		until(t, time.Second, "ended", func() bool { return len(events[player.Stopped](ann)) == 1 }, ann)
		if err := ann.stop(); !errors.Is(err, client.ErrEnded) {
			t.Errorf("Run: %v, want why the session has ended", err)
		}
		if _, err := ann.player.EnterRoom(t.Context(), room); !errors.Is(err, player.ErrEnded) {
			t.Errorf("a request after the end: %v", err)
		}
	})
}

func TestConfig(t *testing.T) {
	good := player.Config{Agent: &guest{}, Changes: player.NewChanges(), Key: keyOf("ann"), Rand: random("ann")}
	for name, change := range map[string]func(c *player.Config){
		"no Agent":   func(c *player.Config) { c.Agent = nil },
		"no Changes": func(c *player.Config) { c.Changes = nil },
		"no key":     func(c *player.Config) { c.Key = identity.Key{} },
		"no Rand":    func(c *player.Config) { c.Rand = nil },
		"reports":    func(c *player.Config) { c.ReportEvery = -1 },
	} {
		c := good
		change(&c)
		if _, err := player.New(c); !errors.Is(err, player.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err := player.New(good)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := p.Run(ctx); !errors.Is(err, player.ErrEnded) {
		t.Errorf("a second Run: %v", err)
	}
}
