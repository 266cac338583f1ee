package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/punch"
	"p2pmodel/core/secure"
)

// session is what is kept of one peer.
type session struct {
	peer identity.ID
	id   SessionID
	// initiator: our Connect began it.
	initiator bool
	// dialed: the application asked for it, not only a room or the peer. uninvited: the
	// peer began it, or the one that it takes the place of, and nobody here has asked.
	dialed, uninvited bool
	local, remote     keys
	agent             *punch.Agent
	// channel seals and opens frames; slot is where it is found by them.
	channel *secure.Channel
	slot    uint32

	// introduced: the rendezvous has told us where the peer is. established:
	// there was a path once.
	introduced, established bool
	remoteInstance          uint64
	remoteGeneration        uint32
	permitted               []netip.AddrPort

	// introducedAt is when the rendezvous was asked last, retryAt when to ask
	// it again, attempts how often that was in vain.
	introducedAt time.Time
	retryAt      time.Time
	attempts     int
	// upgrades is how often a session that goes over a relay has looked for a
	// direct path again.
	upgrades   int
	pathlessAt time.Time // since when there is no path; zero: there is one

	// hard is what is done about hard NATs.
	hard hardship

	// challenger is a session of the peer's that replaces this one unless this
	// one answers.
	challenger *challenge
}

const (
	// retryFirst is the wait before a second introduction; it doubles up to
	// retryMax.
	retryFirst = time.Second
	retryMax   = 30 * time.Second
	// upgradeFirst is the wait before a session that goes over a relay looks for a
	// direct path again: what kept it from one may be over. It doubles up to
	// upgradeMax, since between some NATs there never is one.
	upgradeFirst = 5 * time.Second
	upgradeMax   = 2 * time.Minute
	// byes is how often the end of a session is said: nobody repeats it.
	byes = 3
)

// begin makes a session. The error is identity.ErrUnusable, ErrTooMany or
// ErrNotAllowed.
func (m *Machine) begin(now time.Time, peer identity.ID, id SessionID, initiator bool) (*session, error) {
	if !m.allows(peer) {
		return nil, ErrNotAllowed
	}
	if room := maxSessions - len(m.sessions); room <= 0 || !initiator && room <= ownSessions {
		return nil, ErrTooMany
	}
	shared, err := m.cfg.Key.Shared(peer)
	if err != nil {
		return nil, fmt.Errorf("session with %s: %w", peer.Short(), err)
	}
	local, remote := sessionKeys(shared, m.ID(), peer, id)
	s := &session{peer: peer, id: id, initiator: initiator, local: local, remote: remote, pathlessAt: now}
	if err := m.openChannel(s, shared); err != nil {
		return nil, err
	}
	var tie [8]byte
	m.draw(tie[:])
	s.agent, err = punch.New(now, punch.Config{
		// A rule that needs no agreement: no conflict arises, whoever connects.
		Controlling: m.ID().Compare(peer) < 0,
		TieBreaker:  binary.BigEndian.Uint64(tie[:]),
		LocalUfrag:  local.ufrag, LocalPwd: local.pwd,
		RemoteUfrag: remote.ufrag, RemotePwd: remote.pwd,
		Rand:  m.cfg.Rand,
		Rider: rider{m, s},
		Timing: punch.Timing{
			Keepalive: m.pathKeepalive(), Consent: m.cfg.Consent, DeadAfter: m.cfg.DeadAfter,
			RTT: 2 * m.rendezvous.RTT(),
		},
		Extended:  true, // until an offer says otherwise
		NoSplit:   m.cfg.Techniques.NoSplit,
		RelayOnly: m.cfg.Techniques.RelayOnly,
	})
	if err != nil {
		return nil, err
	}
	m.sessions = append(m.sessions, s)
	m.slots[s.slot] = s
	m.setLocal(now, s)
	m.stats.Sessions++
	return s, nil
}

// Connect begins a session with a peer, or does nothing if there is one.
// Introduced and PathChanged follow, or Failed; the machine goes on trying
// until Close, or until it gives up.
func (m *Machine) Connect(now time.Time, peer identity.ID) error {
	if peer == m.ID() {
		return ErrSelf
	}
	if s := m.sessionWith(peer); s != nil {
		s.dialed = true
		return nil
	}
	s, err := m.connect(now, peer)
	if err != nil {
		return err
	}
	s.dialed = true
	m.introduce(now, s)
	m.pump(now)
	return nil
}

func (m *Machine) connect(now time.Time, peer identity.ID) (*session, error) {
	var id SessionID
	m.draw(id[:])
	return m.begin(now, peer, id, true)
}

// Close ends the session with a peer and tells it so.
func (m *Machine) Close(now time.Time, peer identity.ID) {
	if s := m.sessionWith(peer); s != nil {
		m.sayBye(now, s)
		m.end(now, s, nil)
		m.pump(now)
	}
}

// Shutdown ends all sessions, the allocation and the registration. What it wants
// sent is to be sent; nothing is answered any more.
func (m *Machine) Shutdown(now time.Time) {
	for len(m.sessions) > 0 {
		m.Close(now, m.sessions[0].peer)
	}
	m.rooms, m.expected = nil, nil
	for _, a := range m.relays {
		a.relay.Close(now)
	}
	m.rendezvous.Stop(now)
	m.pump(now)
}

// end forgets a session.
func (m *Machine) end(now time.Time, s *session, err error) {
	m.sessions = slices.DeleteFunc(m.sessions, func(o *session) bool { return o == s })
	delete(m.slots, s.slot)
	m.hardEnd(now, s)
	m.buried.add(now, s.id)
	for _, p := range s.permitted {
		m.forgetPermission(p)
	}
	m.Emit(Closed{Peer: s.peer, Session: s.id, Err: err})
	if !errors.Is(err, ErrReplaced) {
		m.missed(s.peer)
	}
}

func (m *Machine) sessionWith(peer identity.ID) *session {
	for _, s := range m.sessions {
		if s.peer == peer {
			return s
		}
	}
	return nil
}

func (m *Machine) sessionByID(id SessionID) *session {
	for _, s := range m.sessions {
		if s.id == id {
			return s
		}
	}
	return nil
}

// pumpSession passes on what an agent wants.
func (m *Machine) pumpSession(now time.Time, s *session) (busy bool) {
	for t, ok := s.agent.PollTransmit(); ok; t, ok = s.agent.PollTransmit() {
		busy = true
		if s.stranger() && !m.strangers.take(now, len(t.Payload)) {
			m.stats.Withheld++
			continue
		}
		m.transmit(now, t.Base, t.Remote, t.Payload)
	}
	for e, ok := s.agent.PollEvent(); ok; e, ok = s.agent.PollEvent() {
		busy = true
		switch e := e.(type) {
		case punch.PathChanged:
			m.pathChanged(now, s, e)
		case punch.Settled:
			m.settled(now, s, e.Path)
		case punch.PathLost:
			m.Emit(PathLost{Peer: s.peer, Session: s.id, Path: e.Path, After: e.After})
			m.stats.PathsLost++
			if c := s.challenger; c != nil && e.Path.Kind != NoPath {
				c.until = now // it has not answered
			}
			m.doubtRelay(now)
			m.retrySoon(now, s)
		case punch.PathQuiet:
			m.look(now)
		case punch.Remapped:
			m.remapped(now, e)
		}
	}
	return busy
}

// transmit sends by a base. What the relay cannot take now is lost, as any
// datagram may be.
func (m *Machine) transmit(now time.Time, b punch.Base, to netip.AddrPort, payload []byte) {
	switch {
	case b == socketBase:
		m.Outbox.Send(0, to, payload)
		return
	case b >= firstExtra:
		m.sendExtra(b, to, payload)
		return
	case b == formerBase && m.former != nil:
		m.SendFrom(0, m.former.addr, to, payload)
		return
	}
	for _, a := range m.relays {
		if a.base == b && a.relay.Send(now, to, payload) == nil {
			return
		}
	}
	m.stats.NotSent++
}

func (m *Machine) pathChanged(now time.Time, s *session, e punch.PathChanged) {
	m.acquainted(s)
	m.Emit(PathChanged{Peer: s.peer, Session: s.id, Old: e.Old, New: e.New})
	m.watchLeaving(now)
	if e.New.Kind == NoPath {
		s.pathlessAt = now
		return
	}
	s.pathlessAt, s.established = time.Time{}, true
	m.hardPath(now, s, e)
}

// acquainted notes that both sides know of the session: by the rendezvous, or
// because the peer found us before the rendezvous told us of it.
func (m *Machine) acquainted(s *session) (first bool) {
	if s.introduced {
		return false
	}
	s.introduced = true
	m.Emit(Introduced{Peer: s.peer, Session: s.id, Initiator: s.initiator})
	return true
}

// settled ends a round of introductions, unless it brought nothing.
func (m *Machine) settled(now time.Time, s *session, path Path) {
	if !s.introduced {
		return // the agent waits for a peer of whom it knows nothing
	}
	m.tellSettled(now, s, path)
	if path.Kind == NoPath {
		if s.initiator || !s.stranger() { // else it is the stranger's to try again
			m.doubtRelay(now)
			m.retryLater(now, s)
		}
		return
	}
	s.attempts, s.retryAt = 0, time.Time{}
	if path.Kind == Direct {
		s.upgrades = 0
		return
	}
	m.upgradeLater(now, s)
}

// tombstones remember sessions that ended, so that messages about them which
// come late revive none.
type tombstones struct {
	ids   []SessionID
	times []time.Time
}

const (
	maxTombstones = 256
	tombstoneLife = time.Minute // past all retransmissions of the rendezvous
)

func (t *tombstones) add(now time.Time, id SessionID) {
	for len(t.ids) > 0 && (len(t.ids) >= maxTombstones || now.Sub(t.times[0]) > tombstoneLife) {
		t.ids, t.times = t.ids[1:], t.times[1:]
	}
	t.ids, t.times = append(t.ids, id), append(t.times, now)
}

// since is when a session was buried; false: it is not.
func (t *tombstones) since(id SessionID) (time.Time, bool) {
	if i := slices.Index(t.ids, id); i >= 0 {
		return t.times[i], true
	}
	return time.Time{}, false
}
