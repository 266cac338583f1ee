package peer

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/punch"
	"p2pmodel/core/secure"
)

// Stats counts what a machine did.
type Stats struct {
	// Sessions that began, Introductions asked of the rendezvous, Restarts of
	// checks, PathsLost, Roams to other addresses.
	Sessions, Introductions, Restarts, PathsLost, Roams uint64
	// Sleeps are times in which nobody called the machine when it wanted to be.
	Sleeps uint64
	// Sent and Received are the application's datagrams.
	Sent, Received uint64
	// Duplicates are frames that arrived again or too late for the window.
	Duplicates uint64
	// Unauthentic are frames with a wrong tag, Strange datagrams that belong
	// to no session, BadOffers introductions that were not understood.
	Unauthentic, Strange, BadOffers uint64
	// Handshakes are those that gave keys, BadHandshakes messages of others: stale,
	// repeated or wrong ones.
	Handshakes, BadHandshakes uint64
	// NotAllowed are introductions of peers that SetAllowed does not name.
	NotAllowed uint64
	// NotSent are datagrams that the relay could not take, Withheld checks to
	// peers that nobody asked for, beyond what these may have.
	NotSent, Withheld uint64
	// Hard is about NATs that plain punching does not pass.
	Hard HardStats
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
		total.Checks.Split += c.Split
		total.Checks.Early += c.Early
		total.Checks.Unauthentic += c.Unauthentic
		total.Checks.RoleConflicts += c.RoleConflicts
	}
	return total
}

// Send sends a datagram to a peer over the session's present path. It is not
// repeated if it gets lost. While there is no path, or only one that is in doubt, it
// may leave by ways on which the peer's checks came, as far as those may be answered
// with (punch.Agent.Early). The error is ErrNoSession, ErrNoPath or ErrTooLarge.
func (m *Machine) Send(now time.Time, peer identity.ID, payload []byte) error {
	s := m.sessionWith(peer)
	if s == nil {
		return fmt.Errorf("send to %s: %w", peer.Short(), ErrNoSession)
	}
	if len(payload) > MaxPayload {
		return fmt.Errorf("send %d bytes to %s: %w", len(payload), peer.Short(), ErrTooLarge)
	}
	if !s.channel.Ready() {
		return fmt.Errorf("send to %s: %w", peer.Short(), ErrNoPath)
	}
	ways := s.agent.Early(now, secure.Overhead+len(payload))
	if path, ok := s.agent.Path(); ok {
		ways = append(ways, path)
	}
	if len(ways) == 0 {
		return fmt.Errorf("send to %s: %w", peer.Short(), ErrNoPath)
	}
	frame, err := s.channel.Seal(byte(frameData), payload)
	if err != nil {
		return fmt.Errorf("send to %s: %w", peer.Short(), err)
	}
	for i, way := range ways {
		if i > 0 {
			frame = bytes.Clone(frame)
		}
		m.transmit(now, way.Base, way.Remote, frame)
	}
	m.stats.Sent++
	s.agent.NoteSent(now)
	m.pump(now)
	return nil
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

// receiveFrame delivers a frame, from whatever address it came: that it opens
// proves it. It does not make that address one to send to; checks do.
func (m *Machine) receiveFrame(now time.Time, b punch.Base, from netip.AddrPort, datagram []byte) {
	slot, _ := secure.Slot(datagram)
	s := m.slots[slot]
	if s == nil {
		m.stats.Strange++
		return
	}
	kind, payload, err := s.channel.Open(now, datagram)
	switch {
	case errors.Is(err, secure.ErrReplayed):
		m.stats.Duplicates++
		return
	case errors.Is(err, secure.ErrNoKeys):
		m.stats.Strange++
		return
	case err != nil:
		m.stats.Unauthentic++
		return
	}
	m.acquainted(s)
	s.agent.NoteReceived(now, b, from, len(datagram))
	if frameType(kind) == frameBye {
		m.end(now, s, ErrClosedByPeer)
		return
	}
	m.stats.Received++
	m.Emit(Received{Peer: s.peer, Session: s.id, Payload: payload, Via: s.agent.KindOf(b, from)})
}

// sayBye tells the peer that the session is over. All copies have one number:
// they are one frame.
func (m *Machine) sayBye(now time.Time, s *session) {
	path, ok := s.agent.Path()
	if !ok {
		return
	}
	bye, err := s.channel.Seal(byte(frameBye), nil)
	if err != nil {
		return // there was nothing to say it by yet, nor has the peer said anything
	}
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
