package limits_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

const room = "abcdefgh2345"

func settings(change func(s *agentv1.RoomSettings)) *agentv1.RoomSettings {
	s := &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "Friday's game", Mode: "duel", Capacity: 4}
	if change != nil {
		change(s)
	}
	return s
}

func create(change func(s *agentv1.RoomSettings)) proto.Message {
	return &agentv1.CreateRoomRequest{Settings: settings(change)}
}

func report(c ...*agentv1.Connection) proto.Message {
	return &agentv1.ReportRequest{Room: room, Connections: c}
}

func many(n int) (m map[string]uint32) {
	m = map[string]uint32{}
	for i := range n {
		m["r"+strings.Repeat("x", i)] = 1
	}
	return m
}

func TestRequests(t *testing.T) {
	direct := agentv1.PathKind_PATH_KIND_DIRECT
	for _, c := range []struct {
		name string
		m    proto.Message
		want string // beginning of the message of the error; empty: none
	}{
		{"token", &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: "a.b.c"}}, ""},
		{"no credential", &agentv1.LoginRequest{}, "credential: is missing"},
		{"an account that is nil", &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Account{}}, "account.name: is empty"},
		{"an empty password", &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Account{Account: &agentv1.Account{Name: "ann"}}}, "account.password: has 0"},
		{"a long token", &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: strings.Repeat("a", 4097)}}, "token: has 4097"},
		{"resume", &agentv1.ResumeRequest{ResumeToken: "abc-_="}, ""},
		{"resume with nothing", &agentv1.ResumeRequest{}, "resume_token: is empty"},
		{"resume with a line end", &agentv1.ResumeRequest{ResumeToken: "ab\n"}, "resume_token: has the byte 0x0a at 2"},
		{"logout", &agentv1.LogoutRequest{}, ""},
		{"list", &agentv1.ListRoomsRequest{Limit: 100}, ""},
		{"list too many", &agentv1.ListRoomsRequest{Limit: 101}, "limit: is 101"},
		{"list a bad mode", &agentv1.ListRoomsRequest{Mode: "a.b"}, `mode: has the character '.'`},
		{"list a long cursor", &agentv1.ListRoomsRequest{Cursor: strings.Repeat("a", 257)}, "cursor: has 257"},

		{"create", create(nil), ""},
		{"create without settings", &agentv1.CreateRoomRequest{}, "settings: is missing"},
		{"create no kind", create(func(s *agentv1.RoomSettings) { s.Kind = 0 }), "settings.kind: is 0"},
		{"create another kind", create(func(s *agentv1.RoomSettings) { s.Kind = 9 }), "settings.kind: is 9"},
		{"no title", create(func(s *agentv1.RoomSettings) { s.Title = " " }), "settings.title: is empty"},
		{"a title of 64 characters of four bytes", create(func(s *agentv1.RoomSettings) { s.Title = strings.Repeat("🙂", 64) }), ""},
		{"a long title", create(func(s *agentv1.RoomSettings) { s.Title = strings.Repeat("é", 65) }), "settings.title: has 65 characters"},
		{"a title with a control", create(func(s *agentv1.RoomSettings) { s.Title = "a\x1b[2Jb" }), "settings.title: has the control character U+001B"},
		{"a title that turns its direction", create(func(s *agentv1.RoomSettings) { s.Title = "a\u202eb" }), "settings.title: has the control character U+202E"},
		{"a title with a joiner", create(func(s *agentv1.RoomSettings) { s.Title = "👨\u200d👩" }), ""},
		{"a title that is not UTF-8", create(func(s *agentv1.RoomSettings) { s.Title = "a\xff" }), "settings.title: is not valid UTF-8"},
		{"no mode", create(func(s *agentv1.RoomSettings) { s.Mode = "" }), "settings.mode: is empty"},
		{"a party needs no mode", create(func(s *agentv1.RoomSettings) { s.Mode = ""; s.Kind = agentv1.RoomKind_ROOM_KIND_PARTY }), ""},
		{"a party of nine", create(func(s *agentv1.RoomSettings) { s.Capacity = 9; s.Kind = agentv1.RoomKind_ROOM_KIND_PARTY }), "settings.capacity: is 9; 2 to 8"},
		{"one player", create(func(s *agentv1.RoomSettings) { s.Capacity = 1 }), "settings.capacity: is 1; 2 to 64"},
		{"64 players", create(func(s *agentv1.RoomSettings) { s.Capacity = 64 }), ""},
		{"65 players", create(func(s *agentv1.RoomSettings) { s.Capacity = 65 }), "settings.capacity: is 65"},
		{"more at least than at most", create(func(s *agentv1.RoomSettings) { s.MinPlayers = 5 }), "settings.min_players: is 5"},
		{"a match of a day", create(func(s *agentv1.RoomSettings) { s.MatchSeconds = 86400 }), ""},
		{"a longer match", create(func(s *agentv1.RoomSettings) { s.MatchSeconds = 86401 }), "settings.match_seconds: is 86401"},

		{"join", &agentv1.JoinRoomRequest{Room: room}, ""},
		{"join a short id", &agentv1.JoinRoomRequest{Room: "abc"}, "room: a room's id has 12"},
		{"join a subject", &agentv1.JoinRoomRequest{Room: "abc.*.ghijk>"}, "room: a room's id has the letters"},
		{"a bad character inside", &agentv1.GetRoomRequest{Room: "abcdef.h2345"}, "room: a room's id has the letters"},
		{"leave upper case", &agentv1.LeaveRoomRequest{Room: strings.ToUpper(room)}, "room: a room's id has the letters"},
		{"ready", &agentv1.SetReadyRequest{Room: room}, ""},
		{"chat", &agentv1.ChatRequest{Room: room, Text: "hello, world"}, ""},
		{"chat of nothing", &agentv1.ChatRequest{Room: room, Text: " \u00a0"}, "text: is empty"},
		{"chat of 501", &agentv1.ChatRequest{Room: room, Text: strings.Repeat("a", 501)}, "text: has 501"},
		{"chat of a megabyte", &agentv1.ChatRequest{Room: room, Text: strings.Repeat("a", 1<<20)}, "text: has 1048576 bytes"},
		{"chat of two lines", &agentv1.ChatRequest{Room: room, Text: "a\nb"}, "text: has the control character U+000A"},
		{"chat of two paragraphs", &agentv1.ChatRequest{Room: room, Text: "a\u2029b"}, "text: has the control character U+2029"},

		{"match", &agentv1.QuickMatchRequest{Mode: "duel", LatencyMs: map[string]uint32{"eu-west": 20, "[2001:db8::1]:3478": 60000}}, ""},
		{"match without mode", &agentv1.QuickMatchRequest{}, "mode: is empty"},
		{"match of one", &agentv1.QuickMatchRequest{Mode: "duel", Players: 1}, "players: is 1"},
		{"match of 65", &agentv1.QuickMatchRequest{Mode: "duel", Players: 65}, "players: is 65"},
		{"match of no party", &agentv1.QuickMatchRequest{Mode: "duel", Party: "x"}, "party: a room's id"},
		{"match with a long latency", &agentv1.QuickMatchRequest{Mode: "duel", LatencyMs: map[string]uint32{"a": 60001}}, "latency_ms: is 60001"},
		{"match with many latencies", &agentv1.QuickMatchRequest{Mode: "duel", LatencyMs: many(17)}, "latency_ms: has 17"},
		{"match with a region of spaces", &agentv1.QuickMatchRequest{Mode: "duel", LatencyMs: map[string]uint32{"a b": 1}}, "latency_ms: has the character ' '"},

		{"ticket", &agentv1.PlayTicketRequest{Room: room, PeerId: []byte(strings.Repeat("a", 32))}, ""},
		{"ticket of 31 bytes", &agentv1.PlayTicketRequest{Room: room, PeerId: make([]byte, 31)}, "peer_id: has 31"},
		{"ticket of nobody", &agentv1.PlayTicketRequest{Room: room, PeerId: make([]byte, 32)}, "peer_id: is all zeros"},
		{"report", report(&agentv1.Connection{Player: "bob", Path: direct, RttMs: 12}), ""},
		{"report on one twice", report(&agentv1.Connection{Player: "bob", Path: direct}, &agentv1.Connection{Player: "bob", Path: direct}), `connections.player: "bob" is there twice`},
		{"report with no path", report(&agentv1.Connection{Player: "bob"}), "connections.path: is 0"},
		{"report with a nil", report(nil), "connections.player: is empty"},
		{"report on 64", report(make([]*agentv1.Connection, 64)...), "connections: has 64"},
		{"report with a long time", report(&agentv1.Connection{Player: "bob", Path: direct, RttMs: 1 << 31}), "connections.rtt_ms: is 2147483648"},
		{"finish", &agentv1.FinishRequest{Room: room, Result: make([]byte, 4096)}, ""},
		{"finish with too much", &agentv1.FinishRequest{Room: room, Result: make([]byte, 4097)}, "result: has 4097"},
		{"match record", &agentv1.GetMatchRequest{Room: room}, ""},
		{"an answer", &agentv1.LoginResponse{}, "request: *agentv1.LoginResponse is no request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, limits.Check(c.m), c.want)
		})
	}
}

func TestEnqueue(t *testing.T) {
	group := func(names ...string) (g []*insidev1.Participant) {
		for _, n := range names {
			g = append(g, &insidev1.Participant{Session: "s-" + n, Player: n})
		}
		return g
	}
	for _, c := range []struct {
		name string
		m    *insidev1.EnqueueRequest
		want string
	}{
		{"alone", &insidev1.EnqueueRequest{Mode: "duel", Group: group("ann")}, ""},
		{"nobody", &insidev1.EnqueueRequest{Mode: "duel"}, "group: has 0"},
		{"three for a match of two", &insidev1.EnqueueRequest{Mode: "duel", Group: group("ann", "bob", "cid")}, "players: is 2, fewer than the 3"},
		{"a session that is a pattern", &insidev1.EnqueueRequest{Mode: "duel", Group: []*insidev1.Participant{{Session: ">", Player: "ann"}}}, "group.session: has the character '>'"},
		{"a name with a space before", &insidev1.EnqueueRequest{Mode: "duel", Group: []*insidev1.Participant{{Session: "s", Player: " ann"}}}, "group.player: begins or ends"},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, limits.CheckEnqueue(c.m), c.want) })
	}
}

func TestDefaultsTakeTheirPlaces(t *testing.T) {
	given := settings(nil)
	got := limits.WithDefaults(given)
	if got.MinPlayers != 2 || got.MatchSeconds != 1800 {
		t.Errorf("min_players %d and match_seconds %d, want 2 and 1800", got.MinPlayers, got.MatchSeconds)
	}
	if given.MinPlayers != 0 {
		t.Error("the settings given were changed")
	}
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	if code := rpc.CodeOf(err); code != connect.CodeInvalidArgument {
		t.Fatalf("got %v (code %v), want invalid_argument: %s…", err, code, want)
	}
	if got := err.Error(); !strings.HasPrefix(got, "invalid_argument: "+want) {
		t.Errorf("got %q, want it to begin with %q", got, "invalid_argument: "+want)
	}
}
