package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/punch"
	"p2pmodel/core/stun"
	"p2pmodel/core/traits"
)

// hint is what one side of a session tells the other about its ports, over the path
// that they have: a STUN request with the session's credentials, so that nobody
// but the peer can have sent it. It names ports only. The address to which they
// belong is the one at which the rendezvous sees the peer: a hint cannot have us
// send to anybody else.
type hint struct {
	// Number grows with each hint of a side, so that a late one is known for what
	// it is.
	Number uint32
	Kind   hintKind
	Traits traits.Traits
	// Accepts is what the side takes part in.
	Accepts acceptance
	// Ports are at most traits.MostPorts.
	Ports []uint16
}

// hintKind is what a hint is about.
type hintKind uint8

const (
	// hintTraits has no more than traits: of a side that was asked, or asks.
	hintTraits hintKind = iota
	// hintPorts: one of the ports leads to a socket that waits for checks.
	hintPorts
	// hintMeet: one of the sender's next mappings will have the port, and both are
	// to send to the other's.
	hintMeet
	// hintSearch: the sender has opened sockets at random ports.
	hintSearch
	// hintOver: the sender does not go on with what was begun.
	hintOver
	hintKinds
)

// acceptance is a set of techniques.
type acceptance uint8

const (
	acceptsPrediction acceptance = 1 << iota
	acceptsBirthday
)

const hintHeader = 4 + 1 + 1 + traits.Size + 1

var errHint = errors.New("malformed hint")

func (h hint) encode() []byte {
	b := make([]byte, 0, hintHeader+2*len(h.Ports))
	b = binary.BigEndian.AppendUint32(b, h.Number)
	b = append(b, byte(h.Kind), byte(h.Accepts))
	b = h.Traits.Append(b)
	b = append(b, byte(len(h.Ports)))
	for _, p := range h.Ports {
		b = binary.BigEndian.AppendUint16(b, p)
	}
	return b
}

func decodeHint(b []byte) (h hint, err error) {
	if len(b) < hintHeader {
		return h, fmt.Errorf("%w: %d bytes, want at least %d", errHint, len(b), hintHeader)
	}
	h.Number, h.Kind, h.Accepts = binary.BigEndian.Uint32(b), hintKind(b[4]), acceptance(b[5])
	if h.Kind >= hintKinds {
		return h, fmt.Errorf("%w: kind %d", errHint, h.Kind)
	}
	if h.Traits, err = traits.Decode(b[6:]); err != nil {
		return h, fmt.Errorf("%w: %w", errHint, err)
	}
	count := int(b[hintHeader-1])
	b = b[hintHeader:]
	if count > traits.MostPorts || len(b) != 2*count {
		return h, fmt.Errorf("%w: %d ports in %d bytes", errHint, count, len(b))
	}
	for i := range count {
		p := binary.BigEndian.Uint16(b[2*i:])
		if p == 0 {
			return h, fmt.Errorf("%w: port 0", errHint)
		}
		h.Ports = append(h.Ports, p)
	}
	return h, nil
}

// errand is a hint on its way.
type errand struct {
	id      [pion.TransactionIDSize]byte
	kind    hintKind
	payload []byte
	tries   int
	next    time.Time // zero: none is on its way
}

// hintTries is how often a hint is sent: a path's round trip and a half after the first
// time, and then after twice as long each time, 4.7 s in all on most paths. That
// outlives a path that has died and its successor's coming.
const hintTries = 6

// tell sends a hint over the session's path until it is answered. A later one takes
// its place.
func (m *Machine) tell(now time.Time, s *session, h hint) {
	s.hard.number++
	h.Number, h.Traits, h.Accepts = s.hard.number, m.survey.traits, m.accepts()
	e := &s.hard.errand
	m.draw(e.id[:])
	w := stun.Write(stun.MethodHint, pion.ClassRequest, e.id, 256)
	w.Text(pion.AttrUsername, s.remote.ufrag, ":", s.local.ufrag)
	w.Bytes(stun.AttrHint, h.encode())
	w.Sign(stun.ShortTerm(s.remote.pwd))
	w.Fingerprint()
	e.kind, e.payload, e.tries = h.Kind, w.Raw(), 0
	m.stats.Hard.Hints++
	m.runErrand(now, s)
}

func (m *Machine) runErrand(now time.Time, s *session) {
	e := &s.hard.errand
	if e.tries == hintTries {
		e.next = time.Time{}
		m.unheard(now, s)
		return
	}
	e.next = now.Add(m.roundTrip(s) * 3 / 2 << e.tries)
	e.tries++
	if path, ok := s.agent.Path(); ok {
		m.transmit(now, path.Base, path.Remote, e.payload)
	}
}

// unheard ends a search of which the peer cannot be told: it says nothing of the networks.
func (m *Machine) unheard(now time.Time, s *session) {
	if o, ok := s.hard.attempt.(*opening); ok && s.hard.errand.kind == hintSearch {
		o.over, o.refused = true, true
		m.advance(now, s)
	}
}

// roundTrip is that of the session's path, with something for a busy host.
func (m *Machine) roundTrip(s *session) time.Duration {
	rtt, _ := s.agent.PathRTT()
	return max(rtt, 50*time.Millisecond)
}

// isHint reports whether a datagram is a hint or an answer to one.
func isHint(payload []byte) bool {
	if !stun.Is(payload) {
		return false
	}
	var t pion.MessageType
	t.ReadValue(binary.BigEndian.Uint16(payload))
	return t.Method == stun.MethodHint
}

// handleHint takes a hint, or an answer to one.
func (m *Machine) handleHint(now time.Time, b punch.Base, from netip.AddrPort, payload []byte) {
	message, err := stun.Parse(payload)
	if err != nil {
		m.stats.Strange++
		return
	}
	if message.Type.Class != pion.ClassRequest {
		for _, s := range m.sessions {
			e := &s.hard.errand
			if !e.next.IsZero() && e.id == message.TransactionID && stun.ShortTerm(s.remote.pwd).Check(message) == nil {
				e.next = time.Time{}
				return
			}
		}
		return
	}
	for _, s := range m.sessions {
		username, err := message.Get(pion.AttrUsername)
		if err != nil || string(username) != s.local.ufrag+":"+s.remote.ufrag {
			continue
		}
		if stun.ShortTerm(s.local.pwd).Check(message) != nil {
			m.stats.Unauthentic++
			return
		}
		value, err := message.Get(stun.AttrHint)
		if err != nil {
			m.stats.Strange++
			return
		}
		h, err := decodeHint(value)
		if err != nil {
			m.stats.BadOffers++
			return
		}
		w := stun.Write(stun.MethodHint, pion.ClassSuccessResponse, message.TransactionID, 32)
		w.Sign(stun.ShortTerm(s.local.pwd))
		w.Fingerprint()
		m.transmit(now, b, from, w.Raw())
		if h.Number > s.hard.heard {
			s.hard.heard = h.Number
			m.hinted(now, s, h)
		}
		return
	}
	m.stats.Strange++
}
