package directory

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
	"p2pmodel/core/shard/rpc"
)

// bench is one directory and one shard at an engine in this process, whose streams
// sync each write.
func bench(b *testing.B) (client *rpc.Client, u *unit, store string) {
	b.Helper()
	store = b.TempDir()
	server, err := natsserver.New(natsserver.Config{Quiet: true, Text: fmt.Sprintf(
		"server_name: one\nmax_payload: 768KB\njetstream { store_dir: %q, sync_interval: always }\n", store)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	connect := func(name string) *natsengine.Engine {
		e, err := natsengine.Connect(natsengine.Config{InProcess: server, Name: name})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = e.Close() })
		return e
	}
	d, err := New(Config{Engine: connect("directory"), Index: 0, Members: 1, MaxSessionsPlayer: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	stop := run(d.Run)
	b.Cleanup(func() { _ = stop() })
	ready := func(what string, ready func() error) {
		for end := time.Now().Add(20 * time.Second); ready() != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				b.Fatalf("%s: %v", what, ready())
			}
		}
	}
	ready("the directory", d.Ready)
	u = newUnit(b, "a", connect("shard-a"), 1<<20, 1<<20, &buffer{})
	b.Cleanup(u.stop)
	ready("the shard", u.keeper.Ready)
	client, err = rpc.NewClient(rpc.ClientConfig{Engine: connect("agent")})
	if err != nil {
		b.Fatal(err)
	}
	return client, u, store
}

func size(b *testing.B, dir string) (bytes int64) {
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		bytes += info.Size()
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}

func open(b *testing.B, client *rpc.Client) *insidev1.SessionResponse {
	s, err := rpc.Call[insidev1.SessionResponse](b.Context(), client, shard.DirectorySubject("OpenSession"),
		&insidev1.OpenSessionRequest{Player: "a player of 24 letters.", Agent: "agent-1"})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkOpenSession also says what a session takes on the disk.
func BenchmarkOpenSession(b *testing.B) {
	client, _, store := bench(b)
	before := size(b, store)
	for b.Loop() {
		open(b, client)
	}
	b.ReportMetric(float64(size(b, store)-before)/float64(b.N), "stored-B/op")
}

func BenchmarkRenewPass(b *testing.B) {
	client, _, _ := bench(b)
	s := open(b, client)
	for b.Loop() {
		if _, err := rpc.Call[insidev1.SessionResponse](b.Context(), client, shard.DirectorySubject("RenewPass"), &insidev1.RenewPassRequest{}, rpc.WithPass(s.Pass)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlaceRoom(b *testing.B) {
	client, _, _ := bench(b)
	var s *insidev1.SessionResponse
	for i := 0; b.Loop(); i++ {
		if i%createBurst == 0 {
			b.StopTimer()
			s = open(b, client)
			b.StartTimer()
		}
		if _, err := rpc.Call[insidev1.PlaceRoomResponse](b.Context(), client, shard.DirectorySubject("PlaceRoom"),
			&insidev1.PlaceRoomRequest{Settings: settings("m")}, rpc.WithPass(s.Pass)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFindRoom(b *testing.B) {
	client, _, _ := bench(b)
	s := open(b, client)
	resp, err := rpc.Call[insidev1.PlaceRoomResponse](b.Context(), client, shard.DirectorySubject("PlaceRoom"),
		&insidev1.PlaceRoomRequest{Settings: settings("m")}, rpc.WithPass(s.Pass))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := rpc.Call[insidev1.FindRoomResponse](b.Context(), client, shard.DirectorySubject("FindRoom"), &insidev1.FindRoomRequest{Room: resp.Place.Room}); err != nil {
			b.Fatal(err)
		}
	}
}
