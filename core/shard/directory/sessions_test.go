package directory

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/pass"
)

func (w *world) resume(token, agent string) (*insidev1.SessionResponse, error) {
	return call[insidev1.SessionResponse](w, "ResumeSession", &insidev1.ResumeSessionRequest{ResumeToken: token, Agent: agent}, nil)
}

func (w *world) renew(p []byte) (*insidev1.SessionResponse, error) {
	return call[insidev1.SessionResponse](w, "RenewPass", &insidev1.RenewPassRequest{}, p)
}

func TestASessionIsOpened(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		s := w.login("ann")
		if s.Player != "ann" || s.Rating != 1000 || s.Generation != 1 || s.PassSeconds != 60 || s.ResumeSeconds != 600 {
			t.Errorf("the answer is %v", s)
		}
		v := pass.New()
		for _, k := range w.dirs[0].server.publicKeys() {
			v.SetKeys(ed25519.PublicKey(k))
		}
		p, err := v.Verify(s.Pass, time.Now())
		if err != nil || p.Session != s.Session || p.Player != "ann" || p.Rating != 1000 || p.Generation != 1 || p.Agent != "a1" {
			t.Errorf("the pass says %v, %v", p, err)
		}
		for what, req := range map[string]*insidev1.OpenSessionRequest{
			"no player":            {Agent: "a1"},
			"no Agent":             {Player: "ann"},
			"a token without end":  {Player: "ann", Agent: "a1", TokenId: "t", TokenExpiresMs: time.Now().Add(100 * time.Hour).UnixMilli()},
			"an endless token id":  {Player: "ann", Agent: "a1", TokenId: strings.Repeat("t", 2000), TokenExpiresMs: time.Now().Add(time.Hour).UnixMilli()},
			"a player with a bell": {Player: "an\an", Agent: "a1"},
		} {
			_, err := call[insidev1.SessionResponse](w, "OpenSession", req, nil)
			wantCode(t, what, err, connect.CodeInvalidArgument)
		}
	})
}

func TestALoginTokenIsGoodOnce(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		open := func(id string, ends time.Duration) error {
			_, err := call[insidev1.SessionResponse](w, "OpenSession", &insidev1.OpenSessionRequest{
				Player: "ann", Agent: "a1", TokenId: id, TokenExpiresMs: time.Now().Add(ends).UnixMilli()}, nil)
			return err
		}
		wantCode(t, "the first use", open("one", time.Hour), 0)
		for range 6 { // at every directory
			wantCode(t, "another use", open("one", time.Hour), connect.CodeAlreadyExists)
		}
		time.Sleep(59 * time.Minute)
		wantCode(t, "late", open("one", time.Minute), connect.CodeAlreadyExists)
		wantCode(t, "another token", open("two", time.Hour), 0)
		wantCode(t, "an expired one", open("three", -time.Second), connect.CodeUnauthenticated)
	})
}

func TestResumeRotatesSecrets(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		first := w.login("ann")
		second, err := w.resume(first.ResumeToken, "a2")
		if err != nil {
			t.Fatal(err)
		}
		if second.Session != first.Session || second.Player != "ann" || second.Rating != 1000 || second.Generation != 2 || second.ResumeToken == first.ResumeToken {
			t.Errorf("the answer is %v", second)
		}
		_, err = w.renew(first.Pass)
		wantCode(t, "the former Agent renews", err, connect.CodeFailedPrecondition)

		// The answer got lost: the former token brings another one, and what was in
		// the lost answer is good no more.
		third, err := w.resume(first.ResumeToken, "a3")
		if err != nil || third.Generation != 3 {
			t.Fatalf("after a lost answer: %v, %v", third, err)
		}
		_, err = w.resume(second.ResumeToken, "a2")
		wantCode(t, "the lost answer's token", err, connect.CodeUnauthenticated)

		// Once the new token is used the former one is a replay.
		fourth, err := w.resume(third.ResumeToken, "a4")
		if err != nil || fourth.Generation != 4 {
			t.Fatalf("%v, %v", fourth, err)
		}
		_, err = w.resume(first.ResumeToken, "evil")
		wantCode(t, "a replay", err, connect.CodeUnauthenticated)
		if err == nil || !strings.Contains(err.Error(), "was used before") {
			t.Errorf("a replay is refused with %v", err)
		}
	})
}

func TestAUsedPassEndsTheFormerToken(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		first := w.login("ann")
		second, err := w.resume(first.ResumeToken, "a2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.renew(second.Pass); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		_, err = w.resume(first.ResumeToken, "evil")
		wantCode(t, "the former token", err, connect.CodeUnauthenticated)
		if _, err := w.resume(second.ResumeToken, "a3"); err != nil {
			t.Errorf("the newest token: %v", err)
		}
	})
}

func TestForgedResumeTokens(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		s, other := w.login("ann"), w.login("bob")
		parts, others := strings.Split(s.ResumeToken, "."), strings.Split(other.ResumeToken, ".")
		for what, token := range map[string]string{
			"nothing":            "",
			"rubbish":            "rubbish",
			"four parts":         s.ResumeToken + ".x",
			"no number":          parts[0] + ".x." + parts[2],
			"a short secret":     parts[0] + ".1." + parts[2][:20],
			"a changed secret":   parts[0] + ".1." + flip(parts[2]),
			"another's secret":   parts[0] + ".1." + others[2],
			"a later generation": parts[0] + ".7." + flip(parts[2]),
			"no session":         "nosuchsession.1." + parts[2],
			"a wildcard":         "*.1." + parts[2],
			"too long":           strings.Repeat("a", 1000) + ".1." + parts[2],
		} {
			_, err := w.resume(token, "evil")
			wantCode(t, what, err, connect.CodeUnauthenticated)
		}
		if _, err := w.resume(s.ResumeToken, "a1"); err != nil {
			t.Errorf("after all of that, the true one: %v", err)
		}
	})
}

func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

func TestSessionsEnd(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		kept, left, closed := w.login("kept"), w.login("left"), w.login("closed")
		if _, err := call[insidev1.CloseSessionResponse](w, "CloseSession", &insidev1.CloseSessionRequest{}, closed.Pass); err != nil {
			t.Fatal(err)
		}
		_, err := w.resume(closed.ResumeToken, "a1")
		wantCode(t, "a closed one", err, connect.CodeUnauthenticated)
		_, err = call[insidev1.CloseSessionResponse](w, "CloseSession", &insidev1.CloseSessionRequest{}, closed.Pass)
		wantCode(t, "close once more", err, 0)

		p := kept.Pass
		for range 60 { // half an hour
			time.Sleep(30 * time.Second)
			s, err := w.renew(p)
			if err != nil {
				t.Fatal(err)
			}
			p = s.Pass
		}
		_, err = w.renew(left.Pass)
		wantCode(t, "one that nobody renewed", err, connect.CodeUnauthenticated)
		_, err = w.resume(left.ResumeToken, "a1")
		wantCode(t, "resume it", err, connect.CodeUnauthenticated)
		// What outlives its connection does so for as long as it was told.
		time.Sleep(599 * time.Second)
		if _, err := w.resume(kept.ResumeToken, "a2"); err != nil {
			t.Errorf("within its time: %v", err)
		}
		time.Sleep(20 * time.Minute)
		w.until("nothing is left of them", time.Minute, func() error {
			st := &w.dirs[0].server.state
			st.mu.RLock()
			defer st.mu.RUnlock()
			if n := len(st.sessions.rows); n != 0 {
				return fmt.Errorf("%d sessions", n)
			}
			return nil
		})
	})
}

func TestPassesAreChecked(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		s := w.login("ann")
		_, err := w.renew(nil)
		wantCode(t, "no pass", err, connect.CodeUnauthenticated)
		forged := append([]byte{}, s.Pass...)
		forged[len(forged)-1] ^= 1
		_, err = w.renew(forged)
		wantCode(t, "a forged pass", err, connect.CodeUnauthenticated)
		time.Sleep(2 * time.Minute)
		_, err = call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, s.Pass)
		wantCode(t, "an expired pass", err, connect.CodeUnauthenticated)
		if _, err := w.renew(s.Pass); err != nil {
			t.Errorf("an expired pass of a session that lives brings no other one: %v", err)
		}
	})
}

func TestASessionKnowsItsRooms(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.startUnit("a", 10, 100)
		w.ready()
		s := w.login("ann")
		resp, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings("m")}, s.Pass)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		again, err := w.resume(s.ResumeToken, "a2")
		if err != nil || len(again.Rooms) != 1 || !proto.Equal(again.Rooms[0], resp.Place) {
			t.Errorf("%v, %v; its room is %v", again, err, resp.Place)
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	inWorldWith(t, 1, func(c *Config) { c.MaxSessions = 3 }, func(t *testing.T, w *world) {
		for range 3 {
			w.login("p")
		}
		_, err := call[insidev1.SessionResponse](w, "OpenSession", &insidev1.OpenSessionRequest{Player: "p", Agent: "a1"}, nil)
		wantCode(t, "a fourth", err, connect.CodeResourceExhausted)
	})
}

// TestTheEngineFailsDuringALogin: the token is not lost with it.
// One account, or one password that has leaked, does not take the place of all.
func TestAPlayerHasOnlySoManySessions(t *testing.T) {
	const most = 16
	inWorldWith(t, 1, func(c *Config) { c.MaxSessionsPlayer = most }, func(t *testing.T, w *world) {
		open := func(player string) (*insidev1.SessionResponse, error) {
			return call[insidev1.SessionResponse](w, "OpenSession", &insidev1.OpenSessionRequest{Player: player, Agent: "a1"}, nil)
		}
		var last *insidev1.SessionResponse
		for range most {
			s, err := open("ann")
			if err != nil {
				t.Fatal(err)
			}
			last = s
		}
		_, err := open("ann")
		wantCode(t, "one more", err, connect.CodeResourceExhausted)
		_, err = open("bob")
		wantCode(t, "another player", err, 0)
		if _, err := call[insidev1.CloseSessionResponse](w, "CloseSession", &insidev1.CloseSessionRequest{}, last.Pass); err != nil {
			t.Fatal(err)
		}
		_, err = open("ann")
		wantCode(t, "after one was closed", err, 0)
	})
}

func TestTheEngineFailsDuringALogin(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		req := &insidev1.OpenSessionRequest{Player: "ann", Agent: "a1", TokenId: "t", TokenExpiresMs: time.Now().Add(time.Hour).UnixMilli()}
		w.hub.SetBuckets(false)
		_, err := call[insidev1.SessionResponse](w, "OpenSession", req, nil)
		wantCode(t, "without buckets", err, connect.CodeUnavailable)
		w.hub.SetBuckets(true)
		if _, err := call[insidev1.SessionResponse](w, "OpenSession", req, nil); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestWhatASessionCosts measures its entry.
func TestWhatASessionCosts(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		s := w.login("a player of 24 letters.")
		second, err := w.resume(s.ResumeToken, "agent-1")
		if err != nil {
			t.Fatal(err)
		}
		row, _ := w.dirs[0].server.state.sessions.find(s.Session)
		key, value := len(s.Session), proto.Size(row.value)
		t.Logf("key %d bytes, value %d bytes; the pass %d bytes, the resume token %d", key, value, len(second.Pass), len(second.ResumeToken))
		if key+value > 256 {
			t.Errorf("a session takes %d bytes", key+value)
		}
	})
}

func TestKeysRotate(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	keys, change := rotated(nil, now)
	if !change || len(keys.Keys) != 1 {
		t.Fatal("there is no first key")
	}
	first := signing(keys, now)
	if _, change := rotated(keys, now.Add(keyLife-time.Second)); change {
		t.Error("a key changes before its time")
	}
	at := now.Add(keyLife)
	keys, change = rotated(keys, at)
	if !change || len(keys.Keys) != 2 || !signing(keys, at).Equal(first) {
		t.Error("the next key signs before all know it")
	}
	if signing(keys, at.Add(keyLead)).Equal(first) {
		t.Error("the next key does not sign")
	}
	if k, _ := rotated(keys, at.Add(keyLead+keyLag-time.Second)); len(k.Keys) != 2 {
		t.Error("the former key is forgotten while passes of it may be good")
	}
	if k, change := rotated(keys, at.Add(keyLead+keyLag)); !change || len(k.Keys) != 1 {
		t.Error("the former key is kept")
	}
}

// FuzzResumeToken: whatever a client says, it is refused or a token.
func FuzzResumeToken(f *testing.F) {
	secret, _ := newSecret()
	f.Add("session.1." + secret)
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		id, generation, hash, err := parseResumeToken(token)
		if err != nil {
			if id != "" || generation != 0 || hash != nil {
				t.Errorf("%q is refused and gives %q", token, id)
			}
			return
		}
		if !strings.HasPrefix(token, id+".") || len(hash) != 32 {
			t.Errorf("%q gives %q, %d", token, id, generation)
		}
	})
}

// A resumption is a write, and asks all rooms of the session: a client that does
// nothing else must not cost more than one that plays.
func TestASessionIsResumedOnlySoOften(t *testing.T) {
	inWorldWith(t, 1, nil, func(t *testing.T, w *world) {
		s, resumed := w.login("ann"), 0
		for range 100 {
			next, err := w.resume(s.ResumeToken, "a1")
			if err != nil {
				wantCode(t, "once too often", err, connect.CodeResourceExhausted)
				continue
			}
			s, resumed = next, resumed+1
		}
		if resumed != resumeBurst {
			t.Errorf("resumed %d times, wanted %d", resumed, resumeBurst)
		}
		for range 100 { // somebody else's tries cost nothing
			_, err := w.resume(s.Session+".1."+strings.Repeat("A", 43), "a1")
			wantCode(t, "a guess", err, connect.CodeUnauthenticated)
		}
		time.Sleep(resumeEvery)
		if _, err := w.resume(s.ResumeToken, "a1"); err != nil {
			t.Errorf("a while later: %v", err)
		}
	})
}
