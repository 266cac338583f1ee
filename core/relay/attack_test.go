package relay

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// Each test here, and in attack_peer_test.go and attack_allocation_test.go, is an attack
// that some relay has fallen to.

func TestAttack05AttributesAfterIntegrityAreIgnored(t *testing.T) {
	everywhere(t, everyWay, attack05)
}

func attack05(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()
	request := u.request(u.id(), pion.MethodCreatePermission, peerAttribute(peerX))
	m := &pion.Message{Raw: bytes.Clone(request)}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	smuggled := netip.MustParseAddrPort("198.18.66.66:66")
	addXORAddress(m, pion.AttrXORPeerAddress, smuggled)
	u.want(0, u.raw(m.Raw))
	u.indicate(smuggled, "x")
	if st := w.stats(); st.Permissions != 1 || st.DroppedNoPermission != 1 {
		t.Errorf("%d permissions, %d refused, want 1 and 1: an unsigned attribute counted", st.Permissions, st.DroppedNoPermission)
	}
	// Nor does one make a request fail.
	m = &pion.Message{Raw: bytes.Clone(u.request(u.id(), pion.MethodRefresh))}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	m.Add(0x7abc, []byte{1})
	u.want(0, u.raw(m.Raw))
}

func TestAttack10LengthsThatLie(t *testing.T) {
	everywhere(t, datagrams, attack10)
}

func attack10(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	u.want(0, u.bindChannel(0x4000, peerX))
	good := u.request(u.id(), pion.MethodCreatePermission, peerAttribute(netip.MustParseAddrPort("198.18.5.5:5")))
	for n := range good {
		if answer := u.raw(good[:n]); answer != nil {
			t.Fatalf("a request cut to %d of %d bytes was answered with %v", n, len(good), answer)
		}
	}
	for _, change := range []struct {
		name   string
		at     int
		values []byte
	}{
		{"message length too small", 2, []byte{0, 4}},
		{"message length too large", 2, []byte{0xff, 0xfc}},
		{"message length misaligned", 2, []byte{0, byte(len(good) - 19)}},
		{"attribute length too large", 22, []byte{0xff, 0xff}},
	} {
		bad := bytes.Clone(good)
		copy(bad[change.at:], change.values)
		if answer := u.raw(bad); answer != nil {
			t.Errorf("%s: answered with %v", change.name, answer)
		}
	}
	channel := appendChannelData(nil, 0x4000, []byte("abcd"))
	for _, bad := range [][]byte{channel[:1], channel[:3], channel[:7], {0x40, 0, 0xff, 0xff, 1}} {
		w.send(clientA, serverAddr, bad)
	}
	if got := w.take(peerX); len(got) != 0 {
		t.Errorf("the peer got %v", got)
	}
	w.send(clientA, serverAddr, nil)
	w.send(clientA, serverAddr, channel[:4]) // announces four bytes and has none
	w.send(clientA, serverAddr, []byte{0x40, 0, 0, 0})
	if got := w.take(peerX); len(got) != 1 || len(got[0].payload) != 0 {
		t.Errorf("the peer got %v, want one empty datagram", got)
	}
	// The largest datagram that a peer can send does not fit and does no harm.
	w.sendOversized(peerX, relayed, make([]byte, 65507))
	w.send(peerX, relayed, []byte("small"))
	if got := w.take(clientA); len(got) != 1 || !bytes.HasSuffix(got[0].payload, []byte("small")) {
		t.Errorf("a datagram of %d bytes was framed into 16 bits of length", 65507)
	}
}

func TestAttack11NothingOfMemoryOrOfStrangersLeaksOut(t *testing.T) {
	everywhere(t, everyWay, attack11)
}

func attack11(t *testing.T, newWorld worldMaker) {
	// Padding is zero, even in a buffer that held something else before.
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	u.want(0, u.permit(peerX))
	w.send(peerX, relayed, bytes.Repeat([]byte{0xee}, 64))
	w.take(clientA)
	for n := 1; n < 8; n++ {
		w.send(peerX, relayed, bytes.Repeat([]byte{0xaa}, n))
		got := w.take(clientA)
		if len(got) != 1 {
			t.Fatalf("%d datagrams, want 1", len(got))
		}
		padding := -n & 3
		if tail := got[0].payload[len(got[0].payload)-padding:]; !bytes.Equal(tail, make([]byte, padding)) {
			t.Errorf("%d bytes of data are padded with %x, want zeros", n, tail)
		}
	}
	// What strangers say never comes back or into events; what users say is
	// marked as theirs, and an error prints it quoted.
	evil := "%n%s\x1b[2J\r\nadmin logged in"
	v := w.user(clientB, evil, "x")
	w.inside(func(*Server) { w.events = nil })
	answer := v.do(pion.MethodAllocate, wantUDP)
	w.inside(func(*Server) {
		if bytes.Contains(answer.Raw, []byte("admin")) || len(w.events) != 0 {
			t.Errorf("a stranger's name came out: %x, %v", answer.Raw, w.events)
		}
	})
	c := NewClient(ClientConfig{Server: serverAddr, Username: evil, Rand: seeded(1)})
	c.realm, c.nonce = []byte("r"), []byte("n")
	c.identify()
	c.Start(epoch)
	_, request, _ := c.PollTransmit()
	reply, _ := stun.Build(pion.MethodAllocate, pion.ClassErrorResponse, [12]byte(request[8:20]),
		pion.ErrorCodeAttribute{Code: 401, Reason: []byte(evil)})
	c.HandleDatagram(epoch, serverAddr, reply.Raw)
	e, _ := c.PollEvent()
	if s := fmt.Sprint(e); strings.ContainsAny(s, "\x1b\r\n") {
		t.Errorf("control bytes in %q", s)
	}
}

func TestAttack13ErrorsAnswerNoErrorsAndNothingLoops(t *testing.T) {
	everywhere(t, everyWay, attack13)
}

func attack13(t *testing.T, newWorld worldMaker) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	relayed := u.allocate()
	for _, class := range []pion.MessageClass{pion.ClassErrorResponse, pion.ClassSuccessResponse, pion.ClassIndication} {
		for _, method := range []pion.Method{pion.MethodAllocate, pion.MethodRefresh, pion.MethodBinding, pion.MethodSend, pion.MethodData, 0xeee} {
			m, _ := stun.Build(method, class, u.id(), pion.ErrorCodeAttribute{Code: 401, Reason: []byte("x")})
			if answer := u.raw(m.Raw); answer != nil {
				t.Errorf("%v was answered with %v", m.Type, answer)
			}
		}
	}
	unknown, _ := stun.Build(0xeee, pion.ClassRequest, u.id(), wantUDP)
	if answer := u.raw(unknown.Raw); answer != nil {
		t.Errorf("an unknown method was answered with %v", answer)
	}
	// A request forged in the name of a relayed address gets nothing: its
	// answer would arrive at the relay itself.
	before := w.stats()
	ask, _ := stun.Build(pion.MethodBinding, pion.ClassRequest, u.id())
	w.forge(relayed, serverAddr, ask.Raw)
	if after := w.stats(); after.DroppedNoPermission != before.DroppedNoPermission || after.ToClients != before.ToClients {
		t.Error("the relay answered its own relayed address")
	}
	u.want(403, u.permit(relayed)) // nor may an allocation be its own peer
}

// countingAuthenticator counts who is asked for.
type countingAuthenticator struct {
	Users
	asked int
}

func (c *countingAuthenticator) Password(now time.Time, name string) (string, bool) {
	c.asked++
	return c.Users.Password(now, name)
}

func TestAttack14IntegrityComesBeforeQuotaAndState(t *testing.T) {
	everywhere(t, everyWay, attack14)
}

func attack14(t *testing.T, newWorld worldMaker) {
	users := &countingAuthenticator{Users: Users{"alice": "secret-a"}}
	w := newWorld(t, func(c *ServerConfig) {
		c.MaxAllocationsPerUser = 1
		c.Authenticators = []Authenticator{users}
	})
	u := w.user(clientA, "alice", "secret-a")
	u.allocate()

	// With the quota used up and the 5-tuple taken, a wrong password still
	// learns nothing of either: 401 before 486, 437, 441, 420 and 400.
	for _, at := range []netip.AddrPort{clientA, clientB} {
		eve := w.user(at, "alice", "guess")
		for _, attributes := range [][]pion.Setter{
			{wantUDP}, {}, {attribute(0x7abc)}, {attribute(pion.AttrReservationToken, 1)},
		} {
			eve.want(401, eve.do(pion.MethodAllocate, attributes...))
			eve.want(401, eve.do(pion.MethodRefresh, attributes...))
		}
	}
	// Any single wrong bit of the HMAC is as wrong as any other.
	good := u.request(u.id(), pion.MethodRefresh)
	for bit := range 160 {
		bad := bytes.Clone(good)
		bad[len(bad)-20+bit/8] ^= 1 << (bit % 8)
		u.want(401, u.raw(bad))
	}
	u.want(0, u.raw(good))
	// A stale nonce is refused before any password is looked up.
	asked := users.asked
	u.nonce = []byte("AAAAAAAAAAAAAAAAAAAAAA")
	u.want(438, u.do(pion.MethodRefresh))
	if users.asked != asked {
		t.Error("a password was looked up for a nonce that is not ours")
	}
	if st := w.stats(); st.Created != 1 || st.Allocations != 1 {
		t.Errorf("%d allocations, want the one", st.Created)
	}
}

func TestAttackIntegrityOfWrongSizeIsDropped(t *testing.T) {
	w := newWorld(t, nil)
	u := w.user(clientA, "alice", "secret-a")
	u.login()
	for _, size := range []int{0, 4, 16, 19, 21, 32} {
		m, _ := stun.Build(pion.MethodRefresh, pion.ClassRequest, u.id(),
			stun.Attribute{Type: pion.AttrUsername, Value: []byte("alice")},
			stun.Attribute{Type: pion.AttrRealm, Value: []byte(u.realm)},
			stun.Attribute{Type: pion.AttrNonce, Value: u.nonce},
			stun.Attribute{Type: pion.AttrMessageIntegrity, Value: make([]byte, size)})
		if answer := u.raw(m.Raw); answer != nil {
			t.Errorf("MESSAGE-INTEGRITY of %d bytes was answered with %v", size, answer)
		}
	}
}
