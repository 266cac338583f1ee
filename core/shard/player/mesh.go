package player

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
)

// mesh is our peer in a match. Its fields but runner, room and dead belong to the
// machine's goroutine once it runs.
type mesh struct {
	player  *Player
	room    string
	machine *peer.Machine
	runner  Runner
	dead    atomic.Pointer[error] // why the peer cannot go on; nil: it can

	bound bool
	grant *grant
	// names are the players of all peers so far: one that is not in the mesh any
	// more still has a farewell to say.
	names map[identity.ID]string
	// up are peers to whom there was a path in the present session.
	up map[identity.ID]peer.SessionID
}

// startMesh starts a peer with a ticket.
func (p *Player) startMesh(room string, g *grant) error {
	p.stopMesh(nil)
	cfg := p.cfg.Peer
	cfg.Key, cfg.Rand = p.cfg.Key, p.cfg.Rand
	cfg.Rendezvous, cfg.RendezvousKey, cfg.RendezvousStreams = g.servers.Rendezvous, g.servers.RendezvousKey, g.servers.RendezvousStreams
	cfg.Relay, cfg.Ticket = g.servers.Relay, g.servers.Ticket
	machine, err := peer.NewMachine(cfg)
	if err != nil {
		return err
	}
	m := &mesh{player: p, room: room, machine: machine, names: map[identity.ID]string{}, up: map[identity.ID]peer.SessionID{}}
	m.name(g)
	// It outlives Run by the farewell to each peer.
	m.runner, err = p.cfg.Start(context.WithoutCancel(p.ctx), machine, m.event)
	if err != nil {
		return err
	}
	p.mesh.Store(m)
	return nil
}

// stopMesh ends the peer, which says farewell.
func (p *Player) stopMesh(cause error) {
	m := p.mesh.Swap(nil)
	if m == nil {
		return
	}
	m.runner.Do(m.machine.Shutdown)
	cause = errors.Join(cause, m.runner.Stop())
	p.emit(time.Now(), Stopped{Room: m.room, Err: cause})
}

// name notes a ticket and whose the peers are.
func (m *mesh) name(g *grant) {
	m.grant = g
	for id, player := range g.peers {
		m.names[id] = player
	}
}

// set goes on with a fresh ticket, maybe at other servers. Sessions with those who
// are in both meshes live on.
func (m *mesh) set(g *grant) error {
	err := errPeerEnded
	m.runner.Do(func(now time.Time) {
		before := m.grant
		m.name(g)
		m.allowed(now)
		moves := g.mesh != before.mesh
		if moves {
			m.machine.Leave(now, before.mesh) // at the servers that know it
		}
		if err = m.machine.SetServers(now, g.servers); err == nil && moves && m.bound {
			err = m.machine.Join(now, g.mesh)
		}
	})
	return err
}

// allow takes another list of peers.
func (m *mesh) allow(g *grant) {
	m.runner.Do(func(now time.Time) {
		m.name(g)
		m.allowed(now)
	})
}

// allowed tells the machine whom it may talk to.
func (m *mesh) allowed(now time.Time) {
	ids := make([]identity.ID, 0, len(m.grant.peers))
	for id := range m.grant.peers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, identity.ID.Compare)
	m.machine.SetAllowed(now, ids)
}

func (m *mesh) join(now time.Time) {
	if err := m.machine.Join(now, m.grant.mesh); err != nil {
		m.fail(err)
	}
}

// fail says that the peer cannot go on.
func (m *mesh) fail(err error) {
	m.dead.CompareAndSwap(nil, &err)
	m.player.wake()
}

// event takes the machine's events, in its goroutine.
func (m *mesh) event(at time.Time, e sansio.Event) {
	p := m.player
	switch e := e.(type) {
	case peer.Bound:
		m.bound = true
		p.emit(at, Listening{Local: e.Local.String()})
		m.allowed(at)
		m.join(at)
	case peer.PathChanged:
		m.pathChanged(at, e)
	case peer.PathLost:
		p.emit(at, PathLost{Player: m.names[e.Peer], Path: e.Path, After: e.After})
	case peer.Closed:
		if m.up[e.Peer] == e.Session {
			delete(m.up, e.Peer)
			p.emit(at, PeerDown{Player: m.names[e.Peer], Session: e.Session, Err: e.Err})
		}
		p.wake()
	case peer.Received:
		p.emit(at, Received{Player: m.names[e.Peer], Payload: e.Payload, Via: e.Via})
	case peer.RelayFailed:
		p.emit(at, Failed{What: "relay", Err: e.Err})
	case peer.Failed:
		if !m.bound {
			m.fail(e.Err)
			return
		}
		what := "peer"
		if name := m.names[e.Peer]; name != "" {
			what += " of " + name
		}
		p.emit(at, Failed{What: what, Err: e.Err})
	}
}

func (m *mesh) pathChanged(at time.Time, e peer.PathChanged) {
	p, name := m.player, m.names[e.Peer]
	if m.up[e.Peer] != e.Session && e.New.Kind != peer.NoPath {
		m.up[e.Peer] = e.Session
		p.emit(at, PeerUp{Player: name, Peer: e.Peer, Session: e.Session, Path: e.New})
	} else {
		p.emit(at, PathChanged{Player: name, Session: e.Session, Old: e.Old, New: e.New})
	}
	p.wake()
}

// Link is how we are connected to another player.
type Link struct {
	Player string
	Peer   identity.ID
	// Session is zero while there is none; Path is zero while there is no path,
	// and RTT then too.
	Session peer.SessionID
	Path    peer.Path
	RTT     time.Duration
}

// Links are the connections to all other players of the mesh, by name. Without a
// match there are none.
func (p *Player) Links() (links []Link) {
	if m := p.mesh.Load(); m != nil {
		links, _ = m.links()
	}
	return links
}

// links also reports whether the peer still runs.
func (m *mesh) links() (links []Link, ok bool) {
	ok = m.runner.Do(func(time.Time) {
		for id, name := range m.grant.peers {
			l := Link{Player: name, Peer: id}
			l.Session, _ = m.machine.Session(id)
			l.Path, _ = m.machine.Path(id)
			l.RTT, _ = m.machine.RTT(id)
			links = append(links, l)
		}
	})
	slices.SortFunc(links, func(a, b Link) int {
		if c := strings.Compare(a.Player, b.Player); c != 0 {
			return c
		}
		return a.Peer.Compare(b.Peer)
	})
	return links, ok
}

// Send sends one datagram to each player to whom there is a path: what payload
// gives, nothing where that is nil. It is given the time of sending, is called in
// the peer's goroutine, and must call no method of the player. Send gives how
// many datagrams left.
func (p *Player) Send(payload func(now time.Time, to string) []byte) (sent int) {
	m := p.mesh.Load()
	if m == nil {
		return 0
	}
	m.runner.Do(func(now time.Time) {
		for _, id := range m.machine.Peers() {
			if _, ok := m.machine.Path(id); !ok || m.grant.peers[id] == "" {
				continue
			}
			if b := payload(now, m.grant.peers[id]); b != nil && m.machine.Send(now, id, b) == nil {
				sent++
			}
		}
	})
	return sent
}

// Stats are the counters of the present peer; zero without a match.
func (p *Player) Stats() (s peer.Stats) {
	if m := p.mesh.Load(); m != nil {
		m.runner.Do(func(time.Time) { s = m.machine.Stats() })
	}
	return s
}
