package player_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/identity"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/player"
	"p2pmodel/core/ticket"
)

// room is the id of the only room of a house.
const room = "abcdefgh2345"

// house is a stand-in for everything that a player reaches: an Agent with one
// room, and rendezvous servers, which are real and want tickets.
type house struct {
	t      *testing.T
	net    *network
	signer *ticket.Signer
	life   time.Duration // of tickets

	mu      sync.Mutex
	room    *agentv1.Room
	peers   []*agentv1.Peer
	server  string // the rendezvous at present, an IP
	guests  map[string]*guest
	refuse  error // what requests are answered with while it is set
	tickets map[string]int
	reports map[string][]*agentv1.Connection
	reached map[string]int // reports that came
	results map[string]string
}

func newHouse(t *testing.T) *house {
	signer, err := ticket.NewSigner(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{
		t: t, net: newNetwork(), signer: signer, life: 60 * time.Second, guests: map[string]*guest{},
		tickets: map[string]int{}, reports: map[string][]*agentv1.Connection{}, reached: map[string]int{}, results: map[string]string{},
		room: &agentv1.Room{Id: room, Revision: 1, State: agentv1.RoomState_ROOM_STATE_OPEN, Settings: &agentv1.RoomSettings{
			Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "a room", Mode: "field", Capacity: 8,
		}},
	}
	h.serve("10.0.0.1")
	return h
}

// serve starts a rendezvous, which is the house's from now on.
func (h *house) serve(ip string) (stop func()) {
	h.t.Helper()
	admission, err := ticket.NewVerifier(h.signer.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	at := h.net.host(ip)
	server, err := rendezvous.NewServer(rendezvous.ServerConfig{
		Listen: at.at(3478), Key: keyOf(ip), Rand: random(ip), Admission: admission,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := sansio.NewLoop(server, at, nil).Run(ctx); err != nil {
			h.t.Errorf("rendezvous at %s: %v", ip, err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	h.t.Cleanup(stop)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.server = ip
	return stop
}

// keyOf is a key that belongs to a name.
func keyOf(name string) identity.Key { return identity.KeyFromSeed(sha256.Sum256([]byte(name))) }

type reader struct {
	mu sync.Mutex
	*rand.ChaCha8
}

func (r *reader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ChaCha8.Read(b)
}

func random(name string) *reader {
	return &reader{ChaCha8: rand.NewChaCha8(sha256.Sum256([]byte("random " + name)))}
}

// guest is a player with what the house gives it.
type guest struct {
	h       *house
	name    string
	host    *host
	player  *player.Player
	changes *player.Changes
	events  chan *agentv1.Event
	stop    func() error

	mu     sync.Mutex
	seen   []player.Event
	times  []time.Time
	closed error
}

// guest runs a player at a host of its own.
func (h *house) guest(name, ip string, change ...func(*player.Config)) *guest {
	h.t.Helper()
	g := &guest{h: h, name: name, host: h.net.host(ip), changes: player.NewChanges(), events: make(chan *agentv1.Event, 256)}
	cfg := player.Config{
		Agent: g, Changes: g.changes, Key: keyOf(name), Rand: random(name), Start: player.OnNetwork(g.host),
		OnEvent: func(at time.Time, e player.Event) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.seen, g.times = append(g.seen, e), append(g.times, at)
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	p, err := player.New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	g.player = p
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	g.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	h.t.Cleanup(func() { g.stop() })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guests[name] = g
	return g
}

// tell gives an event to all members but those named.
func (h *house) tell(e *agentv1.Event, but ...string) {
	for name, g := range h.guests {
		if !slices.Contains(but, name) && h.member(name) != nil {
			g.events <- proto.Clone(e).(*agentv1.Event)
		}
	}
}

func (h *house) member(name string) *agentv1.Member {
	for _, m := range h.room.Members {
		if m.Player == name {
			return m
		}
	}
	return nil
}

// change changes the room and tells all members.
func (h *house) change(f func(r *agentv1.Room)) {
	f(h.room)
	h.room.Revision++
	h.tell(&agentv1.Event{Kind: &agentv1.Event_RoomChanged{RoomChanged: &agentv1.RoomChanged{Room: h.room}}})
}

// start starts the match.
func (h *house) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change(func(r *agentv1.Room) { r.State = agentv1.RoomState_ROOM_STATE_PLAYING })
	h.tell(&agentv1.Event{Kind: &agentv1.Event_MatchStarted{MatchStarted: &agentv1.MatchStarted{Room: h.room}}})
}

// move gives the room to another shard, with a rendezvous of its own, that knows a
// record from long ago.
func (h *house) move(ip string) {
	h.serve(ip)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.room.Revision = 1
	h.tell(&agentv1.Event{Kind: &agentv1.Event_RoomMoved{RoomMoved: &agentv1.RoomMoved{Room: h.room, Reason: "its shard died"}}})
}

// end ends the match.
func (h *house) end(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change(func(r *agentv1.Room) { r.State = agentv1.RoomState_ROOM_STATE_ENDED })
	h.tell(&agentv1.Event{Kind: &agentv1.Event_MatchEnded{MatchEnded: &agentv1.MatchEnded{
		Room: room, Match: &agentv1.Match{Room: room, EndReason: reason},
	}}})
}

// enter is what the requests have in common.
func (g *guest) enter() (*house, func(), error) {
	time.Sleep(3 * time.Millisecond) // the way to the Agent
	g.h.mu.Lock()
	return g.h, g.h.mu.Unlock, g.h.refuse
}

func notFound(what string) error { return connect.NewError(connect.CodeNotFound, errors.New(what)) }

func (g *guest) Session() *agentv1.Session { return &agentv1.Session{Player: g.name} }

func (g *guest) CreateRoom(ctx context.Context, s *agentv1.RoomSettings) (*agentv1.Room, error) {
	h, leave, err := g.enter()
	if err == nil {
		h.room.Settings = s
	}
	leave()
	if err != nil {
		return nil, err
	}
	return g.JoinRoom(ctx, room)
}

func (g *guest) JoinRoom(_ context.Context, id string) (*agentv1.Room, error) {
	h, leave, err := g.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	if id != room {
		return nil, notFound("no such room")
	}
	if h.member(g.name) == nil {
		h.change(func(r *agentv1.Room) { r.Members = append(r.Members, &agentv1.Member{Player: g.name, Online: true}) })
	}
	return proto.Clone(h.room).(*agentv1.Room), nil
}

func (g *guest) LeaveRoom(context.Context, string) error {
	h, leave, err := g.enter()
	defer leave()
	if err != nil {
		return err
	}
	h.change(func(r *agentv1.Room) {
		r.Members = slices.DeleteFunc(r.Members, func(m *agentv1.Member) bool { return m.Player == g.name })
	})
	h.mesh(slices.DeleteFunc(slices.Clone(h.peers), func(p *agentv1.Peer) bool { return p.Player == g.name }))
	return nil
}

// mesh sets who is in the mesh, and tells all members.
func (h *house) mesh(peers []*agentv1.Peer) {
	h.peers = peers
	h.tell(&agentv1.Event{Kind: &agentv1.Event_MeshChanged{MeshChanged: &agentv1.MeshChanged{Room: room, Peers: peers}}})
}

func (g *guest) GetRoom(context.Context, string) (*agentv1.Room, error) {
	h, leave, err := g.enter()
	defer leave()
	return proto.Clone(h.room).(*agentv1.Room), err
}

func (g *guest) SetReady(_ context.Context, _ string, ready bool) (*agentv1.Room, error) {
	h, leave, err := g.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	h.change(func(*agentv1.Room) { h.member(g.name).Ready = ready })
	return proto.Clone(h.room).(*agentv1.Room), nil
}

func (g *guest) Chat(_ context.Context, id, text string) error {
	h, leave, err := g.enter()
	defer leave()
	if err == nil {
		h.tell(&agentv1.Event{Kind: &agentv1.Event_Chat{Chat: &agentv1.ChatMessage{Room: id, Player: g.name, Text: text, AtMs: time.Now().UnixMilli()}}})
	}
	return err
}

func (g *guest) QuickMatch(ctx context.Context, _ *agentv1.QuickMatchRequest) (*agentv1.QuickMatchResponse, error) {
	r, err := g.JoinRoom(ctx, room)
	if err != nil {
		return nil, err
	}
	g.events <- &agentv1.Event{Kind: &agentv1.Event_Matched{Matched: &agentv1.Matched{Room: r}}}
	return &agentv1.QuickMatchResponse{EstimatedSeconds: 7}, nil
}

// meshOf is the mesh of the present server.
func (h *house) meshOf() string { return "mesh of " + h.server }

func (g *guest) CancelMatch(context.Context) error { return nil }

func (g *guest) PlayTicket(_ context.Context, id string, peer []byte) (*agentv1.PlayTicketResponse, error) {
	h, leave, err := g.enter()
	defer leave()
	switch {
	case err != nil:
		return nil, err
	case h.room == nil || id != room || h.room.State == agentv1.RoomState_ROOM_STATE_ENDED:
		return nil, notFound("no such match")
	}
	h.tickets[g.name]++
	mesh := h.meshOf()
	owner := identity.ID(peer)
	raw, err := h.signer.Sign(ticket.Ticket{Peer: owner, Mesh: mesh, Expires: time.Now().Add(h.life)})
	if err != nil {
		h.t.Errorf("sign: %v", err)
	}
	others := slices.DeleteFunc(slices.Clone(h.peers), func(p *agentv1.Peer) bool { return p.Player == g.name })
	if len(others) == len(h.peers) || !slices.ContainsFunc(h.peers, func(p *agentv1.Peer) bool { return string(p.PeerId) == string(peer) }) {
		h.mesh(append(others, &agentv1.Peer{Player: g.name, PeerId: peer}))
	}
	id2 := keyOf(h.server).ID()
	return &agentv1.PlayTicketResponse{
		Rendezvous: h.server + ":3478", RendezvousKey: id2[:], Ticket: raw, Mesh: mesh,
		ExpiresSeconds: uint32(h.life / time.Second), Peers: slices.Clone(h.peers),
	}, nil
}

func (g *guest) Report(_ context.Context, _ string, c []*agentv1.Connection) (*agentv1.ReportResponse, error) {
	h, leave, err := g.enter()
	defer leave()
	if err != nil {
		return nil, err
	}
	h.reports[g.name] = c
	h.reached[g.name]++
	return &agentv1.ReportResponse{Mesh: h.meshOf(), PeersDigest: shard.PeersDigest(h.peers, g.name)}, nil
}

func (g *guest) Finish(_ context.Context, _ string, result []byte) error {
	h, leave, err := g.enter()
	defer leave()
	if err == nil {
		h.results[g.name] = string(result)
	}
	return err
}

func (g *guest) Events() <-chan *agentv1.Event { return g.events }

func (g *guest) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// lose takes the Agent away from everybody, for a time; what happens in between
// nobody is told.
func (h *house) lose(d time.Duration, meanwhile func()) {
	h.mu.Lock()
	h.refuse = connect.NewError(connect.CodeUnavailable, errors.New("no Agent answers"))
	for _, g := range h.guests {
		g.changes.Notify(client.Change{State: client.Away, Endpoint: "a:1", Err: errors.New("connection reset")})
	}
	h.mu.Unlock()
	time.Sleep(d)
	h.mu.Lock()
	defer h.mu.Unlock()
	if meanwhile != nil {
		guests := h.guests
		h.guests = nil // nobody hears
		meanwhile()
		h.guests = guests
	}
	h.refuse = nil
	for _, g := range h.guests {
		var rooms []*agentv1.Room
		if h.room != nil && h.member(g.name) != nil {
			rooms = append(rooms, proto.Clone(h.room).(*agentv1.Room))
		}
		g.changes.Notify(client.Change{State: client.Resumed, Endpoint: "b:1", Away: d, Rooms: rooms})
	}
}

// events gives those of a type.
func events[E player.Event](g *guest) (list []E) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.seen {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

// forget forgets the events so far.
func (g *guest) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen, g.times = nil, nil
}

func (g *guest) history() (text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, e := range g.seen {
		if _, data := e.(player.Received); !data {
			text += fmt.Sprintf("\n  %s %v %T %+v", g.name, g.times[i].Format("05.000"), e, e)
		}
	}
	return text
}

// until waits, in simulated time.
func until(t *testing.T, within time.Duration, what string, done func() bool, guests ...*guest) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		synctest.Wait()
		if done() {
			return
		}
		if time.Now().After(end) {
			history := ""
			for _, g := range guests {
				history += g.history()
			}
			t.Fatalf("after %v: not %s%s", within, what, history)
		}
	}
}

// connected reports whether all have a path to all others.
func connected(guests ...*guest) func() bool {
	return func() bool {
		for _, g := range guests {
			up := 0
			for _, l := range g.player.Links() {
				if l.Path.Remote.IsValid() {
					up++
				}
			}
			if up != len(guests)-1 {
				return false
			}
		}
		return true
	}
}
