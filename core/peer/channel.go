package peer

import (
	"encoding/binary"
	"time"

	"p2pmodel/core/secure"
)

// openChannel gives a session what seals its data, and a slot that no other session
// has.
func (m *Machine) openChannel(s *session, shared []byte) (err error) {
	for {
		var drawn [4]byte
		m.draw(drawn[1:])
		s.slot = binary.BigEndian.Uint32(drawn[:])
		if m.slots[s.slot] == nil {
			break
		}
	}
	s.channel, err = secure.New(secure.Config{
		Key: m.cfg.Key, Peer: s.peer, Shared: shared, Session: s.id, Slot: s.slot, Rand: m.cfg.Rand,
	})
	return err
}

// rider has the channel's handshake travel on the session's checks: a path that
// works has keys.
type rider struct {
	m *Machine
	s *session
}

func (r rider) Message(now time.Time) []byte { return r.s.channel.Message(now) }

func (r rider) HandleMessage(now time.Time, message []byte) (answer bool) {
	epoch := r.s.channel.Epoch()
	answer, err := r.s.channel.HandleMessage(now, message)
	if err != nil {
		r.m.stats.BadHandshakes++
	}
	if r.s.channel.Epoch() != epoch {
		r.m.stats.Handshakes++
	}
	return answer
}
