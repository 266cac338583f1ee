package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/login"
)

// What BenchmarkKill loads the shards with.
const (
	killRounds = 5
	killWindow = 10 * time.Second
	killRate   = 200 // requests a second, of all together
	killPairs  = 24
)

// BenchmarkKill gives what the players of other shards notice when a shard dies:
// processes of a layout with three shards, running rooms on all of them, requests
// that come at a steady rate whether or not earlier ones were answered, and kill
// -9 of one shard. Times count from when a request was due. p99-before-ms is of
// the ten seconds before the kill, p99-around-ms of the ten that begin with it,
// both of the other shards' rooms only; ratio-median is the one by the other, the
// median of five rounds. quiet-ratio-median is the same for two windows
// without a kill: how much of it is the machine's.
func BenchmarkKill(b *testing.B) {
	if testing.Short() {
		b.Skip("minutes of load")
	}
	shards := []string{"a", "b", "c"}
	all := []string{"engine-1", "directory-0", "agent-1"}
	for _, s := range shards {
		all = append(all, "shard-"+s)
	}
	in := install(b, all, "--shards", "a,b,c", "--allow-peer", "127.0.0.0/8")
	in.start(all...)
	in.ready(all...)
	c := newCrowd(in, killPairs)
	var rounds []killRound
	for n := range killRounds {
		c.enter()
		victim := shards[n%len(shards)]
		round := c.round(victim)
		b.Logf("round %d: %v", n+1, round)
		rounds = append(rounds, round)
		in.start("shard-" + victim)
		in.ready("shard-" + victim)
	}
	reportRounds(b, rounds)
}

// reportRounds gives the medians of rounds.
func reportRounds(b *testing.B, rounds []killRound) {
	median := func(of func(r killRound) float64) float64 {
		all := make([]float64, len(rounds))
		for i, r := range rounds {
			all[i] = of(r)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	failed, orphans := 0, 0
	for _, r := range rounds {
		failed += r.quiet.failed + r.before.failed + r.around.failed
		orphans += r.orphans
	}
	b.ReportMetric(0, "ns/op") // of the whole run; says nothing
	b.ReportMetric(median(func(r killRound) float64 { return r.before.p50 }), "p50-before-ms")
	b.ReportMetric(median(func(r killRound) float64 { return r.around.p50 }), "p50-around-ms")
	b.ReportMetric(median(func(r killRound) float64 { return r.before.p99 }), "p99-before-ms")
	b.ReportMetric(median(func(r killRound) float64 { return r.around.p99 }), "p99-around-ms")
	b.ReportMetric(median(func(r killRound) float64 { return r.around.p99 / r.before.p99 }), "ratio-median")
	b.ReportMetric(median(func(r killRound) float64 { return r.before.p99 / r.quiet.p99 }), "quiet-ratio-median")
	b.ReportMetric(float64(failed), "failed")
	b.ReportMetric(float64(orphans), "failed-of-the-killed")
	for _, r := range rounds {
		if err := cmp.Or(r.quiet.err, r.before.err, r.around.err); err != nil {
			b.Errorf("%d requests to shards that live failed: %v", failed, err)
			return
		}
	}
}

// killRound is what one kill came to. The windows are of the rooms whose shard
// lives on.
type killRound struct {
	victim                string
	quiet, before, around latencies
	orphans               int           // failed requests to rooms of the victim
	away                  time.Duration // until the last of these
}

func (r killRound) String() string {
	return fmt.Sprintf("kill -9 of %s; others' p50/p99/max in ms: %v, then %v, then around the kill %v: ratio %.2f (quiet %.2f); its own rooms failed %d times within %.1f s",
		r.victim, r.quiet, r.before, r.around, r.around.p99/r.before.p99, r.before.p99/r.quiet.p99, r.orphans, r.away.Seconds())
}

// latencies are of a window, in milliseconds.
type latencies struct {
	count, failed int
	p50, p99, max float64
	err           error // one of the failures
}

func (l latencies) String() string {
	return fmt.Sprintf("%.2f/%.2f/%.1f of %d", l.p50, l.p99, l.max, l.count)
}

// asked is what became of a request.
type asked struct {
	shard string
	due   time.Duration // since the load's beginning
	took  time.Duration // from then
	err   error
}

// round loads the shards for three windows and kills one at the third's beginning.
func (c *crowd) round(victim string) killRound {
	kill := time.AfterFunc(2*killWindow, func() { _ = c.in.running["shard-"+victim].cmd.Process.Kill() })
	defer kill.Stop()
	samples := c.load(3 * killWindow)
	<-c.in.running["shard-"+victim].ended
	delete(c.in.running, "shard-"+victim)
	r := killRound{victim: victim}
	var windows [3][]asked
	for _, s := range samples {
		n := int(s.due / killWindow)
		if s.shard != victim {
			windows[n] = append(windows[n], s)
			continue
		}
		if s.err != nil {
			r.orphans++
			r.away = max(r.away, s.due+s.took-2*killWindow)
		}
	}
	r.quiet, r.before, r.around = latenciesOf(windows[0]), latenciesOf(windows[1]), latenciesOf(windows[2])
	return r
}

func latenciesOf(samples []asked) (l latencies) {
	var took []float64
	for _, s := range samples {
		took = append(took, float64(s.took)/1e6)
		if s.err != nil {
			l.failed, l.err = l.failed+1, s.err
		}
	}
	slices.Sort(took)
	l.count = len(took)
	l.p50, l.p99, l.max = took[l.count/2], took[l.count*99/100], took[l.count-1]
	return l
}

// crowd is players, two in each room.
type crowd struct {
	in    *installation
	ca    *tls.Config
	pairs []*pair
}

// pair is a room with its players.
type pair struct {
	players [2]*mate
	room    string
	shard   string // that has the room
}

// mate is a player of a pair.
type mate struct {
	name   string
	client *client.Client
	peer   []byte
}

// newCrowd logs players in, each from an address of its own.
func newCrowd(in *installation, pairs int) *crowd {
	in.t.Helper()
	c := &crowd{in: in, ca: trust(in.t, in.file("clients-ca.crt"))}
	file := in.file("offline", "login.key")
	text, err := os.ReadFile(file)
	if err != nil {
		in.t.Fatal(err)
	}
	key, err := login.ParsePrivateKey(file, text)
	if err != nil {
		in.t.Fatal(err)
	}
	for i := range pairs {
		p := &pair{}
		for j := range p.players {
			name := fmt.Sprintf("player-%d-%d", i+1, j+1)
			token, err := login.Sign(key, login.Grant{Player: name, Expires: time.Now().Add(time.Hour)})
			if err != nil {
				in.t.Fatal(err)
			}
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 255, byte(j), byte(i+1))}}
			m := &mate{name: name, peer: make([]byte, 32)}
			_, _ = rand.Read(m.peer) // never fails
			m.client, err = client.New(client.Config{
				Endpoints: []string{in.address["agent-1"] + ":8443"}, TLS: c.ca, Credential: client.Token(token), Dial: from.DialContext,
			})
			if err != nil {
				in.t.Fatal(err)
			}
			in.t.Cleanup(func() { m.client.Close() })
			if _, err := m.client.Login(in.t.Context()); err != nil {
				in.t.Fatalf("%s logs in: %v", name, err)
			}
			go m.follow()
			p.players[j] = m
		}
		c.pairs = append(c.pairs, p)
	}
	return c
}

// follow does what a player does with events: where another shard has the room now,
// it asks for a ticket there.
func (m *mate) follow() {
	for e := range m.client.Events() {
		if moved := e.GetRoomMoved(); moved != nil {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			_, _ = m.client.PlayTicket(ctx, moved.Room.GetId(), m.peer)
			cancel()
		}
	}
}

// enter gives each pair a room whose match runs, where it has none or its shard
// was killed, and sees that all shards have some of them.
func (c *crowd) enter() {
	t := c.in.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	for _, p := range c.pairs {
		if _, alive := c.in.running["shard-"+p.shard]; p.shard != "" && alive && c.owner(ctx, p) == p.shard {
			continue
		}
		for _, m := range p.players {
			if p.room != "" {
				if err := m.client.LeaveRoom(ctx, p.room); err != nil {
					t.Fatalf("%s leaves its room: %v", m.name, err)
				}
			}
		}
		if err := p.play(ctx); err != nil {
			t.Fatal(err)
		}
		p.shard = c.owner(ctx, p)
	}
	count := map[string]int{}
	for _, p := range c.pairs {
		count[p.shard]++
	}
	for name := range c.in.running {
		if shard, ok := shardOf(name); ok && count[shard] < len(c.pairs)/6 {
			t.Fatalf("rooms of shards: %v; too few at %s", count, shard)
		}
	}
}

func shardOf(process string) (string, bool) {
	const prefix = "shard-"
	if len(process) > len(prefix) && process[:len(prefix)] == prefix {
		return process[len(prefix):], true
	}
	return "", false
}

// play makes a room, and starts its match.
func (p *pair) play(ctx context.Context) error {
	host, guest := p.players[0], p.players[1]
	room, err := host.client.CreateRoom(ctx, &agentv1.RoomSettings{Kind: agentv1.RoomKind_ROOM_KIND_PLAY, Title: "a benchmark", Mode: "bench", Capacity: 2})
	if err != nil {
		return fmt.Errorf("%s makes a room: %w", host.name, err)
	}
	p.room = room.Id
	if _, err := guest.client.JoinRoom(ctx, p.room); err != nil {
		return fmt.Errorf("%s joins: %w", guest.name, err)
	}
	for _, m := range p.players {
		if room, err = m.client.SetReady(ctx, p.room, true); err != nil {
			return fmt.Errorf("%s is ready: %w", m.name, err)
		}
	}
	if room.State != agentv1.RoomState_ROOM_STATE_PLAYING {
		return fmt.Errorf("the match of %s and %s does not start: %v", host.name, guest.name, room)
	}
	return nil
}

// owner is the shard that has a pair's room: that whose rendezvous its tickets name.
func (c *crowd) owner(ctx context.Context, p *pair) string {
	c.in.t.Helper()
	var address netip.AddrPort
	for _, m := range p.players {
		ticket, err := m.client.PlayTicket(ctx, p.room, m.peer)
		if err != nil {
			c.in.t.Fatalf("%s asks for a ticket: %v", m.name, err)
		}
		if address, err = netip.ParseAddrPort(ticket.Rendezvous); err != nil {
			c.in.t.Fatal(err)
		}
	}
	for process, at := range c.in.address {
		if shard, ok := shardOf(process); ok && at == address.Addr().String() {
			return shard
		}
	}
	c.in.t.Fatalf("no shard is at %v", address)
	return ""
}

// load makes requests at killRate: players tell how they are connected, look at
// their room, and ask for a ticket, in turn.
func (c *crowd) load(d time.Duration) []asked {
	samples := make([]asked, int(d/time.Second)*killRate)
	var all sync.WaitGroup
	begun := time.Now()
	for n := range samples {
		due := time.Duration(n) * time.Second / killRate
		time.Sleep(time.Until(begun.Add(due)))
		p := c.pairs[n%len(c.pairs)]
		turn := n / len(c.pairs)
		samples[n] = asked{shard: p.shard, due: due}
		all.Go(func() {
			samples[n].err = p.request(turn)
			samples[n].took = time.Since(begun) - due
		})
	}
	all.Wait()
	return samples
}

// request is the pair's nth.
func (p *pair) request(n int) (err error) {
	ctx := context.Background() // the client bounds it
	me, other := p.players[n%2], p.players[1-n%2]
	switch n / 2 % 3 {
	case 0:
		_, err = me.client.Report(ctx, p.room, []*agentv1.Connection{{Player: other.name, Path: agentv1.PathKind_PATH_KIND_DIRECT, RttMs: 20}})
	case 1:
		_, err = me.client.GetRoom(ctx, p.room)
	default:
		_, err = me.client.PlayTicket(ctx, p.room, me.peer)
	}
	return err
}
