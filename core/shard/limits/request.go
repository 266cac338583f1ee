package limits

import (
	"time"

	"google.golang.org/protobuf/proto"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
)

// Check checks a request of agentv1. A message that it does not know is no
// request of a client, and refused.
func Check(m proto.Message) error {
	switch m := m.(type) {
	case *agentv1.LoginRequest:
		return checkLogin(m)
	case *agentv1.ResumeRequest:
		return checkPrintable("resume_token", m.ResumeToken, MaxResumeToken)
	case *agentv1.LogoutRequest, *agentv1.EventsRequest, *agentv1.CancelMatchRequest:
		return nil
	case *agentv1.ListRoomsRequest:
		return checkListRooms(m)
	case *agentv1.CreateRoomRequest:
		return CheckRoomSettings("settings", m.Settings)
	case *agentv1.JoinRoomRequest:
		return CheckRoomID("room", m.Room)
	case *agentv1.LeaveRoomRequest:
		return CheckRoomID("room", m.Room)
	case *agentv1.GetRoomRequest:
		return CheckRoomID("room", m.Room)
	case *agentv1.SetReadyRequest:
		return CheckRoomID("room", m.Room)
	case *agentv1.ChatRequest:
		return checkChat(m)
	case *agentv1.QuickMatchRequest:
		return checkQuickMatch(m)
	case *agentv1.PlayTicketRequest:
		return checkPlayTicket(m)
	case *agentv1.ReportRequest:
		return checkReport(m)
	case *agentv1.FinishRequest:
		return checkFinish(m)
	case *agentv1.GetMatchRequest:
		return CheckRoomID("room", m.Room)
	}
	return invalid("request", "%T is no request of a client", m)
}

func checkLogin(m *agentv1.LoginRequest) error {
	switch c := m.Credential.(type) {
	case *agentv1.LoginRequest_Token:
		return checkPrintable("token", c.Token, MaxToken)
	case *agentv1.LoginRequest_Account:
		if err := checkText("account.name", c.Account.GetName(), MaxAccountName); err != nil {
			return err
		}
		password := c.Account.GetPassword()
		if password == "" || len(password) > MaxPassword {
			return invalid("account.password", "has %d bytes; 1 to %d are allowed", len(password), MaxPassword)
		}
		return nil
	}
	return invalid("credential", "is missing: give a token or an account")
}

func checkListRooms(m *agentv1.ListRoomsRequest) error {
	if m.Mode != "" {
		if err := CheckMode("mode", m.Mode); err != nil {
			return err
		}
	}
	if m.Limit > MaxList {
		return invalid("limit", "is %d; at most %d are allowed", m.Limit, MaxList)
	}
	if m.Cursor != "" {
		return checkPrintable("cursor", m.Cursor, MaxCursor)
	}
	return nil
}

func checkChat(m *agentv1.ChatRequest) error {
	if err := CheckRoomID("room", m.Room); err != nil {
		return err
	}
	return checkText("text", m.Text, MaxChat)
}

func checkQuickMatch(m *agentv1.QuickMatchRequest) error {
	if m.Party != "" {
		if err := CheckRoomID("party", m.Party); err != nil {
			return err
		}
	}
	return checkMatching(m.Mode, m.Players, m.LatencyMs)
}

// checkMatching checks what Agents and directories ask of a match queue.
func checkMatching(mode string, players uint32, latency map[string]uint32) error {
	if err := CheckMode("mode", mode); err != nil {
		return err
	}
	if players != 0 && (players < MinCapacity || players > MaxCapacity) {
		return invalid("players", "is %d; 0 or %d to %d are allowed", players, MinCapacity, MaxCapacity)
	}
	if len(latency) > MaxLatencies {
		return invalid("latency_ms", "has %d entries, at most %d are allowed", len(latency), MaxLatencies)
	}
	for region, ms := range latency {
		if err := checkToken("latency_ms", region, MaxRegion, "-_.:[]"); err != nil {
			return err
		}
		if err := checkMillis("latency_ms", ms); err != nil {
			return err
		}
	}
	return nil
}

func checkMillis(field string, ms uint32) error {
	if time.Duration(ms)*time.Millisecond > MaxLatency {
		return invalid(field, "is %d ms; at most %d are allowed", ms, MaxLatency.Milliseconds())
	}
	return nil
}

func checkPlayTicket(m *agentv1.PlayTicketRequest) error {
	if err := CheckRoomID("room", m.Room); err != nil {
		return err
	}
	return CheckPeerID("peer_id", m.PeerId)
}

// CheckPeerID checks a peer's identity.
func CheckPeerID(field string, raw []byte) error {
	id, err := identity.IDFromBytes(raw)
	if err != nil {
		return invalid(field, "has %d bytes, %d are wanted", len(raw), PeerIDSize)
	}
	if id.IsZero() {
		return invalid(field, "is all zeros, which is nobody's")
	}
	return nil
}

func checkReport(m *agentv1.ReportRequest) error {
	if err := CheckRoomID("room", m.Room); err != nil {
		return err
	}
	if len(m.Connections) >= MaxCapacity {
		return invalid("connections", "has %d entries, at most %d are allowed", len(m.Connections), MaxCapacity-1)
	}
	seen := make(map[string]bool, len(m.Connections))
	for _, c := range m.Connections {
		if err := CheckPlayer("connections.player", c.GetPlayer()); err != nil {
			return err
		}
		if seen[c.Player] {
			return invalid("connections.player", "%q is there twice", c.Player)
		}
		seen[c.Player] = true
		switch c.Path {
		case agentv1.PathKind_PATH_KIND_NONE, agentv1.PathKind_PATH_KIND_DIRECT, agentv1.PathKind_PATH_KIND_RELAY:
		default:
			return invalid("connections.path", "is %d; NONE, DIRECT or RELAY is wanted", int32(c.Path))
		}
		if err := checkMillis("connections.rtt_ms", c.RttMs); err != nil {
			return err
		}
	}
	return nil
}

func checkFinish(m *agentv1.FinishRequest) error {
	if err := CheckRoomID("room", m.Room); err != nil {
		return err
	}
	if len(m.Result) > MaxResult {
		return invalid("result", "has %d bytes, at most %d are allowed", len(m.Result), MaxResult)
	}
	return nil
}

// CheckParticipant checks a player with a session.
func CheckParticipant(field string, p *insidev1.Participant) error {
	if err := CheckSession(field+".session", p.GetSession()); err != nil {
		return err
	}
	return CheckPlayer(field+".player", p.GetPlayer())
}

// CheckEnqueue checks a request of a directory to a match queue, which has what a
// client said.
func CheckEnqueue(m *insidev1.EnqueueRequest) error {
	if err := checkMatching(m.Mode, m.Players, m.LatencyMs); err != nil {
		return err
	}
	if len(m.Group) == 0 || len(m.Group) > MaxPartyCapacity {
		return invalid("group", "has %d players; 1 to %d are allowed", len(m.Group), MaxPartyCapacity)
	}
	for _, p := range m.Group {
		if err := CheckParticipant("group", p); err != nil {
			return err
		}
	}
	if wanted := max(m.Players, DefaultMatching); int(wanted) < len(m.Group) {
		return invalid("players", "is %d, fewer than the %d of the party", wanted, len(m.Group))
	}
	return nil
}
