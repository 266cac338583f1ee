package player_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/player"
)

func TestARoomThatMovesKeepsItsSessions(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob")
		session := guests[0].player.Links()[0].Session
		for _, g := range guests {
			g.forget()
		}
		h.move("10.0.0.2")
		until(t, 5*time.Second, "moved", func() bool {
			return len(events[player.Moved](guests[0])) == 1 && len(events[player.Moved](guests[1])) == 1
		}, guests...)
		moved := events[player.Moved](guests[0])[0]
		if moved.Rendezvous != "10.0.0.2:3478" || moved.Mesh != "mesh of 10.0.0.2" || moved.After <= 0 || moved.After > 100*time.Millisecond {
			t.Errorf("moved: %+v", moved)
		}
		time.Sleep(30 * time.Second)
		for _, g := range guests {
			if n := len(events[player.PeerDown](g)) + len(events[player.PathChanged](g)) + len(events[player.PeerUp](g)); n != 0 {
				t.Errorf("%s: the path did not stay as it was%s", g.name, g.history())
			}
		}
		if now := guests[0].player.Links()[0].Session; now != session {
			t.Errorf("another session than %v: %v", session, now)
		}
		// The other rendezvous introduces to new ones.
		carl := h.guest("carl", "10.0.9.9")
		if _, err := carl.player.EnterRoom(context.Background(), room); err != nil {
			t.Fatal(err)
		}
		all := append(guests, carl)
		until(t, 10*time.Second, "connected with one who came after the move", connected(all...), all...)
	})
}

func TestALostAgentLeavesThePeerAlone(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob")
		session := guests[0].player.Links()[0].Session
		h.life = 20 * time.Second // a ticket has to be renewed meanwhile
		stop := make(chan struct{})
		heard := make(chan int)
		go func() {
			n := 0
			for ; ; time.Sleep(50 * time.Millisecond) {
				select {
				case <-stop:
					heard <- n
					return
				default:
					n += guests[0].player.Send(func(time.Time, string) []byte { return []byte("tick") })
				}
			}
		}()
		h.lose(15*time.Second, nil)
		time.Sleep(time.Second)
		close(stop)
		if sent, got := <-heard, len(events[player.Received](guests[1])); sent < 300 || got < sent-1 {
			t.Errorf("of %d datagrams %d arrived while the Agent was lost, want all of 320", sent, got)
		}
		for _, g := range guests {
			lost, back := events[player.Disconnected](g), events[player.Resumed](g)
			if len(lost) != 1 || len(back) != 1 || back[0].Agent != "b:1" || back[0].After != 15*time.Second {
				t.Errorf("%s: lost %v, resumed %v", g.name, lost, back)
			}
			if n := len(events[player.PeerDown](g)) + len(events[player.Stopped](g)); n != 0 {
				t.Errorf("%s: its peer did not go on%s", g.name, g.history())
			}
		}
		if now := guests[0].player.Links()[0].Session; now != session {
			t.Errorf("another session than %v: %v", session, now)
		}
	})
}

func TestTheEndOfAMatch(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob")
		for _, g := range guests {
			if err := g.player.Finish(t.Context(), []byte("ann won")); err != nil {
				t.Error(err)
			}
		}
		h.end("everybody finished")
		time.Sleep(time.Second)
		for _, g := range guests {
			ended, stopped := events[player.Ended](g), events[player.Stopped](g)
			if len(ended) != 1 || ended[0].Reason != "everybody finished" || len(stopped) != 1 || stopped[0].Err != nil || g.player.Links() != nil {
				t.Errorf("%s: ended %+v, stopped %+v%s", g.name, ended, stopped, g.history())
			}
			if h.results[g.name] != "ann won" {
				t.Errorf("%s: result %q", g.name, h.results[g.name])
			}
		}
	})
}

func TestLeavingSaysFarewell(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		guests := h.play(t, "ann", "bob", "carl")
		if err := guests[0].player.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		for _, g := range guests[1:] {
			if down := events[player.PeerDown](g); len(down) != 1 || down[0].Player != "ann" {
				t.Errorf("%s: %+v, want ann's session ended%s", g.name, down, g.history())
			}
			if links := g.player.Links(); len(links) != 1 {
				t.Errorf("%s: links %+v, want one", g.name, links)
			}
		}
		// What comes late of the room that we left does not take us back.
		h.mu.Lock()
		h.room.Members = append(h.room.Members, &agentv1.Member{Player: "ann"})
		h.change(func(*agentv1.Room) {})
		h.mu.Unlock()
		time.Sleep(time.Second)
		if r := guests[0].player.Room(); r != nil || guests[0].player.Links() != nil {
			t.Errorf("ann is in %v again", r)
		}
		if err := guests[0].player.SetReady(t.Context(), true); !errors.Is(err, player.ErrNoRoom) {
			t.Errorf("ready in no room: %v", err)
		}
	})
}

func TestRoomsAndChat(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		ann := h.guest("ann", "10.0.9.1")
		if _, err := ann.player.EnterRoom(t.Context(), "zzzzzzzzzzzz"); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("a room that is not there: %v", err)
		}
		settings := proto.CloneOf(h.room.Settings)
		settings.Title = "ann's own"
		r, err := ann.player.CreateRoom(t.Context(), settings)
		if err != nil || r.Settings.Title != "ann's own" {
			t.Fatalf("%v, %v", r, err)
		}
		if err := errors.Join(ann.player.SetReady(t.Context(), true), ann.player.Say(t.Context(), "hello")); err != nil {
			t.Error(err)
		}
		bob := h.guest("bob", "10.0.9.2")
		wait, err := bob.player.QuickMatch(t.Context(), &agentv1.QuickMatchRequest{Mode: "field"})
		if err != nil || wait != 7*time.Second {
			t.Errorf("quick match: %v, %v", wait, err)
		}
		time.Sleep(time.Second)
		if j := events[player.Joined](bob); len(j) != 1 || len(j[0].Room.Members) != 2 || !j[0].Room.Members[0].Ready {
			t.Errorf("bob joined %+v", j)
		}
		if c := events[player.Chat](ann); len(c) != 1 || c[0].Player != "ann" || c[0].Text != "hello" {
			t.Errorf("chat: %+v", c)
		}
		if n := len(events[player.Joined](ann)); n != 1 {
			t.Errorf("ann joined %d times", n)
		}
	})
}

// TestAPartyIsNoRoomToPlayIn: one may be in a party and in a room.
func TestAPartyIsNoRoomToPlayIn(t *testing.T) {
	simulate(t, func(t *testing.T, h *house) {
		ann := h.guest("ann", "10.0.9.1")
		party := &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PARTY, Title: "ann's party", Capacity: 4}
		r, err := ann.player.CreateRoom(t.Context(), party)
		if err != nil {
			t.Fatal(err)
		}
		if err := ann.player.SetReady(t.Context(), true); !errors.Is(err, player.ErrNoRoom) || ann.player.Room() != nil {
			t.Errorf("ready in a party: %v; to play in: %v", err, ann.player.Room())
		}
		if err := ann.player.SayIn(t.Context(), r.Id, "come"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if c := events[player.Chat](ann); len(c) != 1 || c[0].Text != "come" {
			t.Errorf("chat: %+v", c)
		}
		if err := ann.player.LeaveRoom(t.Context(), r.Id); err != nil {
			t.Error(err)
		}
		if left := events[player.Left](ann); len(left) != 1 || left[0] != (player.Left{Room: r.Id}) {
			t.Errorf("left: %+v", left)
		}
	})
}
