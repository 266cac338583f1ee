package peer

import (
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/punch"
	"p2pmodel/core/stun"
)

// lookEvery is how often signs have the servers asked, at most: somebody on a path can
// make as many as there are packets, and a NAT that was restarted shows in all sessions
// at once.
const lookEvery = time.Second

// look asks the servers how they see us, because something says that it is otherwise
// than they said last. If it is, ReflexiveChanged has all paths checked and all peers
// told (moved).
func (m *Machine) look(now time.Time) {
	if m.cfg.Keepalive < 0 || now.Sub(m.looked) < lookEvery {
		return
	}
	m.looked = now
	m.rendezvous.Refresh(now)
}

// remapped takes that a peer sees us elsewhere than before.
func (m *Machine) remapped(now time.Time, e punch.Remapped) {
	if e.InUse {
		m.cliff(now)
	}
	if now.Sub(m.looked) >= lookEvery {
		m.doubtRelay(now)
	}
	m.look(now)
}

// seenByRelay takes at which address the relay sees us.
func (m *Machine) seenByRelay(now time.Time, a *allocation, mapped netip.AddrPort) {
	was := a.mapped
	a.mapped = mapped
	if was.IsValid() && mapped.IsValid() && was != mapped && a.via == nil {
		m.look(now)
	}
}

// seenByGauge takes the same from an answer to a question of ours.
func (m *Machine) seenByGauge(now time.Time, g *gauge, payload []byte) {
	answer, err := stun.Parse(payload)
	if err != nil {
		return
	}
	mapped, err := stun.GetXORAddress(answer, pion.AttrXORMappedAddress)
	if err != nil || m.via(g.cfg.Server) != nil {
		return
	}
	was := g.mapped
	g.mapped = mapped
	if was.IsValid() && was != mapped {
		m.look(now)
	}
}
