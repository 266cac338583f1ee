package peer

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/punch"
)

// Stats counts what a machine did.
type Stats struct {
	// Sessions that began, Introductions asked of the rendezvous, Restarts of
	// checks, PathsLost, Roams to other addresses.
	Sessions, Introductions, Restarts, PathsLost, Roams uint64
	// Sent and Received are the application's datagrams.
	Sent, Received uint64
	// Duplicates are frames that arrived again or too late for the window.
	Duplicates uint64
	// Unauthentic are frames with a wrong tag, Strange datagrams that belong
	// to no session, BadOffers introductions that were not understood.
	Unauthentic, Strange, BadOffers uint64
	// NotAllowed are introductions of peers that SetAllowed does not name.
	NotAllowed uint64
	// NotSent are datagrams that the relay could not take, Withheld checks to
	// peers that nobody asked for, beyond what these may have.
	NotSent, Withheld uint64
	// Checks are those of all live sessions.
	Checks punch.Stats
}

// Stats gives the counters so far.
func (m *Machine) Stats() Stats {
	total := m.stats
	for _, s := range m.sessions {
		c := s.agent.Stats()
		total.Checks.ChecksSent += c.ChecksSent
		total.Checks.ChecksReceived += c.ChecksReceived
		total.Checks.AnswersReceived += c.AnswersReceived
		total.Checks.Asymmetric += c.Asymmetric
		total.Checks.Unauthentic += c.Unauthentic
		total.Checks.RoleConflicts += c.RoleConflicts
	}
	return total
}

// Send sends a datagram to a peer over the session's present path. It is not
// repeated if it gets lost. The error is ErrNoSession, ErrNoPath or ErrTooLarge.
func (m *Machine) Send(now time.Time, peer identity.ID, payload []byte) error {
	s := m.sessionWith(peer)
	if s == nil {
		return fmt.Errorf("send to %s: %w", peer.Short(), ErrNoSession)
	}
	if len(payload) > MaxPayload {
		return fmt.Errorf("send %d bytes to %s: %w", len(payload), peer.Short(), ErrTooLarge)
	}
	path, ok := s.agent.Path()
	if !ok {
		return fmt.Errorf("send to %s: %w", peer.Short(), ErrNoPath)
	}
	m.transmit(now, path.Base, path.Remote, s.seal(frameData, payload))
	m.stats.Sent++
	s.agent.NoteSent(now)
	m.pump(now)
	return nil
}

// seal makes the next frame of a session. The bytes are the same whatever path
// they take.
func (s *session) seal(kind frameType, payload []byte) []byte {
	s.sequence++
	return s.local.data.frame(kind, s.id, s.sequence, payload)
}

// Path is the present path of the session with a peer.
func (m *Machine) Path(peer identity.ID) (Path, bool) {
	if s := m.sessionWith(peer); s != nil {
		return s.agent.Path()
	}
	return Path{}, false
}

// RTT is the smoothed round-trip time of the present path of the session with a
// peer, as checks have measured it; false while there is no path.
func (m *Machine) RTT(peer identity.ID) (time.Duration, bool) {
	if s := m.sessionWith(peer); s != nil {
		return s.agent.PathRTT()
	}
	return 0, false
}

// Session is the id of the session with a peer.
func (m *Machine) Session(peer identity.ID) (SessionID, bool) {
	if s := m.sessionWith(peer); s != nil {
		return s.id, true
	}
	return SessionID{}, false
}

// receiveFrame delivers a frame, from whatever address it came: its tag and its
// number prove it. It does not make that address one to send to; checks do.
func (m *Machine) receiveFrame(now time.Time, b punch.Base, from netip.AddrPort, datagram []byte) {
	f, err := readFrame(datagram)
	if err != nil {
		m.stats.Strange++
		return
	}
	s := m.sessionByID(f.session)
	if s == nil {
		m.stats.Strange++
		return
	}
	if s.remote.data.verify(datagram) != nil {
		m.stats.Unauthentic++
		return
	}
	if !s.window.accept(f.sequence) {
		m.stats.Duplicates++
		return
	}
	m.acquainted(s)
	s.agent.NoteReceived(now, b, from)
	if f.kind == frameBye {
		m.end(now, s, ErrClosedByPeer)
		return
	}
	m.stats.Received++
	m.Emit(Received{Peer: s.peer, Session: s.id, Payload: bytes.Clone(f.payload), Via: s.agent.KindOf(b, from)})
}

// sayBye tells the peer that the session is over. All copies have one number:
// they are one frame.
func (m *Machine) sayBye(now time.Time, s *session) {
	path, ok := s.agent.Path()
	if !ok {
		return
	}
	bye := s.seal(frameBye, nil)
	for range byes {
		m.transmit(now, path.Base, path.Remote, bytes.Clone(bye))
	}
}

// Peers lists whom there are sessions with, in the order of their beginning.
func (m *Machine) Peers() []identity.ID {
	list := make([]identity.ID, len(m.sessions))
	for i, s := range m.sessions {
		list[i] = s.peer
	}
	return list
}
