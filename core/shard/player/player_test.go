package player_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

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
