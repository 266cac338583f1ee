package agent_test

import (
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1"
)

func TestTwoPlayersFromLoginToTheEndOfAMatch(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	ann, bob := w.player("ann", a), w.player("bob", a)
	ctx := t.Context()

	room, err := ann.CreateRoom(ctx, settings())
	if err != nil {
		t.Fatal(err)
	}
	listed, err := bob.ListRooms(ctx, &agentv1.ListRoomsRequest{})
	if err != nil || len(listed.Rooms) != 1 || listed.Rooms[0].Id != room.Id {
		t.Fatalf("list: %v, %v", listed, err)
	}
	if _, err := bob.JoinRoom(ctx, room.Id); err != nil {
		t.Fatal(err)
	}
	if changed := next[*agentv1.Event_RoomChanged](t, ann, 5*time.Second).RoomChanged.Room; len(changed.Members) != 2 {
		t.Fatalf("ann sees %v", changed)
	}
	if got, err := bob.SetReady(ctx, room.Id, true); err != nil || !got.Members[1].Ready {
		t.Fatalf("ready: %v, %v", got, err)
	}
	if err := bob.Chat(ctx, room.Id, "hello"); err != nil {
		t.Fatal(err)
	}
	if said := next[*agentv1.Event_Chat](t, ann, 5*time.Second).Chat; said.Text != "hello" || said.Player != "bob" {
		t.Fatalf("ann hears %v", said)
	}
	id := make([]byte, 32)
	id[0] = 1
	if ticket, err := bob.PlayTicket(ctx, room.Id, id); err != nil || ticket.Mesh != room.Id {
		t.Fatalf("ticket: %v, %v", ticket, err)
	}
	if _, err := bob.Report(ctx, room.Id, []*agentv1.Connection{{Player: "ann", Path: agentv1.PathKind_PATH_KIND_DIRECT, RttMs: 20}}); err != nil {
		t.Fatal(err)
	}
	if err := bob.Finish(ctx, room.Id, []byte("won")); err != nil {
		t.Fatal(err)
	}
	if match, err := bob.GetMatch(ctx, room.Id); err != nil || match.EndReason != "the match was ended by the server" {
		t.Fatalf("record, whose reason names a shard: %v, %v", match, err)
	}
	if q, err := bob.QuickMatch(ctx, &agentv1.QuickMatchRequest{Mode: "field"}); err != nil || q.EstimatedSeconds != 7 {
		t.Fatalf("quick match: %v, %v", q, err)
	}
	if err := bob.CancelMatch(ctx); err != nil {
		t.Fatal(err)
	}
	if err := bob.LeaveRoom(ctx, room.Id); err != nil {
		t.Fatal(err)
	}
	if got, err := ann.GetRoom(ctx, room.Id); err != nil || len(got.Members) != 1 {
		t.Fatalf("after bob has left: %v, %v", got, err)
	}
	if err := ann.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	if w.called("LeaveRoom") != 2 || w.called("CloseSession") != 1 {
		t.Errorf("Logout left %d rooms in all, and closed %d sessions; want 2 and 1", w.called("LeaveRoom"), w.called("CloseSession"))
	}
	_, err = ann.GetRoom(ctx, room.Id)
	if err == nil {
		t.Error("a client that has logged out still asks")
	}
	_, err = bob.GetRoom(ctx, "aaaaaaaaaaaa")
	wantCode(t, err, connect.CodeNotFound)
}
