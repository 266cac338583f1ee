// Package keepalive learns for how long the NATs in front of a host keep a mapping
// that is idle, and so how seldom paths need to be kept alive.
//
// A mapping in use tells nothing: whoever asks refreshes it. So a second socket makes
// a mapping of its own, exchanges packets with a server as a path in use does, and is
// left idle. Then the first socket has the server send to that mapping (RFC 5780's
// RESPONSE-PORT, section 4.6), which refreshes nothing that is dead. What arrives was
// alive at that age; where nothing does, while the server answers the first socket, it
// was dead. Each age takes a new mapping. Ages grow until one is dead, then they are
// halved between the two.
//
// An interval is only ever widened on proof, to half of the oldest age that lived, and
// Narrow takes all of it back when a path was lost in idleness.
//
// A Learner has no I/O. Its owner opens and closes its second socket, sends by both,
// and gives it what arrives from the server.
package keepalive

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

const (
	// Safe is the interval while nothing is known: half of the shortest idle
	// timeout known in the field.
	Safe = 5 * time.Second
	// First is the first age that is tried, Most the oldest one: an interval of
	// more than half a minute saves next to nothing.
	First = 12 * time.Second
	Most  = time.Minute
	// Settle is the time before the first mapping, in which a session finds its
	// paths.
	Settle = 5 * time.Second
	// Again is how long what was found out is believed before it is tried again.
	Again = 10 * time.Minute

	// warm is the time between the two exchanges by which a mapping becomes that of
	// a stream: Linux wants packets both ways after 2 s.
	warm = 2500 * time.Millisecond
	// fineness is the share of the dead age to which it is found out, finest the
	// least that is looked into.
	fineness = 6
	finest   = 2 * time.Second
	// asks are the questions that silence takes, askEvery the time between them.
	asks     = 4
	askEvery = 500 * time.Millisecond
	// wrong is how many verdicts may contradict others before the learner gives up.
	wrong = 4
	// pause is the time after something that told nothing.
	pause = 30 * time.Second
)

// Known is what was found out about a network: mappings that were idle for Alive
// lived, one that was idle for Dead did not; zero where none was.
type Known struct{ Alive, Dead time.Duration }

// Interval is how often to keep a path alive: half of the age that lived, and Safe at
// least.
func (k Known) Interval() time.Duration { return max(Safe, k.Alive/2) }

// Learned says that something more is known.
type Learned struct{ Known }

// Ask is a request to the server, by the first socket or by the second.
type Ask struct {
	Second  bool
	Payload []byte
}

type state uint8

const (
	resting   state = iota // until at
	opening                // the second socket is being opened
	greeting               // the mapping is being made
	warming                // until the second exchange
	answering              // the second exchange is under way
	idling                 // until at
	asking                 // whether it lives
	stopped
)

// Learner is driven like a sansio.Machine, except that it owns no socket. It is not
// safe for concurrent use.
type Learner struct {
	random io.Reader
	known  Known
	state  state
	at     time.Time // when the next step is due
	sends  int
	ids    [][pion.TransactionIDSize]byte // what may be answered in this state
	// plain are questions of the first socket that ask for nothing special;
	// reached: the server has answered one.
	plain   [][pion.TransactionIDSize]byte
	reached bool
	mapped  netip.AddrPort
	last    time.Time // when the mapping was used last
	age     time.Duration
	most    time.Duration // the oldest age that is tried
	wrongs  int
	proved  bool // that the server does as it is asked

	open  bool
	binds sansio.Queue[bool]
	out   sansio.Queue[Ask]
	told  sansio.Queue[Learned]
}

// New makes a learner that begins after Settle, with what is known of the network.
func New(now time.Time, random io.Reader, known Known) *Learner {
	return &Learner{random: random, known: known, most: Most, at: now.Add(Settle)}
}

// done says that there is nothing to win by going on.
func (l *Learner) done() bool {
	k := l.known
	return k.Alive >= l.most || k.Dead > 0 && k.Dead-k.Alive <= max(finest, k.Dead/fineness)
}

// next is the age to try next.
func (l *Learner) next() time.Duration {
	k := l.known
	switch {
	case l.done():
		return k.Alive
	case k.Dead > 0:
		return (k.Alive + k.Dead) / 2
	case k.Alive == 0:
		return First
	}
	return min(2*k.Alive, l.most)
}

// Known is what it knows.
func (l *Learner) Known() Known { return l.known }

// Narrow takes back what was learned: a path was lost that had been idle for so long.
// It begins anew, and goes no further than to that age until it was right for a while.
func (l *Learner) Narrow(now time.Time, idle time.Duration) {
	if l.known.Alive == 0 {
		return
	}
	l.known, l.most, l.wrongs = Known{}, min(Most, max(First, idle)), 0
	l.told.Push(Learned{l.known})
	l.rest(now, pause)
}

// HandleBound says that the second socket is open, or why not.
func (l *Learner) HandleBound(now time.Time, err error) {
	switch {
	case err != nil:
		l.open = false
		l.rest(now, pause)
	case l.state == opening:
		l.state, l.sends = greeting, 0
		l.step(now)
	}
}

// HandleDatagram takes what came from the server, and says whether it was the
// learner's.
func (l *Learner) HandleDatagram(now time.Time, second bool, payload []byte) bool {
	if !stun.Is(payload) || len(payload) < 20 {
		return second
	}
	id := [pion.TransactionIDSize]byte(payload[8:20])
	if !second && slices.Contains(l.plain, id) {
		l.reached = true
		return true
	}
	if !second || !slices.Contains(l.ids, id) {
		return second
	}
	m, err := stun.Parse(payload)
	if err != nil || m.Type != pion.BindingSuccess {
		return true
	}
	switch l.state {
	case greeting, answering:
		mapped, err := stun.GetXORAddress(m, pion.AttrXORMappedAddress)
		if err != nil {
			return true
		}
		if l.state == answering && mapped != l.mapped {
			l.rest(now, pause) // it does not even keep a mapping in use
			return true
		}
		l.mapped, l.last = mapped, now
		if l.state == greeting {
			l.wait(warming, now.Add(warm))
		} else {
			l.age = l.next()
			if !l.proved {
				l.age = 0 // first whether this way of asking works at all
			}
			l.wait(idling, now.Add(l.age))
		}
	case asking:
		l.lived(now)
	}
	return true
}

// lived takes that a mapping was alive.
func (l *Learner) lived(now time.Time) {
	if l.age == 0 {
		l.proved = true
		l.rest(now, 0)
		return
	}
	l.verdict(now, func(k *Known) {
		k.Alive = max(k.Alive, l.age)
		if k.Dead > 0 && k.Alive >= k.Dead {
			k.Dead, l.wrongs = 0, l.wrongs+1 // an answer was lost, or the NAT is another one
		}
	})
}

// died takes that nothing came through a mapping.
func (l *Learner) died(now time.Time) {
	switch {
	case !l.reached:
		l.rest(now, pause) // the server is away: that says nothing of the NAT
	case l.age == 0:
		l.stop() // no answers to another port here
	default:
		l.verdict(now, func(k *Known) {
			k.Dead = l.age
			if k.Alive >= k.Dead {
				// What had lived died: whatever was known is not true any more.
				k.Alive, l.wrongs = 0, l.wrongs+1
				if k.Dead <= First {
					k.Dead = 0
				}
			}
		})
	}
}

func (l *Learner) verdict(now time.Time, take func(k *Known)) {
	before := l.known
	take(&l.known)
	if l.known != before {
		l.told.Push(Learned{l.known})
	}
	switch {
	case l.wrongs >= wrong || l.known.Alive == 0 && l.known.Dead > 0 && l.done():
		l.stop()
	case l.done():
		l.wrongs, l.most = 0, min(Most, 2*l.most)
		l.rest(now, Again)
	default:
		l.rest(now, 0)
	}
}

// stop ends the learning; the interval stays what it is, or is the safe one.
func (l *Learner) stop() {
	if l.wrongs >= wrong {
		l.known = Known{}
		l.told.Push(Learned{l.known})
	}
	l.close()
	l.state, l.at = stopped, time.Time{}
}

// rest closes the second socket and begins with another one after a while.
func (l *Learner) rest(now time.Time, d time.Duration) {
	l.close()
	l.state, l.at = resting, now.Add(d)
}

func (l *Learner) close() {
	if l.open {
		l.open = false
		l.binds.Push(false)
	}
	l.ids, l.plain = nil, nil
}

func (l *Learner) wait(s state, at time.Time) {
	l.state, l.at, l.sends, l.ids = s, at, 0, nil
}

// HandleTimeout does what is due.
func (l *Learner) HandleTimeout(now time.Time) {
	if l.at.IsZero() || now.Before(l.at) {
		return
	}
	switch l.state {
	case resting:
		l.open = true
		l.wait(opening, time.Time{})
		l.binds.Push(true)
	case warming:
		l.wait(answering, now)
		l.step(now)
	case idling:
		l.age = now.Sub(l.last) // no less than it was to be
		if l.proved && l.age > l.next()+Safe {
			l.rest(now, 0) // the process slept: what it finds is of no use
			return
		}
		if !l.proved {
			l.age = 0
		}
		l.wait(asking, now)
		l.reached = false
		l.step(now)
	case greeting, answering, asking:
		l.step(now)
	}
}

// step sends the next request of a state, or gives up.
func (l *Learner) step(now time.Time) {
	if l.sends == asks {
		if l.state == asking {
			l.died(now)
		} else {
			l.rest(now, pause)
		}
		return
	}
	l.sends++
	l.at = now.Add(askEvery)
	if l.state != asking {
		l.ids = append(l.ids, l.ask(true, 0))
		return
	}
	l.ids = append(l.ids, l.ask(false, l.mapped.Port()))
	l.plain = append(l.plain, l.ask(false, 0))
}

// ask sends a Binding request, which is answered to another port where one is named.
func (l *Learner) ask(second bool, port uint16) (id [pion.TransactionIDSize]byte) {
	if _, err := io.ReadFull(l.random, id[:]); err != nil {
		panic(fmt.Sprintf("keepalive: random source: %v", err))
	}
	var attributes []stun.Attribute
	if port != 0 {
		attributes = []stun.Attribute{{Type: pion.AttrResponsePort, Value: append(binary.BigEndian.AppendUint16(nil, port), 0, 0)}}
	}
	l.out.Push(Ask{Second: second, Payload: stun.Binding(id, stun.PaysForMapped, attributes...)})
	return id
}

// PollBind says whether the second socket is to be opened (true) or closed.
func (l *Learner) PollBind() (open, ok bool) { return l.binds.Pop() }

// PollTransmit gives the next request to send to the server.
func (l *Learner) PollTransmit() (Ask, bool) { return l.out.Pop() }

// PollEvent gives what was found out.
func (l *Learner) PollEvent() (Learned, bool) { return l.told.Pop() }

// PollTimeout is when HandleTimeout wants to be called; the zero time means never.
func (l *Learner) PollTimeout() time.Time { return l.at }

// Close ends it; PollBind says what is still to be closed.
func (l *Learner) Close() {
	l.close()
	l.state, l.at = stopped, time.Time{}
}
