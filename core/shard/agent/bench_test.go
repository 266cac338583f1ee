package agent_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/agentv1/agentv1connect"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/lobby"
	"p2pmodel/core/shard/login"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

const (
	benchRate = 2000 // requests a second
	benchTime = 8 * time.Second
)

// BenchmarkPassage gives what a request costs from the client's call to the
// lobby's answer and back, at 2,000 requests a second that come whether or not
// earlier ones were answered: in the lobby's process; by NATS alone; and by TLS,
// the Agent and NATS. x-process is the median against that in the process.
func BenchmarkPassage(b *testing.B) {
	s := newStack(b)
	a, _ := s.agent("agent-1")
	host := s.player("host", a)
	room, err := host.CreateRoom(context.Background(), settings())
	if err != nil {
		b.Fatal(err)
	}
	inside, err := rpc.NewClient(rpc.ClientConfig{Engine: s.connect(layout.AgentUser("agent-2"))})
	if err != nil {
		b.Fatal(err)
	}
	opened, err := rpc.Call[insidev1.SessionResponse](context.Background(), inside, shard.DirectorySubject("OpenSession"),
		&insidev1.OpenSessionRequest{Player: "bench", Agent: "agent-2"})
	if err != nil {
		b.Fatal(err)
	}
	handler := s.lobby(b)
	var sessions []*benchSession
	var process time.Duration // median
	for _, way := range []struct {
		name    string
		request func(ctx context.Context, n int) error
	}{
		{"process", func(ctx context.Context, _ int) error {
			_, err := handler.GetRoom(ctx, &rpc.Request{Pass: opened.Pass}, &agentv1.GetRoomRequest{Room: room.Id})
			return err
		}},
		{"nats", func(ctx context.Context, _ int) error {
			_, err := rpc.Call[agentv1.GetRoomResponse](ctx, inside, shard.LobbySubject(stackShard, "GetRoom"),
				&agentv1.GetRoomRequest{Room: room.Id}, rpc.WithPass(opened.Pass))
			return err
		}},
		{"agent", func(ctx context.Context, n int) error {
			x := sessions[n%len(sessions)]
			_, err := x.client.GetRoom(ctx, bearer(x.session, &agentv1.GetRoomRequest{Room: room.Id}))
			return err
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			for way.name == "agent" && len(sessions) < 16 { // now: idle ones are detached
				sessions = append(sessions, s.benchSession(b, a.Addr().String()))
			}
			median := report(b, benchRate, benchTime, way.request)
			if way.name == "process" {
				process = median
			}
			if process > 0 {
				b.ReportMetric(float64(median)/float64(process), "x-process")
			}
		})
	}
}

// benchSession is a session by a connection of its own.
type benchSession struct {
	client  agentv1connect.AgentServiceClient
	session *agentv1.Session
}

func (s *stack) benchSession(b *testing.B, endpoint string) *benchSession {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.trust}, ForceAttemptHTTP2: true,
		HTTP2: &http.HTTP2Config{StrictMaxConcurrentRequests: true}}
	b.Cleanup(transport.CloseIdleConnections)
	x := &benchSession{client: agentv1connect.NewAgentServiceClient(&http.Client{Transport: transport}, "https://"+endpoint)}
	token, err := login.Sign(s.issue, login.Grant{Player: "bench", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		b.Fatal(err)
	}
	resp, err := x.client.Login(context.Background(), connect.NewRequest(&agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: token}}))
	if err != nil {
		b.Fatal(err)
	}
	x.session = resp.Msg.Session
	return x
}

// held is a lease that nobody takes.
type held struct{}

func (held) Held() bool               { return true }
func (held) Term() uint64             { return 1 }
func (held) Changed() <-chan struct{} { return nil }

// lobby is the methods of the shard's lobby, over its rooms, to be called without
// an engine.
func (s *stack) lobby(b *testing.B) *lobby.Server {
	e := s.connect(layout.ShardUser(stackShard))
	c, err := rpc.NewClient(rpc.ClientConfig{Engine: e})
	if err != nil {
		b.Fatal(err)
	}
	beat, err := rpc.Call[insidev1.HeartbeatResponse](context.Background(), c, shard.MemberFrom(0, stackShard, "Heartbeat"),
		&insidev1.HeartbeatRequest{Shard: stackShard, Incarnation: "bench"})
	if err != nil || len(beat.PassKeys) == 0 {
		b.Fatalf("ask for the keys of passes: %v, %v", beat, err)
	}
	var keys []ed25519.PublicKey
	for _, k := range beat.PassKeys {
		keys = append(keys, k)
	}
	handler, err := lobby.New(lobby.Config{
		Shard: stackShard, Engine: e, Client: c, Rooms: s.unit.Rooms(), Guard: game.Guard{Lease: held{}, Passes: pass.New(keys...)},
	})
	if err != nil {
		b.Fatal(err)
	}
	return handler
}

// report sends so many requests a second for a time, and reports how long they
// took. It waits for none of them, so a machine that is too slow, or has too much
// else to do, lets most of them fail.
func report(b *testing.B, rate int, during time.Duration, request func(ctx context.Context, n int) error) (median time.Duration) {
	b.Helper()
	total := int(during.Seconds()) * rate
	took := make([]time.Duration, total)
	var failed sync.Map
	var all sync.WaitGroup
	began := time.Now()
	for n := range total {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		sent := time.Now() // what the timer is late is nobody's
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := request(ctx, n); err != nil {
				failed.Store(n, err)
			}
			took[n] = time.Since(sent)
		})
	}
	all.Wait()
	failures := 0
	failed.Range(func(_, err any) bool {
		if failures == 0 {
			b.Errorf("a request failed: %v", err)
		}
		failures++
		return true
	})
	if failures > 0 {
		b.Fatalf("%d of %d requests failed: is the machine up to %d a second?", failures, total, rate)
	}
	slices.Sort(took)
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50-ms", 0.5}, {"p99-ms", 0.99}, {"p999-ms", 0.999}} {
		b.ReportMetric(float64(took[int(q.at*float64(total))])/1e6, q.name)
	}
	b.ReportMetric(0, "ns/op") // of the whole run; says nothing
	return took[total/2]
}

// BenchmarkSessions gives what a session costs that is attached, has its event
// stream and is in no room: memory of both ends, for both run here.
func BenchmarkSessions(b *testing.B) {
	w := newWorld(b)
	a := w.run("agent-1", func(c *agent.Config) {
		generous(c)
		c.Limits.ConnectionRate, c.Limits.ConnectionBurst, c.Limits.ConnectionsPerAddress = 1e5, 1e5, 1e5
	})
	const n = 500
	for b.Loop() {
		before := inUse()
		players := make([]*client.Client, n)
		for i := range players {
			players[i] = w.player("ann", a)
		}
		eventually(b, "all have their streams", 30*time.Second, func() bool { return a.Streams() == n })
		b.ReportMetric(float64(inUse()-before)/n/1024, "KiB/session")
		for _, p := range players {
			p.Close()
		}
		eventually(b, "all are gone", 30*time.Second, func() bool { return a.Sessions() == 0 })
	}
}
