package layout_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"p2pmodel/core/freeport"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
)

// site is a layout whose files are on the disk of this machine.
type site struct {
	t      *testing.T
	dir    string
	layout layout.Layout
	files  layout.Files
}

func newSite(t *testing.T, nodes int) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), layout: example}
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		s.layout.Nodes = append(s.layout.Nodes, layout.Node{
			Name: name, Listen: freeport.Of(t).String(), Cluster: freeport.Of(t).String(), Names: []string{"127.0.0.1", "localhost"},
			Dir: filepath.Join(s.dir, "nodes", name), Store: filepath.Join(s.dir, "store", name),
		})
	}
	s.write(time.Now())
	return s
}

// write makes the files, or makes them anew.
func (s *site) write(now time.Time) {
	s.t.Helper()
	files, err := s.layout.Files(s.files, now)
	if err != nil {
		s.t.Fatal(err)
	}
	s.files = files
	for name, f := range files {
		path := filepath.Join(s.dir, name)
		mode := os.FileMode(0o644)
		if f.Secret {
			mode = 0o600
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, mode); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) conf(node int) string {
	return filepath.Join(s.dir, "nodes", s.layout.Nodes[node].Name, "nats.conf")
}

func (s *site) start(node int) *natsserver.Server {
	s.t.Helper()
	ns, err := natsserver.New(natsserver.Config{File: s.conf(node), Log: log()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ns.Close() })
	return ns
}

func (s *site) credentials(user string) natsengine.Credentials {
	dir := filepath.Join(s.dir, "users", user)
	return natsengine.Credentials{
		SeedFile: filepath.Join(dir, "user.nk"), CAFile: filepath.Join(dir, "ca.crt"),
		CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"),
	}
}

func (s *site) connect(user string, c natsengine.Credentials) *natsengine.Engine {
	s.t.Helper()
	var servers []string
	for _, n := range s.layout.Nodes {
		servers = append(servers, "tls://"+n.Listen)
	}
	e, err := natsengine.Connect(natsengine.Config{Servers: servers, Name: user, Credentials: c, Replicas: s.layout.Replicas(), Log: log()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { e.Close() })
	return e
}

func (s *site) user(name string) *natsengine.Engine { return s.connect(name, s.credentials(name)) }

func until(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func answer(text string) engine.Handler {
	return func(context.Context, engine.Request) []byte { return []byte(text) }
}

func ask(t *testing.T, e engine.Engine, subject string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := e.Call(ctx, subject, nil)
	return err
}

// TestAShardIsAddedToARunningCluster: the new one works after a reload of the
// nodes, no connection of the others is lost, and no call that is repeated if
// nobody is there.
func TestAShardIsAddedToARunningCluster(t *testing.T) {
	s := newSite(t, 3)
	var nodes []*natsserver.Server
	for i := range s.layout.Nodes {
		nodes = append(nodes, s.start(i))
	}
	for i, n := range nodes {
		until(t, fmt.Sprint("node ", i), n.Ready)
	}
	directory, agent, a := s.user("directory-0"), s.user("agent-x"), s.user("shard-a")
	if _, err := directory.Serve(shard.DirectoryFrom("*", "*"), "directory", engine.Limits{}, answer("ok")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Serve(shard.LobbySubject("a", "*"), "", engine.Limits{}, answer("a")); err != nil {
		t.Fatal(err)
	}
	var bucket engine.Bucket
	until(t, "a bucket", func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		bucket, err = directory.Bucket(ctx, engine.BucketConfig{Name: "rooms"})
		return err
	})
	until(t, "the Agent reaches a", func() error { return ask(t, agent, shard.LobbySubject("a", "GetRoom")) })
	changes := []<-chan struct{}{directory.Changed(), agent.Changed(), a.Changed()}

	// Calls go on meanwhile, of which none is lost.
	done := make(chan struct{})
	var callers sync.WaitGroup
	var calls, again atomic.Int64
	for range 4 {
		for _, call := range []struct {
			by      engine.Engine
			subject string
		}{{agent, shard.LobbySubject("a", "GetRoom")}, {a, shard.DirectoryFrom("a", "SaveRoom")}} {
			callers.Go(func() {
				for open := true; open; calls.Add(1) {
					err := ask(t, call.by, call.subject)
					if errors.Is(err, engine.ErrNoResponder) { // repeated as rpc does
						again.Add(1)
						time.Sleep(50 * time.Millisecond)
						err = ask(t, call.by, call.subject)
					}
					if err != nil {
						t.Errorf("a call to %s was lost in the reload: %v", call.subject, err)
						return
					}
					select {
					case <-done:
						open = false
					default:
					}
				}
			})
		}
	}

	s.layout.Shards = append(slices.Clone(s.layout.Shards), "c")
	s.write(time.Now())
	for _, n := range nodes {
		if err := n.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	c := s.user("shard-c")
	if _, err := c.Serve(shard.LobbySubject("c", "*"), "", engine.Limits{}, answer("c")); err != nil {
		t.Fatal(err)
	}
	until(t, "the Agent reaches c", func() error { return ask(t, agent, shard.LobbySubject("c", "GetRoom")) })
	until(t, "c reaches the directory", func() error { return ask(t, c, shard.DirectoryFrom("c", "RegisterShard")) })
	if err := ask(t, c, shard.DirectoryFrom("a", "RegisterShard")); !errors.Is(err, engine.ErrPermission) {
		t.Errorf("c calls as a: %v", err)
	}
	var heard atomic.Bool
	if _, err := agent.Subscribe(shard.SessionEvents("s"), 10, func(engine.Event) { heard.Store(true) }); err != nil {
		t.Fatal(err)
	}
	until(t, "the Agent hears c", func() error {
		if err := c.Publish(shard.EventSubject("c", "s"), nil); err != nil || !heard.Load() {
			return fmt.Errorf("not heard; %v", err)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := bucket.Put(ctx, "k", nil); err != nil {
		t.Errorf("the bucket: %v", err)
	}
	close(done)
	callers.Wait()
	t.Logf("%d calls meanwhile, %d of them found nobody at first", calls.Load(), again.Load())
	for i, changed := range changes {
		select {
		case <-changed:
			t.Errorf("connection %d was dropped", i)
		default:
		}
	}

	// And one is taken away: it is cut off, the others stay.
	s.layout.Shards = s.layout.Shards[:2]
	s.write(time.Now())
	for _, n := range nodes {
		if err := n.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "c is cut off", func() error {
		if c.Connected() {
			return errors.New("it is connected")
		}
		return nil
	})
	if err := ask(t, agent, shard.LobbySubject("a", "GetRoom")); err != nil {
		t.Errorf("the Agent to a: %v", err)
	}
}

// TestAReloadThatCannotBeDoneChangesNothing with a configuration that is broken.
func TestAReloadThatCannotBeDoneChangesNothing(t *testing.T) {
	s := newSite(t, 1)
	n := s.start(0)
	agent := s.user("agent-x")
	if err := os.WriteFile(s.conf(0), []byte("accounts {"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := n.Reload(); err == nil {
		t.Error("a broken configuration was taken")
	}
	if err := ask(t, agent, shard.DirectorySubject("FindRoom")); !errors.Is(err, engine.ErrNoResponder) {
		t.Errorf("got %v", err)
	}
}

// TestCredentialsChangeWithoutARestart: a user's key, and certificates.
func TestCredentialsChangeWithoutARestart(t *testing.T) {
	s := newSite(t, 1)
	// Everything was made long ago.
	s.files = nil
	s.write(time.Now().Add(-layout.CertificateLife * 3 / 4))
	n := s.start(0)
	agent := s.user("agent-x")
	if err := ask(t, agent, shard.DirectorySubject("FindRoom")); !errors.Is(err, engine.ErrNoResponder) {
		t.Fatalf("got %v", err)
	}
	before := s.files
	s.files = layout.Files{}
	for name, f := range before {
		if name != "users/agent-x/user.nk" && name != "offline/agent-x.pub" {
			s.files[name] = f
		}
	}
	s.write(time.Now())
	for _, row := range []struct {
		name string
		new  bool
	}{
		{"users/agent-x/user.nk", true},
		{"users/agent-x/tls.crt", true},
		{"nodes/n0/tls.crt", true},
		{"nodes/n0/nats.conf", true},
		{"users/shard-a/user.nk", false},
		{"offline/engine-ca.crt", false},
		{"offline/engine-ca.key", false},
	} {
		if changed := string(before[row.name].Data) != string(s.files[row.name].Data); changed != row.new {
			t.Errorf("%s is new: %t, want %t", row.name, changed, row.new)
		}
	}
	serial := leaf(t, n.Addr(), s).SerialNumber
	changed := agent.Changed()
	if err := n.Reload(); err != nil {
		t.Fatal(err)
	}
	<-changed // the old key is nobody's
	until(t, "the Agent is back with its new key", func() error {
		if err := ask(t, agent, shard.DirectorySubject("FindRoom")); !errors.Is(err, engine.ErrNoResponder) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	if leaf(t, n.Addr(), s).SerialNumber.Cmp(serial) == 0 {
		t.Error("the node shows its old certificate")
	}
}

// leaf is the certificate that a node shows.
func leaf(t *testing.T, addr string, s *site) *x509.Certificate {
	t.Helper()
	c := s.credentials("agent-y")
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.files["offline/engine-ca.crt"].Data)
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// TestFilesAreForNATSServerToo: what is written is a plain configuration, with no
// secret in it.
func TestFilesAreForNATSServerToo(t *testing.T) {
	s := newSite(t, 3)
	for i, n := range s.layout.Nodes {
		opts, err := server.ProcessConfigFile(s.conf(i))
		if err != nil {
			t.Fatal(err)
		}
		if len(opts.Nkeys) != len(s.layout.Users()) || !opts.SyncAlways || opts.ServerName != n.Name || len(opts.Routes) != 2 {
			t.Errorf("node %d: %d users, sync always %t, name %s, %d routes", i, len(opts.Nkeys), opts.SyncAlways, opts.ServerName, len(opts.Routes))
		}
	}
	for name, f := range s.files {
		if block, _ := pem.Decode(f.Data); !f.Secret && (strings.Contains(string(f.Data), "SU") && strings.HasSuffix(name, ".nk") || block != nil && strings.Contains(block.Type, "KEY")) {
			t.Errorf("%s is a secret that all may read", name)
		}
		if strings.HasSuffix(name, ".conf") {
			for other, secret := range s.files {
				if secret.Secret && strings.HasSuffix(other, ".nk") && strings.Contains(string(f.Data), string(secret.Data)) {
					t.Errorf("%s has the secret of %s", name, other)
				}
			}
		}
	}
}

func TestCheckOfLayouts(t *testing.T) {
	for name, row := range map[string]struct {
		change func(l *layout.Layout)
		want   string
	}{
		"good":              {func(*layout.Layout) {}, ""},
		"two directories":   {func(l *layout.Layout) { l.Directories = 2 }, "2 directories"},
		"no shard":          {func(l *layout.Layout) { l.Shards = nil }, "no shard"},
		"a shard twice":     {func(l *layout.Layout) { l.Shards = []string{"a", "a"} }, "twice"},
		"a name for a file": {func(l *layout.Layout) { l.Agents = []string{"../x"} }, "agent"},
		"a name with a dot": {func(l *layout.Layout) { l.Shards = []string{"a.b"} }, "shard"},
		"two nodes":         {func(l *layout.Layout) { l.Nodes = make([]layout.Node, 2) }, "2 nodes"},
		"a node of nowhere": {func(l *layout.Layout) { l.Nodes = []layout.Node{{Name: "n"}} }, "listen"},
		"no name":           {func(l *layout.Layout) { l.Cluster = "" }, "cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			l := example
			row.change(&l)
			err := l.Check()
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}
