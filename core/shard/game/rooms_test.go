package game

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// forever is a lease that is always held.
type forever struct{ changed chan struct{} }

func (forever) Held() bool                 { return true }
func (forever) Term() uint64               { return 1 }
func (f forever) Changed() <-chan struct{} { return f.changed }

// newRooms makes the rooms of a shard whose directory keeps every record.
func newRooms(t testing.TB, change func(*RoomsConfig)) (s *Rooms, stop func()) {
	t.Helper()
	hub := memory.NewHub()
	server, err := rpc.NewServer(rpc.ServerConfig{Engine: hub.Connect("directory"), Pattern: shard.DirectoryFrom("*", "*")})
	must(t, err)
	rpc.Handle(server, "SaveRoom", func(context.Context, *rpc.Request, *insidev1.SaveRoomRequest) (*insidev1.SaveRoomResponse, error) {
		return &insidev1.SaveRoomResponse{}, nil
	})
	rpc.Handle(server, "DropRoom", func(context.Context, *rpc.Request, *insidev1.DropRoomRequest) (*insidev1.DropRoomResponse, error) {
		return &insidev1.DropRoomResponse{}, nil
	})
	must(t, server.Start())
	e := hub.Connect("a")
	client, err := rpc.NewClient(rpc.ClientConfig{Engine: e})
	must(t, err)
	cfg := RoomsConfig{Shard: "a", Engine: e, Client: client, Lease: forever{make(chan struct{})}, CapacityRooms: 100_000, CapacityPlayers: 1_000_000}
	if change != nil {
		change(&cfg)
	}
	s, err = NewRooms(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { must(t, s.Run(ctx)) })
	for s.Ready() != nil {
		runtime.Gosched()
	}
	return s, func() {
		cancel()
		running.Wait()
		must(t, server.Close())
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// roomOf opens a room of so many members, n telling rooms apart.
func roomOf(n, members int) *insidev1.OpenRoomRequest {
	req := &insidev1.OpenRoomRequest{Room: roomID(n), Epoch: 1, Settings: &agentv1.RoomSettings{
		Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "A room", Mode: "duel", Capacity: max(uint32(members), 2),
	}}
	for i := range members {
		name := fmt.Sprintf("player-%d-%d", n, i)
		req.Members = append(req.Members, &insidev1.Participant{Session: "session-" + name, Player: name, Rating: 1500})
	}
	return req
}

func roomID(n int) string {
	return "rm" + strings.Map(func(r rune) rune { return 'a' + r - '0' }, fmt.Sprintf("%010d", n))
}

func TestAMailboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newRooms(t, nil)
		defer stop()
		ctx := context.Background()
		_, err := s.Open(ctx, roomOf(1, 2))
		must(t, err)
		release, entered := make(chan struct{}), make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(func() {
			must(t, s.Do(ctx, roomID(1), func(time.Time, *room.Room) error { close(entered); <-release; return nil }))
		})
		<-entered
		var done, begun int
		var mu sync.Mutex
		for range mailbox {
			waiting.Go(func() {
				err := s.Do(ctx, roomID(1), func(time.Time, *room.Room) error { begun++; return nil })
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					done++
				}
			})
		}
		synctest.Wait()
		if err := s.Do(ctx, roomID(1), nil); rpc.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("one more than the mailbox holds: %v", err)
		}
		// Another room is not held up.
		_, err = s.Open(ctx, roomOf(2, 2))
		must(t, err)
		close(release)
		waiting.Wait()
		if done != mailbox || begun != mailbox {
			t.Errorf("%d of %d requests were done, %d begun", done, mailbox, begun)
		}
	})
}

func TestWorkThatNobodyWaitsForIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newRooms(t, nil)
		defer stop()
		_, err := s.Open(context.Background(), roomOf(1, 2))
		must(t, err)
		release, entered := make(chan struct{}), make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(func() {
			must(t, s.Do(context.Background(), roomID(1), func(time.Time, *room.Room) error { close(entered); <-release; return nil }))
		})
		<-entered
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begun := false
		if err := s.Do(ctx, roomID(1), func(time.Time, *room.Room) error { begun = true; return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(release)
		waiting.Wait()
		must(t, s.Do(context.Background(), roomID(1), func(time.Time, *room.Room) error { return nil }))
		if begun {
			t.Error("it was begun after its caller had gone")
		}
	})
}

func TestPastMatchesAreBounded(t *testing.T) {
	var w bytes.Buffer
	p := newPast(&w)
	for i := range pastMatches + 10 {
		must(t, p.add(&agentv1.Match{Room: roomID(i), EndReason: "x"}))
	}
	if _, err := p.find(roomID(9)); rpc.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("the tenth is still known: %v", err)
	}
	if _, err := p.find(roomID(10)); err != nil {
		t.Errorf("the eleventh is forgotten: %v", err)
	}
	lines := bufio.NewScanner(&w)
	n := 0
	for ; lines.Scan(); n++ {
		m := &agentv1.Match{}
		if err := protojson.Unmarshal(lines.Bytes(), m); err != nil || m.Room != roomID(n) {
			t.Fatalf("line %d is %q (%v)", n, lines.Text(), err)
		}
	}
	if n != pastMatches+10 {
		t.Errorf("%d lines", n)
	}
	p.w = nil
	big := &agentv1.Match{Room: roomID(5000), Players: []*agentv1.Match_Player{{Result: make([]byte, pastBytes/2)}}}
	for range 3 {
		must(t, p.add(proto.CloneOf(big)))
	}
	if len(p.last) != 1 || p.bytes > pastBytes {
		t.Errorf("%d matches of %d bytes are kept", len(p.last), p.bytes)
	}
	if m, err := p.find(roomID(5000)); err != nil || m != p.last[0] {
		t.Errorf("of a room with several, the last is given: %v", err)
	}
}

func TestARecordThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newRooms(t, func(cfg *RoomsConfig) { cfg.Records = broken{} })
		defer stop()
		req := roomOf(1, 2)
		req.Start = true
		_, err := s.Open(context.Background(), req)
		must(t, err)
		time.Sleep(3 * time.Minute) // all lapse, and have left
		if m, err := s.Match(context.Background(), roomID(1), room.Caller{}); err != nil || m.EndReason != room.EndAbandoned {
			t.Errorf("the match is %v (%v)", m, err)
		}
	})
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestActsGoIntoTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w bytes.Buffer
		s, stop := newRooms(t, func(cfg *RoomsConfig) { cfg.History = &w })
		_, err := s.Open(context.Background(), roomOf(1, 2))
		must(t, err)
		_, err = s.Release(context.Background(), roomID(1), 2)
		if rpc.CodeOf(err) != connect.CodeAborted {
			t.Errorf("a release of another epoch: %v", err)
		}
		_, err = s.Release(context.Background(), roomID(1), 1)
		must(t, err)
		stop()
		ops, err := history.Read(&w)
		must(t, err)
		var kinds []history.Kind
		for _, op := range ops {
			kinds = append(kinds, op.Kind)
		}
		if got := fmt.Sprint(kinds); got != "[serve serve release]" {
			t.Errorf("the history is %s", got)
		}
	})
}

func TestPrivateMatchesAreForTheirPlayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newRooms(t, nil)
		defer stop()
		req := roomOf(1, 2)
		req.Start, req.Settings.Private = true, true
		_, err := s.Open(context.Background(), req)
		must(t, err)
		if _, err := s.Match(context.Background(), roomID(1), room.Caller{Player: "eve"}); rpc.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("a stranger: %v", err)
		}
		if _, err := s.Match(context.Background(), roomID(1), room.Caller{Player: "player-1-0"}); err != nil {
			t.Error(err)
		}
	})
}

func TestConfigurationsOfAServerThatCannotBe(t *testing.T) {
	s, stop := newRooms(t, nil)
	defer stop()
	_, err := New(Config{Rooms: s, Guard: Guard{Lease: forever{}, Passes: pass.New(ed25519.PublicKey{})}})
	if err == nil || !strings.Contains(err.Error(), "tickets") {
		t.Errorf("without a key for tickets: %v", err)
	}
	if _, err := NewRooms(RoomsConfig{}); err == nil {
		t.Error("rooms of nothing were made")
	}
}

// BenchmarkRequest is one request of a member at a room, through its actor, with
// the requests of many rooms at once.
func BenchmarkRequest(b *testing.B) {
	const rooms = 500
	s, stop := newRooms(b, nil)
	defer stop()
	for i := range rooms {
		_, err := s.Open(context.Background(), roomOf(i, 4))
		must(b, err)
	}
	until := time.Now().Add(time.Hour)
	var n int
	var mu sync.Mutex
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		mu.Lock()
		i := n
		n += 7
		mu.Unlock()
		for ; pb.Next(); i++ {
			c := room.Caller{Session: fmt.Sprintf("session-player-%d-0", i%rooms), Player: fmt.Sprintf("player-%d-0", i%rooms), Until: until}
			err := s.Do(context.Background(), roomID(i%rooms), func(now time.Time, r *room.Room) error { return r.SetReady(now, c, i%2 == 0) })
			if err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkMemory is what a room and a member cost, of rooms at rest.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct{ rooms, members int }{{5000, 0}, {5000, 8}} {
		b.Run(fmt.Sprintf("members=%d", c.members), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				s, stop := newRooms(b, nil)
				for i := range c.rooms {
					_, err := s.Open(context.Background(), roomOf(i, c.members))
					must(b, err)
				}
				used := heap() - before
				b.ReportMetric(float64(used)/float64(c.rooms), "B/room")
				if c.members > 0 {
					b.ReportMetric(float64(used)/float64(c.rooms*c.members), "B/member")
				}
				stop()
			}
		})
	}
}

// heap is what is in use, with the stacks of goroutines.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
