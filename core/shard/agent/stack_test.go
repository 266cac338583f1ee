package agent_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"testing"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/directory"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/login"
	"p2pmodel/core/shard/unit"
	"p2pmodel/core/ticket"
)

// stack is the real inside: a directory and a shard over NATS in this process,
// each with the permissions that it has.
type stack struct {
	t      testing.TB
	server *natsserver.Server
	seeds  map[string][]byte
	issue  ed25519.PrivateKey
	cert   tls.Certificate
	trust  *x509.CertPool
	unit   *unit.Server
}

const stackShard = "zurich-1"

func newStack(t testing.TB) *stack {
	t.Helper()
	l := layout.Layout{Cluster: "test", Directories: 1, Agents: []string{"agent-1", "agent-2"}, Shards: []string{stackShard}}
	seeds, public, err := l.Seeds()
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{t: t, seeds: seeds}
	if s.server, err = natsserver.New(natsserver.Config{Text: l.EmbeddedConfig(t.TempDir(), public), Quiet: true}); err != nil {
		t.Fatal(err)
	}
	s.run("engine", s.server.Run, s.server.Ready)
	_, s.issue, _ = ed25519.GenerateKey(rand.Reader)
	s.cert, s.trust = certificate(t)

	d, err := directory.New(directory.Config{Engine: s.connect(layout.DirectoryUser(0)), Members: 1, MaxSessionsPlayer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.run("directory", d.Run, d.Ready)
	signer, err := ticket.NewSigner(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	s.unit, err = unit.New(unit.Config{
		ID: stackShard, Engine: s.connect(layout.ShardUser(stackShard)), CapacityRooms: 1000, CapacityPlayers: 4000, Tickets: signer, Unwatched: true,
		Rendezvous: game.Rendezvous{Addr: netip.MustParseAddrPort("192.0.2.1:3478"), Key: identity.ID{1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.run("shard", s.unit.Run, s.unit.Ready)
	return s
}

// run runs a server until the test ends, and waits until it is ready.
func (s *stack) run(what string, run func(context.Context) error, ready func() error) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			s.t.Errorf("%s: %v", what, err)
		}
	}()
	stop = func() { cancel(); <-done }
	s.t.Cleanup(stop)
	eventually(s.t, what+" is ready", 30*time.Second, func() bool { return ready() == nil })
	return stop
}

func (s *stack) connect(user string) *natsengine.Engine {
	s.t.Helper()
	e, err := natsengine.Connect(natsengine.Config{InProcess: s.server, Name: user, Credentials: natsengine.Credentials{Seed: s.seeds[user]}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { e.Close() })
	return e
}

// agent starts an Agent on loopback.
func (s *stack) agent(name string, change ...func(*agent.Config)) (a *agent.Server, stop func()) {
	s.t.Helper()
	tokens, err := login.NewTokens(login.TokensConfig{Keys: []login.Key{{Public: s.issue.Public().(ed25519.PublicKey)}}})
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := agent.Config{
		Name: name, Listener: l, Engine: s.connect(layout.AgentUser(name)), Login: tokens,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &s.cert, nil },
	}
	generous(&cfg)
	for _, c := range change {
		c(&cfg)
	}
	if a, err = agent.New(cfg); err != nil {
		s.t.Fatal(err)
	}
	return a, s.run(name, a.Run, a.Ready)
}

// player is a client that has logged in.
func (s *stack) player(name string, agents ...*agent.Server) *client.Client {
	s.t.Helper()
	cfg := client.Config{TLS: &tls.Config{RootCAs: s.trust}, Credential: func(context.Context) (*agentv1.LoginRequest, error) {
		token, err := login.Sign(s.issue, login.Grant{Player: name, Rating: 1500, Expires: time.Now().Add(time.Hour)})
		return &agentv1.LoginRequest{Credential: &agentv1.LoginRequest_Token{Token: token}}, err
	}}
	for _, a := range agents {
		cfg.Endpoints = append(cfg.Endpoints, a.Addr().String())
	}
	c, err := client.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := c.Login(ctx); err != nil {
		s.t.Fatalf("%s logs in: %v", name, err)
	}
	return c
}

// Two players in a room of a real shard, over NATS with its permissions, and a
// change of the Agent in the middle of the match.
func TestOverNATS(t *testing.T) {
	s := newStack(t)
	one, stopOne := s.agent("agent-1")
	two, _ := s.agent("agent-2")
	ann, bob := s.player("ann", one, two), s.player("bob", two, one)
	ctx := t.Context()
	room, err := ann.CreateRoom(ctx, settings())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.JoinRoom(ctx, room.Id); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client.Client{ann, bob} {
		if _, err := c.SetReady(ctx, room.Id, true); err != nil {
			t.Fatal(err)
		}
	}
	next[*agentv1.Event_MatchStarted](t, ann, 10*time.Second)
	next[*agentv1.Event_MatchStarted](t, bob, 10*time.Second)
	peer := make([]byte, 32)
	peer[0] = 9
	if ticket, err := ann.PlayTicket(ctx, room.Id, peer); err != nil || len(ticket.Ticket) == 0 {
		t.Fatalf("%v, %v", ticket, err)
	}
	stopOne()
	eventually(t, "ann is at the other Agent", patience, func() bool { return ann.Endpoint() == two.Addr().String() })
	if got, err := ann.GetRoom(ctx, room.Id); err != nil || got.State != agentv1.RoomState_ROOM_STATE_PLAYING {
		t.Fatalf("%v, %v", got, err)
	}
	if err := bob.Chat(ctx, room.Id, "still there?"); err != nil {
		t.Fatal(err)
	}
	if said := next[*agentv1.Event_Chat](t, ann, 10*time.Second); said.Chat.Text != "still there?" {
		t.Errorf("ann hears %v", said)
	}
	eventually(t, "bob sees both online", patience, func() bool {
		got, err := bob.GetRoom(ctx, room.Id)
		return err == nil && len(got.Members) == 2 && got.Members[0].Online && got.Members[1].Online
	})
	if err := ann.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = bob.GetRoom(ctx, "aaaaaaaaaaaa")
	wantCode(t, err, connect.CodeNotFound)
}
