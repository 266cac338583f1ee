package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2pmodel/cmd/p2pmodel/play"
	"p2pmodel/core/freeport"
	"p2pmodel/core/shard/login"
)

func TestPlayBadInput(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const agent, ann = "--agent=127.0.0.1:1", "--account=ann"
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "--agent"},
		{"agent without port", []string{"--agent=localhost", ann}, "HOST:PORT"},
		{"nobody", []string{agent}, "--account"},
		{"a long name", []string{agent, "--account=" + strings.Repeat("x", 65)}, "--account"},
		{"bots with a long name", []string{agent, "--account=" + strings.Repeat("x", 62), "--bots=100"}, "--account"},
		{"password file", []string{agent, ann, "--password-file=" + dir + "/none"}, "--password-file"},
		{"token and account", []string{agent, ann, "--token-file=" + file("t", "x\n")}, "--token-file"},
		{"too few tokens", []string{agent, "--token-file=" + file("t2", "a\nb\n"), "--bots=3"}, "2 tokens, want 3"},
		{"login key", []string{agent, ann, "--login-key-file=" + file("k", "no key")}, "--login-key-file"},
		{"login key and password", []string{agent, ann, "--login-key-file=x", "--password-file=" + file("p", "x\n")}, "exclude"},
		{"ca file", []string{agent, ann, "--ca-file=" + file("c", "no certificate")}, "--ca-file"},
		{"fingerprint", []string{agent, ann, "--fingerprint=12:34"}, "64 hexadecimal"},
		{"fingerprint and ca file", []string{agent, ann, "--fingerprint=x", "--ca-file=y"}, "exclude"},
		{"two places", []string{agent, ann, "--create", "--quick"}, "exclude"},
		{"players", []string{agent, ann, "--players=1"}, "--players"},
		{"mode", []string{agent, ann, "--mode=a.b"}, "--mode"},
		{"room", []string{agent, ann, "--room=abc"}, "--room"},
		{"title", []string{agent, ann, "--title=a\x1bb"}, "--title"},
		{"events", []string{agent, ann, "--events=xml"}, "text or json"},
		{"duration", []string{agent, ann, "--duration=-1s"}, "negative"},
		{"bots", []string{agent, ann, "--bots=-1"}, "--bots"},
		{"report without bots", []string{agent, ann, "--report-file=x"}, "--bots"},
		{"room size", []string{agent, ann, "--bots=4", "--room-size=1"}, "--room-size"},
		{"rooms", []string{agent, ann, "--bots=400", "--rooms=2"}, "--rooms"},
		{"bots of one key", []string{agent, ann, "--bots=4", "--key-file=x"}, "--key-file"},
		{"from", []string{agent, ann, "--bots=4", "--from=127.0.0.1"}, "--from"},
		{"from one address", []string{agent, ann, "--bots=4", "--from=127.0.0.1/32"}, "--from"},
		{"listen", []string{agent, ann, "--listen=5000"}, "--listen"},
		{"argument", []string{agent, ann, "x"}, `unexpected argument "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if code, says := execute(ctx, io.Discard, append([]string{"play"}, c.args...)...); code != exitUsage || !strings.Contains(says, c.want) {
				t.Errorf("exit code %d, said %q; want %d and %q", code, says, exitUsage, c.want)
			}
		})
	}
}

// whole runs p2pmodel all, and gives the flags with which players reach it.
func whole(t *testing.T, args ...string) []string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	ctx, stop := context.WithCancel(context.Background())
	var out output
	ended := make(chan int, 1)
	go func() {
		code, _ := execute(ctx, &out, append([]string{"all", "--data-dir", data, "--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(freeport.Row(t, 2)), "--log-level", "warn"}, args...)...)
		ended <- code
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("p2pmodel all: exit %d", code)
		}
	})
	agent := awaitText(t, &out, "  agent", ended)
	return []string{"--agent", agent, "--ca-file", filepath.Join(data, "ca.crt")}
}

// record is a line that a player has printed.
type record struct {
	Event   string
	Room    string
	Player  string
	State   string
	Sent    int
	Members []struct{ Player string }
	Path    struct{ Kind string }
	Error   string
	Links   []struct {
		Player, State string
		Path          struct{ Kind string }
		RTT           float64 `json:"rtt_ms"`
		Received      int
	}
}

// actor is a player that runs, and prints objects.
type actor struct {
	name  string
	out   *output
	stop  context.CancelFunc
	ended chan int
}

func act(t *testing.T, name string, args ...string) *actor {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	a := &actor{name: name, out: &output{}, stop: stop, ended: make(chan int, 1)}
	go func() {
		code, says := execute(ctx, a.out, append([]string{"play", "--events", "json"}, args...)...)
		if says != "" {
			t.Errorf("%s: it says %q", name, says)
		}
		a.ended <- code
	}()
	t.Cleanup(stop)
	return a
}

// await waits for a line.
func (a *actor) await(t *testing.T, what string, is func(r record) bool) record {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, line := range strings.Split(a.out.String(), "\n") {
			var r record
			if json.Unmarshal([]byte(line), &r) == nil && is(r) {
				return r
			}
		}
	}
	t.Fatalf("%s: %s does not come:\n%s", a.name, what, a.out.String())
	return record{}
}

// TestPlay is two players and some bots in one room, with everything that is
// between them.
func TestPlay(t *testing.T) {
	reach := whole(t)
	ann := act(t, "ann", append(reach, "--account", "ann", "--create", "--players", "8")...)
	room := ann.await(t, "a room", func(r record) bool { return r.Event == "joined" }).Room
	bob := act(t, "bob", append(reach, "--account", "bob")...) // finds the room
	report := filepath.Join(t.TempDir(), "report.json")
	var said bytes.Buffer
	botsEnded := make(chan int, 1)
	go func() {
		code, says := execute(t.Context(), &said, append([]string{"play", "--account", "bot", "--bots", "3", "--room", room, "--duration", "4s", "--report-file", report}, reach...)...)
		if says != "" {
			t.Errorf("bots say %q", says)
		}
		botsEnded <- code
	}()
	for _, a := range []*actor{ann, bob} {
		a.await(t, "everybody heard", func(r record) bool {
			fresh := 0
			for _, l := range r.Links {
				if l.State == "fresh" && l.Path.Kind == "direct" && l.RTT > 0 && l.Received > 20 {
					fresh++
				}
			}
			return r.Event == "links" && fresh == 4 && r.Sent > 80
		})
	}
	if code := <-botsEnded; code != 0 {
		t.Errorf("bots: exit %d\n%s", code, said.String())
	}
	ann.await(t, "a bot's farewell", func(r record) bool {
		return r.Event == "peer_down" && r.Player == "bot-3" && strings.Contains(r.Error, "closed")
	})
	text, err := os.ReadFile(report)
	var s play.Summary
	if err != nil || json.Unmarshal(text, &s) != nil {
		t.Fatalf("report: %v\n%s", err, text)
	}
	if s.LoggedIn != 3 || s.Playing != 3 || len(s.Failures) != 0 || s.Paths["direct"] != 12 || s.Requests["Login"].Count != 3 || s.Received < 500 || s.Gaps.P50 < 45 || s.Gaps.P50 > 80 {
		t.Errorf("report:\n%s", text)
	}
	if got := said.String(); !strings.Contains(got, "3 of 3 bots logged in, 3 in rooms") || !strings.Contains(got, "12 direct") {
		t.Errorf("bots print\n%s", got)
	}
	bob.stop()
	if code := <-bob.ended; code != 0 {
		t.Errorf("bob: exit %d", code)
	}
	ann.await(t, "bob's farewell", func(r record) bool { return r.Event == "peer_down" && r.Player == "bob" })
	ann.await(t, "the room without bob", func(r record) bool { return r.Event == "room_changed" && len(r.Members) == 1 })
	begun := time.Now()
	ann.stop()
	if code := <-ann.ended; code != 0 {
		t.Errorf("ann: exit %d", code)
	}
	// Two seconds, and what a busy machine needs for the rest.
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("ann took %v to leave", took)
	}
	ann.await(t, "the end", func(r record) bool { return r.Event == "done" })
}

// TestPlayByTokens lets bots in by tokens, in rooms of their own, where they wait;
// and nobody else.
func TestPlayByTokens(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "login.key")
	public := filepath.Join(dir, "login.pub")
	if err := keepLoginKey(key, public); err != nil {
		t.Fatal(err)
	}
	reach := whole(t, "--login-keys-file", public)
	var out bytes.Buffer
	code, says := execute(t.Context(), &out, append([]string{"play", "--account", "bot", "--login-key-file", key, "--bots", "5", "--room-size", "2", "--no-tick",
		"--rate", "40", "--from", "127.0.0.0/8", "--ramp", "100ms", "--duration", "2s", "--events", "json"}, reach...)...)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last struct {
		Event   string
		Summary play.Summary
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || code != 0 {
		t.Fatalf("exit %d, %v, %s\n%s", code, err, says, out.String())
	}
	s := last.Summary
	if s.LoggedIn != 5 || s.InRooms != 5 || s.Playing != 0 || s.Requests["CreateRoom"].Count != 3 || s.Requests["JoinRoom"].Count != 2 ||
		s.Requests["load"].Count < 40 || s.Requests["PlayTicket"].Count != 0 || s.Sent != 0 || len(s.Failures) != 0 {
		t.Errorf("summary %+v", s)
	}

	signed := func() string {
		text, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		private, err := login.ParsePrivateKey(key, text)
		if err != nil {
			t.Fatal(err)
		}
		token, err := login.Sign(private, login.Grant{Player: "ann", Expires: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	file := filepath.Join(dir, "ann.token")
	if err := os.WriteFile(file, []byte(signed()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	args := append([]string{"play", "--token-file", file, "--create", "--headless", "--duration", "300ms"}, reach...)
	if code, says := execute(t.Context(), &out, args...); code != 0 || !strings.Contains(out.String(), "in room") {
		t.Errorf("a token: exit %d, %s\n%s", code, says, out.String())
	}
	if code, says := execute(t.Context(), io.Discard, args...); code != exitFailed || !strings.Contains(says, "unauthenticated") {
		t.Errorf("the same token again: exit %d, %s", code, says)
	}
	if code, says := execute(t.Context(), io.Discard, append([]string{"play", "--account", "eve"}, reach...)...); code != exitFailed || !strings.Contains(says, "log in as eve") {
		t.Errorf("a name where tokens are wanted: exit %d, %s", code, says)
	}
	other := append([]string{"play", "--account", "eve", "--login-timeout", "2s", "--fingerprint", strings.Repeat("0", 64)}, reach[:2]...)
	if code, says := execute(t.Context(), io.Discard, other...); code != exitFailed || !strings.Contains(says, "has the fingerprint") {
		t.Errorf("another certificate than asked for: exit %d, %s", code, says)
	}
}
