package agent_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/agentv1/agentv1connect"
)

// The forms in which a client may speak, with Connect's own client.
func TestFormsOfRequests(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	for name, options := range map[string][]connect.ClientOption{
		"connect with protobuf":  nil,
		"connect with JSON":      {connect.WithProtoJSON()},
		"gRPC":                   {connect.WithGRPC()},
		"gRPC with JSON":         {connect.WithGRPC(), connect.WithProtoJSON()},
		"gRPC-Web":               {connect.WithGRPCWeb()},
		"gRPC-Web with JSON":     {connect.WithGRPCWeb(), connect.WithProtoJSON()},
		"connect, answer zipped": {connect.WithAcceptCompression("gzip", nil, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.raw(a, options...)
			session := w.login(c, "ann")
			created, err := c.CreateRoom(t.Context(), bearer(session, &agentv1.CreateRoomRequest{Settings: settings()}))
			if err != nil {
				t.Fatal(err)
			}
			stream, err := c.Events(t.Context(), bearer(session, &agentv1.EventsRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if !stream.Receive() || stream.Msg().GetHello().GetSession() != session.Id {
				t.Fatalf("first event: %v, %v", stream.Msg(), stream.Err())
			}
			if _, err := c.Chat(t.Context(), bearer(session, &agentv1.ChatRequest{Room: created.Msg.Room.Id, Text: "hello"})); err != nil {
				t.Fatal(err)
			}
			if !stream.Receive() || stream.Msg().GetChat().GetText() != "hello" {
				t.Fatalf("second event: %v, %v", stream.Msg(), stream.Err())
			}
			_, err = c.GetRoom(t.Context(), bearer(session, &agentv1.GetRoomRequest{Room: "none"}))
			wantCode(t, err, connect.CodeInvalidArgument)
			_, err = c.GetRoom(t.Context(), connect.NewRequest(&agentv1.GetRoomRequest{Room: created.Msg.Room.Id}))
			wantCode(t, err, connect.CodeUnauthenticated)
		})
	}
}

// A client that shares no code with the server: grpc-go.
func TestGRPCWithAForeignClient(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	conn, err := grpc.NewClient(a.endpoint, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: w.trust})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	login := &agentv1.LoginResponse{}
	err = conn.Invoke(t.Context(), agentv1connect.AgentServiceLoginProcedure,
		&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: w.token("ann")}}, login)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+login.Session.AccessToken))
	defer cancel()
	created := &agentv1.CreateRoomResponse{}
	if err := conn.Invoke(ctx, agentv1connect.AgentServiceCreateRoomProcedure, &agentv1.CreateRoomRequest{Settings: settings()}, created); err != nil {
		t.Fatal(err)
	}
	events, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, agentv1connect.AgentServiceEventsProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if err := events.SendMsg(&agentv1.EventsRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := events.CloseSend(); err != nil {
		t.Fatal(err)
	}
	first, second := &agentv1.Event{}, &agentv1.Event{}
	if err := events.RecvMsg(first); err != nil || first.GetHello() == nil {
		t.Fatalf("first event %v, %v", first, err)
	}
	if err := conn.Invoke(ctx, agentv1connect.AgentServiceChatProcedure, &agentv1.ChatRequest{Room: created.Room.Id, Text: "hello"}, &agentv1.ChatResponse{}); err != nil {
		t.Fatal(err)
	}
	if err := events.RecvMsg(second); err != nil || second.GetChat().GetText() != "hello" {
		t.Fatalf("second event %v, %v", second, err)
	}
	err = conn.Invoke(t.Context(), agentv1connect.AgentServiceGetRoomProcedure, &agentv1.GetRoomRequest{Room: created.Room.Id}, &agentv1.GetRoomResponse{})
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(status.Convert(err).Message(), "log in") {
		t.Errorf("without token: %v", err)
	}
	err = conn.Invoke(ctx, agentv1connect.AgentServiceGetRoomProcedure, &agentv1.GetRoomRequest{Room: "x"}, &agentv1.GetRoomResponse{})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("with a bad room: %v", err)
	}
}

// plain is an HTTP client without Connect, as curl is.
func (w *world) plain(t *testing.T, http2 bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.trust}, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func TestPlainHTTPWithJSON(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	for _, form := range []struct {
		name  string
		http2 bool
		proto string
	}{{"HTTP/1.1", false, "HTTP/1.1"}, {"HTTP/2", true, "HTTP/2.0"}} {
		t.Run(form.name, func(t *testing.T) {
			c := w.plain(t, form.http2)
			post := func(method, token, body string) (int, map[string]any) {
				t.Helper()
				r, err := http.NewRequest("POST", "https://"+a.endpoint+"/p2pmodel.agent.v1.AgentService/"+method, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
				resp, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.Proto != form.proto {
					t.Fatalf("spoken %s, want %s", resp.Proto, form.proto)
				}
				var got map[string]any
				if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
					t.Fatal(err)
				}
				return resp.StatusCode, got
			}
			code, got := post("Login", "", `{"token":"`+w.token("ann")+`"}`)
			if code != 200 {
				t.Fatalf("login: %d %v", code, got)
			}
			token := got["session"].(map[string]any)["accessToken"].(string)
			code, got = post("CreateRoom", token, `{"settings":{"kind":"ROOM_KIND_PLAY","title":"a room","mode":"field","capacity":4}}`)
			if code != 200 || got["room"].(map[string]any)["state"] != "ROOM_STATE_OPEN" {
				t.Errorf("create: %d %v", code, got)
			}
			if code, got = post("CreateRoom", token, `{"settings":`); code != 400 || got["code"] != "invalid_argument" {
				t.Errorf("half a request: %d %v", code, got)
			}
			if code, got = post("CreateRoom", "", `{}`); code != 401 || got["code"] != "unauthenticated" {
				t.Errorf("without token: %d %v", code, got)
			}
			if code, got = post("Login", "", `{"token":"x"}`); code != 401 || !strings.Contains(got["message"].(string), "malformed") {
				t.Errorf("a bad token: %d %v", code, got)
			}
		})
	}
}

// An event stream by HTTP/1.1 outlives the time that a request's body may take.
func TestEventsByHTTP1(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", func(c *agent.Config) {
		c.Limits.BodyTimeout, c.Limits.RequestTimeout, c.Limits.WriteTimeout = 300*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
		c.Times.KeepAlive = 200 * time.Millisecond
	})
	session := w.login(w.raw(a), "ann")
	body := []byte("\x00\x00\x00\x00\x02{}")
	r, err := http.NewRequest("POST", "https://"+a.endpoint+agentv1connect.AgentServiceEventsProcedure, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/connect+json")
	r.Header.Set("Authorization", "Bearer "+session.AccessToken)
	resp, err := w.plain(t, false).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for i := range 8 { // 1.4 s
		var head [5]byte
		if _, err := io.ReadFull(resp.Body, head[:]); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		message := make([]byte, head[4])
		if _, err := io.ReadFull(resp.Body, message); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "hello", false: "{}"}[i == 0]; head[0] != 0 || !strings.Contains(string(message), want) {
			t.Errorf("event %d is %d %q, want %q", i, head[0], message, want)
		}
	}
}

func TestOnlyTLS13(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	_, err := tls.Dial("tcp", a.endpoint, &tls.Config{RootCAs: w.trust, MaxVersion: tls.VersionTLS12})
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v", err)
	}
	resp, err := http.Get("http://" + a.endpoint + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("HTTP without TLS: %v", resp.Status)
	}
}

func TestCertificatesChangeWhileItRuns(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	old := w.player("ann", a)
	w.mu.Lock()
	w.cert, w.trust = certificate(t)
	w.mu.Unlock()
	if _, err := w.raw(a).Login(t.Context(), connect.NewRequest(&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: w.token("bob")}})); err != nil {
		t.Errorf("with the new certificate: %v", err)
	}
	if _, err := old.ListRooms(t.Context(), &agentv1.ListRoomsRequest{}); err != nil {
		t.Errorf("by the old connection: %v", err)
	}
}

func TestNothingElseIsThere(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", nil)
	c := w.plain(t, true)
	for _, path := range []string{"/", "/metrics", "/healthz", "/debug/pprof/", "/p2pmodel.inside.v1.DirectoryService/ListShards",
		"/p2pmodel.agent.v1.AgentService/", "/p2pmodel.agent.v1.AgentService/Nothing", "/../etc/passwd", "//"} {
		resp, err := c.Post("https://"+a.endpoint+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 404 && resp.StatusCode != 301 && resp.StatusCode != 307 {
			t.Errorf("%s: %v", path, resp.Status)
		}
	}
}
