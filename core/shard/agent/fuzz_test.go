package agent_test

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
)

// forms are the content types of the fuzz target, by number.
var forms = []string{"application/proto", "application/json", "application/grpc", "application/grpc+json", "application/grpc-web+proto",
	"application/grpc-web+json", "application/connect+proto", "application/connect+json", "text/plain"}

// FuzzHandler sends any body to any method in any form, with a good session: it
// must not break a handler, nor be answered as if the server were at fault.
func FuzzHandler(f *testing.F) {
	for i := range methods {
		for form := range forms {
			f.Add(uint8(i), uint8(form), []byte(`{"room":"aaaaaaaaaaaa"}`))
		}
	}
	for i, m := range []proto.Message{
		&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: "a.b.c"}}, &agentv1.ResumeRequest{ResumeToken: "x"},
		&agentv1.LogoutRequest{}, &agentv1.EventsRequest{}, &agentv1.ListRoomsRequest{Limit: 3}, &agentv1.CreateRoomRequest{Settings: settings()},
		&agentv1.JoinRoomRequest{Room: "aaaaaaaaaaaa"}, &agentv1.LeaveRoomRequest{Room: "aaaaaaaaaaaa"}, &agentv1.GetRoomRequest{Room: "aaaaaaaaaaaa"},
		&agentv1.SetReadyRequest{Room: "aaaaaaaaaaaa", Ready: true}, &agentv1.ChatRequest{Room: "aaaaaaaaaaaa", Text: "hello"},
		&agentv1.QuickMatchRequest{Mode: "field", LatencyMs: map[string]uint32{"eu": 20}}, &agentv1.CancelMatchRequest{},
		&agentv1.PlayTicketRequest{Room: "aaaaaaaaaaaa", PeerId: bytes.Repeat([]byte{1}, 32)},
		&agentv1.ReportRequest{Room: "aaaaaaaaaaaa", Connections: []*agentv1.Connection{{Player: "bob", Path: 2, RttMs: 10}}},
		&agentv1.FinishRequest{Room: "aaaaaaaaaaaa", Result: []byte("x")}, &agentv1.GetMatchRequest{Room: "aaaaaaaaaaaa"},
	} {
		body, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), uint8(0), body)
		f.Add(uint8(i), uint8(2), envelope(0, body))
	}
	w := newWorld(f)
	broken := &recorder{least: slog.LevelError}
	w.logs = broken
	a := w.run("agent-1", generous)
	c := w.raw(a)
	session := w.login(c, "ann")
	handler := a.Handler()
	f.Fuzz(func(t *testing.T, method, form uint8, body []byte) {
		name := methods[int(method)%len(methods)]
		if name == "Logout" || name == "Events" {
			name = "GetRoom" // the session is needed; a stream has no end
		}
		r := httptest.NewRequest("POST", "/p2pmodel.agent.v1.AgentService/"+name, bytes.NewReader(body))
		r.ProtoMajor, r.ProtoMinor = 2, 0
		r.Header.Set("Content-Type", forms[int(form)%len(forms)])
		r.Header.Set("Authorization", "Bearer "+session.AccessToken)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		if answer.Code >= 500 && answer.Code != 501 {
			t.Errorf("%s: HTTP %d: %s", name, answer.Code, answer.Body)
		}
		// gRPC has one code for frames that are none and for a server's fault.
		status := answer.Result().Trailer
		if message := status.Get("Grpc-Message"); status.Get("Grpc-Status") == "13" &&
			!strings.HasPrefix(message, "protocol error: ") && !strings.HasPrefix(message, "corrupt response: ") {
			t.Errorf("%s: internal error: %v", name, status)
		}
		if strings.Contains(broken.text(), "broke") {
			t.Fatalf("%s: a handler broke:\n%s", name, broken.text())
		}
	})
}
