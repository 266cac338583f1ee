package directory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/keeper"
	"p2pmodel/core/shard/rpc"
)

type protoMessage = proto.Message

func logOf(testing.TB) *slog.Logger {
	if !verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// unit is as much of a shard as directories see of one: it has rooms, which it
// serves by the rules of package keeper.
type unit struct {
	id      string
	t       testing.TB
	engine  engine.Engine
	link    *memory.Engine // the same, if a test can cut it
	keeper  *keeper.Keeper
	client  *rpc.Client
	server  *rpc.Server
	history *history.Recorder
	end     func() error

	mu    sync.Mutex
	rooms map[string]*held
	// refuse answers OpenRoom, AdoptRoom, ReleaseRoom and Enqueue, if it is not nil.
	refuse  func(method string) error
	opened  []*insidev1.OpenRoomRequest
	adopted []adoption
	queued  []*insidev1.EnqueueRequest
	removed []string
	// lost is when the lease was lost last.
	lost time.Time
}

type held struct {
	record *insidev1.RoomRecord
	// proved is the term in which a save went through; 0: in none.
	proved uint64
}

type adoption struct {
	at     time.Time
	record *insidev1.RoomRecord
	reason string
}

// startUnit starts a shard. One of the same id that was stopped is another process.
func (w *world) startUnit(id string, rooms, players int) *unit {
	w.t.Helper()
	link := w.hub.Connect("shard-" + id)
	u := newUnit(w.t, id, link, rooms, players, w.records)
	u.link = link
	w.units[id] = u
	return u
}

func newUnit(t testing.TB, id string, e engine.Engine, rooms, players int, records *buffer) *unit {
	t.Helper()
	u := &unit{id: id, t: t, engine: e, rooms: map[string]*held{}, history: history.NewRecorder(records, "shard-"+id)}
	var err error
	u.keeper, err = keeper.New(keeper.Config{
		Engine: e, Shard: id, CapacityRooms: rooms, CapacityPlayers: players, Load: u.load, History: records, Log: logOf(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if u.client, err = rpc.NewClient(rpc.ClientConfig{Engine: e, Failures: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	if u.server, err = rpc.NewServer(rpc.ServerConfig{Engine: e, Pattern: shard.LobbySubject(id, "*")}); err != nil {
		t.Fatal(err)
	}
	rpc.Handle(u.server, "OpenRoom", u.open)
	rpc.Handle(u.server, "AdoptRoom", u.adopt)
	rpc.Handle(u.server, "ReleaseRoom", u.release)
	rpc.Handle(u.server, "Enqueue", u.enqueue)
	rpc.Handle(u.server, "Dequeue", u.dequeue)
	rpc.Handle(u.server, "GetRoom", u.get)
	if err := u.server.Start(); err != nil {
		t.Fatal(err)
	}
	u.end = run(func(ctx context.Context) error {
		var watching sync.WaitGroup
		watching.Go(func() { u.watch(ctx) })
		defer watching.Wait()
		return u.keeper.Run(ctx)
	})
	return u
}

// stop ends a shard in an orderly manner; kill as by kill -9.
func (u *unit) stop() {
	_ = u.end()
	_ = u.server.Close()
	_ = u.engine.Close()
}

func (u *unit) kill() {
	u.link.Stall()
	u.mu.Lock()
	u.rooms = map[string]*held{}
	u.mu.Unlock()
	_ = u.engine.Close()
	u.stop()
}

// watch notes when the lease is lost.
func (u *unit) watch(ctx context.Context) {
	was := false
	for {
		changed := u.keeper.Changed()
		is := u.keeper.Held()
		if was && !is {
			u.mu.Lock()
			u.lost = time.Now()
			u.mu.Unlock()
		}
		was = is
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (u *unit) load() (rooms, players int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range u.rooms {
		players += len(r.record.Members)
	}
	return len(u.rooms), players
}

func (u *unit) refuses(method string) error {
	u.mu.Lock()
	f := u.refuse
	u.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(method)
}

func (u *unit) open(ctx context.Context, _ *rpc.Request, req *insidev1.OpenRoomRequest) (*insidev1.OpenRoomResponse, error) {
	if err := u.refuses("OpenRoom"); err != nil {
		return nil, err
	}
	record := &insidev1.RoomRecord{
		Room: req.Room, Shard: u.id, Epoch: req.Epoch, Settings: req.Settings, State: agentv1.RoomState_ROOM_STATE_OPEN, Revision: 1,
	}
	for _, m := range req.Members {
		record.Members = append(record.Members, &insidev1.RoomMember{Participant: m})
	}
	u.mu.Lock()
	u.opened = append(u.opened, req)
	if r := u.rooms[req.Room]; r == nil || r.record.Epoch < req.Epoch {
		u.rooms[req.Room] = &held{record: record}
	}
	u.mu.Unlock()
	return &insidev1.OpenRoomResponse{Room: roomOf(record)}, u.save(ctx, req.Room)
}

func (u *unit) adopt(ctx context.Context, _ *rpc.Request, req *insidev1.AdoptRoomRequest) (*insidev1.AdoptRoomResponse, error) {
	if err := u.refuses("AdoptRoom"); err != nil {
		return nil, err
	}
	u.mu.Lock()
	u.adopted = append(u.adopted, adoption{time.Now(), req.Record, req.Reason})
	if r := u.rooms[req.Record.Room]; r == nil || r.record.Epoch < req.Record.Epoch {
		u.rooms[req.Record.Room] = &held{record: req.Record}
	}
	u.mu.Unlock()
	return &insidev1.AdoptRoomResponse{}, u.save(ctx, req.Record.Room)
}

func (u *unit) release(_ context.Context, _ *rpc.Request, req *insidev1.ReleaseRoomRequest) (*insidev1.ReleaseRoomResponse, error) {
	if err := u.refuses("ReleaseRoom"); err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.rooms[req.Room]
	if r == nil || r.record.Epoch != req.Epoch {
		return nil, rpc.Errorf(connect.CodeNotFound, "no such room here")
	}
	op := u.history.Begin(history.Operation{Kind: history.Release, Room: req.Room, Epoch: req.Epoch, Shard: u.id})
	proved := r.proved != 0
	delete(u.rooms, req.Room)
	if proved {
		u.history.Add(op)
	}
	r.record.Revision++
	return &insidev1.ReleaseRoomResponse{Record: r.record}, nil
}

func (u *unit) enqueue(_ context.Context, _ *rpc.Request, req *insidev1.EnqueueRequest) (*agentv1.QuickMatchResponse, error) {
	if err := u.refuses("Enqueue"); err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.queued = append(u.queued, req)
	return &agentv1.QuickMatchResponse{EstimatedSeconds: 7}, nil
}

func (u *unit) dequeue(_ context.Context, _ *rpc.Request, req *insidev1.DequeueRequest) (*agentv1.CancelMatchResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.removed = append(u.removed, req.Session)
	return &agentv1.CancelMatchResponse{}, nil
}

func (u *unit) get(_ context.Context, _ *rpc.Request, req *agentv1.GetRoomRequest) (*agentv1.GetRoomResponse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.rooms[req.Room]
	if r == nil {
		return nil, rpc.Errorf(connect.CodeNotFound, "no such room here")
	}
	return &agentv1.GetRoomResponse{Room: roomOf(r.record)}, nil
}

func roomOf(r *insidev1.RoomRecord) *agentv1.Room {
	room := &agentv1.Room{Id: r.Room, Settings: r.Settings, State: r.State, Revision: r.Revision}
	for _, m := range r.Members {
		p := m.Participant
		room.Members = append(room.Members, &agentv1.Member{Player: p.Player, Rating: p.Rating, Leader: p.Leader})
	}
	return room
}

// save writes a room; a refusal makes the shard let go of it.
func (u *unit) save(ctx context.Context, room string) error {
	u.mu.Lock()
	r := u.rooms[room]
	if r == nil {
		u.mu.Unlock()
		return nil
	}
	r.record.Revision++
	record := proto.CloneOf(r.record)
	u.mu.Unlock()
	term := u.keeper.Term()
	_, err := rpc.Call[insidev1.SaveRoomResponse](ctx, u.client, shard.DirectoryFrom(u.id, "SaveRoom"),
		&insidev1.SaveRoomRequest{Shard: u.id, Record: record}, rpc.WithTimeout(time.Second))
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		r.proved = term
	case rpc.CodeOf(err) == connect.CodeAborted && u.rooms[room] == r:
		delete(u.rooms, room)
	}
	return err
}

var errNotServed = errors.New("not served")

// serve acts as the owner of a room, and writes that into the history.
func (u *unit) serve(ctx context.Context, room string) error {
	u.mu.Lock()
	r := u.rooms[room]
	proved := r != nil && r.proved == u.keeper.Term() && r.proved != 0
	u.mu.Unlock()
	switch {
	case r == nil:
		return fmt.Errorf("%w: the room is not here", errNotServed)
	case !u.keeper.Held():
		return fmt.Errorf("%w: no lease", errNotServed)
	case !proved:
		if err := u.save(ctx, room); err != nil {
			return fmt.Errorf("%w: not proved in this term: %w", errNotServed, err)
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	op := u.history.Begin(history.Operation{Kind: history.Serve, Room: room, Epoch: r.record.Epoch, Shard: u.id})
	if u.rooms[room] != r || !u.keeper.Held() || r.proved != u.keeper.Term() {
		return fmt.Errorf("%w: lost meanwhile", errNotServed)
	}
	u.history.Add(op)
	return nil
}
