package game

import (
	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
)

// save gives a record to the directory. It is done again until the directory has
// answered or the time is over; it may be done twice.
func (s *Rooms) save(rec *insidev1.RoomRecord) room.Outcome {
	select {
	case s.tokens <- struct{}{}:
		defer func() { <-s.tokens }()
	case <-s.calls.Done():
		return room.Failed
	}
	_, err := rpc.Call[insidev1.SaveRoomResponse](s.calls, s.cfg.Client, shard.DirectoryFrom(s.cfg.Shard, "SaveRoom"),
		&insidev1.SaveRoomRequest{Shard: s.cfg.Shard, Record: rec}, rpc.Idempotent(), rpc.WithTimeout(saveTimeout))
	switch rpc.CodeOf(err) {
	case 0:
		return room.Kept
	case connect.CodeAborted, connect.CodeNotFound:
		return room.Fenced
	}
	if s.calls.Err() == nil {
		s.log.Warn("a room's record could not be saved", "room", rec.Room, "error", err)
	}
	return room.Failed
}

// drop has the directory forget a room, and reports whether it need not be asked
// again.
func (s *Rooms) drop(id string, epoch uint64) bool {
	_, err := rpc.Call[insidev1.DropRoomResponse](s.calls, s.cfg.Client, shard.DirectoryFrom(s.cfg.Shard, "DropRoom"),
		&insidev1.DropRoomRequest{Shard: s.cfg.Shard, Room: id, Epoch: epoch}, rpc.Idempotent(), rpc.WithTimeout(saveTimeout))
	switch rpc.CodeOf(err) {
	case 0, connect.CodeAborted, connect.CodeNotFound:
		return true
	}
	if s.calls.Err() == nil {
		s.log.Warn("the directory could not be told that a room is over", "room", id, "error", err)
	}
	return false
}

// tell publishes an event to sessions. It may get lost, as all events may.
func (s *Rooms) tell(e *agentv1.Event, sessions ...string) {
	body, err := proto.Marshal(e)
	if err != nil {
		s.log.Error("an event cannot be encoded", "error", err)
		return
	}
	for _, session := range sessions {
		if err := s.cfg.Engine.Publish(shard.EventSubject(s.cfg.Shard, session), sessionEvent(session, body)); err != nil {
			s.metrics.unpublished.Inc()
			s.log.Debug("an event could not be published", "session", session, "error", err)
			continue
		}
		s.metrics.published.Inc()
	}
}

// Tell publishes an event to sessions, for whoever has events that are no room's.
func (s *Rooms) Tell(e *agentv1.Event, sessions ...string) { s.tell(e, sessions...) }

// sessionEvent is a SessionEvent around an event that is encoded once for all
// sessions.
func sessionEvent(session string, event []byte) []byte {
	b := make([]byte, 0, len(session)+len(event)+2*(1+4))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, session)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendBytes(b, event)
}
