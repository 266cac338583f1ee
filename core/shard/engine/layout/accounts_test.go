package layout_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func log() *slog.Logger {
	if os.Getenv("P2PMODEL_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

var example = layout.Layout{
	Cluster: "test", Directories: 3,
	Shards: []string{"a", "b"}, Agents: []string{"x", "y"}, Operators: []string{"o"},
}

// system is a layout that runs in this process.
type system struct {
	t       *testing.T
	server  *natsserver.Server
	seeds   map[string][]byte
	engines map[string]*natsengine.Engine
}

func start(t *testing.T, l layout.Layout) *system {
	t.Helper()
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	seeds, public, err := l.Seeds()
	if err != nil {
		t.Fatal(err)
	}
	server, err := natsserver.New(natsserver.Config{Text: l.EmbeddedConfig(t.TempDir(), public), Quiet: true, Log: log()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return &system{t: t, server: server, seeds: seeds, engines: map[string]*natsengine.Engine{}}
}

// user connects a user, once.
func (s *system) user(name string) *natsengine.Engine {
	s.t.Helper()
	if s.engines[name] == nil {
		e, err := natsengine.Connect(natsengine.Config{
			InProcess: s.server, Name: name, Credentials: natsengine.Credentials{Seed: s.seeds[name]}, Log: log(),
		})
		if err != nil {
			s.t.Fatal(err)
		}
		if !e.Connected() {
			s.t.Fatalf("%s cannot connect", name)
		}
		s.t.Cleanup(func() { e.Close() })
		s.engines[name] = e
	}
	return s.engines[name]
}

// serve lets a user answer with its name.
func (s *system) serve(user, pattern, queue string) {
	s.t.Helper()
	_, err := s.user(user).Serve(pattern, queue, engine.Limits{}, func(_ context.Context, r engine.Request) []byte {
		return []byte(user + " at " + r.Subject)
	})
	if err != nil {
		s.t.Fatalf("%s may not serve %s: %v", user, pattern, err)
	}
}

func (s *system) serveAll() {
	for n := range example.Directories {
		user := layout.DirectoryUser(n)
		s.serve(user, shard.DirectorySubject("*"), "directory")
		s.serve(user, shard.DirectoryFrom("*", "*"), "directory")
		s.serve(user, shard.MemberSubject(n, "*"), "")
		s.serve(user, shard.MemberFrom(n, "*", "*"), "")
	}
	for _, id := range example.Shards {
		s.serve(layout.ShardUser(id), shard.LobbySubject(id, "*"), "")
		s.serve(layout.ShardUser(id), shard.GameSubject(id, "*"), "")
	}
}

func (s *system) call(user, subject string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	answer, err := s.user(user).Call(ctx, subject, []byte("x"))
	return string(answer), err
}

func TestWhoMayCallWhat(t *testing.T) {
	s := start(t, example)
	s.serveAll()
	may := map[string][]string{}
	for _, m := range []string{"OpenSession", "ResumeSession", "RenewPass", "CloseSession", "PlaceRoom", "FindRoom", "ListRooms", "QuickMatch", "CancelMatch"} {
		may["agent-x"] = append(may["agent-x"], "directory."+m)
	}
	for _, m := range []string{"DrainShard", "ListShards", "FindRoom", "ListRooms"} {
		may["operator-o"] = append(may["operator-o"], "directory."+m)
	}
	for _, id := range example.Shards {
		for _, m := range []string{"JoinRoom", "LeaveRoom", "GetRoom", "SetReady", "Chat", "Presence"} {
			may["agent-x"] = append(may["agent-x"], "shard."+id+".lobby."+m)
			may["directory-1"] = append(may["directory-1"], "shard."+id+".lobby."+m)
		}
		for _, m := range []string{"OpenRoom", "AdoptRoom", "ReleaseRoom", "Enqueue", "Dequeue"} {
			may["directory-1"] = append(may["directory-1"], "shard."+id+".lobby."+m)
		}
		for _, m := range []string{"PlayTicket", "Report", "Finish", "GetMatch"} {
			may["agent-x"] = append(may["agent-x"], "shard."+id+".game."+m)
		}
		for _, m := range []string{"RegisterShard", "UnregisterShard", "SaveRoom", "DropRoom", "PlaceRoom"} {
			may["shard-"+id] = append(may["shard-"+id], "directory.from."+id+"."+m)
		}
	}
	for n := range 3 {
		may["directory-1"] = append(may["directory-1"], fmt.Sprintf("directory.member.%d.Fence", n))
		for _, id := range example.Shards {
			may["shard-"+id] = append(may["shard-"+id], fmt.Sprintf("directory.member.%d.from.%s.Heartbeat", n, id))
		}
	}
	// Everything that anybody may, and what nobody may.
	all := map[string]bool{
		"directory.DrainShard": true, "directory.RegisterShard": true, "directory.SaveRoom": true,
		"directory.member.0.Heartbeat": true, "directory.from.a.OpenSession": true, "directory.member.0.from.a.Fence": true,
		"directory.from.c.RegisterShard": true, "shard.a.lobby.Unknown": true, "shard.a.game.Unknown": true, "shard.c.lobby.JoinRoom": true,
		"shard.a.event.s1": true, "$JS.API.INFO": true, "$JS.API.STREAM.NAMES": true, "$SYS.REQ.SERVER.PING": true, "$SYS.REQ.USER.INFO": true,
		"_INBOX.agent-y.x": true, "other": true,
	}
	for _, subjects := range may {
		for _, subject := range subjects {
			all[subject] = true
		}
	}
	for user, subjects := range may {
		t.Run(user, func(t *testing.T) {
			permitted := map[string]bool{}
			for _, subject := range subjects {
				permitted[subject] = true
			}
			// Directories use streams, and may ask other members and lobbies anything.
			ours := strings.HasPrefix(user, "directory")
			for subject := range all {
				if ours && (strings.HasPrefix(subject, "$JS") || strings.HasPrefix(subject, "directory.member.0.Heartbeat")) {
					continue
				}
				answer, err := s.call(user, subject)
				switch {
				case permitted[subject] && (err != nil || !strings.HasSuffix(answer, " at "+subject)):
					t.Errorf("%s: got %q, %v", subject, answer, err)
				case !permitted[subject] && strings.HasPrefix(subject, "shard.a.event") && user == "shard-a":
					// Published as an event, which has no answer.
				case !permitted[subject] && !errors.Is(err, engine.ErrPermission) && !errors.Is(err, engine.ErrNoResponder):
					t.Errorf("%s: got %q, %v, want that it is not permitted", subject, answer, err)
				}
			}
		})
	}
}

func TestWhoMayServeAndHearWhat(t *testing.T) {
	s := start(t, example)
	patterns := []string{
		"directory.*", "directory.OpenSession", "directory.from.*.*", "directory.from.a.*", "directory.member.0.*", "directory.member.1.*",
		"directory.member.0.from.*.*", "directory.member.1.from.*.*", ">",
		"shard.a.lobby.*", "shard.a.game.*", "shard.b.lobby.*", "shard.b.game.*", "shard.*.lobby.*", "shard.a.>", "shard.>",
		"shard.*.event.*", "shard.a.event.*", "shard.*.event.s1",
		"_INBOX.>", "_INBOX.agent-x.>", "_INBOX.agent-y.>", "_INBOX.shard-a.>", "_INBOX.directory-0.>", "$JS.>", "$KV.>", "$SYS.>", "_R_.>",
	}
	may := map[string][]string{
		"directory-1": {"directory.*", "directory.OpenSession", "directory.from.*.*", "directory.from.a.*", "directory.member.1.*", "directory.member.1.from.*.*"},
		"shard-a":     {"shard.a.lobby.*", "shard.a.game.*", "_INBOX.shard-a.>"},
		"agent-x":     {"shard.*.event.*", "shard.a.event.*", "shard.*.event.s1", "_INBOX.agent-x.>"},
		"operator-o":  {},
	}
	for user, permitted := range may {
		t.Run(user, func(t *testing.T) {
			for _, pattern := range patterns {
				sub, err := s.user(user).Subscribe(pattern, 10, func(engine.Event) {})
				want := false
				for _, p := range permitted {
					want = want || p == pattern
				}
				if (err == nil) != want || err != nil && !errors.Is(err, engine.ErrPermission) {
					t.Errorf("%s: %v, permitted is %t", pattern, err, want)
				}
				if sub != nil {
					sub.Close()
				}
			}
			if user == "directory-1" {
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := s.user(user).Bucket(ctx, engine.BucketConfig{Name: "b"}); !errors.Is(err, engine.ErrPermission) {
				t.Errorf("a bucket: %v", err)
			}
		})
	}
}

// TestASubjectSaysWhoCalls: a shard may state of itself what it will, but the
// subject has its own name.
func TestASubjectSaysWhoCalls(t *testing.T) {
	s := start(t, example)
	s.serveAll()
	for _, row := range []struct {
		user, subject string
		ok            bool
	}{
		{"shard-a", shard.DirectoryFrom("a", "SaveRoom"), true},
		{"shard-a", shard.DirectoryFrom("b", "SaveRoom"), false},
		{"shard-b", shard.DirectoryFrom("a", "SaveRoom"), false},
		{"shard-a", shard.MemberFrom(2, "a", "Heartbeat"), true},
		{"shard-a", shard.MemberFrom(2, "b", "Heartbeat"), false},
		{"agent-x", shard.DirectoryFrom("a", "SaveRoom"), false},
	} {
		_, err := s.call(row.user, row.subject)
		if (err == nil) != row.ok {
			t.Errorf("%s to %s: %v, permitted is %t", row.user, row.subject, err, row.ok)
		}
	}
}

func TestEventsReachAgentsOnly(t *testing.T) {
	s := start(t, example)
	var agents, others atomic.Int64
	for _, user := range []string{"agent-x", "agent-y"} {
		if _, err := s.user(user).Subscribe(shard.SessionEvents("s1"), 100, func(e engine.Event) {
			if e.Subject != shard.EventSubject("a", "s1") {
				t.Errorf("an event at %s", e.Subject)
			}
			agents.Add(1)
		}); err != nil {
			t.Fatal(err)
		}
	}
	// A shard and a directory hear nothing where they may listen at all.
	for user, pattern := range map[string]string{"shard-b": shard.LobbySubject("b", "*"), "directory-0": shard.DirectorySubject("*")} {
		if _, err := s.user(user).Subscribe(pattern, 100, func(engine.Event) { others.Add(1) }); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(20 * time.Second); agents.Load() < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the events do not come")
		}
		if err := s.user("shard-a").Publish(shard.EventSubject("a", "s1"), []byte("e")); err != nil {
			t.Fatal(err)
		}
		if err := s.user("shard-b").Publish(shard.EventSubject("a", "s1"), []byte("spoofed")); err != nil && !errors.Is(err, engine.ErrPermission) {
			t.Fatal(err)
		}
	}
	if others.Load() != 0 {
		t.Errorf("%d events went elsewhere", others.Load())
	}
}
