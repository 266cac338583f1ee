package play

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/field"
	"p2pmodel/core/shard/player"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire joins the games of a test: what one sends, the others get 30 ms later.
type wire struct {
	mu    sync.Mutex
	games map[string]*game
	cut   map[string]bool
}

// end is a game's end of a wire.
type end struct {
	*wire
	own string
}

func (w *end) Send(payload func(now time.Time, to string) []byte) (sent int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, g := range w.games {
		if name == w.own {
			continue
		}
		sent++
		b := payload(time.Now(), name)
		if w.cut[name] || w.cut[w.own] {
			continue
		}
		time.AfterFunc(30*time.Millisecond, func() {
			g.event(time.Now(), player.Received{Player: w.own, Payload: b, Via: peer.Direct})
		})
	}
	return sent
}

var direct = peer.Path{Kind: peer.Direct, Local: netip.MustParseAddrPort("10.0.0.1:1"), Remote: netip.MustParseAddrPort("10.0.0.2:2")}

func (w *end) Links() (links []player.Link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.games {
		if name != w.own {
			links = append(links, player.Link{Player: name, Path: direct, RTT: time.Second})
		}
	}
	return links
}

// TestGamesSeeEachOther lets three wander about in simulated time, one of whom is
// not heard for a while.
func TestGamesSeeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"ann", "bob", "carl"}
		w := &wire{games: map[string]*game{}, cut: map[string]bool{}}
		peers := map[string]identity.ID{}
		for i, name := range names {
			w.games[name] = newGame(time.Now(), name, uint64(i))
			peers[name] = identity.ID{byte(i + 1)}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for name, g := range w.games {
			g.event(time.Now(), player.Started{Room: "r"})
			for _, other := range names {
				if other != name {
					g.event(time.Now(), player.PeerUp{Player: other, Path: direct})
				}
			}
			running.Go(func() { g.run(ctx, &end{w, name}) })
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		ann := w.games["ann"].scene(time.Now())
		if len(ann.rows) != 2 || len(ann.figures) != 3 || ann.figures[2].Player != "ann" || ann.elapsed != 10*time.Second {
			t.Fatalf("ann sees %+v", ann)
		}
		for _, r := range ann.rows {
			if r.rtt != 60*time.Millisecond || r.link.Loss != 0 || r.path != direct || r.state != field.Fresh || r.link.Received < 195 {
				t.Errorf("ann of %s: %+v", r.player, r)
			}
		}
		// Bob and carl wander, ann stands.
		if at := w.games["bob"].scene(time.Now()).figures[0]; at.Player != "ann" || at.At != ann.figures[2].At {
			t.Errorf("bob sees ann at %v", at.At)
		}
		if trail := ann.figures[0].trail; len(trail) != trailLength || trail[0] == trail[trailLength-1] {
			t.Errorf("bob's trail: %v", trail)
		}

		w.mu.Lock()
		w.cut["bob"] = true
		w.mu.Unlock()
		time.Sleep(2 * time.Second)
		if s := w.games["ann"].scene(time.Now()); s.rows[0].state != field.Fading || s.rows[0].link.Gap < 1900*time.Millisecond {
			t.Errorf("after two seconds of silence bob is %+v", s.rows[0])
		}
		time.Sleep(4 * time.Second)
		if s := w.games["ann"].scene(time.Now()); s.rows[0].state != field.Gone || len(s.figures) != 2 {
			t.Errorf("after six seconds of silence bob is %+v", s.rows[0])
		}
		delete(peers, "bob")
		w.games["ann"].event(time.Now(), player.PeersChanged{Peers: peers})
		w.mu.Lock()
		delete(w.games, "bob")
		w.mu.Unlock()
		if s := w.games["ann"].scene(time.Now()); len(s.rows) != 1 {
			t.Errorf("bob has left, and ann sees %+v", s.rows)
		}
		cancel()
		running.Wait()
		if g := w.games["ann"]; g.ticks.n < 300 || g.ticks.quantile(0.99) > 51*time.Millisecond || g.gaps.quantile(0.5) < 49*time.Millisecond || g.gaps.quantile(0.5) > 51*time.Millisecond {
			t.Errorf("ticks %+v, gaps %+v", g.ticks.quantiles(), g.gaps.quantiles())
		}
	})
}

func TestWhatThePlayerIsTold(t *testing.T) {
	g := newGame(noon, "ann", 0)
	at := noon
	room := &agentv1.Room{Id: "abcdefgh2345", State: agentv1.RoomState_ROOM_STATE_OPEN, Settings: &agentv1.RoomSettings{Title: "Friday"},
		Members: []*agentv1.Member{{Player: "bob"}, {Player: "ann"}}}
	for _, c := range []struct {
		event player.Event
		log   string // the last line afterwards
		state string
	}{
		{player.Attached{Agent: "a:1"}, "logged in at a:1", "in no room"},
		{player.Joined{Room: room}, "in room abcdefgh2345: Friday", "waiting"},
		{player.Started{Room: room.Id, Rendezvous: "10.0.0.1:1", Relay: "10.0.0.1:2"}, "the match runs: rendezvous 10.0.0.1:1, relay 10.0.0.1:2", "waiting"},
		{player.RoomChanged{Room: &agentv1.Room{Id: room.Id, State: agentv1.RoomState_ROOM_STATE_PLAYING, Members: room.Members}}, "the match runs: rendezvous 10.0.0.1:1, relay 10.0.0.1:2", "playing"},
		{player.PeerUp{Player: "bob", Path: direct}, "bob: direct 10.0.0.1:1 → 10.0.0.2:2", "playing"},
		{player.PathLost{Player: "bob", Path: direct, After: 2 * time.Second}, "bob: the direct path answered last 2.0s ago", "playing"},
		{player.PathChanged{Player: "bob", Old: direct}, "bob: no path at present", "playing"},
		{player.Disconnected{Err: errors.New("reset")}, "the Agent is lost: reset; play goes on", "playing"},
		{player.Resumed{Agent: "b:1", After: 1300 * time.Millisecond}, "the session goes on at b:1 after 1.3s", "playing"},
		{player.Moved{Reason: "its shard died", Rendezvous: "10.0.0.9:1", After: 40 * time.Millisecond}, "another shard has the room (its shard died): rendezvous 10.0.0.9:1 after 40ms", "playing"},
		{player.Chat{Player: "bob", Text: "hi"}, "bob says: hi", "playing"},
		{player.PeerDown{Player: "bob", Err: peer.ErrClosedByPeer}, "bob has left", "playing"},
		{player.PeerDown{Player: "bob", Err: peer.ErrGivenUp}, "bob: no path to the peer for too long", "playing"},
		{player.Failed{What: "peer of bob", Err: peer.ErrUnknownPeer}, "bob: no path to the peer for too long", "playing"},
		{player.Failed{What: "relay", Err: errors.New("refused")}, "relay: refused", "playing"},
		{player.Ended{Room: room.Id, Reason: "time"}, "the match is over: time", "the match is over"},
		{player.Left{Room: room.Id, Reason: "closed"}, "out of room abcdefgh2345: closed", "in no room"},
	} {
		at = at.Add(time.Second)
		g.event(at, c.event)
		s := g.scene(at)
		if last := s.log[len(s.log)-1]; last.text != c.log || s.state != c.state {
			t.Errorf("after %T: %q, %q; want %q, %q", c.event, last.text, s.state, c.log, c.state)
		}
	}
	select {
	case <-g.over:
	default:
		t.Error("the match has ended, and over is open")
	}
	if g.scene(at).online != true || g.playing() {
		t.Error("online and playing are not as told")
	}
}

func TestTheResultIsTheSameForAll(t *testing.T) {
	a, b := newGame(noon, "ann", 0), newGame(noon, "bob", 0)
	for i, g := range []*game{a, b} {
		members := []*agentv1.Member{{Player: "bob"}, {Player: "ann"}}
		if i == 1 {
			slices.Reverse(members)
		}
		g.event(noon, player.Joined{Room: &agentv1.Room{Id: "r", Members: members}})
	}
	if x, y := string(a.result()), string(b.result()); x != y || x != `{"game":"field","players":["ann","bob"]}` {
		t.Errorf("results %s and %s", x, y)
	}
}

func TestNamesAreOrderedAsPeopleDo(t *testing.T) {
	names := []string{"bot-10", "bot-9", "ann", "bot-1", "bot", "10", "9", "bot-1a"}
	slices.SortFunc(names, natural)
	want := []string{"9", "10", "ann", "bot", "bot-1", "bot-1a", "bot-9", "bot-10"}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

func TestShortTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "–", -1: "–", 400 * time.Microsecond: "0.4ms", 9999 * time.Microsecond: "10.0ms", 61 * time.Millisecond: "61ms",
		1300 * time.Millisecond: "1.3s", 99 * time.Second: "99.0s", 3 * time.Minute: "3m",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for p, want := range map[float64]string{0: "0%", 0.004: "0.4%", 0.0994: "9.9%", 0.0996: "10%", 1: "100%"} {
		if got := percent(p); got != want {
			t.Errorf("%v: %q, want %q", p, got, want)
		}
	}
}
