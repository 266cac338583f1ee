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

func (w *world) enqueue(on string, n uint32, players ...*player) error {
	req := &insidev1.EnqueueRequest{Mode: "duel", Players: n}
	for _, p := range players {
		req.Group = append(req.Group, &insidev1.Participant{Session: p.session, Player: p.name, Rating: 1500})
	}
	_, err := rpc.Call[agentv1.QuickMatchResponse](context.Background(), w.directory.client, shard.LobbySubject(on, "Enqueue"), req)
	return err
}

func (w *world) dequeue(on string, p *player) error {
	_, err := rpc.Call[agentv1.CancelMatchResponse](context.Background(), w.directory.client, shard.LobbySubject(on, "Dequeue"), &insidev1.DequeueRequest{Session: p.session})
	return err
}

func TestPlayersWhoWaitGetAMatch(t *testing.T) {
	each(t, func(w *world) {
		w.directory.home = "b" // the queue is on a, the room elsewhere
		ann, bob := w.player("ann"), w.player("bob")
		w.must(w.enqueue("a", 0, ann))
		w.must(w.enqueue("a", 0, ann)) // the first answer got lost
		time.Sleep(time.Second)
		w.equal("what ann is told alone", ann.told(), "[]")
		w.must(w.enqueue("a", 0, bob))
		time.Sleep(time.Second)
		events := ann.events()
		if len(events) < 2 || events[0].GetMatched() == nil || events[1].GetMatchStarted() == nil {
			t.Fatalf("ann is told %v, want Matched and MatchStarted", events)
		}
		matched := events[0].GetMatched().Room
		w.equal("members", members(matched), "[ann* bob]")
		w.equal("state", matched.State, agentv1.RoomState_ROOM_STATE_PLAYING)
		_, err := bob.ticket("b", matched.Id, "bob's")
		w.must(err)
		w.must(w.enqueue("a", 0, ann)) // may wait again
	})
}

func TestAPartyWaitsTogether(t *testing.T) {
	each(t, func(w *world) {
		w.directory.home = "a"
		ann, bob, cid, dan := w.player("ann"), w.player("bob"), w.player("cid"), w.player("dan")
		w.must(w.enqueue("a", 4, ann, bob))
		w.refused(w.enqueue("a", 2, bob, cid), connect.CodeAlreadyExists, "bob waits")
		w.must(w.enqueue("a", 4, cid))
		w.must(w.dequeue("a", bob))
		w.equal("what ann is told", ann.told(), "[MatchFailed]")
		w.equal("what bob is told, who has asked for it", bob.told(), "[]")
		w.must(w.dequeue("a", bob)) // again
		w.must(w.enqueue("a", 4, ann, bob))
		w.must(w.enqueue("a", 4, dan))
		time.Sleep(time.Second)
		for _, p := range []*player{ann, bob, cid, dan} {
			w.equal("what "+p.name+" is told", p.told()[:2], "[Matched MatchStarted]")
		}
	})
}

func TestNobodyToPlayWith(t *testing.T) {
	each(t, func(w *world) {
		ann := w.player("ann")
		w.must(w.enqueue("a", 2, ann))
		time.Sleep(6 * time.Minute)
		w.equal("what ann is told", ann.told(), "[MatchFailed]")
		w.must(w.enqueue("a", 2, ann))
	})
}

func TestNoRoomForAMatch(t *testing.T) {
	each(t, func(w *world) {
		w.directory.setAway(true)
		ann, bob := w.player("ann"), w.player("bob")
		w.must(w.enqueue("a", 2, ann))
		w.must(w.enqueue("a", 2, bob))
		time.Sleep(20 * time.Second)
		w.equal("what ann is told", ann.told(), "[MatchFailed]")
		w.equal("what bob is told", bob.told(), "[MatchFailed]")
	})
}

func TestWhoeverWaitsIsToldThatTheShardStops(t *testing.T) {
	for name, stop := range map[string]func(u *unit){
		"its lease is lost": func(u *unit) { u.lease.lose() },
		"it drains":         func(u *unit) { u.drain.Store(true) },
		"it is stopped":     func(u *unit) { u.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(w *world) {
				ann := w.player("ann")
				w.must(w.enqueue("a", 2, ann))
				stop(w.shards["a"])
				time.Sleep(time.Second)
				w.equal("what ann is told", ann.told(), "[MatchFailed]")
				if err := w.enqueue("a", 2, ann); rpc.CodeOf(err) != connect.CodeUnavailable {
					t.Errorf("asked again: %v, want unavailable", err)
				}
			})
		})
	}
}
