package unit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/freeport"
	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/directory"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/rpc"
	"p2pmodel/core/shard/unit"
	"p2pmodel/core/ticket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a busy machine may take for anything.
const patience = 30 * time.Second

// world is a directory and shards over real UDP, and an Agent's connection.
type world struct {
	t      *testing.T
	hub    *memory.Hub
	client *rpc.Client
	lines  *buffer // the history of ownership
	log    *buffer // shown if the test fails
	signer *ticket.Signer

	mu     sync.Mutex
	events map[string][]*agentv1.Event
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, hub: memory.NewHub(), lines: &buffer{}, log: &buffer{}, events: map[string][]*agentv1.Event{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the servers' log:\n%s", w.log.Bytes())
		}
	})
	agent := w.hub.Connect("agent")
	var err error
	w.client, err = rpc.NewClient(rpc.ClientConfig{Engine: agent})
	w.must(err)
	w.signer, err = ticket.NewSigner(bytes.Repeat([]byte{2}, 32))
	w.must(err)
	sub, err := agent.Subscribe(shard.SessionEvents("*"), 10000, func(e engine.Event) {
		m := &insidev1.SessionEvent{}
		if err := proto.Unmarshal(e.Data, m); err != nil {
			t.Error(err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events[m.Session] = append(w.events[m.Session], m.Event)
	})
	w.must(err)
	t.Cleanup(func() { _ = sub.Close() })
	d, err := directory.New(directory.Config{Engine: w.hub.Connect("directory"), Members: 1, History: w.lines, Log: w.logger()})
	w.must(err)
	w.run(d.Run)
	w.until("the directory is ready", d.Ready)
	return w
}

func (w *world) logger() *slog.Logger { return slog.New(slog.NewTextHandler(w.log, nil)) }

// run runs something until the test's end, or until it is stopped.
func (w *world) run(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	return stop
}

// process is a shard.
type process struct {
	*unit.Server
	id      string
	engine  *memory.Engine
	metrics *prometheus.Registry
	records *buffer
	stop    func()
}

func (w *world) shard(id string, change func(*unit.Config)) *process {
	w.t.Helper()
	p := &process{id: id, engine: w.hub.Connect("shard " + id), metrics: prometheus.NewRegistry(), records: &buffer{}}
	key, err := identity.NewKey(rand.Reader)
	w.must(err)
	verifier, err := ticket.NewVerifier(w.signer.Public())
	w.must(err)
	secret := relay.SharedSecret("secret")
	at, turn := freeport.Of(w.t), freeport.Of(w.t)
	cfg := unit.Config{
		ID: id, Engine: p.engine, CapacityRooms: 100, CapacityPlayers: 400, Tickets: w.signer,
		Rendezvous:       game.Rendezvous{Addr: at, Key: key.ID()},
		RendezvousServer: &rendezvous.ServerConfig{Listen: at, Key: key, Rand: rand.Reader, Admission: verifier},
		Relay:            game.Relay{Addr: turn, Secret: secret},
		RelayServer: &relay.ServerConfig{
			Listen: turn, RelayAddress: turn.Addr(), Authenticators: []relay.Authenticator{secret}, Rand: rand.Reader,
			AllowPeers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		},
		Records: p.records, History: w.lines, Metrics: p.metrics, Log: w.logger(),
	}
	if change != nil {
		change(&cfg)
	}
	p.Server, err = unit.New(cfg)
	w.must(err)
	p.stop = w.run(p.Run)
	return p
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// until waits until something is so; what it says is the last reason why not.
func (w *world) until(what string, is func() error) {
	w.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = is(); err == nil {
			return
		}
	}
	w.t.Fatalf("waited %v until %s: %v", patience, what, err)
}

// player is a player with a session.
type player struct {
	w             *world
	name, session string
	pass          []byte
	peer          *peer.Peer
	room          *peer.Room
}

func (w *world) player(name string) *player {
	w.t.Helper()
	opened, err := rpc.Call[insidev1.SessionResponse](context.Background(), w.client, shard.DirectorySubject("OpenSession"),
		&insidev1.OpenSessionRequest{Player: name, Rating: 1500, Agent: "1"})
	w.must(err)
	return &player{w: w, name: name, session: opened.Session, pass: opened.Pass}
}

// ask calls a method of the shard that has a room, wherever it is by now.
func ask[Resp any, P interface {
	*Resp
	proto.Message
}](p *player, room string, subject func(id, method string) string, method string, req proto.Message) (P, error) {
	ctx := context.Background()
	place, err := rpc.Call[insidev1.FindRoomResponse](ctx, p.w.client, shard.DirectorySubject("FindRoom"), &insidev1.FindRoomRequest{Room: room}, rpc.WithPass(p.pass))
	if err != nil {
		return nil, err
	}
	return rpc.Call[Resp, P](ctx, p.w.client, subject(place.Place.Shard, method), req, rpc.WithPass(p.pass))
}

func (p *player) create(change func(*agentv1.RoomSettings)) *insidev1.PlaceRoomResponse {
	p.w.t.Helper()
	settings := &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "A room", Mode: "duel", Capacity: 4}
	if change != nil {
		change(settings)
	}
	placed, err := rpc.Call[insidev1.PlaceRoomResponse](context.Background(), p.w.client, shard.DirectorySubject("PlaceRoom"),
		&insidev1.PlaceRoomRequest{Settings: settings}, rpc.WithPass(p.pass))
	p.w.must(err)
	return placed
}

func (p *player) join(room string) {
	p.w.t.Helper()
	_, err := ask[agentv1.JoinRoomResponse](p, room, shard.LobbySubject, "JoinRoom", &agentv1.JoinRoomRequest{Room: room})
	p.w.must(err)
}

func (p *player) ready(room string) {
	p.w.t.Helper()
	_, err := ask[agentv1.SetReadyResponse](p, room, shard.LobbySubject, "SetReady", &agentv1.SetReadyRequest{Room: room, Ready: true})
	p.w.must(err)
}

func (p *player) look(room string) (*agentv1.Room, error) {
	got, err := ask[agentv1.GetRoomResponse](p, room, shard.LobbySubject, "GetRoom", &agentv1.GetRoomRequest{Room: room})
	return got.GetRoom(), err
}

func (p *player) match(room string) (*agentv1.Match, error) {
	got, err := ask[agentv1.GetMatchResponse](p, room, shard.GameSubject, "GetMatch", &agentv1.GetMatchRequest{Room: room})
	return got.GetMatch(), err
}

// enter gets a ticket and enters the mesh.
func (p *player) enter(room string) {
	p.w.t.Helper()
	key, err := identity.NewKey(rand.Reader)
	p.w.must(err)
	id := key.ID()
	got, err := ask[agentv1.PlayTicketResponse](p, room, shard.GameSubject, "PlayTicket", &agentv1.PlayTicketRequest{Room: room, PeerId: id[:]})
	p.w.must(err)
	server, err := identity.IDFromBytes(got.RendezvousKey)
	p.w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	p.w.t.Cleanup(cancel)
	p.peer, err = peer.New(ctx, peer.Config{
		Key: key, Rand: rand.Reader, Ticket: got.Ticket,
		Rendezvous: netip.MustParseAddrPort(got.Rendezvous), RendezvousKey: &server,
		Relay:  &peer.RelayConfig{Server: netip.MustParseAddrPort(got.Relay), Username: got.RelayUsername, Password: got.RelayPassword},
		Listen: netip.MustParseAddrPort("127.0.0.1:0"),
	}, sansio.System())
	p.w.must(err)
	p.w.t.Cleanup(p.peer.Close)
	p.room, err = p.peer.Join(ctx, got.Mesh)
	p.w.must(err)
}

// meet waits for the other one and says hello to it, until it answers.
func (p *player) meet() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := p.room.Next(ctx)
	if err != nil {
		return fmt.Errorf("%s meets nobody: %w", p.name, err)
	}
	return errors.Join(conn.Send([]byte("hello from "+p.name)), func() error {
		got, err := conn.Receive(ctx)
		if err == nil && !strings.HasPrefix(string(got), "hello from ") {
			err = fmt.Errorf("%s is told %q", p.name, got)
		}
		return err
	}())
}

func (p *player) report(room string, path agentv1.PathKind, other string) {
	p.w.t.Helper()
	_, err := ask[agentv1.ReportResponse](p, room, shard.GameSubject, "Report", &agentv1.ReportRequest{Room: room, Connections: []*agentv1.Connection{{Player: other, Path: path, RttMs: 1}}})
	p.w.must(err)
}

func (p *player) finish(room string) error {
	_, err := ask[agentv1.FinishResponse](p, room, shard.GameSubject, "Finish", &agentv1.FinishRequest{Room: room, Result: []byte("1:0")})
	return err
}

// moved counts the RoomMoved that the player got.
func (p *player) moved() (n int) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, e := range p.w.events[p.session] {
		if e.GetRoomMoved() != nil {
			n++
		}
	}
	return n
}

// one checks the history of ownership: each room had one owner at a time.
func (w *world) one() {
	w.t.Helper()
	ops, err := history.Read(bytes.NewReader(w.lines.Bytes()))
	w.must(err)
	if len(ops) == 0 {
		w.t.Error("there is no history")
	}
	w.must(history.Check(ops))
}
