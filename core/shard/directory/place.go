package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

const (
	// openTimeout is how long a shard has to open or adopt a room before another
	// one is asked; placements is how many are.
	openTimeout = 700 * time.Millisecond
	placements  = 3
)

// candidate is a shard that may get a room.
type candidate struct {
	id              string
	epoch           uint64
	used, capacity  amount
	preference      uint64
	draining, alive bool
}

// fits reports whether so many more rooms and players are within the capacity.
func (c candidate) fits(more amount) bool {
	return c.used.rooms+more.rooms <= c.capacity.rooms && c.used.players+more.players <= c.capacity.players
}

// choose takes the least loaded of the candidates that are alive, do not drain and
// are none of those left out: by players, then by rooms, each relative to
// capacity, then by preference. With spare, only such count as the amount fits in.
func choose(candidates []candidate, more amount, spare bool, without []string) (candidate, bool) {
	fit := slices.DeleteFunc(slices.Clone(candidates), func(c candidate) bool {
		return !c.alive || c.draining || spare && !c.fits(more) || slices.Contains(without, c.id)
	})
	if len(fit) == 0 {
		return candidate{}, false
	}
	ratio := func(used, capacity int) float64 { return float64(used) / float64(max(1, capacity)) }
	return slices.MinFunc(fit, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(ratio(a.used.players, a.capacity.players), ratio(b.used.players, b.capacity.players)),
			cmp.Compare(ratio(a.used.rooms, a.capacity.rooms), ratio(b.used.rooms, b.capacity.rooms)),
			cmp.Compare(a.preference, b.preference),
			cmp.Compare(a.id, b.id),
		)
	}), true
}

// used is what a shard has: what it says, or what the rooms' records say if that is
// more, and what is being placed. The lock is held.
func (s *Server) used(id string) amount {
	s.member.mu.Lock()
	said := s.member.loads[id]
	s.member.mu.Unlock()
	promised := s.state.promised[id]
	return amount{
		rooms:   max(said.rooms, len(s.state.roomsOf[id])) + promised.rooms,
		players: max(said.players, s.state.playersOf[id]) + promised.players,
	}
}

// pick chooses a shard for a room and counts the room to it until done is called.
// A shard of which this member has had no sign lately is left out.
func (s *Server) pick(room string, more amount, spare bool, without []string) (c candidate, done func(), ok bool) {
	now := time.Now()
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	c, ok = choose(s.candidates(room, now), more, spare, without)
	if !ok {
		return c, func() {}, false
	}
	count := func(sign int) {
		p := s.state.promised[c.id]
		p.rooms, p.players = p.rooms+sign*more.rooms, p.players+sign*more.players
		s.state.promised[c.id] = p
	}
	count(1)
	return c, func() {
		s.state.mu.Lock()
		defer s.state.mu.Unlock()
		count(-1)
	}, true
}

// candidates are all shards; the preference among equals is by the key. One that
// counts as alive, and of which there was no sign for a grant, has probably died. The
// lock is held.
func (s *Server) candidates(key string, now time.Time) []candidate {
	var all []candidate
	for id, sh := range s.state.shards.rows {
		heard, _ := s.silence(id, now)
		all = append(all, candidate{
			id: id, epoch: sh.value.Epoch, used: s.used(id),
			capacity:   amount{int(sh.value.CapacityRooms), int(sh.value.CapacityPlayers)},
			preference: preference(key, id),
			draining:   sh.value.Draining,
			alive:      sh.value.Alive && now.Sub(s.state.sign(id, heard)) < s.cfg.Grant,
		})
	}
	return all
}

// preference makes different keys prefer different shards, and all directories
// the same one (rendezvous hashing).
func preference(key, id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id + "\x00" + key))
	// The last bytes of FNV reach its high bits too little.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// placeRoom opens a room on the least loaded shard.
func (s *Server) placeRoom(ctx context.Context, r *rpc.Request, req *insidev1.PlaceRoomRequest) (*insidev1.PlaceRoomResponse, error) {
	record, err := s.checkPlace(r, req)
	if err != nil {
		return nil, err
	}
	s.state.mu.RLock()
	rooms := len(s.state.rooms.rows)
	s.state.mu.RUnlock()
	if rooms >= s.cfg.MaxRooms {
		return nil, &rpc.Error{Code: connect.CodeResourceExhausted, Message: "there are as many rooms as there may be", Retry: time.Second}
	}
	if len(r.Wildcards) == 0 {
		if err := s.mayCreate(record.Members[0].Participant.Session, record.Room); err != nil {
			return nil, err
		}
	}
	resp, err := s.place(ctx, record, req.Start)
	s.metrics.placed(err)
	if err != nil {
		s.log.Info("a room was not placed", "room", record.Room, "error", err)
	}
	return resp, err
}

// checkPlace gives the record of the room that is asked for: by an Agent for the
// player of its pass, or by a shard for the players of a match.
func (s *Server) checkPlace(r *rpc.Request, req *insidev1.PlaceRoomRequest) (*insidev1.RoomRecord, error) {
	if err := limits.CheckRoomSettings("settings", req.Settings); err != nil {
		return nil, err
	}
	if len(req.Key) > 64 {
		return nil, rpc.Errorf(connect.CodeInvalidArgument, "key: has %d bytes, at most 64 are allowed", len(req.Key))
	}
	members, caller := req.Members, ""
	if len(r.Wildcards) > 0 {
		caller = "shard " + r.Wildcards[0]
		if len(members) == 0 || len(members) > int(req.Settings.Capacity) {
			return nil, rpc.Errorf(connect.CodeInvalidArgument, "members: has %d players; 1 to %d are allowed", len(members), req.Settings.Capacity)
		}
	} else {
		p, err := s.pass(r)
		if err != nil {
			return nil, err
		}
		if len(members) != 0 || req.Start {
			return nil, rpc.Errorf(connect.CodePermissionDenied, "only shards place rooms for others, or start them at once")
		}
		caller = "session " + p.Session
		members = []*insidev1.Participant{{Session: p.Session, Player: p.Player, Rating: p.Rating, Leader: true}}
	}
	record := &insidev1.RoomRecord{
		Room: roomID(caller, req.Key), Epoch: 1, State: agentv1.RoomState_ROOM_STATE_OPEN, Settings: limits.WithDefaults(req.Settings),
	}
	if req.Key != "" {
		// The same room may be placed again after it was given up: nobody shall
		// take it for the former one.
		record.Epoch = uint64(time.Now().UnixMilli())
	}
	for _, m := range members {
		if err := limits.CheckParticipant("members", m); err != nil {
			return nil, err
		}
		record.Members = append(record.Members, &insidev1.RoomMember{Participant: m})
	}
	return record, nil
}

// roomID draws an id, or makes that of a caller's key.
func roomID(caller, key string) string {
	if key == "" {
		key = rand.Text()
	}
	sum := sha256.Sum256([]byte(caller + "\x00" + key))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:limits.RoomIDLength]
}

// place tries shards until one has the room. The room is written before a shard is
// asked, and to another shard only while the former has not saved it: so one that
// opens it although its answer comes late, or never, is fenced.
func (s *Server) place(ctx context.Context, record *insidev1.RoomRecord, start bool) (*insidev1.PlaceRoomResponse, error) {
	room, err := s.assign(ctx, record)
	if err != nil {
		return nil, err
	}
	var tried []string
	for {
		r := room.value.Record
		open := &insidev1.OpenRoomRequest{Room: r.Room, Epoch: r.Epoch, Settings: r.Settings, Start: start}
		for _, m := range record.Members {
			open.Members = append(open.Members, m.Participant)
		}
		opened, err := rpc.Call[insidev1.OpenRoomResponse](ctx, s.client, shard.LobbySubject(r.Shard, "OpenRoom"), open, rpc.WithTimeout(openTimeout))
		if err == nil {
			s.confirm(ctx, room)
			return &insidev1.PlaceRoomResponse{Place: placeOf(r), Room: opened.Room}, nil
		}
		s.log.Info("a shard did not open a room", "shard", r.Shard, "room", r.Room, "error", err)
		tried = append(tried, r.Shard)
		next, moved := row[*insidev1.StoredRoom]{}, error(nil)
		if len(tried) < placements && passing(err) {
			next, moved = s.reassign(ctx, room, "", true, tried)
		}
		if next.value == nil {
			s.forget(ctx, room)
			if moved == nil || errors.Is(moved, errNoShard) || errors.Is(moved, errFull) {
				return nil, err // there is no other: what this one said counts
			}
			return nil, moved
		}
		room = next
	}
}

// passing reports whether another shard may do what one did not.
func passing(err error) bool {
	switch rpc.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeCanceled:
		return false
	}
	return true
}

// assign writes a new room to the least loaded shard. One that is there already was
// asked for before by the same caller.
func (s *Server) assign(ctx context.Context, record *insidev1.RoomRecord) (row[*insidev1.StoredRoom], error) {
	c, done, ok := s.pick(record.Room, amount{1, len(record.Members)}, true, nil)
	defer done()
	if !ok {
		return row[*insidev1.StoredRoom]{}, s.noShard()
	}
	record.Shard = c.id
	op := s.history.Intend(history.Operation{Kind: history.Place, Room: record.Room, Epoch: record.Epoch, Shard: c.id})
	room, err := s.state.rooms.create(ctx, record.Room, &insidev1.StoredRoom{
		Record: record, ShardEpoch: c.epoch, Pending: true, SinceMs: time.Now().UnixMilli(),
	})
	if errors.Is(err, engine.ErrExists) {
		s.history.Void(op)
		return s.placedBefore(ctx, record.Room)
	}
	s.history.End(op, err)
	return room, full(err)
}

func (s *Server) placedBefore(ctx context.Context, id string) (row[*insidev1.StoredRoom], error) {
	room, err := s.state.rooms.get(ctx, id)
	if err != nil {
		return room, err
	}
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	if s.state.lost(room.value) {
		return room, &rpc.Error{Code: connect.CodeUnavailable, Message: "the room is on its way to a shard", Retry: 100 * time.Millisecond}
	}
	return room, nil
}

// errNoShard and errFull say why no shard gets a room.
var (
	errNoShard error = &rpc.Error{Code: connect.CodeUnavailable, Message: "there is no shard that takes rooms at present", Retry: time.Second}
	errFull    error = &rpc.Error{Code: connect.CodeResourceExhausted, Message: "all shards are full", Retry: time.Second}
)

func (s *Server) noShard() error {
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	if _, ok := choose(s.candidates("", time.Now()), amount{}, false, nil); ok {
		return errFull
	}
	return errNoShard
}

// reassign gives a room to another shard, with the next epoch. If another directory
// or the owner has written the room meanwhile, the result is what it is now; the
// owner that saved it has it.
func (s *Server) reassign(ctx context.Context, room row[*insidev1.StoredRoom], reason string, spare bool, without []string) (row[*insidev1.StoredRoom], error) {
	c, done, ok := s.pick(room.value.Record.Room, amount{1, len(room.value.Record.Members)}, spare, without)
	defer done()
	if !ok {
		return row[*insidev1.StoredRoom]{}, s.noShard()
	}
	next := proto.CloneOf(room.value)
	next.Record.Epoch++
	next.Record.Shard, next.ShardEpoch = c.id, c.epoch
	next.Pending, next.SinceMs = true, time.Now().UnixMilli()
	next.Reason = cmp.Or(reason, next.Reason)
	r := next.Record
	op := s.history.Intend(history.Operation{Kind: history.Move, Room: r.Room, Epoch: r.Epoch, Shard: r.Shard})
	moved, err := s.state.rooms.update(ctx, r.Room, next, room.revision)
	if errors.Is(err, engine.ErrConflict) {
		s.history.Void(op)
		moved, err = s.state.rooms.get(ctx, r.Room)
		if errors.Is(err, engine.ErrNotFound) || err == nil && moved.value.Record.Epoch != room.value.Record.Epoch {
			return row[*insidev1.StoredRoom]{}, again()
		}
		return moved, err
	}
	s.history.End(op, err)
	return moved, err
}

// confirm notes that the owner has a room, unless it has said so itself.
func (s *Server) confirm(ctx context.Context, room row[*insidev1.StoredRoom]) {
	id := room.value.Record.Room
	if now, ok := s.state.rooms.find(id); ok && now.revision > room.revision {
		return
	}
	next := proto.CloneOf(room.value)
	next.Pending, next.SavedMs = false, time.Now().UnixMilli()
	if _, err := s.state.rooms.update(ctx, id, next, room.revision); err != nil && !errors.Is(err, engine.ErrConflict) {
		s.log.Info("a room stays pending until its shard saves it", "room", id, "error", err)
	}
}

// forget takes away a room that no shard has.
func (s *Server) forget(ctx context.Context, room row[*insidev1.StoredRoom]) {
	r := room.value.Record
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	op := s.history.Intend(history.Operation{Kind: history.End, Room: r.Room, Epoch: r.Epoch, Shard: r.Shard})
	err := s.state.rooms.remove(ctx, r.Room, room.revision)
	if errors.Is(err, engine.ErrConflict) {
		s.history.Void(op)
		return // the owner has saved it, or another directory was first
	}
	if err != nil {
		s.log.Info("a room that nobody has stays for now", "room", r.Room, "error", err)
	}
	s.history.End(op, err)
}
