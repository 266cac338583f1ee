package player

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
)

// match is a match that runs, and what we need to be in it.
type match struct {
	room string
	// asking: a request for a ticket is on its way. again: another one is wanted
	// after it.
	asking, again bool
	failures      int
	retryAt       time.Time // when to ask again, after a failure
	renewAt       time.Time
	grant         *grant // nil: none yet
	// heard is the list of the mesh that came while a request was on its way:
	// nobody knows which of the two is newer.
	heard []*agentv1.Peer
	// moved is when and why another shard took the room; zero when we have gone
	// there.
	moved       time.Time
	movedReason string

	reporting bool
	reportAt  time.Time
	// doubt is a report's answer that does not fit the ticket; nil: none.
	doubt *agentv1.ReportResponse
}

// settle is the wait before another ticket, when a list of the mesh crossed with
// one.
const settle = time.Second

// grant is a play ticket as it was read.
type grant struct {
	servers peer.Servers
	mesh    string
	expires time.Time
	peers   map[identity.ID]string // players by their peers
}

// is reports whether the game server has the same mesh in mind.
func (g *grant) is(answer *agentv1.ReportResponse) bool {
	var peers []*agentv1.Peer
	for id, player := range g.peers {
		peers = append(peers, &agentv1.Peer{Player: player, PeerId: id[:]})
	}
	return answer.Mesh == g.mesh && answer.PeersDigest == shard.PeersDigest(peers, "")
}

// play begins a match, unless it runs.
func (p *Player) play(now time.Time, room string) {
	if p.match != nil && p.match.room == room {
		return
	}
	if p.match != nil {
		p.endMatch(now, p.match.room, nil)
	}
	p.match = &match{room: room}
	p.askTicket()
}

// endMatch ends the match of a room, if it is ours.
func (p *Player) endMatch(now time.Time, room string, cause error) {
	if p.match == nil || p.match.room != room {
		return
	}
	p.match = nil
	p.stopMesh(cause)
}

// askTicket asks for a ticket; once more if a request is on its way.
func (p *Player) askTicket() {
	m := p.match
	if m == nil {
		return
	}
	if m.asking {
		m.again = true
		return
	}
	m.asking, m.again, m.heard = true, false, nil
	m.retryAt, m.renewAt = time.Time{}, time.Time{}
	ask(p, func(ctx context.Context) (*agentv1.PlayTicketResponse, error) {
		id := p.cfg.Key.ID()
		return p.cfg.Agent.PlayTicket(ctx, m.room, id[:])
	}, func(now time.Time, answer *agentv1.PlayTicketResponse, err error) {
		if p.match != m {
			return
		}
		m.asking = false
		if err == nil {
			err = p.ticket(now, m, answer)
		}
		if err != nil {
			p.noTicket(now, m, err)
		} else if m.again {
			p.askTicket()
		}
	})
}

// noTicket is a request that failed.
func (p *Player) noTicket(now time.Time, m *match, err error) {
	p.emit(now, Failed{What: "play ticket", Err: err})
	if errors.Is(err, errPeerEnded) {
		p.stopMesh(nil)
		m.grant = nil
	}
	if connect.CodeOf(err) == connect.CodeNotFound {
		p.forget(now, m.room, "the room is no more")
		return
	}
	m.retryAt = now.Add(min(retryFirst<<min(m.failures, 10), retryMax))
	m.failures++
}

// ticket takes a ticket: it starts the peer, goes to other servers with it, or
// gives it the fresh one.
func (p *Player) ticket(now time.Time, m *match, answer *agentv1.PlayTicketResponse) error {
	g, err := readGrant(now, answer, p.cfg.Key.ID())
	if err != nil {
		return fmt.Errorf("the ticket of room %s: %w", m.room, err)
	}
	before := m.grant
	if err := p.use(now, m, g); err != nil {
		return err
	}
	m.grant, m.failures = g, 0
	m.renewAt = now.Add(max(g.expires.Sub(now)*2/3, time.Second))
	if m.heard != nil {
		m.renewAt = earlier(m.renewAt, now.Add(settle))
	}
	if before == nil || !samePeers(before.peers, g.peers) {
		p.peersChanged(now, g)
	}
	return nil
}

// use gives a ticket to the peer, which it starts if there is none.
func (p *Player) use(now time.Time, m *match, g *grant) error {
	before := m.grant
	if mesh := p.mesh.Load(); mesh != nil && before != nil {
		// Whoever was heard of meanwhile may come too; another ticket says.
		for _, other := range m.heard {
			if id, err := identity.IDFromBytes(other.PeerId); err == nil && id != p.cfg.Key.ID() {
				g.peers[id] = other.Player
			}
		}
		if err := mesh.set(g); err != nil {
			return err
		}
		if m.moved.IsZero() && g.mesh == before.mesh && g.servers.Rendezvous == before.servers.Rendezvous {
			p.emit(now, Renewed{Expires: g.expires})
			return nil
		}
		var after time.Duration
		if !m.moved.IsZero() {
			after = now.Sub(m.moved)
		}
		p.emit(now, Moved{
			Room: m.room, Reason: m.movedReason, Mesh: g.mesh, Rendezvous: g.servers.Rendezvous.String(), Relay: g.relay(), After: after,
		})
		m.moved, m.movedReason = time.Time{}, ""
		return nil
	}
	m.moved, m.movedReason = time.Time{}, ""
	if err := p.startMesh(m.room, g); err != nil {
		return fmt.Errorf("start the peer: %w", err)
	}
	p.emit(now, Started{Room: m.room, Mesh: g.mesh, Rendezvous: g.servers.Rendezvous.String(), Relay: g.relay()})
	m.reportAt = now.Add(reportSoon)
	return nil
}

// meshChanged takes the list of who is in the mesh.
func (p *Player) meshChanged(now time.Time, room string, list []*agentv1.Peer) {
	m := p.match
	if m == nil || m.room != room {
		return
	}
	if m.asking {
		m.heard = list
	}
	mesh := p.mesh.Load()
	if m.grant == nil || mesh == nil {
		return
	}
	peers, err := readPeers(list, p.cfg.Key.ID())
	if err != nil {
		p.emit(now, Failed{What: "list of the mesh", Err: err})
		return
	}
	if samePeers(peers, m.grant.peers) {
		return
	}
	g := *m.grant
	g.peers = peers
	m.grant = &g
	mesh.allow(&g)
	p.peersChanged(now, &g)
}

func (p *Player) peersChanged(now time.Time, g *grant) {
	peers := make(map[string]identity.ID, len(g.peers))
	for id, name := range g.peers {
		peers[name] = id
	}
	p.emit(now, PeersChanged{Peers: peers})
}

// readGrant reads a ticket, and believes nothing that cannot be used.
func readGrant(now time.Time, t *agentv1.PlayTicketResponse, own identity.ID) (*grant, error) {
	g := &grant{mesh: t.Mesh, expires: now.Add(time.Duration(t.ExpiresSeconds) * time.Second)}
	var err error
	if g.servers.Rendezvous, err = netip.ParseAddrPort(t.Rendezvous); err != nil {
		return nil, fmt.Errorf("rendezvous: %w", err)
	}
	key, err := identity.IDFromBytes(t.RendezvousKey)
	if err != nil {
		return nil, fmt.Errorf("key of the rendezvous: %w", err)
	}
	g.servers.RendezvousKey, g.servers.Ticket = &key, t.Ticket
	if g.servers.RendezvousStreams, err = readStreams(t.RendezvousStreams); err != nil {
		return nil, fmt.Errorf("rendezvous: %w", err)
	}
	if t.Relay != "" {
		server, err := netip.ParseAddrPort(t.Relay)
		if err != nil {
			return nil, fmt.Errorf("relay: %w", err)
		}
		g.servers.Relay = &peer.RelayConfig{Server: server, Username: t.RelayUsername, Password: t.RelayPassword}
		if g.servers.Relay.Streams, err = readStreams(t.RelayStreams); err != nil {
			return nil, fmt.Errorf("relay: %w", err)
		}
	}
	switch {
	case t.Mesh == "":
		return nil, errors.New("it names no mesh")
	case t.ExpiresSeconds == 0:
		return nil, errors.New("it has expired")
	}
	g.peers, err = readPeers(t.Peers, own)
	return g, err
}

// readStreams reads where a server is reached without UDP.
func readStreams(t *agentv1.Streams) (s peer.Streams, err error) {
	if text := t.GetTcp(); text != "" {
		if s.TCP, err = netip.ParseAddrPort(text); err != nil {
			return s, fmt.Errorf("over TCP: %w", err)
		}
	}
	if text := t.GetTls(); text != "" {
		if s.TLS, err = netip.ParseAddrPort(text); err != nil {
			return s, fmt.Errorf("over TLS: %w", err)
		}
		s.ServerName = t.GetTlsName()
	}
	return s, nil
}

// readPeers reads who is in a mesh, without ourselves.
func readPeers(list []*agentv1.Peer, own identity.ID) (map[identity.ID]string, error) {
	peers := make(map[identity.ID]string, len(list))
	for _, other := range list {
		id, err := identity.IDFromBytes(other.PeerId)
		if err != nil {
			return nil, fmt.Errorf("player %q: %w", other.Player, err)
		}
		if id != own {
			peers[id] = other.Player
		}
	}
	return peers, nil
}

func samePeers(a, b map[identity.ID]string) bool {
	if len(a) != len(b) {
		return false
	}
	for id, name := range a {
		if b[id] != name {
			return false
		}
	}
	return true
}

// relay is the relay's address, empty for none.
func (g *grant) relay() string {
	if g.servers.Relay == nil {
		return ""
	}
	return g.servers.Relay.Server.String()
}
