package natsserver_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"p2pmodel/core/freeport"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T, more string) string {
	t.Helper()
	return fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q }\n%s", t.TempDir(), more)
}

func start(t *testing.T, cfg natsserver.Config) *natsserver.Server {
	t.Helper()
	s, err := natsserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func connect(t *testing.T, cfg natsengine.Config) *natsengine.Engine {
	t.Helper()
	cfg.Name = "test"
	e, err := natsengine.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not so after a minute", what)
		}
	}
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := start(t, natsserver.Config{Text: config(t, ""), Metrics: registry})
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	e := connect(t, natsengine.Config{Servers: []string{"nats://" + s.Addr()}})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]float64{}
	for _, f := range families {
		names[f.GetName()] = f.Metric[0].GetGauge().GetValue()
	}
	if names["p2pmodel_nats_connections"] != 1 || len(names) != 8 {
		t.Errorf("metrics %v", names)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	until(t, "the client knows", func() bool { return !e.Connected() })
	if s.Ready() == nil {
		t.Error("it says that it is ready")
	}
	if families, _ := registry.Gather(); len(families) != 0 {
		t.Errorf("%d metrics stay", len(families))
	}
}

// TestQuiet: nobody can connect but from within.
func TestQuiet(t *testing.T) {
	s := start(t, natsserver.Config{Text: config(t, ""), Quiet: true})
	if s.Addr() != "" {
		t.Errorf("it listens at %s", s.Addr())
	}
	e := connect(t, natsengine.Config{InProcess: s})
	if _, err := e.Bucket(t.Context(), engine.BucketConfig{Name: "b"}); err != nil {
		t.Error(err)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
}

func TestConfigurationsThatAreWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "nats.conf")
	for name, row := range map[string]struct {
		cfg  natsserver.Config
		want string
	}{
		"nothing":         {natsserver.Config{}, "either a file or the text"},
		"both":            {natsserver.Config{File: file, Text: "x"}, "either a file or the text"},
		"no file":         {natsserver.Config{File: file}, "no such file"},
		"not understood":  {natsserver.Config{Text: "accounts {"}, "nats server"},
		"an unknown word": {natsserver.Config{Text: "listenn: 1"}, "listenn"},
		"a taken port":    {natsserver.Config{Text: fmt.Sprintf("listen: %q", taken.Addr())}, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := natsserver.New(row.cfg)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := config(t, "")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	s := start(t, natsserver.Config{File: file})
	e := connect(t, natsengine.Config{Servers: []string{"nats://" + s.Addr()}})
	changed := e.Changed()
	write(text + "ping_max: 5\n")
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	write(text + "nonsense {")
	if s.Reload() == nil {
		t.Error("nonsense was taken")
	}
	write(strings.Replace(text, "jetstream", "no_jetstream", 1))
	if s.Reload() == nil {
		t.Error("an unknown word was taken")
	}
	select {
	case <-changed:
		t.Error("the connection was dropped")
	default:
	}
	if start(t, natsserver.Config{Text: config(t, ""), Quiet: true}).Reload() == nil {
		t.Error("without a file there is nothing to read again")
	}
}

// TestANodeLeavesInGoodOrder: a node of a cluster whose Run ends sends its clients
// to another one, and what it led goes on.
func TestANodeLeavesInGoodOrder(t *testing.T) {
	var listen [3]string
	for i := range listen {
		listen[i] = freeport.Of(t).String()
	}
	var nodes [3]*natsserver.Server
	var servers []string
	for i := range nodes {
		nodes[i] = start(t, natsserver.Config{Text: config(t, fmt.Sprintf(
			"server_name: n%d\ncluster { name: c, listen: %q, routes: [\"nats://%s\", \"nats://%s\"] }\n",
			i, listen[i], listen[(i+1)%3], listen[(i+2)%3]))})
		servers = append(servers, "nats://"+nodes[i].Addr())
	}
	for _, n := range nodes {
		until(t, "the node is ready", func() bool { return n.Ready() == nil })
	}
	client := connect(t, natsengine.Config{Servers: servers[:1]})
	other := connect(t, natsengine.Config{Servers: servers[1:], Replicas: 3})
	var bucket engine.Bucket
	until(t, "there is a bucket", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var err error
		bucket, err = other.Bucket(ctx, engine.BucketConfig{Name: "b"})
		return err == nil
	})
	changed := client.Changed()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- nodes[0].Run(ctx) }()
	cancel()
	<-changed
	if err := <-ended; err != nil {
		t.Error(err)
	}
	until(t, "the others take writes", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := bucket.Put(ctx, "k", nil)
		return err == nil
	})
}
