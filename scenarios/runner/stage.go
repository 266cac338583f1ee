package runner

import (
	"context"
	"errors"
	"fmt"
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
	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// Ports of the servers in every lab.
const (
	stunPort      = 3478
	alternatePort = 3479
	relayPortLow  = 49152
	relayPortHigh = 49999
)

const (
	relayUser     = "lab"
	relayPassword = "lab-password"
	relayRealm    = "p2pmodel.lab"
)

// stage is a lab with the system under test on it.
type stage struct {
	v    *variant
	net  sim.Network
	seed uint64
	log  *logbook

	rendezvousAddr netip.AddrPort
	relayAddrs     []netip.AddrPort
	serverKey      identity.Key
	streams        *streams                      // nil: servers are reached by UDP only
	servers        map[string]sim.RunningMachine // by scenarios.ServerRendezvous, RelayNames
	actors         map[string]*actor             // by peer
	noPunching     bool                          // of peers, as they were started
	lives          map[string]int                // how often a server or a peer was started
	byID           map[identity.ID]string
	certified      time.Time         // when all NATs were what they claim
	launched       time.Time         // when the peers were started
	speaking       time.Time         // since when they have something to say
	seals          map[string]*seal  // by router
	hostSeals      map[string]string // fingerprints of hosts with firewalls of their own
	director       *sim.Director
	timeline       *timeline
	whole          <-chan struct{}                                    // closed when what counts from the first phase is done
	sealing        sync.Mutex                                         // held while a router that is sealed changes
	watched        bool                                               // its NATs are held against the model
	unsealed       error                                              // whose rules were changed behind our back
	system         *system                                            // nil: rendezvous and relay are the lab's own
	timeless       bool                                               // no machine's slowness is in what is measured: the fabric's time is virtual
	binary         string                                             // of the program p2pmodel
	path           []string                                           // folders in which programs are looked for, before the PATH
	programs       *programs                                          // of somebody else's; nil: there are none
	wrap           func(name string, m sansio.Machine) sansio.Machine // nil: machines run as they are
	shards         map[string]string                                  // room → the shard that had it at the end of the phase before
}

// actor is a peer that runs on a host.
type actor struct {
	name, host string
	id         identity.ID
	clock      sim.Clock
	agent      *agent
	machine    sim.RunningMachine
	session    *session // of a player; nil: the peer is one without an Agent

	mu sync.Mutex
	// What the peer said, by the other peer's name.
	settled     map[string]time.Time // zero: not settled now
	introduced  map[string]time.Time // the first time
	sessions    map[string][]met     // distinct ones in order
	duplicates  int                  // datagrams that arrived again at the application
	confused    int                  // those that the peer which they were told of has not said to it
	registered  bool
	relayFailed time.Time      // the first time that it had no allocation to hope for
	stood       []witness.Span // when it was to speak, and the machine did not let it
	searches    []scenarios.SearchResult
	changed     chan struct{} // closed and replaced with each event
}

// met is when a peer was first introduced to another in a session.
type met struct {
	session string // its id
	at      time.Time
}

func newActor(p scenarios.Peer, id identity.ID, clock sim.Clock) *actor {
	return &actor{
		name: p.Name, host: p.Host, id: id, clock: clock,
		settled:    map[string]time.Time{},
		introduced: map[string]time.Time{},
		sessions:   map[string][]met{},
		changed:    make(chan struct{}),
	}
}

// cast are all peers that have been started, in the order of the scenario: what
// is done to all is done in one order, so that runs with one seed are alike.
func (s *stage) cast() (all []*actor) {
	for _, p := range s.v.scenario.Peers {
		if a := s.actors[p.Name]; a != nil {
			all = append(all, a)
		}
	}
	return all
}

// stir wakes who waits for the actor, whose lock is held.
func (a *actor) stir() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// source gives independent random streams for one run, by purpose.
func (s *stage) source(purpose string) *rand.ChaCha8 {
	var seed [32]byte
	material := fmt.Sprintf("%d/%s/%s", s.seed, s.v.label(), purpose)
	copy(seed[:], identity.Derive([]byte(material), "scenario random source"))
	return rand.NewChaCha8(seed)
}

// sourceOf is the source of one that may be started anew: each life has its own, or it
// would draw the same ports and nonces again.
func (s *stage) sourceOf(name string) *rand.ChaCha8 {
	if s.lives == nil {
		s.lives = map[string]int{}
	}
	life := s.lives[name]
	s.lives[name]++
	if life == 0 {
		return s.source(name)
	}
	return s.source(fmt.Sprintf("%s, life %d", name, life+1))
}

// addr is the n-th address of a host's active uplink.
func (s *stage) addr(host string, n int) (netip.Addr, error) {
	h, err := s.net.Host(host)
	if err != nil {
		return netip.Addr{}, err
	}
	addrs, err := h.Addresses()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("host %s: %w", host, err)
	}
	if n >= len(addrs) {
		return netip.Addr{}, fmt.Errorf("host %s has %d addresses, the server on it needs %d: say addresses: %d in the lab", host, len(addrs), n+1, n+1)
	}
	return addrs[n], nil
}

// address is the first address of a host's active uplink.
func (s *stage) address(host string) (netip.Addr, error) { return s.addr(host, 0) }

// startServers starts rendezvous and relay, or the servers of the system.
func (s *stage) startServers(ctx context.Context) error {
	if s.v.scenario.System != nil {
		return s.startSystem(ctx)
	}
	if err := s.openPrograms(); err != nil {
		return err
	}
	if err := s.startPrograms(ctx, s.serves); err != nil {
		return err
	}
	if err := s.openStreams(); err != nil {
		return err
	}
	key, err := identity.NewKey(s.source("rendezvous key"))
	if err != nil {
		return err
	}
	s.serverKey = key
	for _, relay := range s.v.scenario.RelayNames() {
		if s.v.scenario.ServedBy(relay) != nil {
			continue
		}
		addr, err := s.addr(s.v.scenario.RelayHost(relay), 0)
		if err != nil {
			return err
		}
		s.relayAddrs = append(s.relayAddrs, netip.AddrPortFrom(addr, stunPort))
		if err := s.startServer(ctx, relay); err != nil {
			return err
		}
	}
	if s.v.scenario.Rendezvous == "" || s.v.scenario.ServedBy(scenarios.ServerRendezvous) != nil {
		return nil
	}
	first, err := s.addr(s.v.scenario.Rendezvous, 0)
	if err != nil {
		return err
	}
	s.rendezvousAddr = netip.AddrPortFrom(first, stunPort)
	return s.startServer(ctx, scenarios.ServerRendezvous)
}

// wrapped is what runs in the place of a machine.
func (s *stage) wrapped(name string, m sansio.Machine) sansio.Machine {
	if s.wrap == nil {
		return m
	}
	return s.wrap(name, m)
}

// startServer starts one server, and waits until its sockets are open.
func (s *stage) startServer(ctx context.Context, server string) error {
	host, machine := s.v.scenario.Rendezvous, sansio.Machine(nil)
	var err error
	switch server {
	case scenarios.ServerRendezvous:
		machine, err = s.rendezvousServer()
	default:
		host = s.v.scenario.RelayHost(server)
		machine, err = s.relayServer(server)
	}
	if err != nil {
		return fmt.Errorf("%s on host %s: %w", server, host, err)
	}
	h, err := s.net.Host(host)
	if err != nil {
		return err
	}
	var listen error
	ready, opened := make(chan struct{}), sync.Once{}
	answer := func(err error) { opened.Do(func() { listen = err; close(ready) }) }
	running, err := h.Run(ctx, s.streams.carry(s.wrapped(server, machine)), func(at time.Time, e sansio.Event) {
		s.log.add(at, server, describe(e, s.byID))
		switch e := e.(type) {
		case rendezvous.Listening, relay.Listening:
			answer(nil)
		case rendezvous.ListenFailed:
			answer(e.Err)
		case relay.ListenFailed:
			answer(e.Err)
		}
	})
	if err != nil {
		return fmt.Errorf("%s on host %s: %w", server, host, err)
	}
	s.servers[server] = running
	if err = s.net.Wait(ctx, ready, sim.Forever); err == nil {
		err = listen
	}
	if err != nil {
		return fmt.Errorf("%s on host %s: %w", server, host, err)
	}
	return nil
}

// startPeers starts all peers and waits until the rendezvous knows them, or until
// it is clear that it will not.
func (s *stage) startPeers(ctx context.Context, first *phase, noPunching bool) error {
	if s.v.scenario.System != nil {
		return errors.Join(s.startPlayers(ctx, first, noPunching), s.startLoad(ctx))
	}
	if err := s.launch(ctx, first); err != nil {
		return err
	}
	others := func(p *scenarios.Program) bool { return !s.serves(p) }
	if err := s.startPrograms(ctx, others); err != nil {
		return err
	}
	if s.v.foreign() {
		return s.startForeign(ctx)
	}
	s.noPunching = noPunching
	keys := map[string]identity.Key{}
	for _, p := range s.v.scenario.Peers {
		key, err := identity.NewKey(s.source("key of " + p.Name))
		if err != nil {
			return err
		}
		keys[p.Name], s.byID[key.ID()] = key, p.Name
	}
	for _, p := range s.v.scenario.Peers {
		if err := s.startPeer(ctx, p, keys[p.Name], noPunching); err != nil {
			return fmt.Errorf("peer %s on host %s: %w", p.Name, p.Host, err)
		}
	}
	limit := s.net.Now().Add(s.patience())
	for _, p := range s.v.scenario.Peers {
		a := s.actors[p.Name]
		if !a.wait(ctx, until(s.net.Now(), limit), func() bool { return a.registered }) {
			// No fault of the laboratory: its network may be one that nobody gets
			// out of, and then the scenario expects so.
			s.log.add(s.net.Now(), a.name, fmt.Sprintf("did not register at the rendezvous within %v", s.patience()))
		}
	}
	return ctx.Err()
}

// peerConfig is how a peer of the scenario is set up.
func (s *stage) peerConfig(p scenarios.Peer, key identity.Key, noPunching bool) peer.Config {
	server := s.serverKey.ID()
	cfg := peer.Config{
		Key:           key,
		Rendezvous:    s.rendezvousAddr,
		RendezvousKey: &server,
		Rand:          s.sourceOf("peer " + p.Name),
		Keepalive:     s.v.settings.Keepalive,
		Techniques:    techniques(s.v.techniques, noPunching),
	}
	cfg.RendezvousStreams.TLS = s.streams.at(s.rendezvousAddr.Addr())
	if cfg.Keepalive == scenarios.Off {
		cfg.Consent = -1
	}
	for _, at := range s.relayAddrs {
		cfg.Relays = append(cfg.Relays, peer.RelayConfig{
			Server: at, Username: relayUser, Password: relayPassword, Streams: peer.Streams{TLS: s.streams.at(at.Addr())},
		})
	}
	return cfg
}

func (s *stage) startPeer(ctx context.Context, p scenarios.Peer, key identity.Key, noPunching bool) error {
	machine, err := peer.NewMachine(s.peerConfig(p, key, noPunching))
	if err != nil {
		return err
	}
	a := newActor(p, key.ID(), s.net)
	a.agent = &agent{
		Machine: machine, name: p.Name,
		interval: s.v.settings.Interval, size: s.v.settings.Size,
		random: rand.New(s.source("payload of " + p.Name)),
		names:  s.byID,
		links:  map[identity.ID]*conversation{},
	}
	h, err := s.net.Host(p.Host)
	if err != nil {
		return err
	}
	s.actors[p.Name] = a
	m := s.wrapped(p.Name, a.agent)
	running, err := h.Run(ctx, s.streams.carry(m), func(at time.Time, e sansio.Event) { s.observe(a, at, e) })
	if a.machine = running; err == nil {
		if c, ok := m.(Caller); ok {
			a.machine = called{running, c}
		}
	}
	return err
}

// restartPeer has a peer begin its life anew: its sessions are forgotten, its sockets
// closed, and it connects again to whom it did before.
func (s *stage) restartPeer(name string) error {
	i := slices.IndexFunc(s.v.scenario.Peers, func(p scenarios.Peer) bool { return p.Name == name })
	key, err := identity.NewKey(s.source("key of " + name))
	if err != nil {
		return err
	}
	machine, err := peer.NewMachine(s.peerConfig(s.v.scenario.Peers[i], key, s.noPunching))
	if err != nil {
		return err
	}
	a := s.actors[name]
	a.machine.Do(func(now time.Time) {
		a.agent.startAnew(now, machine)
		if room := s.v.scenario.Room; room != "" {
			err = machine.Join(now, room)
			return
		}
		for _, pair := range s.v.scenario.Connect {
			if pair[0] == name {
				err = errors.Join(err, machine.Connect(now, s.actors[pair[1]].id))
			}
		}
	})
	return err
}

// Caller is a wrapped machine that also wants to know of what the runner itself
// calls of it.
type Caller interface {
	Call(now time.Time, f func())
}

// called is a machine that runs, and whose calls go through its wrapping.
type called struct {
	sim.RunningMachine
	by Caller
}

// Do implements sim.RunningMachine.
func (c called) Do(f func(now time.Time)) bool {
	return c.RunningMachine.Do(func(now time.Time) { c.by.Call(now, func() { f(now) }) })
}

// connect introduces the peers to each other: by pairs, or in a room.
func (s *stage) connect(now time.Time) {
	if s.v.foreign() {
		return // that is the programs' business
	}
	s.speaking = now
	for _, a := range s.cast() {
		a.machine.Do(func(now time.Time) { a.agent.setQuiet(now, false) })
	}
	if s.v.scenario.System != nil {
		return // they did it themselves
	}
	if room := s.v.scenario.Room; room != "" {
		for _, p := range s.v.scenario.Peers {
			a := s.actors[p.Name]
			s.do(a, "join", func(now time.Time) error { return a.agent.Join(now, room) })
		}
		return
	}
	for _, pair := range s.v.scenario.Connect {
		a, b := s.actors[pair[0]], s.actors[pair[1]]
		s.log.add(now, a.name, "connects to "+b.name)
		s.do(a, "connect", func(now time.Time) error { return a.agent.Connect(now, b.id) })
	}
}

// do calls a peer's machine and logs what it refuses.
func (s *stage) do(a *actor, what string, f func(now time.Time) error) {
	a.machine.Do(func(now time.Time) {
		if err := f(now); err != nil {
			s.log.add(now, a.name, what+": "+err.Error())
		}
	})
}

// pairs are the pairs of peers that have to be connected.
func (s *stage) pairs() [][2]string { return s.v.scenario.Pairs() }
