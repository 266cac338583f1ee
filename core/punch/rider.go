package punch

import (
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"
)

// Rider is what else travels on a session's checks and on their answers, without a
// datagram of its own: it arrives authentic, perhaps late, repeated, out of order or
// not at all, and is said again with each check. A handshake that rides is over when
// a check has been answered. Agents of others leave the attribute unread.
type Rider interface {
	// Message is what the check or answer that leaves now carries, at most MaxRide
	// bytes, valid until the next call; nil: nothing.
	Message(now time.Time) []byte
	// HandleMessage takes what an authentic check or answer carried, before that one
	// has any effect. answer: what Message gives now has to be on its way before
	// anything else of the owner's.
	HandleMessage(now time.Time, message []byte) (answer bool)
}

// MaxRide bounds what rides, in bytes. What would make an answer longer than its
// check does not ride on it: copies of checks are no means to flood somebody.
const MaxRide = 64

// attrRide is what rides on a check or an answer: comprehension-optional, at the end
// of what is unassigned, beside attrFill and stun.AttrPad.
const attrRide pion.AttrType = 0xFFF2

func (a *Agent) ride(now time.Time) []byte {
	if a.cfg.Rider == nil {
		return nil
	}
	return a.cfg.Rider.Message(now)
}

// arrived hands on what rode on a message, which has been verified.
func (a *Agent) arrived(now time.Time, m *pion.Message) (answer bool) {
	if a.cfg.Rider == nil {
		return false
	}
	value, err := m.Get(attrRide)
	return err == nil && len(value) <= MaxRide && a.cfg.Rider.HandleMessage(now, value)
}

// success answers a check, in at most so many bytes; nil: that is too few.
func (a *Agent) success(now time.Time, m *pion.Message, from netip.AddrPort, most int) []byte {
	answer := writeSuccess(m, from, a.local, a.ride(now))
	if len(answer) > most {
		answer = writeSuccess(m, from, a.local, nil)
	}
	if len(answer) > most {
		return nil
	}
	return answer
}

// rideRoom is how many bytes of a message it takes.
func rideRoom(ride []byte) int {
	if ride == nil {
		return 0
	}
	return 4 + (len(ride)+3)&^3
}
