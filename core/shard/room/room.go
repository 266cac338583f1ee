// Package room is the state of one room, from its opening to its end: who is in
// it, whether a match runs, who is connected to whom.
//
// A Room has no clock, no goroutine and no connections. Whoever owns it
//
//  1. calls one of its methods with the time and, for a client's request, with
//     the Caller that a checked pass names,
//  2. then drains PollEffect,
//  3. and calls HandleTimeout at PollTimeout.
//
// It is not safe for concurrent use. What View and effects hand out is shared and
// never changed afterwards. Errors are *rpc.Error and may be shown to the client.
//
// # States
//
// A room is OPEN, then PLAYING, then ENDED, and gone. A party is OPEN until it is
// empty. A match starts when all members are ready and online and are at least
// the least number, or at once if the room was opened for a match that was made.
// It ends when all members that are online have finished, or by its time, or when
// all have left. MOVING is a room whose record was given away for another shard.
//
// # Places
//
// A player has at most one place. It is kept for Times.Grace while the player is
// offline; coming back keeps everything. A player who logs in anew and joins takes
// the place over, and the former session is told. The leader is always a member:
// when the leader's place is given up, the member that is online and has been
// there longest follows.
package room

import (
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

// TickRate is how many ticks a second the clock of a match has.
const TickRate = 20

// How often a room speaks: a change that follows another one sooner waits, and is
// told or saved with those that come meanwhile.
const (
	tellEvery   = 100 * time.Millisecond
	saveEvery   = 250 * time.Millisecond
	saveRetry   = time.Second
	epochBits   = 32
	maxDeparted = limits.MaxCapacity
)

// Times are how long a room waits for what. Zeros stand for the defaults.
type Times struct {
	// Grace is how long a place is kept for a player who is offline; 60 s.
	Grace time.Duration
	// Pass is how long a member counts as online whose pass is not known; 60 s,
	// the life of a pass.
	Pass time.Duration
	// Empty is how long an open room lives without members; 10 s.
	Empty time.Duration
	// Linger is how long a room can be asked for after its match; 10 s.
	Linger time.Duration
	// Report is how long a report on a connection counts; 10 s.
	Report time.Duration
}

// WithDefaults gives the times with the defaults in place of zeros.
func (t Times) WithDefaults() Times {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&t.Grace, time.Minute}, {&t.Pass, time.Minute}, {&t.Empty, 10 * time.Second}, {&t.Linger, 10 * time.Second}, {&t.Report, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	return t
}

// Config is what a room is opened with.
type Config struct {
	ID string
	// Shard is who has the room, Epoch the room's own.
	Shard    string
	Epoch    uint64
	Settings *agentv1.RoomSettings
	Members  []*insidev1.Participant
	// Start: a match that was made; it starts at once.
	Start bool
	Times Times
}

// Caller is who calls, by a pass that was checked.
type Caller struct {
	Session, Player string
	Rating          int32
	Generation      uint64
	// Until is when the pass ends.
	Until time.Time
}

// Room is the state of one room.
type Room struct {
	id, shard string
	epoch     uint64
	settings  *agentv1.RoomSettings
	times     Times

	state    agentv1.RoomState
	members  []*member // in the order in which they came
	revision uint64
	view     *agentv1.Room            // of this revision; nil: to be made
	chat     map[string]*rate.Limiter // by player
	match    match
	// emptySince counts while there are no members.
	emptySince time.Time
	closed     bool

	effects []Effect
	roster  pace // RoomChanged
	mesh    pace // MeshChanged
	save    pace // Save
	saving  bool
	unsaved int // changes since the last Save
}

// pace lets something that is wanted often be done at most so often.
type pace struct {
	wanted bool
	next   time.Time
}

func (p *pace) due(now time.Time) bool { return p.wanted && !now.Before(p.next) }

func (p *pace) done(now time.Time, every time.Duration) {
	p.wanted, p.next = false, now.Add(every)
}

// Open makes a room. The error says what is wrong with the configuration.
func Open(now time.Time, cfg Config) (*Room, error) {
	if err := limits.CheckRoomSettings("settings", cfg.Settings); err != nil {
		return nil, err
	}
	r := &Room{
		id: cfg.ID, shard: cfg.Shard, epoch: cfg.Epoch, settings: limits.WithDefaults(cfg.Settings), times: cfg.Times.WithDefaults(),
		state: agentv1.RoomState_ROOM_STATE_OPEN, revision: cfg.Epoch << epochBits, emptySince: now, chat: map[string]*rate.Limiter{},
	}
	if len(cfg.Members) > int(r.settings.Capacity) {
		return nil, rpc.Errorf(connect.CodeInvalidArgument, "%d members for a room of %d", len(cfg.Members), r.settings.Capacity)
	}
	for _, p := range cfg.Members {
		if r.byPlayer(p.Player) != nil || r.bySession(p.Session) != nil {
			return nil, rpc.Errorf(connect.CodeInvalidArgument, "the member %q is there twice", p.Player)
		}
		r.add(now, Caller{Session: p.Session, Player: p.Player, Rating: p.Rating, Until: now.Add(r.times.Pass)}, p.Leader)
	}
	if cfg.Start {
		if r.party() || len(r.members) == 0 {
			return nil, rpc.Errorf(connect.CodeInvalidArgument, "a party, or a room without members, cannot start")
		}
		r.start(now, true)
	}
	r.changedRecord()
	r.roster.wanted = false // who opened it gets it as the answer, others by Matched
	r.settle(now)
	return r, nil
}

// ID is the room's id, Epoch that of its present owner.
func (r *Room) ID() string { return r.id }

// Epoch is the room's own epoch.
func (r *Room) Epoch() uint64 { return r.epoch }

// State is the state at present.
func (r *Room) State() agentv1.RoomState { return r.state }

// Players is how many members there are.
func (r *Room) Players() int { return len(r.members) }

// Closed reports that the room is over here; every call is refused.
func (r *Room) Closed() bool { return r.closed }

// Mesh is the room of the rendezvous in which the match's peers meet. It is
// another one for each owner of the room, so that tickets of a former owner open
// nothing.
func (r *Room) Mesh() string { return fmt.Sprintf("%s-%d", r.id, r.epoch) }

// View is the room as clients see it.
func (r *Room) View() *agentv1.Room {
	if r.view == nil {
		r.view = &agentv1.Room{Id: r.id, Settings: r.settings, State: r.state, Revision: r.revision}
		for _, m := range r.members {
			r.view.Members = append(r.view.Members, &agentv1.Member{
				Player: m.player, Rating: m.rating, Ready: m.ready, Online: m.online, Leader: m.leader,
			})
		}
	}
	return r.view
}

func (r *Room) party() bool   { return r.settings.Kind == agentv1.RoomKind_ROOM_KIND_PARTY }
func (r *Room) playing() bool { return r.state == agentv1.RoomState_ROOM_STATE_PLAYING }

// changed says that the view is another one, which members are told.
func (r *Room) changed() {
	r.revision++
	r.view = nil
	r.roster.wanted = true
}

// changedRecord says that the record is another one as well.
func (r *Room) changedRecord() {
	r.changed()
	r.changedSilently()
}

// changedSilently says that the record is another one, and the view is not.
func (r *Room) changedSilently() {
	r.save.wanted = true
	r.unsaved++
}

// alive refuses calls to a room that is over here.
func (r *Room) alive() error {
	if r.closed {
		return rpc.Errorf(connect.CodeNotFound, "the room %s is not here any more", r.id)
	}
	return nil
}

// settle does what follows from the present state, and tells and saves what is
// due. Every method that changes something ends with it.
func (r *Room) settle(now time.Time) {
	if r.closed {
		return
	}
	switch {
	case r.state == agentv1.RoomState_ROOM_STATE_OPEN && r.mayStart():
		r.start(now, false)
	case r.playing() && len(r.members) == 0:
		r.end(now, EndAbandoned)
	case r.playing() && r.allFinished():
		r.end(now, EndFinished)
	}
	if r.roster.due(now) {
		r.tell(&agentv1.Event{Kind: &agentv1.Event_RoomChanged{RoomChanged: &agentv1.RoomChanged{Room: r.View()}}})
		r.roster.done(now, tellEvery)
	}
	if r.mesh.due(now) {
		r.tell(&agentv1.Event{Kind: &agentv1.Event_MeshChanged{MeshChanged: &agentv1.MeshChanged{Room: r.id, Peers: r.Peers()}}})
		r.mesh.done(now, tellEvery)
	}
	if r.save.due(now) && !r.saving {
		r.effects = append(r.effects, Save{r.Record(now), r.unsaved})
		r.saving, r.unsaved = true, 0
		r.save.done(now, saveEvery)
	}
}

// HandleTimeout does what the time has come for.
func (r *Room) HandleTimeout(now time.Time) {
	if r.closed {
		return
	}
	for _, m := range slices.Clone(r.members) {
		switch {
		case m.online && !now.Before(m.until):
			m.lapsed = true
			r.offline(now, m)
		case !m.online && !now.Before(m.offlineSince.Add(r.times.Grace)):
			r.remove(now, m)
		}
	}
	switch r.state {
	case agentv1.RoomState_ROOM_STATE_OPEN:
		if len(r.members) == 0 && !now.Before(r.emptySince.Add(r.times.Empty)) {
			r.close("nobody is in it")
		}
	case agentv1.RoomState_ROOM_STATE_PLAYING:
		if !now.Before(r.match.deadline(r.settings)) {
			r.end(now, EndTime)
		}
	case agentv1.RoomState_ROOM_STATE_ENDED:
		if !now.Before(r.match.ended.Add(r.times.Linger)) {
			r.close("the match is over")
		}
	}
	r.settle(now)
}

// PollTimeout is when HandleTimeout wants to be called; zero: never.
func (r *Room) PollTimeout() (next time.Time) {
	if r.closed {
		return
	}
	at := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, m := range r.members {
		if m.online {
			at(m.until)
		} else {
			at(m.offlineSince.Add(r.times.Grace))
		}
	}
	switch r.state {
	case agentv1.RoomState_ROOM_STATE_OPEN:
		if len(r.members) == 0 {
			at(r.emptySince.Add(r.times.Empty))
		}
	case agentv1.RoomState_ROOM_STATE_PLAYING:
		at(r.match.deadline(r.settings))
	case agentv1.RoomState_ROOM_STATE_ENDED:
		at(r.match.ended.Add(r.times.Linger))
	}
	for _, p := range []pace{r.roster, r.mesh} {
		if p.wanted {
			at(p.next)
		}
	}
	if r.save.wanted && !r.saving {
		at(r.save.next)
	}
	return next
}
