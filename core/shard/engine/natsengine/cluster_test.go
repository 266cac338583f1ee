package natsengine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/conformance"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
)

// cluster is three nodes in this process. Their routes go through proxies, so that
// the network between them can be cut; nodes tell each other an address where
// nobody is, or they would make routes of their own beside the proxies.
type cluster struct {
	t       *testing.T
	users   users
	nodes   [3]atomic.Pointer[natsserver.Server]
	configs []natsserver.Config
	// routes[i][j] is the way from node i to node j, doors[i] that of clients to
	// node i. They stay while a node that begins anew has other ports.
	routes [3][3]*proxy
	doors  [3]*proxy
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, users: newUsers(t)}
	for i := range c.nodes {
		c.doors[i] = newProxy(t, c.address(i, (*natsserver.Server).Addr))
		for j := range c.nodes {
			c.routes[i][j] = newProxy(t, c.address(j, (*natsserver.Server).ClusterAddr))
		}
	}
	for i := range c.nodes {
		var urls []string
		for j := range c.nodes {
			if i != j {
				urls = append(urls, fmt.Sprintf("%q", "nats-route://"+c.routes[i][j].addr))
			}
		}
		more := fmt.Sprintf(`
server_name: n%d
cluster { name: test, listen: "127.0.0.1:-1", advertise: "127.0.0.1:1", no_advertise: true, pool_size: -1, routes: [%s] }
`, i, strings.Join(urls, ", "))
		c.configs = append(c.configs, natsserver.Config{Text: c.users.config(t, "127.0.0.1:-1", t.TempDir(), more)})
	}
	for i := range c.nodes {
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	c.ready(0, 1, 2)
	return c
}

// address gives where a node listens at present.
func (c *cluster) address(i int, of func(*natsserver.Server) string) func() string {
	return func() string {
		if n := c.nodes[i].Load(); n != nil {
			return of(n)
		}
		return "127.0.0.1:1" // where nobody is
	}
}

func (c *cluster) start(i int) { c.nodes[i].Store(serverOf(c.t, c.configs[i])) }

func (c *cluster) stop(i int) {
	if n := c.nodes[i].Swap(nil); n != nil {
		n.Close()
	}
}

// cut takes node i off the others, heal brings it back.
func (c *cluster) cut(i int) { c.each(i, (*proxy).cut) }

func (c *cluster) heal(i int) { c.each(i, (*proxy).heal) }

func (c *cluster) each(i int, do func(*proxy)) {
	for j := range c.nodes {
		if j != i {
			do(c.routes[i][j])
			do(c.routes[j][i])
		}
	}
}

func (c *cluster) ready(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		until(c.t, fmt.Sprintf("node %d is ready", i), func() error { return c.nodes[i].Load().Ready() })
	}
}

// until waits for something to go well.
func until(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// engine connects to one node only.
func (c *cluster) engine(t *testing.T, node int) engine.Engine {
	t.Helper()
	e := connect(t, natsengine.Config{
		Servers: []string{"nats://" + c.doors[node].addr}, Replicas: 3, Credentials: natsengine.Credentials{Seed: c.users.full},
	}, "full")
	t.Cleanup(func() { e.Close() })
	return e
}

func TestConformanceCluster(t *testing.T) {
	c := newCluster(t)
	next := 0
	conformance.Run(t, func(t *testing.T) conformance.Backend {
		var ways []*proxy
		for i := range c.nodes {
			ways = append(ways, newProxy(t, c.address(i, (*natsserver.Server).Addr)))
		}
		// Connections go to the nodes in turn.
		dial := func(t *testing.T, seed []byte, kind string) engine.Engine {
			next++
			return connect(t, natsengine.Config{
				Servers: []string{"nats://" + ways[next%len(ways)].addr}, Replicas: 3, Credentials: natsengine.Credentials{Seed: seed},
			}, kind)
		}
		return conformance.Backend{
			Shared:     true,
			Connect:    func(t *testing.T) engine.Engine { return dial(t, c.users.full, "full") },
			Restricted: func(t *testing.T) engine.Engine { return dial(t, c.users.restricted, "restricted") },
			Interrupt: func(*testing.T) func() {
				for _, w := range ways {
					w.cut()
				}
				return func() {
					for _, w := range ways {
						w.heal()
					}
				}
			},
		}
	})
}

// TestANodeDies: two of three go on, and know what was acknowledged.
func TestANodeDies(t *testing.T) {
	c := newCluster(t)
	a, b := c.engine(t, 0), c.engine(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var bucket engine.Bucket
	until(t, "the bucket is opened", func() (err error) {
		bucket, err = a.Bucket(ctx, engine.BucketConfig{Name: "b"})
		return err
	})
	revision, err := bucket.Create(ctx, "n", []byte("0"))
	if err != nil {
		t.Fatal(err)
	}
	watch, err := bucket.Watch(ctx, ">")
	if err != nil {
		t.Fatal(err)
	}
	update := func(n int) {
		t.Helper()
		until(t, fmt.Sprintf("update %d", n), func() error {
			next, err := bucket.Update(ctx, "n", fmt.Append(nil, n), revision)
			if errors.Is(err, engine.ErrConflict) {
				// An update whose answer was lost has been done.
				entry, err := bucket.Get(ctx, "n")
				if err != nil || string(entry.Value) != fmt.Sprint(n) {
					t.Fatalf("a conflict, and the bucket has %+v, %v", entry, err)
				}
				next, err = entry.Revision, nil
				revision = next
				return nil
			}
			if err == nil {
				revision = next
			}
			return err
		})
	}
	update(1)
	for round, dies := range []int{2, 1, 2} {
		c.stop(dies)
		for i := range 5 {
			update(10*round + 2 + i)
		}
		c.start(dies)
		c.ready(dies)
		update(10*round + 9)
	}
	seen := map[string]bool{}
	for !seen["29"] {
		select {
		case e := <-watch:
			seen[string(e.Value)] = true
		case <-time.After(time.Minute):
			t.Fatalf("the watch has not told the last update, only %v", seen)
		}
	}
	// The other node's clients see it too.
	until(t, "another node has it", func() error {
		other, err := b.Bucket(ctx, engine.BucketConfig{Name: "b"})
		if err != nil {
			return err
		}
		entry, err := other.Get(ctx, "n")
		if err != nil {
			return err
		}
		if string(entry.Value) != "29" {
			t.Fatalf("it has %q", entry.Value)
		}
		return nil
	})
}

// TestABucketGetsMoreReplicas when an installation grows.
func TestABucketGetsMoreReplicas(t *testing.T) {
	c := newCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open := func(replicas int) (bucket engine.Bucket) {
		e := connect(t, natsengine.Config{
			Servers: []string{"nats://" + c.doors[0].addr}, Replicas: replicas, Credentials: natsengine.Credentials{Seed: c.users.full},
		}, "full")
		t.Cleanup(func() { e.Close() })
		until(t, "the bucket is opened", func() (err error) {
			bucket, err = e.Bucket(ctx, engine.BucketConfig{Name: "grows"})
			return err
		})
		return bucket
	}
	if _, err := open(1).Put(ctx, "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	open(3)
	for i := range c.nodes {
		until(t, fmt.Sprintf("node %d has a copy", i), func() error {
			if !c.nodes[i].Load().HasBucket("A", "grows") {
				return errors.New("it has none, or is behind")
			}
			return nil
		})
	}
	if entry, err := open(1).Get(ctx, "k"); err != nil || string(entry.Value) != "v" {
		t.Errorf("got %+v, %v", entry, err)
	}
}

// TestAMinorityCannotWrite: a node that is cut off takes no write, the others do,
// and of two who hold one revision only one is acknowledged.
func TestAMinorityCannotWrite(t *testing.T) {
	c := newCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var buckets []engine.Bucket
	for i := range c.nodes {
		e := c.engine(t, i)
		until(t, "the bucket is opened", func() error {
			b, err := e.Bucket(ctx, engine.BucketConfig{Name: "b"})
			if err == nil {
				buckets = append(buckets, b)
			}
			return err
		})
	}
	revision, err := buckets[0].Create(ctx, "owner", []byte("nobody"))
	if err != nil {
		t.Fatal(err)
	}
	// Each node is cut off once, so that the leader is among them.
	for cutOff := range c.nodes {
		c.cut(cutOff)
		alone := make(chan error, 1)
		go func() {
			short, cancel := context.WithTimeout(ctx, 4*time.Second)
			defer cancel()
			_, err := buckets[cutOff].Update(short, "owner", []byte("minority"), revision)
			alone <- err
		}()
		var next uint64
		until(t, "the majority writes", func() (err error) {
			next, err = buckets[(cutOff+1)%3].Update(ctx, "owner", []byte("majority"), revision)
			if errors.Is(err, engine.ErrConflict) {
				entry, getErr := buckets[(cutOff+1)%3].Get(ctx, "owner")
				if getErr == nil && string(entry.Value) == "majority" {
					next, err = entry.Revision, nil // an answer was lost
				}
			}
			return err
		})
		if err := <-alone; err == nil {
			t.Fatalf("node %d, alone, has acknowledged a write", cutOff)
		}
		c.heal(cutOff)
		c.ready(cutOff)
		until(t, "the node knows what the others wrote", func() error {
			entry, err := buckets[cutOff].Get(ctx, "owner")
			if err == nil && entry.Revision < next {
				err = fmt.Errorf("revision %d, want %d", entry.Revision, next)
			}
			if err == nil && string(entry.Value) != "majority" {
				t.Fatalf("the bucket has %+v", entry)
			}
			return err
		})
		revision = next
	}
}

// proxy passes connections on, until it is cut.
type proxy struct {
	addr string
	to   func() string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]struct{}
}

func newProxy(t *testing.T, to func() string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), to: to, conns: map[net.Conn]struct{}{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.pass(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		running.Wait()
	})
	return p
}

func (p *proxy) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", p.to())
	if err != nil {
		return
	}
	defer out.Close()
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		return
	}
	p.conns[in], p.conns[out] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			way[0].Close()
			way[1].Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, in)
	delete(p.conns, out)
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}
