package directory

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/freeport"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/rpc"
)

// cluster is three NATS nodes in this process, with a directory and a shard each:
// in real time. Nodes tell each other an address where nobody is, or they would make
// routes of their own beside the proxies.
type cluster struct {
	t       *testing.T
	configs []natsserver.Config
	nodes   []*natsserver.Server
	routes  [3][3]*proxy
	records *buffer
	dirs    []*Server
	units   []*unit
	client  *rpc.Client
	rooms   []string
}

// newCluster starts it. Pinned: directory and shard i know node i only.
func newCluster(t *testing.T, pinned bool) *cluster {
	t.Helper()
	c := &cluster{t: t, records: &buffer{}}
	var listen, routes [3]string
	for i := range 3 {
		listen[i], routes[i] = freeport.Of(t).String(), freeport.Of(t).String()
	}
	for i := range 3 {
		var urls []string
		for j := range 3 {
			c.routes[i][j] = newProxy(t, routes[j])
			if i != j {
				urls = append(urls, fmt.Sprintf("%q", "nats-route://"+c.routes[i][j].addr))
			}
		}
		c.configs = append(c.configs, natsserver.Config{Text: fmt.Sprintf(`
server_name: n%d
listen: %q
max_payload: 768KB
jetstream { store_dir: %q, sync_interval: always }
cluster { name: test, listen: %q, advertise: "127.0.0.1:1", no_advertise: true, pool_size: -1, routes: [%s] }
`, i, listen[i], t.TempDir(), routes[i], strings.Join(urls, ", "))})
		c.nodes = append(c.nodes, nil)
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range 3 {
			c.kill(i)
		}
	})
	for i := range 3 {
		c.until("a node is ready", func() error { return c.nodes[i].Ready() })
	}
	servers := func(i int) (all []string) {
		for j := range 3 {
			if !pinned || i == j {
				all = append(all, "nats://"+listen[j])
			}
		}
		return all
	}
	connect := func(name string, servers []string) *natsengine.Engine {
		e, err := natsengine.Connect(natsengine.Config{Servers: servers, Name: name, Replicas: 3, Log: logOf(t)})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for i := range 3 {
		e := connect(fmt.Sprint("directory-", i), servers(i))
		server, err := New(Config{Engine: e, Index: i, Members: 3, MaxSessionsPlayer: 1 << 20, History: c.records, Log: logOf(t)})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(server.Run)
		t.Cleanup(func() {
			if err := stop(); err != nil {
				t.Errorf("directory %d: %v", i, err)
			}
			_ = e.Close()
		})
		c.dirs = append(c.dirs, server)
	}
	for i, d := range c.dirs {
		c.until(fmt.Sprint("directory ", i, " is ready"), d.Ready)
	}
	for i, id := range []string{"a", "b", "c"} {
		u := newUnit(t, id, connect("shard-"+id, servers(i)), 100, 1000, c.records)
		t.Cleanup(u.stop)
		c.units = append(c.units, u)
	}
	for _, u := range c.units {
		c.until("shard "+u.id+" holds its lease", u.keeper.Ready)
	}
	time.Sleep(time.Second) // a heartbeat or two to each directory
	agent := connect("agent", servers(0))
	t.Cleanup(func() { _ = agent.Close() })
	var err error
	if c.client, err = rpc.NewClient(rpc.ClientConfig{Engine: agent, Failures: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	for range 9 {
		c.rooms = append(c.rooms, c.place())
	}
	return c
}

func (c *cluster) start(i int) {
	var err error
	if c.nodes[i], err = natsserver.New(c.configs[i]); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) kill(i int) {
	if c.nodes[i] != nil {
		_ = c.nodes[i].Close()
		c.nodes[i] = nil
	}
}

// cut takes a node off the others, or brings it back.
func (c *cluster) cut(i int, down bool) {
	for j := range 3 {
		c.routes[i][j].set(down)
		c.routes[j][i].set(down)
	}
}

func (c *cluster) until(what string, try func() error) {
	c.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	c.t.Fatalf("%s: %v", what, err)
}

func (c *cluster) place() string {
	c.t.Helper()
	var room string
	c.until("a room is placed", func() error {
		s, err := rpc.Call[insidev1.SessionResponse](c.t.Context(), c.client, shard.DirectorySubject("OpenSession"),
			&insidev1.OpenSessionRequest{Player: "p", Agent: "agent"})
		if err != nil {
			return err
		}
		resp, err := rpc.Call[insidev1.PlaceRoomResponse](c.t.Context(), c.client, shard.DirectorySubject("PlaceRoom"),
			&insidev1.PlaceRoomRequest{Settings: settings("m")}, rpc.WithPass(s.Pass), rpc.WithTimeout(4*time.Second))
		room = resp.GetPlace().GetRoom()
		return err
	})
	return room
}

// serve lets every shard serve every room that it thinks it may, until the result
// is called.
func (c *cluster) serve() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	for _, u := range c.units {
		serving.Go(func() {
			for ctx.Err() == nil {
				for _, room := range c.rooms {
					_ = u.serve(ctx, room)
				}
				time.Sleep(25 * time.Millisecond)
			}
		})
	}
	return func() { cancel(); serving.Wait() }
}

// owned waits until each room is served by some shard of these.
func (c *cluster) owned(by ...*unit) {
	c.t.Helper()
	for _, room := range c.rooms {
		c.until("room "+room+" is served", func() (err error) {
			for _, u := range by {
				if err = u.serve(c.t.Context(), room); err == nil {
					return nil
				}
			}
			return err
		})
	}
}

func (c *cluster) check() {
	c.t.Helper()
	ops := c.records.operations(c.t)
	kinds := map[history.Kind]int{}
	for _, op := range ops {
		kinds[op.Kind]++
	}
	c.t.Log("the history has ", kinds)
	if err := history.Check(ops); err != nil {
		c.t.Error(err)
	}
}

// TestANodeOfTheEngineDies: the streams elect leaders; no lease lapses, and no room
// is moved.
func TestANodeOfTheEngineDies(t *testing.T) {
	c := newCluster(t, false)
	stop := c.serve()
	for i := range 3 {
		c.kill(i)
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			for _, u := range c.units {
				if s := u.keeper.State(); !s.Held || s.Term != 1 {
					t.Fatalf("without node %d shard %s: %+v; until %v", i, u.id, s, time.Until(u.keeper.Until()))
				}
			}
		}
		c.place() // the buckets can be written
		c.start(i)
		c.until("the node is back", func() error { return c.nodes[i].Ready() })
	}
	stop()
	c.owned(c.units...)
	for _, op := range c.records.operations(t) {
		if op.Kind == history.Move || op.Kind == history.Fence {
			t.Errorf("although nothing was lost: %+v", op)
		}
	}
	c.check()
}

// TestTheNetworkSplits: a node with its directory and its shard is alone. The shard
// stops, its rooms are moved, and it comes back without them.
func TestTheNetworkSplits(t *testing.T) {
	c := newCluster(t, true)
	stop := c.serve()
	alone, others := c.units[2], c.units[:2]
	began := time.Now()
	c.cut(2, true)
	c.until("the shard that is alone stops", func() error {
		if alone.keeper.Held() {
			return fmt.Errorf("it holds its lease")
		}
		return nil
	})
	stopped := time.Since(began)
	c.owned(others...)
	t.Logf("alone, it stopped after %v; the others had its rooms after %v", stopped, time.Since(began))
	if rooms, _ := alone.load(); rooms == 0 {
		t.Error("it had no rooms: this proves nothing")
	}
	for _, u := range others {
		if s := u.keeper.State(); !s.Held || s.Term != 1 {
			t.Errorf("shard %s, of the majority: %+v", u.id, s)
		}
	}
	c.cut(2, false)
	c.until("it holds a lease again", alone.keeper.Ready)
	c.until("it has let go of what it had", func() error {
		if rooms, _ := alone.load(); rooms != 0 {
			return fmt.Errorf("it has %d rooms", rooms)
		}
		return nil
	})
	stop()
	if term := alone.keeper.Term(); term != 2 {
		t.Errorf("in term %d", term)
	}
	c.owned(c.units...)
	c.check()
}

// proxy passes connections on, until it is cut.
type proxy struct {
	addr, to string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), to: to, conns: map[net.Conn]bool{}}
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
		p.set(true)
		running.Wait()
	})
	return p
}

func (p *proxy) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer out.Close()
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		return
	}
	p.conns[in], p.conns[out] = true, true
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

func (p *proxy) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for c := range p.conns {
			c.Close()
		}
	}
}
