package agent_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/agentv1/agentv1connect"
)

// methods are all that the service has.
var methods = []string{"Login", "Resume", "Logout", "Events", "ListRooms", "CreateRoom", "JoinRoom", "LeaveRoom", "GetRoom", "SetReady", "Chat",
	"QuickMatch", "CancelMatch", "PlayTicket", "Report", "Finish", "GetMatch"}

// generous are limits that do not get into the way of what a test is about.
func generous(c *agent.Config) {
	c.Limits.LoginRate, c.Limits.LoginBurst, c.Limits.RequestRate, c.Limits.RequestBurst = 1e5, 1e5, 1e5, 1e5
	c.Limits.ResumeRate, c.Limits.ResumeBurst = 1e5, 1e5
}

// sent is what came back for a body, whatever the form.
type sent struct {
	http    int
	code    string // of Connect, or of gRPC as a number; empty or 0: it was done
	message string
}

// send posts a body as it is. The connection carries on afterwards or not.
func send(t testing.TB, c *http.Client, url, contentType string, header http.Header, body []byte) sent {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), "POST", url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("TE", "trailers")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatalf("%s %s with %d bytes: %v", url, contentType, len(body), err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatalf("%s %s: read the answer: %v", url, contentType, err)
	}
	got := sent{http: resp.StatusCode}
	status := func(h http.Header) {
		if h.Get("Grpc-Status") != "" {
			got.code, got.message = h.Get("Grpc-Status"), h.Get("Grpc-Message")
		}
	}
	status(resp.Header)
	status(resp.Trailer)
	var failure struct {
		Code, Message string
		Error         struct{ Code, Message string }
	}
	switch {
	case strings.HasPrefix(contentType, "application/connect+") && len(answer) > 5:
		json.Unmarshal(answer[5:], &failure)
		got.code, got.message = failure.Error.Code, failure.Error.Message
	case strings.HasPrefix(contentType, "application/grpc-web"):
		// A frame with the trailers as text.
		if _, text, ok := bytes.Cut(answer, []byte("grpc-status: ")); ok {
			got.code, _, _ = strings.Cut(string(text), "\r\n")
			_, message, _ := strings.Cut(string(text), "grpc-message: ")
			got.message, _, _ = strings.Cut(message, "\r\n")
		}
	case resp.StatusCode != 200 && json.Unmarshal(answer, &failure) == nil:
		got.code, got.message = failure.Code, failure.Message
	}
	return got
}

// envelope frames a message as gRPC and Connect's streams do.
func envelope(flags byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message))), message...)
}

func TestMalformedMessages(t *testing.T) {
	w := newWorld(t)
	broken := &recorder{}
	w.logs = broken
	a := w.run("agent-1", func(c *agent.Config) {
		generous(c)
		c.Times.DetachAfter = time.Hour // no malformed request keeps a session
	})
	h := w.honest(t, a)
	session := w.login(w.raw(a), "mallory")
	auth := http.Header{"Authorization": {"Bearer " + session.AccessToken}}
	c := w.plain(t, true)
	long := bytes.Repeat([]byte{0x0a, 0x7f}, 64)
	bodies := map[string][]byte{
		"half a field":               {0x0a},
		"a length beyond the end":    {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"a varint without end":       bytes.Repeat([]byte{0xff}, 64),
		"field number 0":             {0x00, 0x01},
		"an end without a beginning": {0x0c},
		"groups, 2000 deep":          bytes.Repeat([]byte{0x0b}, 2000),
		"text that is no UTF-8":      {0x0a, 0x02, 0xff, 0xfe},
		"noise":                      long,
		"17 KiB":                     append([]byte{0x0a, 0x80, 0x88, 0x01}, make([]byte, 17<<10)...),
		"a megabyte":                 make([]byte, 1<<20),
	}
	forms := map[string]struct {
		contentType string
		frame       func([]byte) []byte
	}{
		"application/proto":          {"application/proto", func(b []byte) []byte { return b }},
		"application/json":           {"application/json", func(b []byte) []byte { return append([]byte(`{"a":[`), b...) }},
		"application/grpc":           {"application/grpc", func(b []byte) []byte { return envelope(0, b) }},
		"application/grpc-web+proto": {"application/grpc-web+proto", func(b []byte) []byte { return envelope(0, b) }},
		"a frame that ends early":    {"application/grpc", func(b []byte) []byte { return envelope(0, append(b, 1, 2, 3))[:len(b)+4] }},
		"a frame of 4 GiB":           {"application/grpc", func(b []byte) []byte { return append([]byte{0, 0xff, 0xff, 0xff, 0xff}, b...) }},
		"a frame that is zipped":     {"application/grpc", func(b []byte) []byte { return envelope(1, b) }},
		"two frames":                 {"application/grpc", func(b []byte) []byte { return append(envelope(0, nil), envelope(0, b)...) }},
		"application/connect+proto":  {"application/connect+proto", func(b []byte) []byte { return envelope(0, b) }},
	}
	before := inUse()
	tried := 0
	for _, method := range methods {
		for formName, form := range forms {
			if (method == "Events") != (form.contentType == "application/connect+proto") && !strings.HasPrefix(form.contentType, "application/grpc") {
				continue // that method does not have the form: 415
			}
			for name, body := range bodies {
				if name == "text that is no UTF-8" && (method == "Logout" || method == "CancelMatch" || method == "Events") {
					continue // they have no fields: it is one of a later version
				}
				got := send(t, c, "https://"+a.endpoint+"/p2pmodel.agent.v1.AgentService/"+method, form.contentType, auth, form.frame(body))
				tried++
				what := method + ", " + formName + ", " + name
				switch {
				case got.code == "" || got.code == "0":
					t.Errorf("%s: done (HTTP %d)", what, got.http)
				case got.code == "13" && strings.HasPrefix(got.message, "protocol error:"):
					// What gRPC says of frames that are none.
				case got.code == "internal" || got.code == "13" || got.code == "unknown" || got.code == "2":
					t.Errorf("%s: code %s, as if it were the server's fault: %s", what, got.code, got.message)
				case got.message == "":
					t.Errorf("%s: code %s without a message", what, got.code)
				}
			}
		}
	}
	t.Logf("%d bodies", tried)
	h.fared()
	if after := inUse(); after > before+8*mib {
		t.Errorf("%d MiB are in use, %d were before", after/mib, before/mib)
	}
	if _, err := w.raw(a).ListRooms(t.Context(), bearer(session, &agentv1.ListRoomsRequest{})); err != nil {
		t.Errorf("the session after all this: %v", err)
	}
	if text := broken.text(); strings.Contains(text, "broke") {
		t.Errorf("a handler broke: %s", text)
	}
}

func TestZippedMessagesAreNotUnpacked(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", generous)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(make([]byte, 12<<20)) // 12 MiB in 12 KiB
	z.Close()
	if bomb.Len() > 16<<10 {
		t.Fatalf("the bomb has %d bytes, which are refused for their number", bomb.Len())
	}
	c := w.plain(t, true)
	before := inUse()
	for _, row := range []struct {
		contentType, header string
		body                []byte
		code                string
	}{
		{"application/proto", "Content-Encoding", bomb.Bytes(), "unimplemented"},
		{"application/json", "Content-Encoding", bomb.Bytes(), "unimplemented"},
		{"application/grpc", "Grpc-Encoding", envelope(1, bomb.Bytes()), "12"},
		{"application/grpc-web", "Grpc-Encoding", envelope(1, bomb.Bytes()), "12"},
	} {
		for range 50 {
			got := send(t, c, "https://"+a.endpoint+agentv1connect.AgentServiceLoginProcedure, row.contentType, http.Header{row.header: {"gzip"}}, row.body)
			if got.code != row.code || got.message == "" {
				t.Fatalf("%s: %+v, want code %s", row.contentType, got, row.code)
			}
		}
	}
	if after := inUse(); after > before+4*mib {
		t.Errorf("%d MiB are in use, %d were before", after/mib, before/mib)
	}
}

func TestHugeHeaders(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", generous)
	h := w.honest(t, a)
	for _, http2 := range []bool{false, true} {
		for name, header := range map[string]http.Header{
			"one of a megabyte": {"X-Large": {strings.Repeat("a", 1<<20)}},
			"ten thousand": func() http.Header {
				h := http.Header{}
				h["X-Many"] = strings.Split(strings.Repeat("a,", 10000), ",")
				return h
			}(),
			"a token of 40 KiB":     {"Authorization": {"Bearer " + strings.Repeat("A", 40<<10)}},
			"a timeout of nonsense": {"Connect-Timeout-Ms": {strings.Repeat("9", 30)}},
		} {
			r, err := http.NewRequest("POST", "https://"+a.endpoint+agentv1connect.AgentServiceListRoomsProcedure, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = header
			r.Header.Set("Content-Type", "application/json")
			resp, err := w.plain(t, http2).Do(r)
			if err != nil {
				continue // cut off, which is an answer too
			}
			resp.Body.Close()
			if resp.StatusCode < 400 || resp.StatusCode >= 500 {
				t.Errorf("HTTP/2 %v, %s: %s", http2, name, resp.Status)
			}
		}
	}
	h.fared()
}

func TestMessagesOutOfBounds(t *testing.T) {
	w := newWorld(t)
	a := w.run("agent-1", generous)
	c := w.raw(a)
	session := w.login(c, "mallory")
	for room, call := range map[string]func(context.Context, *agentv1.Session) error{
		"a wildcard":  authorized(c.GetRoom, &agentv1.GetRoomRequest{Room: "aaaaaaaaaaa*"}),
		"a subject":   authorized(c.JoinRoom, &agentv1.JoinRoomRequest{Room: "aaa.lobby.>x"}),
		"a path":      authorized(c.LeaveRoom, &agentv1.LeaveRoomRequest{Room: "../../../etc"}),
		"no settings": authorized(c.CreateRoom, &agentv1.CreateRoomRequest{}),
		"a long line": authorized(c.Chat, &agentv1.ChatRequest{Room: "aaaaaaaaaaaa", Text: strings.Repeat("a", 501)}),
		"half a key":  authorized(c.PlayTicket, &agentv1.PlayTicketRequest{Room: "aaaaaaaaaaaa", PeerId: make([]byte, 16)}),
		"a long list": authorized(c.ListRooms, &agentv1.ListRoomsRequest{Limit: 101}),
	} {
		t.Run(room, func(t *testing.T) { wantCode(t, call(t.Context(), session), connect.CodeInvalidArgument) })
	}
	for _, method := range []string{"GetRoom", "JoinRoom", "LeaveRoom", "PlaceRoom", "Chat", "PlayTicket", "FindRoom"} {
		if n := w.called(method); n != 0 {
			t.Errorf("%s reached the inside %d times", method, n)
		}
	}
}
