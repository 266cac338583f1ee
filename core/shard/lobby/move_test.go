package lobby_test

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/rpc"
)

// move gives a room to another shard by a record.
func (w *world) move(rec *insidev1.RoomRecord, to, reason string) error {
	now := w.directory.own(to, rec.Room, rec.Epoch+1)
	rec.Shard, rec.Epoch = now.Shard, now.Epoch
	_, err := rpc.Call[insidev1.AdoptRoomResponse](context.Background(), w.directory.client, shard.LobbySubject(to, "AdoptRoom"),
		&insidev1.AdoptRoomRequest{Record: rec, Reason: reason})
	return err
}

func (w *world) release(from, id string, epoch uint64) (*insidev1.RoomRecord, error) {
	resp, err := rpc.Call[insidev1.ReleaseRoomResponse](context.Background(), w.directory.client, shard.LobbySubject(from, "ReleaseRoom"),
		&insidev1.ReleaseRoomRequest{Room: id, Epoch: epoch})
	return resp.GetRecord(), err
}

func TestARoomOfADeadShardGoesOnElsewhere(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.running("a", one, ann, bob)
		for _, p := range []*player{ann, bob} {
			_, err := p.ticket("a", one, p.name)
			w.must(err)
		}
		w.must(ann.finish("a", one, "1:0"))
		before, err := ann.look("a", one)
		w.must(err)
		time.Sleep(10 * time.Second)
		w.shards["a"].lease.lose() // dead, or as good as
		ann.told()
		w.must(w.move(w.directory.record(one), "b", "the shard has failed"))

		events := ann.events()
		if len(events) == 0 || events[0].GetRoomMoved() == nil {
			t.Fatalf("ann is told %v", events)
		}
		moved := events[0].GetRoomMoved()
		w.equal("the reason", moved.Reason, "the shard has failed")
		w.equal("members", members(moved.Room), "[ann* bob]")
		w.equal("state", moved.Room.State, agentv1.RoomState_ROOM_STATE_PLAYING)
		if moved.Room.Revision <= before.Revision {
			t.Errorf("the revision went from %d to %d", before.Revision, moved.Room.Revision)
		}
		got, err := bob.ticket("b", one, "bob")
		w.must(err)
		w.equal("the mesh", got.Mesh, one+"-2")
		m, err := bob.match("b", one)
		w.must(err)
		w.equal("moves", m.Moves, 1)
		w.equal("ticks", m.Tick, 200)
		w.must(bob.finish("b", one, "1:0"))
		time.Sleep(time.Second)
		m, err = bob.match("b", one)
		w.must(err)
		w.equal("the match, ann having finished before", []any{m.EndReason, m.Agreed}, "[all players have finished true]")
		w.equal("records of the dead shard", w.shards["a"].records.String(), "")
	})
}

func TestARoomIsHandedOver(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.open("a", one, nil, ann)
		_, err := bob.join("a", one) // not saved yet
		w.must(err)
		_, err = w.release("a", one, 7)
		w.refused(err, connect.CodeAborted, "epoch 1, not 7")
		rec, err := w.release("a", one, 1)
		w.must(err)
		w.equal("members of the record", len(rec.Members), 2)
		_, err = ann.look("a", one)
		w.refused(err, connect.CodeNotFound, "not on this shard")
		_, err = w.release("a", one, 1)
		w.refused(err, connect.CodeNotFound, "not on this shard")
		ann.told()
		w.must(w.move(rec, "b", "the shard is taken out of service"))
		w.equal("what ann is told", ann.told(), "[RoomMoved]")
		w.must(w.move(w.directory.record(one), "a", "and back"))
		view, err := ann.look("a", one)
		w.must(err)
		w.equal("members", members(view), "[ann* bob]")
		rooms, players := w.shards["a"].rooms.Load()
		w.equal("load of a", []int{rooms, players}, "[1 2]")
		time.Sleep(time.Second)
		w.must(bob.say("a", one, "hm"))
		// b has not saved since, and learns it then.
		_, err = bob.look("b", one)
		w.must(err)
		w.must(ann.ready("b", one))
		time.Sleep(time.Second)
		_, err = bob.look("b", one)
		w.refused(err, connect.CodeNotFound, "not on this shard")
	})
}

func TestWithoutTheLeaseNothingIsDone(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.open("a", one, nil, ann, bob)
		w.must(ann.ready("a", one))
		w.shards["a"].lease.lose()
		w.refused(bob.ready("a", one), connect.CodeUnavailable, "lease")
		_, err := ann.ticket("a", one, "ann's")
		w.refused(err, connect.CodeUnavailable, "lease")
		_, err = w.directory.open(context.Background(), "a", &insidev1.OpenRoomRequest{Room: two, Epoch: 1})
		w.refused(err, connect.CodeUnavailable, "lease")
		// Rooms stand still: nobody's place is given up.
		ann.told()
		time.Sleep(10 * time.Minute)
		w.equal("what ann is told", ann.told(), "[]")

		w.shards["a"].lease.regain()
		view, err := bob.look("a", one)
		w.must(err)
		w.equal("members", len(view.Members), 2)
	})
}

func TestAfterALapseARoomIsServedOnlyIfItIsStillOurs(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.open("a", one, nil, ann)
		w.open("a", two, nil, bob)
		a := w.shards["a"]
		a.lease.lose()
		w.directory.own("b", one, 2)
		w.directory.setAway(true)
		a.lease.regain()
		// Nobody knows whose the room is: no answer.
		_, err := bob.look("a", two)
		w.refused(err, connect.CodeDeadlineExceeded, "")
		_, err = ann.look("a", one)
		w.refused(err, connect.CodeDeadlineExceeded, "")
		w.directory.setAway(false)
		_, err = bob.look("a", two)
		w.must(err)
		time.Sleep(time.Second)
		ann.told()
		_, err = ann.look("a", one)
		w.refused(err, connect.CodeNotFound, "not on this shard")
		w.equal("what ann is told by the former owner", ann.told(), "[]")
	})
}

func TestAfterALapseRoomsThatNobodyAsksForAreLetGo(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		w.open("a", one, nil, ann)
		time.Sleep(time.Second)
		w.shards["a"].lease.lose()
		w.directory.own("b", one, 2)
		w.shards["a"].lease.regain()
		time.Sleep(time.Second)
		rooms, players := w.shards["a"].rooms.Load()
		w.equal("load", []int{rooms, players}, "[0 0]")
	})
}

func TestARoomThatWasGivenToAnotherIsLetGo(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		w.open("a", one, nil, ann)
		w.directory.own("b", one, 2)
		w.must(ann.ready("a", one))
		time.Sleep(time.Second)
		_, err := ann.look("a", one)
		w.refused(err, connect.CodeNotFound, "not on this shard")
		w.equal("dropped", w.directory.wasDropped(one), false)
		_, players := w.shards["a"].rooms.Load()
		w.equal("players", players, 0)
	})
}

func TestARoomIsNotServedBeforeItIsSaved(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		w.directory.setAway(true)
		w.directory.own("a", one, 1)
		_, err := rpc.Call[insidev1.OpenRoomResponse](context.Background(), w.directory.client, shard.LobbySubject("a", "OpenRoom"), &insidev1.OpenRoomRequest{
			Room: one, Epoch: 1, Settings: &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "x", Mode: "duel", Capacity: 2},
			Members: []*insidev1.Participant{{Session: ann.session, Player: "ann"}}, Start: true,
		}, rpc.WithTimeout(700*time.Millisecond))
		w.refused(err, connect.CodeDeadlineExceeded, "")
		w.equal("what ann is told", ann.told(), "[]")
		// The directory has given it to another meanwhile.
		w.directory.own("b", one, 2)
		w.directory.setAway(false)
		time.Sleep(5 * time.Second)
		w.equal("what ann is told", ann.told(), "[]")
		_, err = ann.look("a", one)
		w.refused(err, connect.CodeNotFound, "not on this shard")
	})
}

func TestAShardThatStopsSavesItsRooms(t *testing.T) {
	each(t, func(w *world) {
		ann, bob := w.player("ann"), w.player("bob")
		w.running("a", one, ann, bob)
		time.Sleep(300 * time.Millisecond)
		w.must(ann.report("a", one, agentv1.PathKind_PATH_KIND_DIRECT, "bob"))
		w.must(bob.report("a", one, agentv1.PathKind_PATH_KIND_DIRECT, "ann"))
		w.must(bob.finish("a", one, "1:0"))
		w.shards["a"].stop()
		rec := w.directory.record(one)
		w.equal("who has finished", []bool{rec.Members[0].Finished, rec.Members[1].Finished}, "[false true]")
		w.equal("connections", rec.Match.Links[0].State, agentv1.LinkState_LINK_STATE_DIRECT)
		w.equal("dropped", w.directory.wasDropped(one), false)
	})
}
