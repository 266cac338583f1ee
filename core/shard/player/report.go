package player

import (
	"context"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/core/shard/api/agentv1"
)

// due does what is to be done by now, and says when to come again; the zero time
// means never.
func (p *Player) due(now time.Time) time.Time {
	m := p.match
	if m == nil {
		return time.Time{}
	}
	if due(now, m.retryAt) || due(now, m.renewAt) {
		p.askTicket()
	}
	if due(now, m.reportAt) {
		m.reportAt = now.Add(p.cfg.ReportEvery)
		if m.reporting {
			m.reportAt = now.Add(reportSoon)
		} else {
			p.report(m)
		}
	}
	return earlier(earlier(m.retryAt, m.renewAt), m.reportAt)
}

// connectionsChanged has connections reported soon, and replaces a peer that
// cannot go on.
func (p *Player) connectionsChanged(now time.Time) {
	m, mesh := p.match, p.mesh.Load()
	if m == nil || mesh == nil {
		return
	}
	if err := mesh.dead.Load(); err != nil {
		p.peerDied(now, m, *err)
		return
	}
	m.reportAt = earlier(m.reportAt, now.Add(reportSoon))
}

// peerDied starts anew with another ticket.
func (p *Player) peerDied(now time.Time, m *match, cause error) {
	p.stopMesh(cause)
	m.grant = nil
	m.renewAt, m.reportAt = time.Time{}, time.Time{}
	m.retryAt = now.Add(min(retryFirst<<min(m.failures, 10), retryMax))
	m.failures++
}

// report tells how we are connected to the others. What cannot be told now is
// told by the next report.
func (p *Player) report(m *match) {
	mesh := p.mesh.Load()
	if mesh == nil {
		return
	}
	links, ok := mesh.links()
	if !ok {
		mesh.fail(errPeerEnded)
		return
	}
	connections := make([]*agentv1.Connection, len(links))
	for i, l := range links {
		connections[i] = &agentv1.Connection{Player: l.Player, Path: pathKind(l.Path.Kind), RttMs: uint32((l.RTT + time.Millisecond - 1) / time.Millisecond)}
	}
	m.reporting = true
	ask(p, func(ctx context.Context) (*agentv1.ReportResponse, error) {
		return p.cfg.Agent.Report(ctx, m.room, connections)
	}, func(now time.Time, answer *agentv1.ReportResponse, err error) {
		m.reporting = false
		if err == nil && p.match == m {
			p.compare(now, m, answer)
		}
	})
}

// compare finds out whether events about the mesh got lost, and asks for a ticket
// then. What the first report says may have been overtaken by an event; what the
// next one says again has not.
func (p *Player) compare(now time.Time, m *match, answer *agentv1.ReportResponse) {
	if m.grant == nil || m.asking || m.grant.is(answer) {
		m.doubt = nil
		return
	}
	if m.doubt == nil || m.doubt.Mesh != answer.Mesh || m.doubt.PeersDigest != answer.PeersDigest {
		m.doubt = answer
		m.reportAt = earlier(m.reportAt, now.Add(reportSoon))
		return
	}
	m.doubt = nil
	p.askTicket()
}

func pathKind(k peer.PathKind) agentv1.PathKind {
	switch k {
	case peer.Direct:
		return agentv1.PathKind_PATH_KIND_DIRECT
	case peer.Relay:
		return agentv1.PathKind_PATH_KIND_RELAY
	}
	return agentv1.PathKind_PATH_KIND_NONE
}
