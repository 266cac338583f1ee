package rpc_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
	"p2pmodel/core/shard/rpc"
)

var benched = layout.Layout{Cluster: "bench", Directories: 1, Shards: []string{"a"}, Agents: []string{"x"}}

// connected has an engine for each kind of server of a layout.
type connected struct{ directory, shard, agent engine.Engine }

func inMemory(b *testing.B) connected {
	hub := memory.NewHub()
	return closing(b, connected{hub.Connect("directory"), hub.Connect("shard"), hub.Connect("agent")})
}

func closing(b *testing.B, c connected) connected {
	b.Cleanup(func() {
		for _, e := range []engine.Engine{c.directory, c.shard, c.agent} {
			e.Close()
		}
	})
	return c
}

func server(b *testing.B, cfg natsserver.Config) *natsserver.Server {
	b.Helper()
	s, err := natsserver.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func connectAll(b *testing.B, connect func(user string) natsengine.Config) connected {
	b.Helper()
	one := func(user string) engine.Engine {
		cfg := connect(user)
		cfg.Name = user
		e, err := natsengine.Connect(cfg)
		if err != nil {
			b.Fatal(err)
		}
		return e
	}
	return closing(b, connected{one("directory-0"), one("shard-a"), one("agent-x")})
}

func inProcess(b *testing.B, edit func(config string) string) connected {
	b.Helper()
	seeds, public, err := benched.Seeds()
	if err != nil {
		b.Fatal(err)
	}
	s := server(b, natsserver.Config{Text: edit(benched.EmbeddedConfig(b.TempDir(), public)), Quiet: true})
	return connectAll(b, func(user string) natsengine.Config {
		return natsengine.Config{InProcess: s, Credentials: natsengine.Credentials{Seed: seeds[user]}}
	})
}

func asItIs(config string) string { return config }

func lateSync(config string) string {
	return strings.Replace(config, "sync_interval: always", `sync_interval: "2m"`, 1)
}

func overTLS(b *testing.B) connected {
	b.Helper()
	dir := b.TempDir()
	l := benched
	l.Nodes = []layout.Node{{Name: "n", Names: []string{"127.0.0.1"}, Dir: filepath.Join(dir, "nodes/n"), Store: b.TempDir()}}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	l.Nodes[0].Listen = port.Addr().String()
	port.Close()
	files, err := l.Files(nil, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	for name, f := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	server(b, natsserver.Config{File: filepath.Join(dir, "nodes/n/nats.conf")})
	return connectAll(b, func(user string) natsengine.Config {
		at := func(name string) string { return filepath.Join(dir, "users", user, name) }
		return natsengine.Config{
			Servers:     []string{"tls://" + l.Nodes[0].Listen},
			Credentials: natsengine.Credentials{SeedFile: at("user.nk"), CAFile: at("ca.crt"), CertFile: at("tls.crt"), KeyFile: at("tls.key")},
		}
	})
}

// percentiles reports how long single operations took.
func percentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

func timed(b *testing.B, do func() error) {
	b.Helper()
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	percentiles(b, took)
}

// BenchmarkCall is an Agent's call to a shard's lobby, across accounts.
func BenchmarkCall(b *testing.B) {
	for _, way := range []struct {
		name    string
		connect func(b *testing.B) connected
	}{
		{"memory", inMemory},
		{"nats-in-process", func(b *testing.B) connected { return inProcess(b, asItIs) }},
		{"nats-tcp-tls", overTLS},
	} {
		b.Run(way.name, func(b *testing.B) {
			c := way.connect(b)
			s, err := rpc.NewServer(rpc.ServerConfig{Engine: c.shard, Pattern: shard.LobbySubject("a", "*")})
			if err != nil {
				b.Fatal(err)
			}
			rpc.Handle(s, "GetRoom", found)
			if err := s.Start(); err != nil {
				b.Fatal(err)
			}
			client, err := rpc.NewClient(rpc.ClientConfig{Engine: c.agent, Timeout: 10 * time.Second})
			if err != nil {
				b.Fatal(err)
			}
			call := func() error {
				_, err := rpc.Call[insidev1.FindRoomResponse](b.Context(), client, shard.LobbySubject("a", "GetRoom"), &insidev1.FindRoomRequest{Room: "r"}, rpc.Idempotent())
				return err
			}
			if err := call(); err != nil {
				b.Fatal(err)
			}
			timed(b, call)
		})
	}
}

// BenchmarkUpdate is a directory's compare-and-set of a record of 1 KiB.
func BenchmarkUpdate(b *testing.B) {
	for _, way := range []struct {
		name    string
		connect func(b *testing.B) connected
	}{
		{"memory", inMemory},
		{"nats-sync-always", func(b *testing.B) connected { return inProcess(b, asItIs) }},
		{"nats-sync-2m", func(b *testing.B) connected { return inProcess(b, lateSync) }},
		{"nats-tcp-tls-sync-always", overTLS},
	} {
		b.Run(way.name, func(b *testing.B) {
			bucket, err := way.connect(b).directory.Bucket(b.Context(), engine.BucketConfig{Name: "bench"})
			if err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 1<<10)
			revision, err := bucket.Create(b.Context(), "k", value)
			if err != nil {
				b.Fatal(err)
			}
			timed(b, func() (err error) {
				revision, err = bucket.Update(b.Context(), "k", value, revision)
				return err
			})
		})
	}
}
