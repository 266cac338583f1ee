package natsengine_test

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/conformance"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is where tests' servers and engines write, if one wants to see it.
func log() *slog.Logger {
	if os.Getenv("P2PMODEL_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// users of the tests: names and what they may do.
type users struct{ full, restricted []byte }

func newUsers(t *testing.T) users {
	t.Helper()
	var u users
	for _, seed := range []*[]byte{&u.full, &u.restricted} {
		var err error
		if *seed, err = layout.NewSeed(); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func public(t *testing.T, seed []byte) string {
	t.Helper()
	key, err := layout.PublicKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// config is of a server with the users; more is for a cluster.
func (u users) config(t *testing.T, listen, store, more string) string {
	return fmt.Sprintf(`
listen: %q
max_payload: 768KB
jetstream { store_dir: %q }
accounts { A {
	jetstream: enabled
	users: [
		{ nkey: %q }
		{ nkey: %q, permissions {
			publish { allow: ["allowed.>"] }
			subscribe { allow: ["served.>", "_INBOX.restricted.>"] }
			allow_responses: true
		} }
	]
} }
%s`, listen, store, public(t, u.full), public(t, u.restricted), more)
}

var names atomic.Int64

// connect connects an engine that the test does not close. Permissions name the
// restricted user's inbox; others are told apart.
func connect(t *testing.T, cfg natsengine.Config, kind string) engine.Engine {
	t.Helper()
	cfg.Name = kind
	if kind != "restricted" {
		cfg.Name = fmt.Sprintf("%s-%d", kind, names.Add(1))
	}
	cfg.Log = log()
	e, err := natsengine.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func serverOf(t *testing.T, cfg natsserver.Config) *natsserver.Server {
	t.Helper()
	cfg.Log = log()
	s, err := natsserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inProcess is a server that is asked from within, and may be another one later.
type inProcess struct {
	server atomic.Pointer[natsserver.Server]
}

func (p *inProcess) InProcessConn() (net.Conn, error) {
	s := p.server.Load()
	if s == nil {
		return nil, fmt.Errorf("the server is down")
	}
	return s.InProcessConn()
}

func TestConformanceInProcess(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Backend {
		u := newUsers(t)
		cfg := natsserver.Config{Text: u.config(t, "127.0.0.1:-1", t.TempDir(), ""), Quiet: true}
		p := &inProcess{}
		start := func() { p.server.Store(serverOf(t, cfg)) }
		stop := func() {
			if s := p.server.Swap(nil); s != nil {
				s.Close()
			}
		}
		start()
		t.Cleanup(stop)
		return conformance.Backend{
			Connect: func(t *testing.T) engine.Engine {
				return connect(t, natsengine.Config{InProcess: p, Credentials: natsengine.Credentials{Seed: u.full}}, "full")
			},
			Restricted: func(t *testing.T) engine.Engine {
				return connect(t, natsengine.Config{InProcess: p, Credentials: natsengine.Credentials{Seed: u.restricted}}, "restricted")
			},
			Interrupt: func(*testing.T) func() {
				stop()
				return start
			},
		}
	})
}
