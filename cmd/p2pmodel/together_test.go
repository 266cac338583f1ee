package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/freeport"
	"p2pmodel/core/identity"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/player"
	"p2pmodel/core/shard/service"
)

// patience is how long tests wait for what takes milliseconds on an idle machine.
const patience = 30 * time.Second

// gamer is a player of a test: a client, a peer, and what it has seen.
type gamer struct {
	name   string
	client *client.Client
	player *player.Player

	mu       sync.Mutex
	received int // datagrams
	said     []string
	events   []string
	resumed  time.Duration
	conns    []net.Conn
	changed  chan struct{}
}

// newGamer logs a player in at one of some Agents, and has it answer for itself
// until the test ends.
func newGamer(t testing.TB, name string, trust *tls.Config, credential func(context.Context) (*agentv1.LoginRequest, error), agents ...string) *gamer {
	t.Helper()
	return newGamerBy(t, name, trust, credential, func(*player.Config) {}, agents...)
}

// newGamerBy is newGamer with something changed about the player.
func newGamerBy(t testing.TB, name string, trust *tls.Config, credential func(context.Context) (*agentv1.LoginRequest, error), change func(*player.Config), agents ...string) *gamer {
	t.Helper()
	g := &gamer{name: name, changed: make(chan struct{})}
	changes := player.NewChanges()
	var err error
	g.client, err = client.New(client.Config{Endpoints: agents, TLS: trust, Credential: credential, Notify: changes.Notify, Dial: g.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := g.client.Login(ctx); err != nil {
		t.Fatalf("%s logs in: %v", name, err)
	}
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := player.Config{Agent: g.client, Changes: changes, Key: key, Rand: rand.Reader, OnEvent: g.event}
	change(&cfg)
	g.player, err = player.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.player.Run(running) }()
	t.Cleanup(func() { stop(); <-ended })
	return g
}

// dial remembers connections, so that they can be cut.
func (g *gamer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.conns = append(g.conns, conn)
	}
	return conn, err
}

// cut breaks all connections to Agents.
func (g *gamer) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.conns {
		conn.Close()
	}
	g.conns = nil
}

func (g *gamer) event(_ time.Time, e player.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch e := e.(type) {
	case player.Received:
		g.received++
	case player.Chat:
		g.said = append(g.said, e.Player+": "+e.Text)
	case player.Resumed:
		g.resumed = e.After
		g.events = append(g.events, fmt.Sprintf("Resumed%+v", e))
	default:
		g.events = append(g.events, strings.TrimPrefix(fmt.Sprintf("%T%+v", e, e), "player."))
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// await waits for a condition.
func (g *gamer) await(t *testing.T, what string, condition func(g *gamer) bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		g.mu.Lock()
		done, changed := condition(g), g.changed
		g.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			g.mu.Lock()
			defer g.mu.Unlock()
			t.Fatalf("%s waits in vain: %s; %d datagrams, it saw\n  %s", g.name, what, g.received, strings.Join(g.events, "\n  "))
		}
	}
}

func (g *gamer) happened(kind string) bool {
	for _, e := range g.events {
		if strings.HasPrefix(e, kind+"{") {
			return true
		}
	}
	return false
}

// exchange has both send until each has got ten more datagrams.
func exchange(t *testing.T, a, b *gamer) {
	t.Helper()
	sending, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	defer senders.Wait()
	defer stop()
	for _, g := range []*gamer{a, b} {
		senders.Go(func() {
			for sending.Err() == nil {
				g.player.Send(func(time.Time, string) []byte { return []byte("a datagram of " + g.name) })
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	for _, g := range []*gamer{a, b} {
		g.mu.Lock()
		enough := g.received + 10
		g.mu.Unlock()
		g.await(t, "datagrams", func(g *gamer) bool { return g.received >= enough })
	}
}

// meet has two players meet in a room, start a match, and exchange datagrams; it
// gives the room.
func meet(t *testing.T, a, b *gamer) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	room, err := a.player.CreateRoom(ctx, &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "a test", Mode: "test", Capacity: 2})
	if err != nil {
		t.Fatalf("create a room: %v", err)
	}
	if _, err := b.player.EnterRoom(ctx, room.Id); err != nil {
		t.Fatalf("enter the room: %v", err)
	}
	for _, g := range []*gamer{a, b} {
		if err := g.player.SetReady(ctx, true); err != nil {
			t.Fatalf("%s is ready: %v", g.name, err)
		}
	}
	for _, g := range []*gamer{a, b} {
		g.await(t, "the match starts", func(g *gamer) bool { return g.happened("Started") })
		g.await(t, "a path to the other", func(g *gamer) bool { return g.happened("PeerUp") })
	}
	exchange(t, a, b)
	return room.Id
}

// output is what a command prints, to be looked at while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// awaitText waits until a command has printed a text, and gives the line's rest.
func awaitText(t testing.TB, o fmt.Stringer, text string, ended <-chan int) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		if _, rest, ok := strings.Cut(o.String(), text); ok && strings.Contains(rest, "\n") {
			rest, _, _ = strings.Cut(rest, "\n")
			return strings.TrimSpace(rest)
		}
		select {
		case code := <-ended:
			t.Fatalf("it ended with %d and printed\n%s", code, o)
		case <-deadline:
			t.Fatalf("it does not print %q but\n%s", text, o)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func trust(t testing.TB, file string) *tls.Config {
	t.Helper()
	pool, err := service.LoadPool(file)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: pool}
}

func TestEverythingInOneProcess(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	ports := freeport.Row(t, 4)
	for _, generation := range []string{"first", "second"} { // the second finds what the first made
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var out output
		ended := make(chan int, 1)
		go func() {
			code, says := execute(ctx, &out, "all", "--data-dir", data, "--listen", "127.0.0.1:0", "--shards", "2",
				"--udp-port", fmt.Sprint(ports), "--log-level", "warn")
			if code != 0 || !strings.Contains(says, "EVERYBODY MAY LOG IN") {
				t.Errorf("%s: exit %d, it says\n%s", generation, code, says)
			}
			ended <- code
		}()
		agent := awaitText(t, &out, "  agent", ended)
		ca := trust(t, filepath.Join(data, "ca.crt"))

		ann := newGamer(t, "ann", ca, client.Account("ann", "any"), agent)
		bob := newGamer(t, "bob", ca, client.Account("bob", "any"), agent)
		meet(t, ann, bob)

		ann.cut()
		ann.await(t, "the session is resumed", func(g *gamer) bool { return g.happened("Resumed") })
		exchange(t, ann, bob)
		said, cancel := context.WithTimeout(t.Context(), patience)
		if err := bob.player.Say(said, "welcome back"); err != nil {
			t.Errorf("chat: %v", err)
		}
		cancel()
		ann.await(t, "what bob said", func(g *gamer) bool { return len(g.said) > 0 })
		ann.client.Close()
		bob.client.Close()

		stop()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("it does not stop")
		}
		// Nothing is left that listens.
		for i := range 4 {
			l, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", ports+i))
			if err != nil {
				t.Fatalf("after its end: %v", err)
			}
			l.Close()
		}
		if conn, err := net.Dial("tcp", agent); err == nil {
			conn.Close()
			t.Error("something listens at the Agent's address after its end")
		}
	}
}

func TestAPeerWithoutATicketIsNotAdmitted(t *testing.T) {
	ports := freeport.Row(t, 2)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out output
	ended := make(chan int, 1)
	go func() {
		code, _ := execute(ctx, &out, "all", "--data-dir", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(ports))
		ended <- code
	}()
	awaitText(t, &out, "  agent", ended)
	alone, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var lines output
	code, says := execute(alone, &lines, "peer", "--rendezvous", fmt.Sprintf("127.0.0.1:%d", ports), "--join", "anywhere", "--events", "json")
	if got := lines.String(); !strings.Contains(got, `"event":"ready"`) || strings.Contains(got, `"event":"registered"`) {
		t.Errorf("a peer without a ticket has registered: exit %d, %s\n%s", code, says, lines.String())
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
}
