package room

import (
	"bytes"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

const (
	// MaxRecord is the most bytes of a record.
	MaxRecord = 64 << 10
	// maxMatchEvent leaves an event room below the engine's 512 KiB.
	maxMatchEvent = 384 << 10
)

// Record is what another shard needs to go on with the room: settings, state,
// members with their peers and whether they are ready, the match with its clock,
// players, accounts of the result and connections. Not in it: who is online
// (members count as online for the life of a pass after the room was taken over)
// and what was said. It has at most MaxRecord bytes: where it would have more, it
// is without connections, then without accounts of the result (whose players have
// not finished then), then without players who have left.
func (r *Room) Record(now time.Time) *insidev1.RoomRecord {
	rec := &insidev1.RoomRecord{
		Room: r.id, Shard: r.shard, Epoch: r.epoch, Settings: r.settings, State: r.state, Revision: r.revision,
		Match: r.Match(now),
	}
	if rec.Match == nil && r.match.moves > 0 {
		rec.Match = &agentv1.Match{Room: r.id, Moves: r.match.moves}
	}
	for _, m := range r.members {
		saved := &insidev1.RoomMember{
			Participant: &insidev1.Participant{Session: m.session, Player: m.player, Rating: m.rating, Leader: m.leader},
			Ready:       m.ready, Finished: m.part != nil && m.part.finished,
		}
		if !m.peer.IsZero() {
			saved.PeerId = bytes.Clone(m.peer[:])
		}
		rec.Members = append(rec.Members, saved)
	}
	if rec.Match == nil {
		return rec
	}
	rest := proto.Size(rec) - proto.Size(rec.Match)
	whole := rec.Match
	if rec.Match = fit(whole, MaxRecord-rest-16); rec.Match != whole && len(whole.Players) > 0 {
		for i, m := range r.members {
			if m.part != nil && len(m.part.result) > 0 && !hasResult(rec.Match, m.player) {
				rec.Members[i].Finished = false
			}
		}
	}
	return rec
}

func hasResult(m *agentv1.Match, player string) bool {
	for _, p := range m.Players {
		if p.Player == player {
			return len(p.Result) > 0
		}
	}
	return false
}

// fit gives a match of at most so many bytes: the same, or one without
// connections, without results, without those who left.
func fit(m *agentv1.Match, most int) *agentv1.Match {
	if proto.Size(m) <= most {
		return m
	}
	short := proto.CloneOf(m)
	short.Links = nil
	if proto.Size(short) <= most {
		return short
	}
	for _, p := range short.Players {
		p.Result = nil
	}
	if proto.Size(short) <= most {
		return short
	}
	var present []*agentv1.Match_Player
	for _, p := range short.Players {
		if p.LeftMs == 0 {
			present = append(present, p)
		}
	}
	short.Players = present
	return short
}

// Adopt goes on with a room of another shard, by its record, which has the new
// epoch. Its members are told, with the reason. The mesh is a new one. The error
// says what is wrong with the record.
func Adopt(now time.Time, shard string, rec *insidev1.RoomRecord, reason string, times Times) (*Room, error) {
	if err := checkRecord(rec); err != nil {
		return nil, err
	}
	r := &Room{
		id: rec.Room, shard: shard, epoch: rec.Epoch, settings: limits.WithDefaults(rec.Settings), times: times.WithDefaults(),
		state: rec.State, emptySince: now, chat: map[string]*rate.Limiter{},
		// Clients may have seen more of the former owner than it saved, but
		// nothing of this epoch.
		revision: max(rec.Revision, rec.Epoch<<epochBits),
	}
	if r.state != agentv1.RoomState_ROOM_STATE_ENDED {
		// Whoever moves it may have marked it; the match says what it was.
		r.state = agentv1.RoomState_ROOM_STATE_OPEN
		if rec.Match.GetStartedMs() != 0 {
			r.state = agentv1.RoomState_ROOM_STATE_PLAYING
		}
	}
	r.restoreMatch(now, rec.Match)
	for _, saved := range rec.Members {
		r.restoreMember(now, saved)
	}
	if len(r.members) > 0 && !r.hasLeader() {
		r.members[0].leader = true
	}
	r.match.moves++
	r.changedRecord()
	r.roster.wanted = false // what follows has the room
	r.tell(&agentv1.Event{Kind: &agentv1.Event_RoomMoved{RoomMoved: &agentv1.RoomMoved{Room: r.View(), Reason: reason}}})
	r.settle(now)
	return r, nil
}

func checkRecord(rec *insidev1.RoomRecord) error {
	if err := limits.CheckRoomID("record.room", rec.GetRoom()); err != nil {
		return err
	}
	if err := limits.CheckRoomSettings("record.settings", rec.Settings); err != nil {
		return err
	}
	if len(rec.Members) > int(rec.Settings.Capacity) {
		return rpc.Errorf(connect.CodeInvalidArgument, "record.members: %d in a room of %d", len(rec.Members), rec.Settings.Capacity)
	}
	sessions, players := map[string]bool{}, map[string]bool{}
	for _, m := range rec.Members {
		p := m.GetParticipant()
		if err := limits.CheckParticipant("record.members", p); err != nil {
			return err
		}
		if sessions[p.Session] || players[p.Player] {
			return rpc.Errorf(connect.CodeInvalidArgument, "record.members: %q is there twice", p.Player)
		}
		sessions[p.Session], players[p.Player] = true, true
	}
	if rec.Settings.Kind == agentv1.RoomKind_ROOM_KIND_PARTY && rec.Match.GetStartedMs() != 0 {
		return rpc.Errorf(connect.CodeInvalidArgument, "record.match: a party has none")
	}
	return nil
}

func (r *Room) hasLeader() bool {
	for _, m := range r.members {
		if m.leader {
			return true
		}
	}
	return false
}

func (r *Room) restoreMatch(now time.Time, m *agentv1.Match) {
	r.match.moves = m.GetMoves()
	over := r.state == agentv1.RoomState_ROOM_STATE_ENDED
	if over {
		r.match.ended = now
	}
	if m.GetStartedMs() == 0 {
		return
	}
	r.match.started, r.match.tick, r.match.reason = time.UnixMilli(m.StartedMs), m.Tick, m.EndReason
	if over && m.EndedMs != 0 {
		r.match.ended = time.UnixMilli(m.EndedMs)
	}
	for _, p := range m.Players {
		restored := &part{
			player: p.Player, joined: time.UnixMilli(p.JoinedMs), result: p.Result, reconnects: p.Reconnects, finished: len(p.Result) > 0,
		}
		if p.LeftMs != 0 {
			restored.left = time.UnixMilli(p.LeftMs)
		}
		r.match.parts = append(r.match.parts, restored)
	}
	r.match.links = map[pair]*link{}
	for _, saved := range m.Links {
		if saved.A == saved.B {
			continue
		}
		l := &link{state: saved.State, since: time.UnixMilli(saved.SinceMs), changes: saved.Changes}
		l.frozen = r.hasLeft(saved.A) || r.hasLeft(saved.B) || over
		if !l.frozen {
			l.restart(now) // what was said was said to another
		}
		r.match.links[pairOf(saved.A, saved.B)] = l
	}
}

// hasLeft reports whether a player of the match is no member any more.
func (r *Room) hasLeft(player string) bool {
	for _, p := range r.match.parts {
		if p.player == player {
			return !p.left.IsZero()
		}
	}
	return true
}

func (r *Room) restoreMember(now time.Time, saved *insidev1.RoomMember) {
	p := saved.Participant
	m := &member{
		session: p.Session, player: p.Player, rating: p.Rating, leader: p.Leader && !r.hasLeader(),
		ready: saved.Ready, online: true, until: now.Add(r.times.Pass),
	}
	if id, err := identity.IDFromBytes(saved.PeerId); err == nil {
		m.peer = id
	}
	r.members = append(r.members, m)
	r.effects = append(r.effects, Entered{m.session})
	if r.match.started.IsZero() {
		return
	}
	for _, p := range r.match.parts {
		if p.player == m.player {
			p.left, p.finished = time.Time{}, saved.Finished
			m.part = p
			return
		}
	}
	m.part = &part{player: m.player, joined: now, finished: saved.Finished}
	r.match.parts = append(r.match.parts, m.part)
}

// Release gives the room away: its last record, for another shard. After it the
// room is closed here, without a word to its members. Aborted: the epoch is not
// the room's.
func (r *Room) Release(now time.Time, epoch uint64) (*insidev1.RoomRecord, error) {
	if err := r.alive(); err != nil {
		return nil, err
	}
	if epoch != r.epoch {
		return nil, rpc.Errorf(connect.CodeAborted, "the room %s is here with epoch %d, not %d", r.id, r.epoch, epoch)
	}
	rec := r.Record(now)
	r.Abandon()
	r.state = agentv1.RoomState_ROOM_STATE_MOVING
	r.view = nil
	return rec, nil
}
