package rendezvous

import (
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
)

// request is a peer's request as the server has to believe it, from an address
// and with a sequence number.
func (b *bench) request(by identity.Key, from netip.AddrPort, sequence uint64, method pion.Method, attributes ...pion.Setter) *pion.Message {
	b.t.Helper()
	key, err := sharedKey(by, b.ID(), by.ID(), b.ID())
	if err != nil {
		b.t.Fatal(err)
	}
	var nonce string
	b.inside(func() { nonce = b.nonces.Issue(b.now, from) })
	all := []pion.Setter{idAttribute(stun.AttrPeerID, by.ID()), sequenceAttribute(sequence),
		stun.Attribute{Type: pion.AttrNonce, Value: []byte(nonce)}}
	return seal(method, pion.ClassRequest, drawID(random(sequence)), key, append(all, attributes...)...)
}

func offerOf(text string) pion.Setter {
	return stun.Attribute{Type: stun.AttrOffer, Value: []byte(text)}
}

func codeOf(a answer) int {
	if err := stun.ErrorOf(a.Message); err != nil {
		return err.(*stun.ResponseError).Code
	}
	return 0
}

// An attacker who saw a REGISTER and can forge its source cannot bring the peer
// back to where it no longer is.
func TestReplayedRegistration(t *testing.T) {
	b := newBench(t, ServerConfig{})
	elsewhere := netip.MustParseAddrPort("198.51.100.9:9")
	old := b.request(testKey(1), clientAddress, 1, stun.MethodRegister, offerOf("old"))
	b.one(clientAddress, old)
	b.one(elsewhere, b.request(testKey(1), elsewhere, 2, stun.MethodRegister, offerOf("new")))
	if code := codeOf(b.one(clientAddress, old)); code != stun.CodeConflict {
		t.Errorf("the replay gets %d, want %d", code, stun.CodeConflict)
	}
	if r := b.peers[testKey(1).ID()]; r.address != elsewhere || string(r.offer) != "new" {
		t.Errorf("registered at %v with %q", r.address, r.offer)
	}
	// From its own source, a stolen message has the wrong nonce.
	thief := netip.MustParseAddrPort("198.51.100.66:6")
	stolen := b.request(testKey(1), clientAddress, 3, stun.MethodRegister, offerOf("stolen"))
	if code := codeOf(b.one(thief, stolen)); code != stun.CodeStaleNonce {
		t.Errorf("a stolen message gets %d, want %d", code, stun.CodeStaleNonce)
	}
	// An older request of another kind does not move the peer either.
	b.give(0, clientAddress, b.request(testKey(1), clientAddress, 1, stun.MethodJoin, stun.Attribute{Type: stun.AttrRoom, Value: []byte("hall")}).Raw)
	if r := b.peers[testKey(1).ID()]; r.address != elsewhere {
		t.Errorf("an old JOIN moved the peer to %v", r.address)
	}
}

func TestRegistrationErrors(t *testing.T) {
	room := stun.Attribute{Type: stun.AttrRoom, Value: []byte("hall")}
	target := idAttribute(stun.AttrTarget, testKey(2).ID())
	session := stun.Attribute{Type: stun.AttrSession, Value: make([]byte, SessionSize)}
	for name, c := range map[string]struct {
		method     pion.Method
		registered bool
		attributes []pion.Setter
		want       int
	}{
		"a refresh of nothing":           {stun.MethodRegister, false, nil, 437},
		"an offer too long":              {stun.MethodRegister, false, []pion.Setter{offerOf(string(make([]byte, MaxOffer+1)))}, 400},
		"a LIFETIME too short":           {stun.MethodRegister, false, []pion.Setter{stun.Attribute{Type: pion.AttrLifetime, Value: []byte{1}}}, 400},
		"unknown required attribute":     {stun.MethodRegister, false, []pion.Setter{stun.Attribute{Type: 0x7777}}, 420},
		"giving up nothing":              {stun.MethodRegister, false, []pion.Setter{stun.Uint32(pion.AttrLifetime, 0)}, 0},
		"CONNECT, not registered":        {stun.MethodConnect, false, []pion.Setter{target, session, offerOf("x")}, 437},
		"JOIN, not registered":           {stun.MethodJoin, false, []pion.Setter{room}, 437},
		"CONNECT to nobody":              {stun.MethodConnect, true, []pion.Setter{target, session, offerOf("x")}, 404},
		"CONNECT to oneself":             {stun.MethodConnect, true, []pion.Setter{idAttribute(stun.AttrTarget, testKey(1).ID()), session, offerOf("x")}, 400},
		"CONNECT without a target":       {stun.MethodConnect, true, []pion.Setter{session, offerOf("x")}, 400},
		"CONNECT without a session":      {stun.MethodConnect, true, []pion.Setter{target, offerOf("x")}, 400},
		"CONNECT without an offer":       {stun.MethodConnect, true, []pion.Setter{target, session}, 400},
		"JOIN without a room":            {stun.MethodJoin, true, nil, 400},
		"JOIN of a room that is no text": {stun.MethodJoin, true, []pion.Setter{stun.Attribute{Type: stun.AttrRoom, Value: []byte{0xFF}}}, 400},
		"LEAVE where one is not":         {stun.MethodLeave, true, []pion.Setter{room}, 0},
	} {
		b := newBench(t, ServerConfig{})
		if c.registered {
			b.one(clientAddress, b.request(testKey(1), clientAddress, 1, stun.MethodRegister, offerOf("x")))
		}
		m := b.request(testKey(1), clientAddress, 2, c.method, c.attributes...)
		a := b.one(clientAddress, m)
		if got := codeOf(a); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		if a.Message != nil && b.key(testKey(1)).Check(a.Message) != nil {
			t.Errorf("%s: the answer is not authentic", name)
		}
	}
}

func (b *bench) key(of identity.Key) stun.Integrity {
	key, err := sharedKey(of, b.ID(), of.ID(), b.ID())
	if err != nil {
		b.t.Fatal(err)
	}
	return key
}

func TestRegistrationLimits(t *testing.T) {
	b := newBench(t, ServerConfig{Limits: Limits{Registrations: 3, RegistrationsPerSource: 2}, Lifetime: time.Minute})
	at := func(n byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 1) }
	register := func(peer, from byte) int {
		return codeOf(b.one(at(from), b.request(testKey(peer), at(from), uint64(b.now.Unix())+uint64(from), stun.MethodRegister, offerOf("x"))))
	}
	for _, c := range []struct {
		peer, from byte
		want       int
	}{
		{1, 1, 0}, {2, 1, 0},
		{3, 1, stun.CodeTooMany}, // two from one address
		{1, 1, 0},                // a refresh is none more
		{3, 2, 0},
		{4, 3, stun.CodeCapacity}, // three in all
		{2, 4, 0},                 // moved away: its old source has room again
	} {
		if got := register(c.peer, c.from); got != c.want {
			t.Errorf("peer %d from %v: %d, want %d", c.peer, at(c.from), got, c.want)
		}
	}
	b.now = b.now.Add(time.Minute + time.Second)
	b.HandleTimeout(b.now)
	if len(b.peers) != 0 || len(b.bySource) != 0 {
		t.Errorf("%d registrations from %d sources left after their lifetime", len(b.peers), len(b.bySource))
	}
	if got := register(4, 3); got != 0 {
		t.Errorf("afterwards: %d", got)
	}
}

// A CONNECT that is sent again is answered again, and introduces nobody again.
func TestRetransmittedConnect(t *testing.T) {
	b := newBench(t, ServerConfig{})
	other := netip.MustParseAddrPort("198.51.100.2:2")
	b.one(clientAddress, b.request(testKey(1), clientAddress, 1, stun.MethodRegister, offerOf("one")))
	b.one(other, b.request(testKey(2), other, 1, stun.MethodRegister, offerOf("two")))
	session := stun.Attribute{Type: stun.AttrSession, Value: make([]byte, SessionSize)}
	connect := func(sequence uint64) []byte {
		return b.request(testKey(1), clientAddress, sequence, stun.MethodConnect, idAttribute(stun.AttrTarget, testKey(2).ID()), session, offerOf("now")).Raw
	}
	first := connect(2)
	var introduce answer
	for i := range 3 {
		got := b.give(0, clientAddress, first)
		if want := 1; i == 0 {
			if len(got) != 2 || got[0].to != other {
				t.Fatalf("the first CONNECT: %d datagrams", len(got))
			}
			introduce = got[0]
		} else if len(got) != want || got[0].to != clientAddress {
			t.Errorf("copy %d: %d datagrams, want the answer only", i, len(got))
		}
	}
	if got := b.notices.Len(); got != 1 {
		t.Errorf("%d introductions in flight, want 1", got)
	}
	// Another CONNECT of the session takes the place of the first.
	second := b.give(0, clientAddress, connect(3))
	if len(second) != 2 || b.notices.Len() != 1 || second[0].TransactionID == introduce.TransactionID {
		t.Errorf("the second CONNECT: %d datagrams, %d introductions in flight", len(second), b.notices.Len())
	}
	// A forged answer does not end it, the target's does.
	for name, c := range map[string]struct {
		key  stun.Integrity
		left int
	}{"forged": {stun.ShortTerm("guess"), 1}, "the initiator's": {b.key(testKey(1)), 1}} {
		b.give(0, other, seal(stun.MethodIntroduce, pion.ClassSuccessResponse, second[0].TransactionID, c.key).Raw)
		if b.notices.Len() != c.left {
			t.Errorf("%s answer: %d introductions in flight", name, b.notices.Len())
		}
	}
	b.give(0, other, seal(stun.MethodIntroduce, pion.ClassSuccessResponse, second[0].TransactionID, b.key(testKey(2))).Raw)
	if b.notices.Len() != 0 || len(b.peers[testKey(2).ID()].introductions) != 0 {
		t.Error("the target's answer does not end the introduction")
	}
}

// A CONNECT that was recorded introduces nobody once it is long past, or its
// sender registered anew.
func TestReplayedConnect(t *testing.T) {
	b := newBench(t, ServerConfig{})
	other := netip.MustParseAddrPort("198.51.100.2:2")
	b.one(other, b.request(testKey(2), other, 1, stun.MethodRegister, offerOf("two")))
	const began = 1e9
	connect := func(sequence uint64) answer {
		got := b.give(0, clientAddress, b.request(testKey(1), clientAddress, sequence, stun.MethodConnect, idAttribute(stun.AttrTarget, testKey(2).ID()),
			stun.Attribute{Type: stun.AttrSession, Value: make([]byte, SessionSize)}, offerOf("then")).Raw)
		return got[len(got)-1] // after the INTRODUCE, if there was one
	}
	b.one(clientAddress, b.request(testKey(1), clientAddress, began, stun.MethodRegister, offerOf("one")))
	b.one(clientAddress, b.request(testKey(1), clientAddress, began+2*connectLife, stun.MethodRegister))
	for _, c := range []struct {
		what     string
		sequence uint64
		want     int
	}{
		{"from before the registration", began - 1, stun.CodeConflict},
		{"long past", began + connectLife - 1, stun.CodeConflict},
		{"overtaken by a refresh", began + 2*connectLife - 1, 0},
	} {
		if got := codeOf(connect(c.sequence)); got != c.want {
			t.Errorf("a CONNECT %s gets %d, want %d", c.what, got, c.want)
		}
	}
}

func TestIntroductionsToASilentPeerAreBounded(t *testing.T) {
	b := newBench(t, ServerConfig{})
	other := netip.MustParseAddrPort("198.51.100.2:2")
	b.one(clientAddress, b.request(testKey(1), clientAddress, 1, stun.MethodRegister, offerOf("one")))
	b.one(other, b.request(testKey(2), other, 1, stun.MethodRegister, offerOf("two")))
	refused := 0
	for i := range byte(200) {
		for _, a := range b.give(0, clientAddress, b.request(testKey(1), clientAddress, uint64(i)+2, stun.MethodConnect,
			idAttribute(stun.AttrTarget, testKey(2).ID()), offerOf("x"), stun.Attribute{Type: stun.AttrSession, Value: append(make([]byte, 15), i)}).Raw) {
			if a.to == clientAddress && codeOf(a) == stun.CodeTooMany {
				refused++
			}
		}
	}
	if b.notices.Len() != maxIntroductions || refused == 0 {
		t.Errorf("%d in flight, %d refused; want %d in flight and the others refused", b.notices.Len(), refused, maxIntroductions)
	}
	for range 40 {
		b.now = b.now.Add(250 * time.Millisecond)
		b.HandleTimeout(b.now)
	}
	if b.notices.Len() != 0 || len(b.peers[testKey(2).ID()].introductions) != 0 {
		t.Errorf("%d in flight ten seconds later", b.notices.Len())
	}
}
