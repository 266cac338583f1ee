package directory

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

// aborted is what a shard gets that writes to a room that is not its own.
func (s *Server) aborted(op history.Operation, message string) error {
	s.metrics.refused.Inc()
	op.Outcome = history.Refused
	s.history.Add(op)
	return rpc.Errorf(connect.CodeAborted, "%s", message)
}

// saveRoom writes what a shard knows of its room. It always writes, be it the same
// as before: that the compare-and-set went through is what tells the shard that it
// owns the room.
func (s *Server) saveRoom(ctx context.Context, r *rpc.Request, req *insidev1.SaveRoomRequest) (*insidev1.SaveRoomResponse, error) {
	if err := isCaller(r, req.Shard); err != nil {
		return nil, err
	}
	if err := checkRecord(req); err != nil {
		return nil, err
	}
	record := req.Record
	op := s.history.Begin(history.Operation{Kind: history.Save, Room: record.Room, Epoch: record.Epoch, Shard: req.Shard})
	present, known := s.state.rooms.find(record.Room)
	for i := range attempts {
		if i > 0 || !known || present.value.Record.Epoch < record.Epoch {
			var err error
			present, err = s.certainly(ctx, record.Room)
			if errors.Is(err, engine.ErrNotFound) {
				return nil, s.aborted(op, "the room has ended, or never was")
			} else if err != nil {
				return nil, err
			}
		}
		if err := owns(present.value, req.Shard, record.Epoch); err != nil {
			return nil, s.notOwner(op, err)
		}
		next := proto.CloneOf(present.value)
		if record.Revision >= next.Record.Revision || next.Pending {
			next.Record = record
		}
		next.Pending, next.SavedMs = false, time.Now().UnixMilli()
		_, err := s.state.rooms.update(ctx, record.Room, next, present.revision)
		switch {
		case errors.Is(err, engine.ErrConflict):
			continue
		case err != nil:
			op.Outcome = history.Unknown
			s.history.Add(op)
			return nil, full(err)
		}
		s.history.Add(op)
		return &insidev1.SaveRoomResponse{}, nil
	}
	return nil, again()
}

func checkRecord(req *insidev1.SaveRoomRequest) error {
	record := req.Record
	if record == nil {
		return rpc.Errorf(connect.CodeInvalidArgument, "record: is missing")
	}
	if err := limits.CheckRoomID("record.room", record.Room); err != nil {
		return err
	}
	if record.Shard != req.Shard {
		return rpc.Errorf(connect.CodeInvalidArgument, "record.shard: is %q; a shard saves its own rooms", record.Shard)
	}
	if n := proto.Size(record); n > MaxRecord {
		return rpc.Errorf(connect.CodeInvalidArgument, "record: has %d bytes, at most %d are allowed", n, MaxRecord)
	}
	return limits.CheckRoomSettings("record.settings", record.Settings)
}

// errOwner and errBehind say why a shard may not write to a room.
var (
	errOwner  = errors.New("the room is another shard's since: let go of it")
	errBehind = errors.New("the directory does not know this epoch of the room yet")
)

func owns(room *insidev1.StoredRoom, id string, epoch uint64) error {
	switch r := room.Record; {
	case r.Epoch < epoch:
		return errBehind
	case r.Epoch > epoch || r.Shard != id:
		return errOwner
	}
	return nil
}

// notOwner is the answer to a shard that may not write. What is older than what the
// shard knows tells nothing about who the owner is.
func (s *Server) notOwner(op history.Operation, err error) error {
	if errors.Is(err, errBehind) {
		return &rpc.Error{Code: connect.CodeUnavailable, Message: err.Error(), Retry: 100 * time.Millisecond}
	}
	return s.aborted(op, err.Error())
}

// certainly reads a room. Whether there is none, a read alone does not say while
// the engine is split.
func (s *Server) certainly(ctx context.Context, id string) (row[*insidev1.StoredRoom], error) {
	room, err := s.state.rooms.get(ctx, id)
	if !errors.Is(err, engine.ErrNotFound) {
		return room, err
	}
	if err := s.kv.rooms.barrier(ctx, "barrier."+strconv.Itoa(s.cfg.Index)); err != nil {
		return room, err
	}
	if room, ok := s.state.rooms.find(id); ok {
		return room, nil
	}
	return room, err
}

// full says that a bucket is.
func full(err error) error {
	if errors.Is(err, engine.ErrTooLarge) {
		return rpc.Errorf(connect.CodeResourceExhausted, "the directory has no space left")
	}
	return err
}

// dropRoom forgets a room that has ended.
func (s *Server) dropRoom(ctx context.Context, r *rpc.Request, req *insidev1.DropRoomRequest) (*insidev1.DropRoomResponse, error) {
	if err := isCaller(r, req.Shard); err != nil {
		return nil, err
	}
	if err := limits.CheckRoomID("room", req.Room); err != nil {
		return nil, err
	}
	op := s.history.Intend(history.Operation{Kind: history.Drop, Room: req.Room, Epoch: req.Epoch, Shard: req.Shard})
	for range attempts {
		present, err := s.certainly(ctx, req.Room)
		if err != nil {
			s.history.Void(op)
		}
		if errors.Is(err, engine.ErrNotFound) {
			return &insidev1.DropRoomResponse{}, nil // done before
		} else if err != nil {
			return nil, err
		}
		if err := owns(present.value, req.Shard, req.Epoch); err != nil {
			return nil, s.notOwner(op, err)
		}
		err = s.state.rooms.remove(ctx, req.Room, present.revision)
		switch {
		case errors.Is(err, engine.ErrConflict):
			continue
		case err != nil:
			op.Outcome = history.Unknown
			s.history.Add(op)
			return nil, err
		}
		s.history.Add(op)
		return &insidev1.DropRoomResponse{}, nil
	}
	s.history.Void(op)
	return nil, again()
}

// findRoom says which shard has a room; see the package's comment for how old that
// may be.
func (s *Server) findRoom(ctx context.Context, _ *rpc.Request, req *insidev1.FindRoomRequest) (*insidev1.FindRoomResponse, error) {
	if err := limits.CheckRoomID("room", req.Room); err != nil {
		return nil, err
	}
	room, err := s.lookUp(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	s.state.mu.RLock()
	lost := s.state.lost(room.value)
	s.state.mu.RUnlock()
	if lost || room.value.Pending {
		return nil, &rpc.Error{Code: connect.CodeUnavailable, Message: "the room is on its way to a shard", Retry: 100 * time.Millisecond}
	}
	return &insidev1.FindRoomResponse{Place: placeOf(room.value.Record)}, nil
}

// lookUp finds a room in the copy, or, as it may be too new for that, itself.
func (s *Server) lookUp(ctx context.Context, id string) (row[*insidev1.StoredRoom], error) {
	if room, ok := s.state.rooms.find(id); ok {
		return room, nil
	}
	room, err := s.state.rooms.get(ctx, id)
	if errors.Is(err, engine.ErrNotFound) {
		return room, rpc.Errorf(connect.CodeNotFound, "there is no such room")
	}
	return room, err
}

func placeOf(r *insidev1.RoomRecord) *insidev1.RoomPlace {
	return &insidev1.RoomPlace{Room: r.Room, Shard: r.Shard, Epoch: r.Epoch}
}

// maxLook bounds the rooms that are looked at for one list: all else waits for the
// lock meanwhile, heartbeats too.
const maxLook = 2000

// listRooms lists rooms that are no secret, by id; the cursor is that of the last
// one looked at. There may be more although a page is not full.
func (s *Server) listRooms(_ context.Context, _ *rpc.Request, req *agentv1.ListRoomsRequest) (*agentv1.ListRoomsResponse, error) {
	if err := limits.Check(req); err != nil {
		return nil, err
	}
	if req.Cursor != "" {
		if err := limits.CheckRoomID("cursor", req.Cursor); err != nil {
			return nil, err
		}
	}
	limit := int(req.Limit)
	if limit == 0 {
		limit = limits.DefaultList
	}
	resp, last := &agentv1.ListRoomsResponse{}, ""
	s.state.mu.RLock()
	defer s.state.mu.RUnlock()
	for i, id := range s.state.after(req.Cursor) {
		if i == maxLook {
			resp.NextCursor = last
			break
		}
		last = id
		room := s.state.rooms.rows[id].value
		r := room.Record
		if req.Mode != "" && r.Settings.Mode != req.Mode || !req.All && !s.state.enterable(room) {
			continue
		}
		if len(resp.Rooms) == limit {
			resp.NextCursor = resp.Rooms[limit-1].Id
			break
		}
		summary := &agentv1.RoomSummary{Id: id, Settings: r.Settings, State: r.State, Players: uint32(len(r.Members))}
		if room.Pending || s.state.lost(room) {
			summary.State = agentv1.RoomState_ROOM_STATE_MOVING
		}
		resp.Rooms = append(resp.Rooms, summary)
	}
	return resp, nil
}

// after lists the listed ids behind a cursor. The lock is held.
func (st *state) after(cursor string) []string {
	i, there := slices.BinarySearch(st.listed, cursor)
	if there {
		i++
	}
	return st.listed[i:]
}

// enterable reports whether a player may enter a room, as far as its record says.
// The lock is held.
func (st *state) enterable(room *insidev1.StoredRoom) bool {
	r := room.Record
	open := r.State == agentv1.RoomState_ROOM_STATE_OPEN || r.State == agentv1.RoomState_ROOM_STATE_PLAYING && r.Settings.DropIn
	return open && len(r.Members) < int(r.Settings.Capacity) && !room.Pending && !st.lost(room)
}
