package runner

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
)

// agent is a peer of the system with something to say: it embeds the peer's
// machine and sends numbered datagrams to everybody it is connected to. It is a
// machine itself, so that it runs on any fabric.
type agent struct {
	*peer.Machine
	name     string
	interval time.Duration
	size     int
	random   *rand.Rand
	names    map[identity.ID]string

	// open are the sockets of the machine, closing those of one before it, addrs the
	// host's addresses: for who starts anew.
	open    []sansio.Socket
	closing []sansio.Bind
	addrs   []netip.Addr

	links  map[identity.ID]*conversation
	order  []identity.ID // of links, so that runs with one seed are alike
	quiet  bool
	next   time.Time
	events []sansio.Event
}

// conversation is what an agent knows of its exchange with one peer.
type conversation struct {
	sent  uint64
	heard map[uint64]int // number → how often it arrived
}

// heard is the agent's own event for a numbered datagram that arrived.
type heard struct {
	From   string
	Number uint64
	Again  bool // it had arrived before
	// Confused: From has not said it to us.
	Confused bool
}

// stood is the agent's own event for a time in which it was to speak, and the machine
// that it runs on did not let it: a silence of the laboratory's, and not of the
// network that is measured.
type stood struct{ Begin, End time.Time }

// stoodLeast is what is not worth telling: a timer is never exact.
const stoodLeast = time.Millisecond

const numberAt = 16 // offset of the number in a payload: random bytes before and after it

// addressed is the number of a datagram with what tells from whom to whom it is, in
// its upper half.
func addressed(from, to identity.ID, number uint64) uint64 {
	way := sha256.Sum256(append(from[:], to[:]...))
	return uint64(binary.BigEndian.Uint32(way[:]))<<32 | number&math.MaxUint32
}

// setQuiet stops or starts the flow of payload.
func (a *agent) setQuiet(now time.Time, quiet bool) {
	a.quiet = quiet
	a.next = now
}

// sent is how many datagrams have left for a peer.
func (a *agent) sent(to identity.ID) uint64 {
	if c := a.links[to]; c != nil {
		return c.sent
	}
	return 0
}

// speak sends one datagram to every peer, quiet or not.
func (a *agent) speak(now time.Time) {
	for _, id := range a.order {
		c := a.links[id]
		payload := make([]byte, a.size)
		for i := 0; i < len(payload); i += 8 {
			var word [8]byte
			binary.BigEndian.PutUint64(word[:], a.random.Uint64())
			copy(payload[i:], word[:])
		}
		binary.BigEndian.PutUint64(payload[numberAt:], addressed(a.ID(), id, c.sent))
		// An error means that no path is known yet; the number is not used then,
		// so that only what left counts as sent.
		if err := a.Send(now, id, payload); err == nil {
			c.sent++
		}
	}
}

// startAnew puts another machine in the place of the peer's, which is gone as by a crash.
// What has been said and heard stays known, so that nothing of it counts as new.
func (a *agent) startAnew(now time.Time, fresh *peer.Machine) {
	a.sift(now)
	a.closing = nil
	for _, s := range a.open {
		a.closing = append(a.closing, sansio.Bind{Socket: s, Close: true})
	}
	a.open, a.Machine = nil, fresh
	fresh.HandleInterfaces(now, a.addrs)
}

// HandleInterfaces implements sansio.Machine.
func (a *agent) HandleInterfaces(now time.Time, addrs []netip.Addr) {
	a.addrs = slices.Clone(addrs)
	a.Machine.HandleInterfaces(now, addrs)
}

// PollBind implements sansio.Machine.
func (a *agent) PollBind() (sansio.Bind, bool) {
	if len(a.closing) > 0 {
		b := a.closing[0]
		a.closing = a.closing[1:]
		return b, true
	}
	b, ok := a.Machine.PollBind()
	switch {
	case ok && !b.Close:
		a.open = append(a.open, b.Socket)
	case ok:
		a.forget(b.Socket)
	}
	return b, ok
}

// HandleBound implements sansio.Machine.
func (a *agent) HandleBound(now time.Time, s sansio.Socket, local netip.AddrPort, err error) {
	if err != nil {
		a.forget(s)
	}
	a.Machine.HandleBound(now, s, local, err)
}

// HandleClosed implements sansio.StreamMachine.
func (a *agent) HandleClosed(now time.Time, s sansio.Socket, remote netip.AddrPort, err error) {
	a.forget(s)
	a.Machine.HandleClosed(now, s, remote, err)
}

func (a *agent) forget(s sansio.Socket) {
	a.open = slices.DeleteFunc(a.open, func(o sansio.Socket) bool { return o == s })
}

// HandleTimeout implements sansio.Machine.
func (a *agent) HandleTimeout(now time.Time) {
	a.Machine.HandleTimeout(now)
	a.sift(now)
	if a.talking() && !now.Before(a.next) {
		if now.Sub(a.next) >= stoodLeast {
			a.events = append(a.events, stood{a.next, now})
		}
		a.speak(now)
		a.next = now.Add(a.interval)
	}
}

// HandleDatagram implements sansio.Machine.
func (a *agent) HandleDatagram(now time.Time, d sansio.Datagram) {
	a.Machine.HandleDatagram(now, d)
	a.sift(now)
}

func (a *agent) talking() bool { return !a.quiet && len(a.order) > 0 }

// PollTimeout implements sansio.Machine.
func (a *agent) PollTimeout() time.Time {
	at := a.Machine.PollTimeout()
	if a.talking() && (at.IsZero() || a.next.Before(at)) {
		at = a.next
	}
	return at
}

// PollEvent implements sansio.Machine.
func (a *agent) PollEvent() (sansio.Event, bool) {
	a.sift(time.Time{})
	if len(a.events) == 0 {
		return nil, false
	}
	e := a.events[0]
	a.events = a.events[1:]
	return e, true
}

// sift takes what concerns the conversation from the peer's events and passes
// on the rest.
func (a *agent) sift(now time.Time) {
	for {
		e, ok := a.Machine.PollEvent()
		if !ok {
			return
		}
		switch e := e.(type) {
		case peer.Introduced:
			if a.links[e.Peer] == nil {
				a.links[e.Peer] = &conversation{heard: map[uint64]int{}}
				a.order = append(a.order, e.Peer)
				if !now.IsZero() {
					a.next = now
				}
			}
			a.events = append(a.events, e)
		case peer.Received:
			a.hear(e)
		default:
			a.events = append(a.events, e)
		}
	}
}

func (a *agent) hear(e peer.Received) {
	c := a.links[e.Peer]
	if c == nil || len(e.Payload) < numberAt+8 {
		return
	}
	n := binary.BigEndian.Uint64(e.Payload[numberAt:])
	if n != addressed(e.Peer, a.ID(), n) {
		a.events = append(a.events, heard{From: a.names[e.Peer], Confused: true})
		return
	}
	n &= math.MaxUint32
	c.heard[n]++
	a.events = append(a.events, heard{From: a.names[e.Peer], Number: n, Again: c.heard[n] > 1})
}
