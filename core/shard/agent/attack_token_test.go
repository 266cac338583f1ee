package agent_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/login"
)

// recorder keeps a log, to be looked through.
type recorder struct {
	least slog.Level
	mu    sync.Mutex
	b     bytes.Buffer
}

func (r *recorder) Enabled(_ context.Context, l slog.Level) bool { return l >= r.least }
func (r *recorder) Handle(ctx context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slog.NewTextHandler(&r.b, &slog.HandlerOptions{Level: slog.LevelDebug}).Handle(ctx, record)
}
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler { return r }
func (r *recorder) WithGroup(string) slog.Handler      { return r }
func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func TestLoginTokensThatAreNotGood(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		logs := &recorder{least: slog.LevelDebug}
		w.logs = logs
		a := w.run("agent-1", generous)
		c := w.raw(a)
		_, stranger, _ := ed25519.GenerateKey(rand.Reader)
		sign := func(key ed25519.PrivateKey, change func(*login.Grant)) string {
			g := login.Grant{Player: "ann", Rating: 1500, Expires: time.Now().Add(time.Hour)}
			if change != nil {
				change(&g)
			}
			token, err := login.Sign(key, g)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		try := func(token string) error {
			_, err := c.Login(t.Context(), connect.NewRequest(&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: token}}))
			return err
		}
		once := sign(w.issue, nil)
		if err := try(once); err != nil {
			t.Fatal(err)
		}
		id := login.KeyID(w.issue.Public().(ed25519.PublicKey))
		for name, row := range map[string]struct{ token, want string }{
			"used before":                         {once, "used before"},
			"another's key":                       {sign(stranger, nil), "not signed"},
			"by another's key under a known name": {sign(stranger, func(g *login.Grant) { g.KeyID = id }), "not signed"},
			"expired":                             {sign(w.issue, func(g *login.Grant) { g.Expires = time.Now().Add(-time.Hour) }), "expired"},
			"for two days":                        {sign(w.issue, func(g *login.Grant) { g.Expires = time.Now().Add(48 * time.Hour) }), "24 h"},
			"another audience":                    {sign(w.issue, func(g *login.Grant) { g.Audience = "elsewhere" }), "audience"},
			"another issuer":                      {sign(w.issue, func(g *login.Grant) { g.Issuer = "somebody" }), "issuer"},
			"changed":                             {once[:len(once)-40] + "AAAA" + once[len(once)-36:], "not signed"},
			"cut off":                             {once[:len(once)/2], "malformed"},
		} {
			err := try(row.token)
			wantCode(t, err, connect.CodeUnauthenticated)
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s: %v, want %q in it", name, err, row.want)
			}
			if strings.Contains(err.Error(), row.token) || strings.Contains(logs.text(), row.token) {
				t.Errorf("%s: the token is in the answer or in the log", name)
			}
		}
		if n := a.Sessions(); n != 1 {
			t.Errorf("%d sessions, want that of the good one", n)
		}
	})
}

func TestAccessAndResumeTokensThatAreNotGood(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		logs := &recorder{least: slog.LevelDebug}
		w.logs = logs
		one, two := w.run("agent-1", generous), w.run("agent-2", generous)
		at1, at2 := w.raw(one), w.raw(two)
		s := w.login(at1, "ann")
		list := func(token string) error {
			_, err := at1.ListRooms(t.Context(), bearer(&agentv1.Session{AccessToken: token}, &agentv1.ListRoomsRequest{}))
			return err
		}
		flipped := []byte(s.AccessToken)
		flipped[5] ^= 1
		for _, token := range []string{
			"", string(flipped), s.AccessToken[:42], s.AccessToken + "A", strings.ToLower(s.AccessToken), s.ResumeToken, s.Id,
			base64.RawURLEncoding.EncodeToString(make([]byte, 32)), strings.Repeat("A", 4000),
		} {
			wantCode(t, list(token), connect.CodeUnauthenticated)
		}
		if err := list(s.AccessToken); err != nil {
			t.Fatal(err)
		}
		_, err := at2.ListRooms(t.Context(), bearer(s, &agentv1.ListRoomsRequest{}))
		wantCode(t, err, connect.CodeUnauthenticated) // it is good at its Agent only

		resume := func(token string) (*agentv1.Session, error) {
			resp, err := at2.Resume(t.Context(), connect.NewRequest(&agentv1.ResumeRequest{ResumeToken: token}))
			if err != nil {
				return nil, err
			}
			return resp.Msg.Session, nil
		}
		for _, token := range []string{"x", s.AccessToken, s.ResumeToken + "A", strings.Repeat("A", 500)} {
			_, err := resume(token)
			wantCode(t, err, connect.CodeUnauthenticated)
		}
		second, err := resume(s.ResumeToken)
		if err != nil {
			t.Fatal(err)
		}
		third, err := resume(second.ResumeToken)
		if err != nil {
			t.Fatal(err)
		}
		_, err = resume(s.ResumeToken) // replayed: two newer ones have been
		wantCode(t, err, connect.CodeUnauthenticated)
		_, err = at2.ListRooms(t.Context(), bearer(second, &agentv1.ListRoomsRequest{}))
		wantCode(t, err, connect.CodeUnauthenticated)
		if _, err = at2.Logout(t.Context(), bearer(third, &agentv1.LogoutRequest{})); err != nil {
			t.Fatal(err)
		}
		_, err = resume(third.ResumeToken)
		wantCode(t, err, connect.CodeUnauthenticated)
		for _, secret := range []string{s.AccessToken, s.ResumeToken, second.ResumeToken, third.AccessToken} {
			if strings.Contains(logs.text(), secret) {
				t.Errorf("a token is in the log")
			}
		}
	})
}

// Each method in each state in which it makes no sense.
func TestWrongState(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", generous)
		c := w.raw(a)
		s := w.login(c, "ann")
		created, err := c.CreateRoom(t.Context(), bearer(s, &agentv1.CreateRoomRequest{Settings: settings()}))
		if err != nil {
			t.Fatal(err)
		}
		room := created.Msg.Room.Id
		everyone := func(state string, s *agentv1.Session, want connect.Code) {
			t.Helper()
			for method, call := range everyMethod(c, room) {
				if method == "Login" || method == "Resume" {
					continue
				}
				if err := call(t.Context(), s); connect.CodeOf(err) != want || err == nil {
					t.Errorf("%s %s: %v, want %v", method, state, err, want)
				}
			}
			r := connect.NewRequest(&agentv1.EventsRequest{})
			if s != nil {
				r = bearer(s, &agentv1.EventsRequest{})
			}
			stream, err := c.Events(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if stream.Receive() {
				t.Errorf("Events %s: %v", state, stream.Msg())
			}
			wantCode(t, stream.Err(), want)
			stream.Close()
		}
		everyone("without login", nil, connect.CodeUnauthenticated)
		if _, err := c.Logout(t.Context(), bearer(s, &agentv1.LogoutRequest{})); err != nil {
			t.Fatal(err)
		}
		everyone("after Logout", s, connect.CodeUnauthenticated)

		// In rooms that are not there: a room's methods.
		bob := w.login(c, "bob")
		for method, call := range everyMethod(c, "aaaaaaaaaaaa") {
			switch method {
			case "Login", "Resume", "ListRooms", "CreateRoom", "QuickMatch", "CancelMatch", "Logout":
				continue
			}
			if err := call(t.Context(), bob); connect.CodeOf(err) != connect.CodeNotFound {
				t.Errorf("%s in no room: %v", method, err)
			}
		}
		// A credential of a kind that is not taken here.
		_, err = c.Login(t.Context(), connect.NewRequest(&agentv1.LoginRequest{
			Credential: &agentv1.LoginRequest_Account{Account: &agentv1.Account{Name: "ann", Password: "secret"}},
		}))
		wantCode(t, err, connect.CodeInvalidArgument)
	})
}
