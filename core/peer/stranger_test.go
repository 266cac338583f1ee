package peer

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/punch"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio/simnet"
)

// victim is an address that offers name and that never asked for anything.
var victim = netip.MustParseAddr("203.0.113.7")

// registered is a peer that strangers can be introduced to, and what it sends to
// the victim.
func registered(t *testing.T, cfg Config) (n *node, sent *int) {
	t.Helper()
	w := newWorld(t, 1)
	n = w.peer("host", fullCone, cfg)
	sent = new(int)
	w.net.Observe(func(p simnet.Packet) {
		if p.SentDestination.Addr() == victim {
			*sent++
		}
	})
	w.net.Run(time.Second)
	return n, sent
}

// strange is an introduction by the n-th stranger, whose offer names as many
// ports of the victim as an offer holds.
func strange(n int, rtt time.Duration) rendezvous.Introduced {
	var seed [identity.Size]byte
	binary.BigEndian.PutUint32(seed[8:], uint32(n))
	o := offer{Instance: 1, Generation: 1, RTT: rtt, Features: featureExtended}
	for port := range uint16(maxCandidates) {
		o.Candidates = append(o.Candidates, punch.Candidate{
			Kind: punch.Host, Addr: netip.AddrPortFrom(victim, 1000+port), Priority: punch.Priority(punch.Host, int(port)),
		})
	}
	e := rendezvous.Introduced{Peer: identity.KeyFromSeed(seed).ID(), Offer: o.encode(), Reflexive: netip.AddrPortFrom(victim, 9)}
	binary.BigEndian.PutUint32(e.Session[:], uint32(n))
	return e
}

func (n *node) introduce(e rendezvous.Introduced) {
	n.runner.Do(func(now time.Time) {
		n.machine.introduced(now, e)
		n.machine.pump(now)
	})
}

// One introduction makes a peer send for a bounded time, whatever round trip it
// claims, and not again on its own.
func TestAStrangerIsCheckedOnce(t *testing.T) {
	n, sent := registered(t, Config{GiveUpAfter: -1})
	n.introduce(strange(1, time.Minute))
	n.w.net.Run(100 * time.Second)
	if *sent == 0 {
		t.Fatal("no check at all: the test proves nothing")
	}
	before := *sent
	n.w.net.Run(time.Hour)
	if *sent != before {
		t.Errorf("%d checks in the first 100 s, %d more in the hour that follows, want none", before, *sent-before)
	}
}

// Many strangers together cannot make a peer flood a victim, nor fill its memory.
func TestStrangersAreBounded(t *testing.T) {
	n, sent := registered(t, Config{})
	const each = 15
	seconds := 8
	if raced {
		seconds = 2 // make unit plays all of it without the race detector
	}
	for i := range seconds * each {
		n.introduce(strange(i, 0))
		n.w.net.Run(time.Second / each)
	}
	if most := 2 * (strangerBurst + seconds*strangerRate); *sent > most { // seen once at the sender's NAT, once lost behind it
		t.Errorf("%d checks to the victim in %d s, want at most %d", *sent, seconds, most)
	}
	if got := len(n.machine.sessions); got > maxStrangers {
		t.Errorf("%d sessions of strangers, want at most %d", got, maxStrangers)
	}
	if n.machine.Stats().Withheld == 0 {
		t.Error("nothing was withheld: the test proves nothing")
	}
	// A friend among them is reached all the same.
	friend := n.w.peer("friend", portRestricted, Config{})
	n.w.net.Run(time.Second)
	friend.runner.Do(func(now time.Time) {
		if err := friend.machine.Connect(now, n.id()); err != nil {
			t.Error(err)
		}
	})
	if !n.w.net.Until(10*time.Second, func() bool { p, ok := friend.machine.Path(n.id()); return ok && p.Kind == Direct }) {
		t.Error("a friend found no direct path among the strangers")
	}
}

// Nor can they by having their sessions replaced: because they are another machine now, or
// because they insist on what was buried.
func TestReplacedStrangersAreBounded(t *testing.T) {
	for name, replace := range map[string]func(n *node, e rendezvous.Introduced){
		"another instance": func(n *node, e rendezvous.Introduced) {
			o, err := decodeOffer(e.Offer)
			if err != nil {
				t.Fatal(err)
			}
			o.Instance++
			e.Offer = o.encode()
			n.introduce(e)
		},
		"insists": func(n *node, e rendezvous.Introduced) {
			first := e
			e.Session[0] = 0xee
			n.introduce(e)
			n.w.net.Run(insistAfter + time.Second)
			n.introduce(first)
		},
	} {
		n, _ := registered(t, Config{GiveUpAfter: -1})
		strangers := maxStrangers * 3 / 2
		if raced {
			strangers = maxStrangers / 4 // make unit plays all of it without the race detector
		}
		for i := range strangers {
			e := strange(i, 0)
			n.introduce(e)
			replace(n, e)
			if s := n.machine.sessionWith(e.Peer); s == nil || !s.initiator {
				t.Fatalf("%s: the session is not replaced: the test proves nothing", name)
			}
		}
		if got := len(n.machine.sessions); got > maxStrangers {
			t.Errorf("%s: %d sessions of strangers, want at most %d", name, got, maxStrangers)
		}
	}
}

// A peer that learned the id of somebody else's session cannot have it buried.
func TestAnotherPeersSessionID(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.peer("a", fullCone, Config{}), w.peer("b", fullCone, Config{})
	w.net.Run(time.Second)
	a.runner.Do(func(now time.Time) {
		if err := a.machine.Connect(now, b.id()); err != nil {
			t.Error(err)
		}
	})
	w.net.Run(3 * time.Second)
	session, ok := b.machine.Session(a.id())
	if !ok {
		t.Fatal("no session")
	}
	e := strange(1, 0)
	e.Session = session
	b.introduce(e)
	if len(b.machine.Peers()) != 1 || b.machine.Stats().BadOffers != 1 {
		t.Errorf("sessions with %v, %d offers refused; want the first one only", b.machine.Peers(), b.machine.Stats().BadOffers)
	}
}

// However many peers begin sessions, we can begin some, too.
func TestSessionsAreBounded(t *testing.T) {
	n, _ := registered(t, Config{})
	n.runner.Do(func(now time.Time) {
		begin := func(i int, initiator bool) error {
			e := strange(i, 0)
			_, err := n.machine.begin(now, e.Peer, e.Session, initiator)
			return err
		}
		i := 0
		for ; begin(i, false) == nil; i++ {
		}
		if i != maxSessions-ownSessions {
			t.Errorf("others could begin %d sessions, want %d", i, maxSessions-ownSessions)
		}
		for ; begin(i, true) == nil; i++ {
		}
		if i != maxSessions {
			t.Errorf("%d sessions in all, want %d", i, maxSessions)
		}
		if err := begin(i, true); !errors.Is(err, ErrTooMany) {
			t.Errorf("one more: %v, want %v", err, ErrTooMany)
		}
	})
}
