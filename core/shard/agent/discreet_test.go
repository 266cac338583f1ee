package agent_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/agentv1/agentv1connect"
	"p2pmodel/core/shard/rpc"
)

// Whatever goes wrong inside, what a client is told names no server, no subject
// and nothing else of the inside.
func TestNoErrorNamesTheInside(t *testing.T) {
	inner := regexp.MustCompile(`(?i)zurich|shard|directory|lobby|subject|epoch|incarnation|nats|secret|goroutine|\.go:`)
	bad := []error{
		errors.New("secret: password of the database"),
		rpc.Errorf(connect.CodeNotFound, "zurich-1 has no such room"),
		rpc.Errorf(connect.CodeFailedPrecondition, "shard.zurich-1.lobby.JoinRoom: the room is full"),
		rpc.Errorf(connect.CodeInvalidArgument, "subject x"),
		rpc.Errorf(connect.CodeAborted, "epoch 3 is not the room's at zurich-2"),
		rpc.Errorf(connect.CodeUnavailable, "zurich-1 drains"),
		rpc.Errorf(connect.CodeUnavailable, "the directory has no leader"),
		rpc.Errorf(connect.CodeInternal, "lobby.go:17: secret"),
		rpc.Errorf(connect.CodeDataLoss, "nats: no responders"),
		rpc.Errorf(connect.CodePermissionDenied, "not yours, zurich-1 says"),
		rpc.Errorf(connect.CodeUnknown, "goroutine 1 [running]"),
		rpc.Errorf(connect.CodeResourceExhausted, "Lobby.queue of zurich-1 is full"),
		rpc.Errorf(connect.CodeDeadlineExceeded, "zurich-1 lobby.JoinRoom"),
		rpc.Errorf(connect.CodeUnauthenticated, "the pass is not signed by directory.1"),
	}
	var told []string
	check := func(t *testing.T, what string, err error) {
		t.Helper()
		if err == nil {
			return
		}
		var e *connect.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v is no error of the service", what, err)
		}
		text := fmt.Sprint(e.Message(), e.Meta(), e.Details())
		if inner.MatchString(text) {
			t.Errorf("%s is told %q", what, text)
		}
		told = append(told, e.Message())
	}
	for i, failure := range bad {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *world) {
				a := w.run("agent-1", func(c *agent.Config) { c.Limits.RequestBurst, c.Limits.LoginBurst = 1000, 1000 })
				c := w.raw(a)
				s := w.login(c, "ann")
				created, err := c.CreateRoom(t.Context(), bearer(s, &agentv1.CreateRoomRequest{Settings: settings()}))
				if err != nil {
					t.Fatal(err)
				}
				for _, method := range []string{"OpenSession", "ResumeSession", "PlaceRoom", "FindRoom", "ListRooms", "QuickMatch", "CancelMatch",
					"JoinRoom", "LeaveRoom", "GetRoom", "SetReady", "Chat", "PlayTicket", "Report", "Finish", "GetMatch", "CloseSession"} {
					w.fail(method, failure)
				}
				for method, call := range everyMethod(c, created.Msg.Room.Id) {
					check(t, method, call(t.Context(), s))
				}
				// And with nobody there to answer.
				a.engine.Disconnect()
				for method, call := range everyMethod(c, created.Msg.Room.Id) {
					check(t, method, call(t.Context(), s))
				}
			})
		})
	}
	if len(told) < 400 {
		t.Errorf("only %d messages were looked at", len(told))
	}
	for _, message := range told {
		if strings.TrimSpace(message) == "" {
			t.Error("a message is empty")
		}
	}
}

// everyMethod calls each unary method as a good client does.
func everyMethod(c agentv1connect.AgentServiceClient, room string) map[string]func(context.Context, *agentv1.Session) error {
	peer := make([]byte, 32)
	peer[0] = 1
	return map[string]func(context.Context, *agentv1.Session) error{
		"Login": func(ctx context.Context, _ *agentv1.Session) error {
			_, err := c.Login(ctx, connect.NewRequest(&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: "a.b.c"}}))
			return err
		},
		"Resume": func(ctx context.Context, s *agentv1.Session) error {
			_, err := c.Resume(ctx, connect.NewRequest(&agentv1.ResumeRequest{ResumeToken: "wrong"}))
			return err
		},
		"ListRooms":   authorized(c.ListRooms, &agentv1.ListRoomsRequest{}),
		"CreateRoom":  authorized(c.CreateRoom, &agentv1.CreateRoomRequest{Settings: settings()}),
		"JoinRoom":    authorized(c.JoinRoom, &agentv1.JoinRoomRequest{Room: room}),
		"LeaveRoom":   authorized(c.LeaveRoom, &agentv1.LeaveRoomRequest{Room: room}),
		"GetRoom":     authorized(c.GetRoom, &agentv1.GetRoomRequest{Room: room}),
		"SetReady":    authorized(c.SetReady, &agentv1.SetReadyRequest{Room: room}),
		"Chat":        authorized(c.Chat, &agentv1.ChatRequest{Room: room, Text: "hello"}),
		"QuickMatch":  authorized(c.QuickMatch, &agentv1.QuickMatchRequest{Mode: "field"}),
		"CancelMatch": authorized(c.CancelMatch, &agentv1.CancelMatchRequest{}),
		"PlayTicket":  authorized(c.PlayTicket, &agentv1.PlayTicketRequest{Room: room, PeerId: peer}),
		"Report":      authorized(c.Report, &agentv1.ReportRequest{Room: room}),
		"Finish":      authorized(c.Finish, &agentv1.FinishRequest{Room: room}),
		"GetMatch":    authorized(c.GetMatch, &agentv1.GetMatchRequest{Room: room}),
		"Logout":      authorized(c.Logout, &agentv1.LogoutRequest{}),
	}
}

func authorized[Req, Resp any](method func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error), m *Req) func(context.Context, *agentv1.Session) error {
	return func(ctx context.Context, s *agentv1.Session) error {
		r := connect.NewRequest(m)
		if s != nil {
			r.Header().Set("Authorization", "Bearer "+s.AccessToken)
		}
		_, err := method(ctx, r)
		return err
	}
}
