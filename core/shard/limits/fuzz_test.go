package limits_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/rpc"
)

// FuzzCheck takes requests as they may come over the wire. What is let through is
// within bounds; what is refused has a message that can be shown.
func FuzzCheck(f *testing.F) {
	requests := []proto.Message{
		&agentv1.LoginRequest{}, &agentv1.ResumeRequest{}, &agentv1.ListRoomsRequest{}, &agentv1.CreateRoomRequest{}, &agentv1.ChatRequest{},
		&agentv1.QuickMatchRequest{}, &agentv1.PlayTicketRequest{}, &agentv1.ReportRequest{}, &agentv1.FinishRequest{},
	}
	for i, m := range []proto.Message{
		&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Account{Account: &agentv1.Account{Name: "ann", Password: "x"}}},
		&agentv1.ResumeRequest{ResumeToken: "abc"}, &agentv1.ListRoomsRequest{Mode: "duel", Cursor: "x"}, create(nil),
		&agentv1.ChatRequest{Room: room, Text: "hi\u202e"}, &agentv1.QuickMatchRequest{Mode: "duel", LatencyMs: map[string]uint32{"eu": 20}},
		&agentv1.PlayTicketRequest{Room: room, PeerId: make([]byte, 32)},
		report(&agentv1.Connection{Player: "bob", Path: 2, RttMs: 10}), &agentv1.FinishRequest{Room: room, Result: []byte("x")},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), raw)
	}
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		m := proto.Clone(requests[int(kind)%len(requests)])
		if proto.Unmarshal(raw, m) != nil {
			return
		}
		if err := limits.Check(m); err != nil {
			text := err.Error()
			if rpc.CodeOf(err) != connect.CodeInvalidArgument || !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\n\x1b\u202e") || len(text) > 1024 {
				t.Errorf("the error is %q", text)
			}
			return
		}
		if chat, ok := m.(*agentv1.ChatRequest); ok && (utf8.RuneCountInString(chat.Text) > limits.MaxChat || strings.ContainsAny(chat.Text, "\n\x1b\u202e")) {
			t.Errorf("let through: %q", chat.Text)
		}
		if create, ok := m.(*agentv1.CreateRoomRequest); ok {
			if s := limits.WithDefaults(create.Settings); s.Capacity > limits.MaxCapacity || s.MatchSeconds == 0 || s.MinPlayers == 0 {
				t.Errorf("let through: %v", s)
			}
		}
	})
}
