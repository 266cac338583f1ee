package trial

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/nat/oracle"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
)

// Servers of every trial.
const (
	serverPort    = 3478
	relayPortLow  = 49152
	relayPortHigh = 49999
	relayUser     = "trial"
	relayPassword = "trial-password"
	relayRealm    = "p2pmodel.trial"
	roomName      = "trial"
)

// play is one run of a trial. Its memory, and that of its lab, is used again.
type play struct {
	*Trial
	net        *virtual.Network
	players    []player
	pairs      []pair
	sources    []source
	stamps     []time.Time
	words      []peer.PathKind
	wire       wire
	registered int
	undecided  int
	// decided is when all pairs were, rested when dense payload ended; the relay's
	// traffic until then stands beside it.
	decided, rested    time.Time
	atDecision, atRest Relay
}

var memory = sync.Pool{New: func() any { return new(play) }}

// player is one of them in a run.
type player struct {
	talker     talker
	machine    sim.RunningMachine
	id         identity.ID
	registered bool
	settled    []time.Time // by the other's number; zero: not now
	introduced []time.Time
	// said is how paths go by the player's own word; nothing is judged by it.
	said []peer.PathKind
}

// pair is what is known of two players.
type pair struct {
	a, b int
	// ways are of payload from a and from b.
	ways              [2]way
	first, direct     time.Time
	decided           bool
	relayed, directly uint64
	predicted, found  bool
	probes, hit       int
}

// way is how the last datagram went that a player sent since its checks were over.
type way struct {
	arrived bool
	relayed bool
}

// begin builds the lab and starts everybody.
func (p *play) begin(t *Trial, seed uint64) error {
	n := len(t.setting.Players)
	p.Trial, p.registered = t, 0
	p.players, p.sources, p.stamps = zeroed(p.players, n), zeroed(p.sources, streamPlayers+n), zeroed(p.stamps, 2*n*n)
	p.words = zeroed(p.words, n*n)
	p.pairs = p.pairs[:0]
	for i := range p.sources {
		p.sources[i].seed(seed, i)
	}
	ring := friends
	if t.setting.Strangers {
		ring = strangers
	}
	keys, serverKey := drawKeys(&p.sources[streamKeys], n, ring)
	p.wire.begin(n, p.arrived)
	setting := t.lab
	setting.Seed, setting.Watcher, setting.Reuse = p.sources[streamLab].pcg.Uint64(), &p.wire, p.net
	p.net = nil
	net, err := t.shape.blueprint.Build(setting)
	if err != nil {
		return err
	}
	p.net = net
	servers, err := p.serve(serverKey)
	if err != nil {
		return err
	}
	for i := range p.players {
		a := &p.players[i]
		a.settled, a.introduced = p.stamps[2*i*n:][:n:n], p.stamps[(2*i+1)*n:][:n:n]
		a.said = p.words[i*n:][:n:n]
		if err := p.start(i, keys[i], servers); err != nil {
			return err
		}
		for j := range i {
			p.pairs = append(p.pairs, pair{a: j, b: i})
		}
	}
	p.undecided = len(p.pairs)
	return nil
}

// zeroed gives a list of so many zero values, in the memory of another one if that
// is large enough.
func zeroed[T any](old []T, size int) []T {
	if cap(old) < size {
		return make([]T, size)
	}
	clear(old[:cap(old)])
	return old[:size]
}

// serve starts rendezvous and relay.
func (p *play) serve(key identity.Key) (peer.Servers, error) {
	id := key.ID()
	servers := peer.Servers{Rendezvous: netip.AddrPortFrom(p.net.HostAt(atRendezvous).Address(), serverPort), RendezvousKey: &id}
	r, err := rendezvous.NewServer(rendezvous.ServerConfig{
		Listen: servers.Rendezvous, Key: key, Rand: &p.sources[streamRendezvous],
		// All players are ours, and many may stand behind one address.
		Limits: rendezvous.Limits{Rate: 10_000, Burst: 10_000},
	})
	if err != nil {
		return servers, err
	}
	if _, err = p.net.HostAt(atRendezvous).Run(context.Background(), r, nil); err != nil || p.setting.NoRelay {
		return servers, err
	}
	p.wire.relay = p.net.HostAt(atRelay).Address()
	servers.Relay = &peer.RelayConfig{Server: netip.AddrPortFrom(p.wire.relay, serverPort), Username: relayUser, Password: relayPassword}
	s, err := relay.NewServer(relay.ServerConfig{
		Listen: servers.Relay.Server, RelayAddress: p.wire.relay, PortLow: relayPortLow, PortHigh: relayPortHigh, Realm: relayRealm,
		Authenticators: authenticators, Rand: &p.sources[streamRelay],
	})
	if err == nil {
		_, err = p.net.HostAt(atRelay).Run(context.Background(), s, nil)
	}
	return servers, err
}

var authenticators = []relay.Authenticator{relay.Users{relayUser: relayPassword}}

// start starts a player.
func (p *play) start(i int, key identity.Key, servers peer.Servers) error {
	s := &p.setting
	m, err := peer.NewMachine(peer.Config{
		Key: key, Rendezvous: servers.Rendezvous, RendezvousKey: servers.RendezvousKey, Relay: servers.Relay,
		Rand: &p.sources[streamPlayers+i], Keepalive: s.Keepalive, Consent: s.Consent, DeadAfter: s.DeadAfter,
		Techniques: techniques(s),
	})
	if err != nil {
		return err
	}
	a := &p.players[i]
	a.id = key.ID()
	a.talker = talker{Machine: m, interval: s.Interval, payload: make([]byte, s.Size), told: func(now time.Time, e sansio.Event) { p.told(now, i, e) }}
	_, _ = p.sources[streamPlayers+i].Read(a.talker.payload) // never fails
	host := p.net.HostAt(firstPlayer + i)
	if s.Load > 0 {
		random := rand.New(rand.NewPCG(p.sources[streamPlayers+i].pcg.Uint64(), uint64(i)))
		if _, err := host.Run(context.Background(), &crowd{to: servers.Rendezvous.Addr(), rate: s.Load, rand: random}, nil); err != nil {
			return err
		}
	}
	a.machine, err = host.Run(context.Background(), &a.talker, nil)
	return err
}

// run plays: register, introduce, until all pairs are decided, and then some more.
func (p *play) run() error {
	if err := p.await(func() bool { return p.registered == len(p.players) }); err != nil {
		return err
	}
	if err := p.introduce(); err != nil {
		return err
	}
	if err := p.await(func() bool { return p.undecided == 0 }); err != nil {
		return err
	}
	p.decided, p.atDecision, p.wire.decided = p.net.Now(), p.wire.traffic, true
	if err := p.goOn(p.setting.Play); err != nil {
		return err
	}
	p.rested, p.atRest = p.net.Now(), p.wire.traffic
	for i := range p.players {
		a := &p.players[i].talker
		a.interval = max(a.interval, RestInterval)
	}
	return p.goOn(p.setting.Rest)
}

// goOn plays for so long.
func (p *play) goOn(d time.Duration) error {
	if d == 0 {
		return nil
	}
	return over(p.net.Play(d, func() bool { return false }))
}

// await plays until something is so, at most for the limit.
func (p *play) await(is func() bool) error { return over(p.net.Play(p.setting.Limit, is)) }

// over takes the end of the time for what it is: no error.
func over(err error) error {
	if errors.Is(err, sim.ErrTimeout) {
		return nil
	}
	return err
}

// introduce has the players look for each other.
func (p *play) introduce() (err error) {
	for i := range p.players {
		a := &p.players[i]
		a.machine.Do(func(now time.Time) {
			if p.setting.Room {
				err = errors.Join(err, a.talker.Join(now, roomName))
				return
			}
			for j := i + 1; j < len(p.players); j++ {
				err = errors.Join(err, a.talker.Connect(now, p.players[j].id))
			}
		})
	}
	return err
}

// told takes what a player's machine says of itself: it says when to look, and not
// what there is to be seen.
func (p *play) told(now time.Time, i int, e sansio.Event) {
	a := &p.players[i]
	switch e := e.(type) {
	case peer.Registered:
		if !a.registered {
			a.registered = true
			p.registered++
		}
	case peer.Introduced:
		if j := p.number(e.Peer); j >= 0 && a.introduced[j].IsZero() {
			a.introduced[j] = now
		}
	case peer.Settled:
		if j := p.number(e.Peer); j >= 0 {
			a.settled[j], a.said[j] = now, e.Path.Kind
			p.restart(i, j)
		}
	case peer.Attempted:
		if j := p.number(e.Peer); j >= 0 {
			q := p.pairOf(i, j)
			q.predicted = q.predicted || e.Direct && e.Technique == peer.Prediction
			q.found = q.found || e.Direct && e.Technique == peer.Birthday
			if e.Sockets == 0 {
				q.probes += e.Probes
				q.hit = max(q.hit, e.Hit)
			}
		}
	case peer.PathLost:
		if j := p.number(e.Peer); j >= 0 {
			a.settled[j] = time.Time{}
			p.restart(i, j)
		}
	}
}

// number is a player's by its id; -1: nobody's.
func (p *play) number(id identity.ID) int {
	return slices.IndexFunc(p.players, func(a player) bool { return a.id == id })
}

// pairOf gives the pair of two players.
func (p *play) pairOf(i, j int) *pair {
	if i > j {
		i, j = j, i
	}
	return &p.pairs[j*(j-1)/2+i]
}

// restart forgets how payload of one player went to another: its checks were not over
// before now.
func (p *play) restart(from, to int) {
	if q := p.pairOf(from, to); !q.decided {
		q.ways[q.side(from)] = way{}
	}
}

// side is 0 for the first player of the pair, 1 for the second.
func (q *pair) side(player int) int {
	if player == q.b {
		return 1
	}
	return 0
}

// since is when the checks of both were over; false: they are not.
func (p *play) since(q *pair) (time.Time, bool) {
	a, b := p.players[q.a].settled[q.b], p.players[q.b].settled[q.a]
	if a.IsZero() || b.IsZero() {
		return time.Time{}, false
	}
	if b.After(a) {
		return b, true
	}
	return a, true
}

// arrived takes payload that entered a player's host.
func (p *play) arrived(now time.Time, from, to int, sent time.Time, relayed bool) {
	q := p.pairOf(from, to)
	if q.first.IsZero() {
		q.first = now
	}
	if relayed {
		q.relayed++
	} else {
		q.directly++
		if q.direct.IsZero() {
			q.direct = now
		}
	}
	if since := p.players[from].settled[to]; since.IsZero() || sent.Before(since) {
		return
	}
	q.ways[q.side(from)] = way{arrived: true, relayed: relayed}
	p.decide(q)
}

// decide notes that a pair is decided, if it is: the checks of both are over, and
// what each has sent since has arrived, by one way. Where one of them goes over the
// relay and the other one does not, one has yet to hear of the direct path.
func (p *play) decide(q *pair) {
	if _, settled := p.since(q); settled && !q.decided && q.ways[0].arrived && q.ways[1].arrived && q.ways[0].relayed == q.ways[1].relayed {
		q.decided = true
		p.undecided--
	}
}

// outcome says what became of the trial.
func (p *play) outcome() Outcome {
	now := p.net.Now()
	o := Outcome{
		Pairs: make([]Pair, len(p.pairs)), Peers: p.wire.peers, Relay: p.wire.traffic, RelayAtDecision: p.atDecision, RelayAtRest: p.atRest,
		Took: now.Sub(virtual.Epoch), Decided: p.decided.Sub(virtual.Epoch), Played: p.rested.Sub(p.decided), Rested: now.Sub(p.rested),
	}
	for i := range p.pairs {
		o.Pairs[i] = p.pairs[i].outcome(p)
	}
	return o
}

func (q *pair) outcome(p *play) Pair {
	a, b := &p.players[q.a], &p.players[q.b]
	o := Pair{
		A: q.a, B: q.b, Path: oracle.PathNone, Introduced: -1, FirstByte: -1, Direct: -1, Settled: -1,
		Sent:    a.talker.sent(b.id) + b.talker.sent(a.id),
		Relayed: q.relayed, Directly: q.directly,
		Predicted: q.predicted, Searched: q.found && !q.predicted, Probes: q.probes, Hit: q.hit,
	}
	switch {
	case !q.ways[0].arrived || !q.ways[1].arrived:
	case q.ways[0].relayed || q.ways[1].relayed:
		o.Path = oracle.PathRelay
	default:
		o.Path = oracle.PathDirect
	}
	at := a.introduced[q.b]
	if other := b.introduced[q.a]; at.IsZero() || other.IsZero() {
		return o
	} else if other.After(at) {
		at = other
	}
	o.Introduced = at.Sub(virtual.Epoch)
	after := func(t time.Time) time.Duration {
		if t.IsZero() {
			return -1
		}
		return max(t.Sub(at), 0)
	}
	settled, _ := p.since(q)
	o.FirstByte, o.Direct, o.Settled = after(q.first), after(q.direct), after(settled)
	return o
}

// techniques is what a setting leaves out.
func techniques(s *Setting) peer.Techniques {
	return peer.Techniques{RelayOnly: s.RelayOnly, NoSplit: !s.Split, NoPrediction: !s.Prediction, NoBirthday: !s.Birthday}
}
