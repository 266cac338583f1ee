package limits

import (
	"time"

	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
)

// CheckRoomSettings checks the settings of a room. A party may be without a
// mode.
func CheckRoomSettings(field string, s *agentv1.RoomSettings) error {
	if s == nil {
		return invalid(field, "is missing")
	}
	most := uint32(MaxCapacity)
	switch s.Kind {
	case agentv1.RoomKind_ROOM_KIND_PLAY:
	case agentv1.RoomKind_ROOM_KIND_PARTY:
		most = MaxPartyCapacity
	default:
		return invalid(field+".kind", "is %d; ROOM_KIND_PLAY or ROOM_KIND_PARTY is wanted", int32(s.Kind))
	}
	if err := checkText(field+".title", s.Title, MaxTitle); err != nil {
		return err
	}
	if s.Mode != "" || s.Kind == agentv1.RoomKind_ROOM_KIND_PLAY {
		if err := CheckMode(field+".mode", s.Mode); err != nil {
			return err
		}
	}
	if s.Capacity < MinCapacity || s.Capacity > most {
		return invalid(field+".capacity", "is %d; %d to %d are allowed", s.Capacity, MinCapacity, most)
	}
	if s.MinPlayers > s.Capacity {
		return invalid(field+".min_players", "is %d, more than the capacity %d", s.MinPlayers, s.Capacity)
	}
	if time.Duration(s.MatchSeconds)*time.Second > MaxMatch {
		return invalid(field+".match_seconds", "is %d; at most %d are allowed", s.MatchSeconds, int(MaxMatch.Seconds()))
	}
	return nil
}

// WithDefaults gives a copy of checked settings in which zeros that stand for
// defaults are replaced by them.
func WithDefaults(s *agentv1.RoomSettings) *agentv1.RoomSettings {
	s = proto.CloneOf(s)
	if s.MinPlayers == 0 {
		s.MinPlayers = DefaultMinPlayers
	}
	if s.MatchSeconds == 0 {
		s.MatchSeconds = uint32(DefaultMatch / time.Second)
	}
	return s
}
