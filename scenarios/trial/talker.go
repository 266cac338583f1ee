package trial

import (
	"encoding/binary"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
)

// talker is a player: a peer that sends datagrams to everybody to whom it has a path.
type talker struct {
	*peer.Machine
	interval time.Duration
	payload  []byte
	told     func(now time.Time, e sansio.Event) // of what the machine says of itself
	others   []other
	next     time.Time
	now      time.Time // of the call that is being handled
}

// other is somebody to whom there is a path, or was.
type other struct {
	id   identity.ID
	sent uint64
}

// HandleDatagram implements sansio.Machine, as what follows does.
func (t *talker) HandleDatagram(now time.Time, d sansio.Datagram) {
	t.now = now
	t.Machine.HandleDatagram(now, d)
	t.listen()
	t.speak(now)
}

func (t *talker) HandleTimeout(now time.Time) {
	t.now = now
	t.Machine.HandleTimeout(now)
	t.listen()
	t.speak(now)
}

func (t *talker) PollTimeout() time.Time {
	at := t.Machine.PollTimeout()
	if !t.next.IsZero() && (at.IsZero() || t.next.Before(at)) {
		at = t.next
	}
	return at
}

// PollEvent hands on nothing: told gets it.
func (t *talker) PollEvent() (sansio.Event, bool) {
	t.listen()
	return nil, false
}

// listen takes the peer's events. Whoever gets its first path, or whose checks are
// over, has something to say at once: so that a trial waits for no interval.
func (t *talker) listen() {
	for e, ok := t.Machine.PollEvent(); ok; e, ok = t.Machine.PollEvent() {
		switch e := e.(type) {
		case peer.PathChanged:
			if e.Old.Kind == peer.NoPath && !t.knows(e.Peer) {
				t.others = append(t.others, other{id: e.Peer})
			}
			t.next = t.now
		case peer.Settled:
			t.next = t.now
		}
		t.told(t.now, e)
	}
	if len(t.others) == 0 {
		t.next = time.Time{}
	}
}

func (t *talker) knows(id identity.ID) bool {
	for i := range t.others {
		if t.others[i].id == id {
			return true
		}
	}
	return false
}

// sent is how many datagrams have left for somebody.
func (t *talker) sent(to identity.ID) uint64 {
	for i := range t.others {
		if t.others[i].id == to {
			return t.others[i].sent
		}
	}
	return 0
}

// speak sends a datagram to each of the others, if it is time.
func (t *talker) speak(now time.Time) {
	if t.next.IsZero() || now.Before(t.next) {
		return
	}
	t.next = now.Add(t.interval)
	for i := range t.others {
		o := &t.others[i]
		binary.BigEndian.PutUint64(t.payload, o.sent)
		// An error means that there is no path now.
		if t.Send(now, o.id, t.payload) == nil {
			o.sent++
		}
	}
	t.listen()
}
