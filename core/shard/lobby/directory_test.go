package lobby_test

import (
	"context"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/rpc"
)

// registry is a directory: the records of rooms, by their epochs.
type registry struct {
	t      testing.TB
	client *rpc.Client
	server *rpc.Server

	mu      sync.Mutex
	records map[string]*insidev1.RoomRecord
	dropped map[string]bool
	saves   map[string]int
	// away makes it answer Unavailable.
	away bool
	// home is the shard that rooms of matches are placed on.
	home   string
	placed int
}

func newRegistry(t testing.TB, hub *memory.Hub) *registry {
	e := hub.Connect("directory")
	r := &registry{t: t, records: map[string]*insidev1.RoomRecord{}, dropped: map[string]bool{}, saves: map[string]int{}}
	var err error
	if r.client, err = rpc.NewClient(rpc.ClientConfig{Engine: e}); err != nil {
		t.Fatal(err)
	}
	if r.server, err = rpc.NewServer(rpc.ServerConfig{Engine: e, Pattern: shard.DirectoryFrom("*", "*")}); err != nil {
		t.Fatal(err)
	}
	rpc.Handle(r.server, "SaveRoom", r.save)
	rpc.Handle(r.server, "DropRoom", r.drop)
	rpc.Handle(r.server, "PlaceRoom", r.place)
	if err := r.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.server.Close() })
	return r
}

// check reports whether a shard owns a room at an epoch. The lock is held.
func (r *registry) check(id, shardID string, epoch uint64) error {
	if r.away {
		return rpc.Errorf(connect.CodeUnavailable, "no leader at present")
	}
	rec := r.records[id]
	if rec == nil || rec.Shard != shardID || rec.Epoch != epoch {
		return rpc.Errorf(connect.CodeAborted, "not your room")
	}
	return nil
}

func (r *registry) save(_ context.Context, _ *rpc.Request, req *insidev1.SaveRoomRequest) (*insidev1.SaveRoomResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(req.Record.Room, req.Shard, req.Record.Epoch); err != nil {
		return nil, err
	}
	r.records[req.Record.Room] = req.Record
	r.saves[req.Record.Room]++
	return &insidev1.SaveRoomResponse{}, nil
}

func (r *registry) drop(_ context.Context, _ *rpc.Request, req *insidev1.DropRoomRequest) (*insidev1.DropRoomResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(req.Room, req.Shard, req.Epoch); err != nil {
		return nil, err
	}
	delete(r.records, req.Room)
	r.dropped[req.Room] = true
	return &insidev1.DropRoomResponse{}, nil
}

func (r *registry) place(ctx context.Context, _ *rpc.Request, req *insidev1.PlaceRoomRequest) (*insidev1.PlaceRoomResponse, error) {
	r.mu.Lock()
	if r.away {
		r.mu.Unlock()
		return nil, rpc.Errorf(connect.CodeUnavailable, "no shard takes rooms")
	}
	r.placed++
	id := roomID(900 + r.placed)
	r.mu.Unlock()
	view, err := r.open(ctx, r.home, &insidev1.OpenRoomRequest{Room: id, Epoch: 1, Settings: req.Settings, Members: req.Members, Start: req.Start})
	if err != nil {
		return nil, err
	}
	return &insidev1.PlaceRoomResponse{Place: &insidev1.RoomPlace{Room: id, Shard: r.home, Epoch: 1}, Room: view}, nil
}

// open writes a room's owner and asks it.
func (r *registry) open(ctx context.Context, shardID string, req *insidev1.OpenRoomRequest) (*agentv1.Room, error) {
	r.own(shardID, req.Room, req.Epoch)
	resp, err := rpc.Call[insidev1.OpenRoomResponse](ctx, r.client, shard.LobbySubject(shardID, "OpenRoom"), req)
	return resp.GetRoom(), err
}

func (r *registry) own(shardID, id string, epoch uint64) *insidev1.RoomRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := &insidev1.RoomRecord{Room: id}
	if old := r.records[id]; old != nil {
		rec = proto.CloneOf(old)
	}
	rec.Shard, rec.Epoch = shardID, epoch
	r.records[id] = rec
	return rec
}

func (r *registry) record(id string) *insidev1.RoomRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records[id]
}

func (r *registry) count(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saves[id]
}

func (r *registry) wasDropped(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped[id]
}

func (r *registry) setAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}
