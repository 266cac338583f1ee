package directory

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is directories and shards at one hub, in simulated time.
type world struct {
	t       *testing.T
	hub     *memory.Hub
	members int
	dirs    []*process
	units   map[string]*unit
	client  *rpc.Client // an Agent's
	agent   *memory.Engine
	records *buffer
	tweak   func(*Config)
}

// process is one server that runs.
type process struct {
	server *Server
	engine *memory.Engine
	stop   func() error
}

// buffer is a writer for several.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) operations(t *testing.T) []history.Operation {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	ops, err := history.Read(bytes.NewReader(b.b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// inWorld runs a test with so many directories, which are ready; at the end the
// history of all of them is checked.
func inWorld(t *testing.T, members int, test func(t *testing.T, w *world)) {
	t.Helper()
	inWorldWith(t, members, nil, test)
}

// inWorldWith does that with a change of the directories' configuration.
func inWorldWith(t *testing.T, members int, tweak func(*Config), test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, hub: memory.NewHub(), members: members, units: map[string]*unit{}, records: &buffer{}, tweak: tweak}
		w.hub.SetDelay(time.Millisecond)
		w.agent = w.hub.Connect("agent")
		w.client = w.clientOf(w.agent)
		for i := range members {
			w.dirs = append(w.dirs, nil)
			w.startDirectory(i)
		}
		defer w.end()
		for _, d := range w.dirs {
			w.until("a directory is ready", 5*time.Second, d.server.Ready)
		}
		test(t, w)
	})
}

func (w *world) end() {
	w.hub.SetBuckets(true)
	for _, u := range w.units {
		u.link.Reconnect()
		u.stop()
	}
	for _, d := range w.dirs {
		if d != nil {
			d.engine.Reconnect()
			if err := d.stop(); err != nil {
				w.t.Errorf("a directory ended with %v", err)
			}
			_ = d.engine.Close()
		}
	}
	_ = w.agent.Close()
	ops := w.records.operations(w.t)
	if err := history.Check(ops); err != nil {
		w.t.Errorf("the history of %d operations: %v", len(ops), err)
	}
}

func (w *world) clientOf(e engine.Engine) *rpc.Client {
	c, err := rpc.NewClient(rpc.ClientConfig{Engine: e, Failures: 1 << 30})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// startDirectory starts a member, or starts it again with nothing in its memory.
func (w *world) startDirectory(i int) {
	e := w.hub.Connect(fmt.Sprint("directory-", i))
	// Most tests have one player for all.
	cfg := Config{Engine: e, Index: i, Members: w.members, MaxSessionsPlayer: 1 << 20, History: w.records, Log: logOf(w.t)}
	if w.tweak != nil {
		w.tweak(&cfg)
	}
	server, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.dirs[i] = &process{server, e, run(server.Run)}
}

// killDirectory cuts a member off for ever, as kill -9 does.
func (w *world) killDirectory(i int) {
	d := w.dirs[i]
	d.engine.Disconnect()
	_ = d.stop()
	_ = d.engine.Close()
	w.dirs[i] = nil
}

// run starts something; what it gives ends it and waits.
func run(f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return sync.OnceValue(func() error { cancel(); return <-done })
}

// until waits in simulated time.
func (w *world) until(what string, within time.Duration, try func() error) {
	w.t.Helper()
	end := time.Now().Add(within)
	for {
		err := try()
		if err == nil {
			return
		}
		if !time.Now().Before(end) {
			w.t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// holds waits until all shards hold their leases and all directories know of it.
func (w *world) ready() {
	w.t.Helper()
	for id, u := range w.units {
		w.until("shard "+id+" holds its lease", 10*time.Second, u.keeper.Ready)
	}
	time.Sleep(600 * time.Millisecond) // a heartbeat to each
}

// call calls any directory as an Agent does.
func call[Resp any, P interface {
	*Resp
	protoMessage
}](w *world, method string, req protoMessage, pass []byte) (P, error) {
	return rpc.Call[Resp, P](w.t.Context(), w.client, shard.DirectorySubject(method), req, rpc.WithPass(pass), rpc.WithTimeout(5*time.Second))
}

// login opens a session.
func (w *world) login(player string) *insidev1.SessionResponse {
	w.t.Helper()
	s, err := call[insidev1.SessionResponse](w, "OpenSession", &insidev1.OpenSessionRequest{Player: player, Rating: 1000, Agent: "a1"}, nil)
	if err != nil {
		w.t.Fatalf("%s logs in: %v", player, err)
	}
	return s
}

func settings(mode string) *agentv1.RoomSettings {
	return &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "a room", Mode: mode, Capacity: 4}
}

// place opens a room for a player of its own.
func (w *world) place(mode string) *insidev1.RoomPlace {
	w.t.Helper()
	resp, err := call[insidev1.PlaceRoomResponse](w, "PlaceRoom", &insidev1.PlaceRoomRequest{Settings: settings(mode)}, w.login("p").Pass)
	if err != nil {
		w.t.Fatalf("place a room: %v", err)
	}
	return resp.Place
}

func (w *world) find(room string) (*insidev1.RoomPlace, error) {
	resp, err := call[insidev1.FindRoomResponse](w, "FindRoom", &insidev1.FindRoomRequest{Room: room}, nil)
	return resp.GetPlace(), err
}

// shards gives the state of each shard as some directory sees it.
func (w *world) shards() map[string]*insidev1.Shard {
	w.t.Helper()
	resp, err := call[insidev1.ListShardsResponse](w, "ListShards", &insidev1.ListShardsRequest{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]*insidev1.Shard{}
	for _, s := range resp.Shards {
		all[s.Id] = s
	}
	return all
}

func wantCode(t *testing.T, what string, err error, code connect.Code) {
	t.Helper()
	if rpc.CodeOf(err) != code {
		t.Errorf("%s: %v, wanted %v", what, err, code)
	}
}

func sorted[T any](all []T, less func(a, b T) int) []T {
	all = slices.Clone(all)
	slices.SortFunc(all, less)
	return all
}

func verbose() bool { return os.Getenv("DIRECTORY_LOG") != "" }
