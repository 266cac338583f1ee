package play

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/field"
	"p2pmodel/core/shard/player"
)

const (
	// logLength is how many lines of the log are kept, trailLength how many
	// places of each figure, about half a second of them.
	logLength   = 200
	trailLength = 10
	// linksEvery is how often paths' round-trip times are read.
	linksEvery = 500 * time.Millisecond
)

// mesh is the part of a player.Player that the game needs.
type mesh interface {
	Send(payload func(now time.Time, to string) []byte) int
	Links() []player.Link
}

// game is one player's game: the field, and what is known around it. Its methods
// may be called from any goroutine.
type game struct {
	name string
	dice *rand.Rand // for wandering; nil: somebody steers

	mu     sync.Mutex
	field  *field.Field
	room   *agentv1.Room
	state  string
	agent  string
	online bool
	began  time.Time // of the match, for us
	links  map[string]player.Link
	trails map[string][]field.Position
	log    []logLine
	sent   uint64
	ticks  histogram // time between ticks
	gaps   histogram // time between datagrams of a player
	heard  map[string]time.Time
	last   time.Time // of the last tick
	over   chan struct{}
	ended  bool
}

// newGame makes the game of a player. Colour and place come from the name, so that
// everybody has the same after a restart.
func newGame(now time.Time, name string, seed uint64) *game {
	h := fnv.New64a()
	h.Write([]byte(name))
	n := h.Sum64()
	at := field.Position{X: int(n>>8) % field.Width, Y: int(n>>40) % field.Height}
	g := &game{
		name: name, field: field.New(now, name, uint8(n%field.Colours), at), state: "in no room",
		heard: map[string]time.Time{}, links: map[string]player.Link{}, trails: map[string][]field.Position{}, over: make(chan struct{}),
	}
	if seed != 0 {
		g.dice = rand.New(rand.NewPCG(seed, n))
	}
	return g
}

// event takes what happens to the player.
func (g *game) event(at time.Time, e player.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch e := e.(type) {
	case player.Received:
		// What is no datagram of the field is another program's affair.
		_ = g.field.Receive(at, e.Player, e.Payload)
		if last, ok := g.heard[e.Player]; ok {
			g.gaps.add(at.Sub(last))
		}
		g.heard[e.Player] = at
		return
	case player.Joined:
		g.room, g.state = e.Room, roomState(e.Room)
	case player.RoomChanged:
		if g.room == nil || g.room.Id == e.Room.Id {
			g.room, g.state = e.Room, roomState(e.Room)
		}
	case player.Left:
		g.room, g.state, g.began = nil, "in no room", time.Time{}
	case player.Started:
		g.began = at
	case player.PeersChanged:
		g.peersChanged(e)
	case player.PeerUp:
		g.field.Join(e.Player)
		delete(g.heard, e.Player)
	case player.Attached:
		g.online, g.agent = true, e.Agent
	case player.Disconnected:
		g.online = false
	case player.Resumed:
		g.online, g.agent = true, e.Agent
	case player.Ended:
		g.state, g.began = "the match is over", time.Time{}
		g.end()
	}
	if text, kind := sentence(e); text != "" {
		g.say(at, text, kind)
	}
}

// end closes over.
func (g *game) end() {
	if !g.ended {
		g.ended = true
		close(g.over)
	}
}

// peersChanged forgets those who are no longer there.
func (g *game) peersChanged(e player.PeersChanged) {
	for _, o := range g.field.Others(g.last) {
		if _, ok := e.Peers[o.Player]; !ok {
			g.field.Leave(o.Player)
			delete(g.trails, o.Player)
		}
	}
	for name := range g.links {
		if _, ok := e.Peers[name]; !ok {
			delete(g.links, name)
		}
	}
}

// say adds a line to the log; the lock is held.
func (g *game) say(at time.Time, text string, kind lineKind) {
	if len(g.log) >= logLength {
		g.log = append(g.log[:0], g.log[1:]...)
	}
	g.log = append(g.log, logLine{at: at, text: text, kind: kind})
}

// note adds a line to the log.
func (g *game) note(at time.Time, text string, kind lineKind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.say(at, text, kind)
}

// steer moves the player another way.
func (g *game) steer(d field.Direction) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.field.Steer(d)
}

// run ticks until ctx ends.
func (g *game) run(ctx context.Context, m mesh) {
	ticker := time.NewTicker(field.TickInterval)
	defer ticker.Stop()
	var read time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		g.tick(now)
		sent := m.Send(func(now time.Time, to string) []byte {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.field.Datagram(nil, now, to)
		})
		var links []player.Link
		if fresh := now.Sub(read) >= linksEvery; fresh {
			links, read = m.Links(), now
		}
		g.mu.Lock()
		g.sent += uint64(sent)
		for _, l := range links {
			g.links[l.Player] = l
		}
		g.mu.Unlock()
	}
}

// tick moves the player by one tick.
func (g *game) tick(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.last.IsZero() {
		g.ticks.add(now.Sub(g.last))
	}
	g.last = now
	wall := g.field.Tick()
	if g.dice != nil && (wall || g.dice.IntN(field.TickRate) == 0) {
		g.field.Steer(field.Direction(1 + g.dice.IntN(8)))
	}
	g.trail(g.name, g.field.Own().At)
	for _, o := range g.field.Others(now) {
		if o.State != field.Gone {
			g.trail(o.Player, o.At)
		}
	}
}

func (g *game) trail(name string, at field.Position) {
	t := g.trails[name]
	if len(t) >= trailLength {
		t = append(t[:0], t[1:]...)
	}
	g.trails[name] = append(t, at)
}

// scene is what there is to be seen now.
func (g *game) scene(now time.Time) scene {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := scene{
		player: g.name, agent: g.agent, online: g.online, room: g.room.GetId(), state: g.state,
		members: len(g.room.GetMembers()), log: slices.Clone(g.log), sent: g.sent, rows: g.rows(now),
	}
	if !g.began.IsZero() {
		s.elapsed = now.Sub(g.began)
	}
	for _, o := range g.field.Others(now) {
		if o.State != field.Gone {
			s.figures = append(s.figures, figure{Figure: o, trail: slices.Clone(g.trails[o.Player])})
		}
	}
	s.figures = append(s.figures, figure{Figure: g.field.Own(), own: true, trail: slices.Clone(g.trails[g.name])})
	return s
}

// rows is the table of the others; the lock is held.
func (g *game) rows(now time.Time) []row {
	names := map[string]bool{}
	figures := map[string]field.Figure{}
	for _, o := range g.field.Others(now) {
		names[o.Player], figures[o.Player] = true, o
	}
	for name := range g.links {
		names[name] = true
	}
	rows := make([]row, 0, len(names))
	for name := range names {
		link, _ := g.field.Link(now, name)
		r := row{player: name, path: g.links[name].Path, rtt: link.RTT, link: link, state: field.Gone}
		if f, ok := figures[name]; ok {
			r.colour, r.state = f.Colour, f.State
		}
		if r.rtt == 0 {
			r.rtt = g.links[name].RTT
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int { return natural(a.player, b.player) })
	return rows
}

// playing reports whether a match runs for us.
func (g *game) playing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.began.IsZero()
}

// roomID is the room that we are in, empty for none.
func (g *game) roomID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.room.GetId()
}

// result is our account of the match: who was in its room. All who saw the same
// end give the same.
func (g *game) result() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	players := []string{}
	for _, m := range g.room.GetMembers() {
		players = append(players, m.Player)
	}
	slices.Sort(players)
	b, err := json.Marshal(map[string]any{"game": "field", "players": players})
	if err != nil {
		panic("play: " + err.Error()) // strings always can be written
	}
	return b
}

// roomState is a word for the state of a room.
func roomState(r *agentv1.Room) string {
	switch r.GetState() {
	case agentv1.RoomState_ROOM_STATE_PLAYING:
		return "playing"
	case agentv1.RoomState_ROOM_STATE_MOVING:
		return "moving"
	case agentv1.RoomState_ROOM_STATE_ENDED:
		return "ended"
	}
	return "waiting"
}

// natural orders names with numbers as people do: bot-2 before bot-10.
func natural(a, b string) int {
	for len(a) > 0 && len(b) > 0 {
		x, y := number(a), number(b)
		if x != "" && y != "" {
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if x != y {
				return cmp(x, y)
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

// number is the digits that a text begins with.
func number(s string) string {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i]
}

func cmp(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}
