package peer

import (
	"net/netip"
	"time"

	"p2pmodel/core/keepalive"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
)

// probeSocket is the socket of the learner's mappings. No other machine's part uses
// such a number.
const probeSocket sansio.Socket = 1 << 19

// maxNetworks bounds what is remembered of networks.
const maxNetworks = 16

// upkeep says how often mappings are kept alive, by what has been learned of the NATs
// in front of us. What was learned in a network is remembered under its address as
// the rendezvous sees it.
type upkeep struct {
	learner *keepalive.Learner // nil: not here, or not yet
	network netip.Addr
	known   map[netip.Addr]keepalive.Known
	// interval is the one of paths that carry nothing; zero: Safe.
	interval time.Duration
}

// learn begins to learn about the network that the rendezvous sees us in, if nobody
// has said how often to keep paths alive.
func (m *Machine) learn(now time.Time) {
	u := &m.upkeep
	network := m.reflexive.Addr()
	if m.cfg.Keepalive != 0 || !network.IsValid() || u.learner != nil && u.network == network {
		return
	}
	m.unlearn()
	if u.known == nil || len(u.known) >= maxNetworks {
		u.known = make(map[netip.Addr]keepalive.Known)
	}
	u.network, u.learner = network, keepalive.New(now, m.cfg.Rand, u.known[network])
	m.keepAlive(now)
}

// unlearn ends the learning; what is known is remembered.
func (m *Machine) unlearn() {
	if l := m.upkeep.learner; l != nil {
		l.Close()
		m.bindLearner(l)
		m.upkeep.learner = nil
	}
}

func (m *Machine) bindLearner(l *keepalive.Learner) (busy bool) {
	for open, ok := l.PollBind(); ok; open, ok = l.PollBind() {
		busy = true
		if open {
			m.Bind(probeSocket, netip.AddrPortFrom(m.cfg.Listen.Addr(), 0))
		} else {
			m.Unbind(probeSocket)
		}
	}
	return busy
}

// pumpLearner passes on what the learner wants.
func (m *Machine) pumpLearner(now time.Time) (busy bool) {
	l := m.upkeep.learner
	if l == nil {
		return false
	}
	busy = m.bindLearner(l)
	for a, ok := l.PollTransmit(); ok; a, ok = l.PollTransmit() {
		busy = true
		s := sansio.Socket(0)
		if a.Second {
			s = probeSocket
		}
		m.Outbox.Send(s, m.servers.Rendezvous, a.Payload)
	}
	for e, ok := l.PollEvent(); ok; e, ok = l.PollEvent() {
		busy = true
		m.upkeep.known[m.upkeep.network] = e.Known
		m.keepAlive(now)
	}
	return busy
}

// learns takes a datagram that is the learner's.
func (m *Machine) learns(now time.Time, s sansio.Socket, from netip.AddrPort, payload []byte) bool {
	second := s == probeSocket
	if m.upkeep.learner == nil || from != m.servers.Rendezvous {
		return second
	}
	return m.upkeep.learner.HandleDatagram(now, second, payload)
}

// keepAlive has all parts keep their mappings alive as often as is known to be needed.
func (m *Machine) keepAlive(now time.Time) {
	known := m.upkeep.learner.Known()
	d := known.Interval()
	if d == max(keepalive.Safe, m.upkeep.interval) {
		return
	}
	m.upkeep.interval = d
	m.Emit(KeepaliveLearned{Interval: d, Alive: known.Alive, Dead: known.Dead})
	for _, s := range m.sessions {
		s.agent.SetKeepalive(now, d)
	}
	// Servers have an interval of their own while nothing is known, and a longer one
	// than that is not worth the wait for what they would tell.
	servers := rendezvous.DefaultKeepalive
	if known.Dead > 0 {
		servers = min(d, servers)
	}
	m.rendezvous.SetKeepalive(now, servers)
	for _, a := range m.relays {
		a.relay.SetKeepalive(now, servers)
	}
}

// pathKeepalive is how often paths that carry nothing are kept alive; zero: by default.
func (m *Machine) pathKeepalive() time.Duration {
	if m.cfg.Keepalive != 0 {
		return m.cfg.Keepalive
	}
	return m.upkeep.interval
}

// cliff takes that a mapping was lost in idleness.
func (m *Machine) cliff(now time.Time) {
	if l := m.upkeep.learner; l != nil && m.upkeep.interval > keepalive.Safe {
		l.Narrow(now, m.upkeep.interval)
	}
}
