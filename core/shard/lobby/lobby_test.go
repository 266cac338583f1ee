package lobby_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
	"p2pmodel/core/ticket"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

const (
	one = "roomaaaaaaab"
	two = "roomaaaaaaac"
)

func TestARoomFillsAndStarts(t *testing.T) {
	each(t, func(w *world) {
		ann, bob, cid := w.player("ann"), w.player("bob"), w.player("cid")
		w.open("a", one, nil, ann)
		view, err := bob.join("a", one)
		w.must(err)
		w.equal("members after a join", members(view), "[ann* bob]")
		w.equal("what ann is told", ann.told(), "[RoomChanged]")
		w.must(ann.ready("a", one))
		_, err = cid.join("a", one)
		w.must(err)
		w.must(bob.ready("a", one))
		view, err = ann.look("a", one)
		w.must(err)
		w.equal("members before the start", members(view), "[ann*+ bob+ cid]")
		w.equal("state", view.State, agentv1.RoomState_ROOM_STATE_OPEN)
		w.must(cid.ready("a", one))
		time.Sleep(time.Second)
		events := cid.told()
		w.equal("the last that cid is told", events[len(events)-1], "MatchStarted")
		view, err = ann.look("a", one)
		w.must(err)
		w.equal("state", view.State, agentv1.RoomState_ROOM_STATE_PLAYING)

		late := w.player("late")
		_, err = late.join("a", one)
		w.refused(err, connect.CodeFailedPrecondition, "runs, and takes nobody in")
	})
}

func TestAPlayerDropsIn(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.open("a", one, func(r *insidev1.OpenRoomRequest) {
			r.Start, r.Settings.DropIn, r.Settings.Capacity = true, true, 2
		}, ann)
		_, err := bob.join("a", one)
		w.must(err)
		_, err = w.player("cid").join("a", one)
		w.refused(err, connect.CodeFailedPrecondition, "is full")
		_, err = bob.ticket("a", one, "bob's")
		w.must(err)
	})
}

func TestOpenRoomIsTheSameTwice(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.open("a", one, nil, ann)
		_, err := bob.join("a", one)
		w.must(err)
		w.equal("the second answer", members(w.open("a", one, nil, ann)), "[ann* bob]")
		rooms, players := w.shards["a"].rooms.Load()
		w.equal("load", []int{rooms, players}, "[1 2]")

		_, err = w.directory.open(context.Background(), "a", &insidev1.OpenRoomRequest{Room: one, Epoch: 0, Settings: &agentv1.RoomSettings{
			Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "x", Mode: "duel", Capacity: 2,
		}})
		w.refused(err, connect.CodeAborted, "epoch 1, not 0")
	})
}

func TestCapacityOfAShard(t *testing.T) {
	each(t, func(w *world) {
		for i := range 20 {
			w.open("a", roomID(i), nil)
		}
		_, err := w.directory.open(context.Background(), "a", &insidev1.OpenRoomRequest{Room: roomID(20), Epoch: 1, Settings: &agentv1.RoomSettings{
			Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "x", Mode: "duel", Capacity: 4,
		}})
		w.refused(err, connect.CodeResourceExhausted, "20 rooms")
		for i := range 40 {
			p := w.player(fmt.Sprint("p", i))
			_, err := p.join("a", roomID(i/4))
			w.must(err)
		}
		_, err = w.player("more").join("a", roomID(15))
		w.refused(err, connect.CodeResourceExhausted, "40 players")
		// Who has a place is let in again.
		_, err = w.player("p0").join("a", roomID(0))
		w.must(err)
		w.must(w.player("p0").leave("a", roomID(0)))
		_, err = w.player("more").join("a", roomID(15))
		w.must(err)
	})
}

func TestRoomsOfASession(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		for i := range game.MaxRoomsSession {
			w.open("a", roomID(i), nil)
			_, err := ann.join("a", roomID(i))
			w.must(err)
		}
		w.open("a", roomID(9), nil)
		_, err := ann.join("a", roomID(9))
		w.refused(err, connect.CodeResourceExhausted, "leave one first")
		w.must(ann.leave("a", roomID(0)))
		_, err = ann.join("a", roomID(9))
		w.must(err)
	})
}

func TestReconnectWithinGraceKeepsThePlace(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.running("a", one, ann, bob)
		w.must(ann.presence("a", one, true))
		w.must(bob.presence("a", one, true))
		_, err := bob.ticket("a", one, "bob's")
		w.must(err)
		ann.told()

		w.must(bob.presence("a", one, false))
		time.Sleep(30 * time.Second)
		w.must(ann.presence("a", one, true))
		view, err := ann.look("a", one)
		w.must(err)
		w.equal("members while bob is away", members(view), "[ann* bob?]")

		bob.generation++ // he resumes at another Agent
		w.must(bob.presence("a", one, true))
		old := w.player("bob")
		w.refused(old.presence("a", one, false), connect.CodeFailedPrecondition, "another Agent")
		view, err = ann.look("a", one)
		w.must(err)
		w.equal("members after his return", members(view), "[ann* bob]")
		m, err := ann.match("a", one)
		w.must(err)
		w.equal("reconnects of bob", m.Players[1].Reconnects, 1)

		// He has started anew, with another peer.
		resp, err := bob.ticket("a", one, "bob's second")
		w.must(err)
		second := peerID("bob's second")
		w.equal("the peers of the mesh", resp.Peers, []*agentv1.Peer{{Player: "bob", PeerId: second[:]}})
		time.Sleep(time.Second)
		events := ann.events()
		mesh := events[len(events)-1].GetMeshChanged()
		w.equal("the last that ann is told of the mesh", mesh.GetPeers(), resp.Peers)
	})
}

func TestGraceEnds(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.open("a", one, nil, ann, bob)
		w.must(ann.presence("a", one, false))
		for range 7 {
			time.Sleep(10 * time.Second)
			w.must(bob.presence("a", one, true))
		}
		view, err := bob.look("a", one)
		w.must(err)
		w.equal("members", members(view), "[bob*]")
		w.refused(ann.ready("a", one), connect.CodePermissionDenied, "not in the room")
	})
}

func TestASilentAgentsPlayersGoOffline(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.open("a", one, nil, ann, bob)
		w.must(bob.presence("a", one, true))
		for range 7 {
			w.must(ann.presence("a", one, true))
			time.Sleep(10 * time.Second)
		}
		view, err := ann.look("a", one)
		w.must(err)
		w.equal("members after the life of bob's pass", members(view), "[ann* bob?]")
		// Any call of his Agent shows that it was only late.
		_, err = bob.look("a", one)
		w.must(err)
		w.must(bob.say("a", one, "still here"))
		view, err = ann.look("a", one)
		w.must(err)
		w.equal("members then", members(view), "[ann* bob]")
	})
}

func TestAnEmptyRoomIsDropped(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		w.open("a", one, nil, ann)
		w.must(ann.leave("a", one))
		w.must(ann.leave("a", one)) // again: she has left
		time.Sleep(9 * time.Second)
		_, err := ann.look("a", one)
		w.must(err)
		time.Sleep(2 * time.Second)
		_, err = ann.look("a", one)
		w.refused(err, connect.CodeNotFound, "not on this shard")
		if !w.directory.wasDropped(one) {
			t.Error("the directory was not told")
		}
		rooms, players := w.shards["a"].rooms.Load()
		w.equal("load", []int{rooms, players}, "[0 0]")
	})
}

func TestADropIsRepeatedUntilTheDirectoryAnswers(t *testing.T) {
	each(t, func(w *world) {
		w.open("a", one, nil)
		w.directory.setAway(true)
		time.Sleep(2 * time.Minute)
		w.directory.setAway(false)
		time.Sleep(15 * time.Second)
		if !w.directory.wasDropped(one) {
			t.Error("the directory was never told")
		}
	})
}

func TestChat(t *testing.T) {
	each(t, func(w *world) {
		ann, bob, eve := w.player("ann"), w.player("bob"), w.player("eve")
		w.open("a", one, nil, ann, bob)
		w.must(ann.say("a", one, "hello"))
		for _, p := range []*player{ann, bob} {
			events := p.events()
			if len(events) != 1 || events[0].GetChat().GetText() != "hello" || events[0].GetChat().GetPlayer() != "ann" {
				t.Errorf("%s is told %v", p.name, events)
			}
		}
		w.refused(eve.say("a", one, "boo"), connect.CodePermissionDenied, "not in the room")
		w.refused(ann.say("a", one, "a\x07"), connect.CodeInvalidArgument, "control character")
		w.refused(ann.say("a", one, strings.Repeat("a", 501)), connect.CodeInvalidArgument, "501")
		for range 4 {
			w.must(ann.say("a", one, "more"))
		}
		w.refused(ann.say("a", one, "too much"), connect.CodeResourceExhausted, "wait a second")
		w.must(bob.say("a", one, "I may"))
		time.Sleep(time.Second)
		w.must(ann.say("a", one, "again"))
	})
}

func TestAParty(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.open("a", one, func(r *insidev1.OpenRoomRequest) {
			r.Settings = &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PARTY, Title: "us", Capacity: 8}
		}, ann)
		_, err := bob.join("a", one)
		w.must(err)
		w.must(ann.ready("a", one))
		w.must(bob.ready("a", one))
		_, err = ann.ticket("a", one, "ann's")
		w.refused(err, connect.CodeFailedPrecondition, "is a party")
		w.must(ann.leave("a", one))
		view, err := bob.look("a", one)
		w.must(err)
		w.equal("members", members(view), "[bob*+]")
	})
}

func TestTickets(t *testing.T) {
	each(t, func(w *world) {
		ann, bob, eve := w.player("ann"), w.player("bob"), w.player("eve")
		w.open("a", one, nil, ann, bob)
		_, err := ann.ticket("a", one, "ann's")
		w.refused(err, connect.CodeFailedPrecondition, "has not begun")
		w.must(ann.ready("a", one))
		w.must(bob.ready("a", one))
		_, err = eve.ticket("a", one, "eve's")
		w.refused(err, connect.CodePermissionDenied, "not in the room")
		got, err := ann.ticket("a", one, "ann's")
		w.must(err)
		_, err = bob.ticket("a", one, "ann's")
		w.refused(err, connect.CodeInvalidArgument, "another member's")

		verifier, err := ticket.NewVerifier(w.signer.Public())
		w.must(err)
		signed, err := verifier.VerifyFor(got.Ticket, peerID("ann's"), time.Now())
		w.must(err)
		w.equal("the mesh of the ticket", signed.Mesh, one+"-1")
		w.equal("the mesh of the answer", got.Mesh, one+"-1")
		w.equal("the life", got.ExpiresSeconds, 600)
		w.equal("servers", []string{got.Rendezvous, got.Relay}, "[192.0.2.1:3478 192.0.2.2:3478]")
		w.equal("the relay's user", got.RelayUsername, fmt.Sprintf("%d:ann", time.Now().Add(10*time.Minute).Unix()))
		if _, err := verifier.VerifyFor(got.Ticket, peerID("ann's"), time.Now().Add(10*time.Minute)); !errors.Is(err, ticket.ErrExpired) {
			t.Errorf("after its life the ticket is %v", err)
		}
	})
}

func TestAMatchEndsAndIsRecorded(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.running("a", one, ann, bob)
		w.equal("what bob is told", bob.told(), "[Matched MatchStarted]")
		for _, p := range []*player{ann, bob} {
			_, err := p.ticket("a", one, p.name)
			w.must(err)
		}
		w.must(ann.report("a", one, agentv1.PathKind_PATH_KIND_DIRECT, "bob"))
		w.must(bob.report("a", one, agentv1.PathKind_PATH_KIND_DIRECT, "ann", "nobody"))
		time.Sleep(3 * time.Second)
		w.must(ann.finish("a", one, "3:2"))
		m, err := bob.match("a", one)
		w.must(err)
		w.equal("ticks", m.Tick, 60)
		w.must(bob.finish("a", one, "3:2"))
		events := ann.events()
		ended := events[len(events)-1].GetMatchEnded().GetMatch()
		w.equal("reason", ended.GetEndReason(), "all players have finished")
		w.equal("agreed", ended.GetAgreed(), true)
		w.equal("link", ended.GetLinks()[0].State, agentv1.LinkState_LINK_STATE_DIRECT)

		line := strings.TrimSuffix(w.shards["a"].records.String(), "\n")
		recorded := &agentv1.Match{}
		w.must(protojson.Unmarshal([]byte(line), recorded))
		w.equal("the record", recorded, ended)

		w.refused(bob.report("a", one, agentv1.PathKind_PATH_KIND_DIRECT, "ann"), connect.CodeFailedPrecondition, "is over")
		time.Sleep(time.Minute)
		if !w.directory.wasDropped(one) {
			t.Error("the room was not dropped")
		}
		// It was made for a match, so it is private: its players may ask.
		m, err = ann.match("a", one)
		w.must(err)
		w.equal("the match later", m.EndReason, "all players have finished")
	})
}

func TestSavesAreCoalesced(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		w.open("a", one, nil, ann)
		before := w.directory.count(one)
		for i := range 100 {
			_, err := call[agentv1.SetReadyResponse](ann, shard.LobbySubject("a", "SetReady"), &agentv1.SetReadyRequest{Room: one, Ready: i%2 == 0})
			w.must(err)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := w.directory.count(one) - before; n < 3 || n > 6 {
			t.Errorf("100 changes in a second were saved by %d saves, want about 4", n)
		}
		w.equal("the record", w.directory.record(one).Members[0].Ready, false)
	})
}

func TestBadPasses(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		w.open("a", one, nil, ann)
		ask := func(raw []byte) error {
			_, err := rpc.Call[agentv1.GetRoomResponse](context.Background(), w.client, shard.LobbySubject("a", "GetRoom"), &agentv1.GetRoomRequest{Room: one}, rpc.WithPass(raw))
			return err
		}
		good := ann.pass()
		w.must(ask(good))
		w.refused(ask(nil), connect.CodeUnauthenticated, "no pass")
		forged := append([]byte(nil), good...)
		forged[3]++
		w.refused(ask(forged), connect.CodeUnauthenticated, "not signed")
		time.Sleep(time.Minute)
		w.refused(ask(good), connect.CodeUnauthenticated, "expired")

		ann.generation = 5
		w.must(ask(ann.pass()))
		ann.generation = 4
		w.refused(ask(ann.pass()), connect.CodeFailedPrecondition, "another Agent")

		bad, err := pass.Sign(w.key, &insidev1.Pass{Session: "a.>", Player: "ann", ExpiresMs: time.Now().Add(time.Minute).UnixMilli()})
		w.must(err)
		w.refused(ask(bad), connect.CodeUnauthenticated, "names no session")
	})
}

func TestBadRequests(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		_, err := ann.join("a", "../../etc")
		w.refused(err, connect.CodeInvalidArgument, "room: a room's id")
		w.refused(ann.presence("a", "", true), connect.CodeInvalidArgument, "room: a room's id")
		_, err = ann.look("a", two)
		w.refused(err, connect.CodeNotFound, "not on this shard")
		_, err = call[agentv1.PlayTicketResponse](ann, shard.GameSubject("a", "PlayTicket"), &agentv1.PlayTicketRequest{Room: one, PeerId: []byte("short")})
		w.refused(err, connect.CodeInvalidArgument, "peer_id: has 5 bytes")
		_, err = w.directory.open(context.Background(), "a", &insidev1.OpenRoomRequest{Room: one, Epoch: 1, Settings: &agentv1.RoomSettings{}})
		w.refused(err, connect.CodeInvalidArgument, "settings.kind")
	})
}

func TestNoRoomsWhileUDPServersAreDead(t *testing.T) {
	each(t, func(w *world) {
		dead := errors.New("the relay does not answer")
		w.shards["a"].healthy.Store(&dead)
		_, err := w.directory.open(context.Background(), "a", &insidev1.OpenRoomRequest{Room: one, Epoch: 1})
		w.refused(err, connect.CodeUnavailable, "the relay does not answer")
	})
}
