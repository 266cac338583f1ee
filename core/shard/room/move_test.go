package room_test

import (
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/room"
)

// move lets another shard go on with the room.
func (s *scene) move(change func(*insidev1.RoomRecord)) *scene {
	s.t.Helper()
	rec, err := s.r.Release(s.now, s.r.Epoch())
	if err != nil {
		s.t.Fatal(err)
	}
	rec = proto.CloneOf(rec)
	rec.Epoch++
	if change != nil {
		change(rec)
	}
	r, err := room.Adopt(s.now, "b", rec, "it moves", room.Times{})
	if err != nil {
		s.t.Fatal(err)
	}
	moved := &scene{t: s.t, r: r, now: s.now}
	moved.drain()
	return moved
}

func TestAMoveKeepsTheMatch(t *testing.T) {
	s := mesh(t, "ann", "bob")
	s.says("ann", direct, 10, "bob")
	s.says("bob", direct, 10, "ann")
	s.alive(100*time.Second, "ann", "bob")
	s.do(s.r.Finish(s.now, s.caller("ann"), nil)) // an account may be empty
	s.expect("the mesh", s.r.Mesh(), id+"-3")

	s = s.move(func(rec *insidev1.RoomRecord) { rec.State = agentv1.RoomState_ROOM_STATE_MOVING })
	s.expect("what is said", s.heard(), "RoomMoved→s-ann,s-bob")
	s.expect("the mesh", s.r.Mesh(), id+"-4")
	s.expect("the state", s.r.State(), agentv1.RoomState_ROOM_STATE_PLAYING)
	s.expect("ticks", s.r.Tick(s.now), 2000)
	s.expect("ticks by a clock that is behind", s.r.Tick(s.now.Add(-time.Minute)), 2000)
	s.expect("the connection, of which nobody has spoken yet", state(s.link()), "CONNECTING")
	peers, err := s.r.Ticket(s.now, s.caller("ann"), peer("ann"))
	s.do(err)
	s.expect("peers that are known", len(peers), 2)
	s.do(s.r.Finish(s.now, s.caller("bob"), nil))
	m := s.r.Match(s.now)
	s.expect("the end", []any{m.EndReason, m.Agreed, m.Moves}, fmt.Sprintf("[%s true 1]", room.EndFinished))
}

func TestAMoveEndsByTheFirstClock(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start, cfg.Settings.MatchSeconds = true, 300 }, "ann", "bob")
	s.alive(200*time.Second, "ann", "bob")
	s = s.move(nil)
	s.alive(99*time.Second, "ann", "bob")
	s.expect("the state after 299 s", s.r.State(), agentv1.RoomState_ROOM_STATE_PLAYING)
	s.pass(time.Second)
	s.expect("the reason after 300 s", s.r.Match(s.now).EndReason, room.EndTime)
}

func TestAMoveOfWhatDoesNotPlay(t *testing.T) {
	s := open(t, nil, "ann", "bob", "cid")
	s.do(s.r.SetReady(s.now, s.caller("bob"), true))
	s.do(s.r.Presence(s.now, s.caller("cid"), false))
	before := s.r.View().Revision
	s = s.move(nil)
	s.expect("roster: nobody knows who is offline", s.roster(), "ann* bob+ cid")
	if now := s.r.View().Revision; now <= before {
		t.Errorf("the revision went from %d to %d", before, now)
	}
	// Those whose Agents do not speak up are offline after the life of a pass.
	s.alive(time.Minute, "ann", "bob")
	s.expect("roster after a minute", s.roster(), "ann* bob+ cid?")
	s = s.move(nil)
	s.do(s.r.SetReady(s.now, s.caller("ann"), true))
	s.do(s.r.SetReady(s.now, s.caller("cid"), true))
	s.expect("moves of a match that began later", s.r.Match(s.now).Moves, 2)
}

func TestAMoveOfWhatIsOver(t *testing.T) {
	s := open(t, func(cfg *room.Config) { cfg.Start = true }, "ann")
	s.do(s.r.Finish(s.now, s.caller("ann"), []byte("1:0")))
	s = s.move(nil)
	s.expect("records of the second owner", len(s.ended), 0)
	s.expect("the match", s.r.Match(s.now).EndReason, room.EndFinished)
	s.pass(10 * time.Second)
	s.expect("dropped", s.dropped, true)
}

func TestRelease(t *testing.T) {
	s := open(t, nil, "ann")
	_, err := s.r.Release(s.now, 2)
	s.refused(err, connect.CodeAborted)
	_, err = s.r.Release(s.now, 3)
	s.do(err)
	s.expect("state", s.r.View().State, agentv1.RoomState_ROOM_STATE_MOVING)
	_, err = s.r.Release(s.now, 3)
	s.refused(err, connect.CodeNotFound)
	s.heard()
	s.r.HandleTimeout(s.now.Add(time.Hour))
	s.drain()
	s.expect("what it says and does afterwards", []any{s.heard(), s.dropped}, "[ false]")
}
