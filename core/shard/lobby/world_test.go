package lobby_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/identity"
	"p2pmodel/core/relay"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/lobby"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
	"p2pmodel/core/ticket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lease is a lease that tests take and give.
type lease struct {
	held    atomic.Bool
	term    atomic.Uint64
	mu      sync.Mutex
	changed chan struct{}
}

func (l *lease) Held() bool   { return l.held.Load() }
func (l *lease) Term() uint64 { return l.term.Load() }

func (l *lease) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *lease) change() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *lease) lose() {
	l.held.Store(false)
	l.change()
}

// regain gives the lease back, in a new term.
func (l *lease) regain() {
	l.term.Add(1)
	l.held.Store(true)
	l.change()
}

// unit is one shard.
type unit struct {
	id      string
	lease   *lease
	rooms   *game.Rooms
	lobby   *lobby.Server
	game    *game.Server
	records *buffer
	healthy atomic.Pointer[error]
	drain   atomic.Bool
	stop    func()
}

// buffer is a writer that may be read meanwhile.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// world is a directory, shards, and the sessions of players.
type world struct {
	t         testing.TB
	hub       *memory.Hub
	engine    engine.Engine // an Agent's
	client    *rpc.Client
	directory *registry
	key       ed25519.PrivateKey
	signer    *ticket.Signer
	shards    map[string]*unit

	mu     sync.Mutex
	events map[string][]*agentv1.Event
}

// each runs a test in the simulated time of a world with shards a and b.
func each(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.shard("a")
		w.shard("b")
		f(w)
	})
}

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, hub: memory.NewHub(), key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)),
		shards: map[string]*unit{}, events: map[string][]*agentv1.Event{},
	}
	w.directory = newRegistry(t, w.hub)
	w.engine = w.hub.Connect("agent")
	var err error
	if w.client, err = rpc.NewClient(rpc.ClientConfig{Engine: w.engine}); err != nil {
		t.Fatal(err)
	}
	if w.signer, err = ticket.NewSigner(bytes.Repeat([]byte{2}, 32)); err != nil {
		t.Fatal(err)
	}
	sub, err := w.engine.Subscribe(shard.SessionEvents("*"), 10000, w.event)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Close() })
	return w
}

func (w *world) event(e engine.Event) {
	m := &insidev1.SessionEvent{}
	if err := proto.Unmarshal(e.Data, m); err != nil {
		w.t.Errorf("an event that cannot be read: %v", err)
		return
	}
	if !strings.HasSuffix(e.Subject, "."+m.Session) {
		w.t.Errorf("an event for %s at %s", m.Session, e.Subject)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events[m.Session] = append(w.events[m.Session], m.Event)
}

// close stops all, and sees to it that the bubble ends.
func (w *world) close() {
	for _, u := range w.shards {
		u.stop()
	}
}

func (w *world) shard(id string) *unit {
	w.t.Helper()
	e := w.hub.Connect("shard " + id)
	u := &unit{id: id, lease: &lease{changed: make(chan struct{})}, records: &buffer{}}
	u.lease.regain()
	client, err := rpc.NewClient(rpc.ClientConfig{Engine: e})
	fatal(w.t, err)
	u.rooms, err = game.NewRooms(game.RoomsConfig{
		Shard: id, Engine: e, Client: client, Lease: u.lease, CapacityRooms: 20, CapacityPlayers: 40, Records: u.records,
	})
	fatal(w.t, err)
	guard := game.Guard{Lease: u.lease, Passes: pass.New(w.key.Public().(ed25519.PublicKey))}
	u.lobby, err = lobby.New(lobby.Config{
		Shard: id, Engine: e, Client: client, Rooms: u.rooms, Guard: guard, Draining: u.drain.Load,
		Healthy: func() error {
			if p := u.healthy.Load(); p != nil {
				return *p
			}
			return nil
		},
	})
	fatal(w.t, err)
	u.game, err = game.New(game.Config{
		Rooms: u.rooms, Guard: guard, Tickets: w.signer,
		Rendezvous: game.Rendezvous{Addr: addr("192.0.2.1:3478"), Key: peerID("rendezvous")},
		Relay:      game.Relay{Addr: addr("192.0.2.2:3478"), Secret: relay.SharedSecret("secret")},
	})
	fatal(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{u.rooms.Run, u.lobby.Run, u.game.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	u.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	w.shards[id] = u
	for errors.Join(u.rooms.Ready(), u.lobby.Ready(), u.game.Ready()) != nil {
		time.Sleep(time.Millisecond)
	}
	return u
}

// settle lets what is under way arrive.
func (w *world) settle() { synctest.Wait() }

// open opens a room on a shard for players, the first of whom leads.
func (w *world) open(on, id string, change func(*insidev1.OpenRoomRequest), players ...*player) *agentv1.Room {
	w.t.Helper()
	req := &insidev1.OpenRoomRequest{Room: id, Epoch: 1, Settings: &agentv1.RoomSettings{
		Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "A room", Mode: "duel", Capacity: 4,
	}}
	for i, p := range players {
		req.Members = append(req.Members, &insidev1.Participant{Session: p.session, Player: p.name, Rating: 1500, Leader: i == 0})
	}
	if change != nil {
		change(req)
	}
	view, err := w.directory.open(context.Background(), on, req)
	fatal(w.t, err)
	return view
}

// running opens a room whose match runs.
func (w *world) running(on, id string, players ...*player) {
	w.t.Helper()
	w.open(on, id, func(r *insidev1.OpenRoomRequest) { r.Start = true }, players...)
}

func (w *world) must(err error) {
	w.t.Helper()
	fatal(w.t, err)
}

// refused checks an error's code and what it says.
func (w *world) refused(err error, code connect.Code, says string) {
	w.t.Helper()
	if rpc.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), says) {
		w.t.Errorf("got %v, want %v saying %q", err, code, says)
	}
}

// equal compares lists by their text.
func (w *world) equal(what string, got, want any) {
	w.t.Helper()
	if g, x := fmt.Sprint(got), fmt.Sprint(want); g != x {
		w.t.Errorf("%s: got %s, want %s", what, g, x)
	}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func roomID(n int) string { return fmt.Sprintf("room%s", strings.Map(digit, fmt.Sprintf("%08d", n))) }

// digit makes the digits of a room's id.
func digit(r rune) rune { return 'a' + r - '0' }

func peerID(name string) identity.ID {
	var seed [identity.Size]byte
	copy(seed[:], name)
	return identity.KeyFromSeed(seed).ID()
}

func members(r *agentv1.Room) (list []string) {
	for _, m := range r.GetMembers() {
		s := m.Player
		if m.Leader {
			s += "*"
		}
		if m.Ready {
			s += "+"
		}
		if !m.Online {
			s += "?"
		}
		list = append(list, s)
	}
	return list
}
