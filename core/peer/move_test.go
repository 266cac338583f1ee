package peer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
)

// TestPeersMoveOverLoopback: three peers of a room, who talk over relays only, go to
// other servers, and the first ones end. Connections are the same all the time.
func TestPeersMoveOverLoopback(t *testing.T) {
	ctx := testContext(t)
	var sets [2]servers
	for i := range sets {
		var err error
		if sets[i], err = startServers(ctx); err != nil {
			t.Fatal(err)
		}
		defer sets[i].stop()
	}
	only := func(cfg *peer.Config) { cfg.Techniques.RelayOnly = true }
	var peers []*peer.Peer
	var rooms []*peer.Room
	for range 3 {
		p := sets[0].mustStart(t, only)
		defer p.Close()
		r, err := p.Join(ctx, "room")
		if err != nil {
			t.Fatal(err)
		}
		peers, rooms = append(peers, p), append(rooms, r)
	}
	sessions := map[string]*peer.Conn{}
	for i, r := range rooms {
		for range len(peers) - 1 {
			c, err := r.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			sessions[fmt.Sprint(i, c.Peer())] = c
		}
	}
	for _, p := range peers {
		if err := p.SetServers(peer.Servers{
			Rendezvous: sets[1].rendezvous, Relay: &peer.RelayConfig{Server: sets[1].relay, Username: "user", Password: "secret"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	sets[0].stop() // whether or not all have moved by now
	ping(ctx, t, peers, rooms)
	for i, r := range rooms {
		if n := len(r.Conns()); n != 2 {
			t.Errorf("room of peer %d has %d connections, want 2", i, n)
		}
		for _, c := range r.Conns() {
			if sessions[fmt.Sprint(i, c.Peer())] != c {
				t.Errorf("peer %d has another connection to %s than before", i, c.Peer().Short())
			}
		}
	}
	// The list of who is allowed ends what is not on it.
	peers[0].SetAllowed([]identity.ID{peers[1].ID()})
	c := sessions[fmt.Sprint(0, peers[2].ID())]
	if _, err := c.Receive(ctx); !errors.Is(err, peer.ErrNotAllowed) {
		t.Errorf("the connection with who is not allowed: %v, want %v", err, peer.ErrNotAllowed)
	}
	peers[0].Close()
	if err := peers[0].SetServers(peer.Servers{Rendezvous: sets[1].rendezvous}); !errors.Is(err, peer.ErrClosed) {
		t.Errorf("after the end: %v, want %v", err, peer.ErrClosed)
	}
}

// ping has each peer send to the others until all have heard all.
func ping(ctx context.Context, t *testing.T, peers []*peer.Peer, rooms []*peer.Room) {
	t.Helper()
	for i, r := range rooms {
		for _, c := range r.Conns() {
			heard := make(chan error, 1)
			go func() {
				_, err := c.Receive(ctx)
				heard <- err
			}()
			from := rooms[indexOf(peers, c.Peer())]
			for done := false; !done; {
				for _, back := range from.Conns() {
					if back.Peer() == peers[i].ID() {
						_ = back.Send([]byte("ping")) // again if it is lost
					}
				}
				select {
				case err := <-heard:
					if err != nil {
						t.Fatalf("peer %d hears nothing of %s: %v", i, c.Peer().Short(), err)
					}
					done = true
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	}
}

func indexOf(peers []*peer.Peer, id identity.ID) int {
	for i, p := range peers {
		if p.ID() == id {
			return i
		}
	}
	return -1
}
