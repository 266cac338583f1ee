package rendezvous

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// besieged is a server with two peers in a room, one of which has been introduced to
// the other, and what they asked of it.
type besieged struct {
	*bench
	asked []saying
}

type saying struct {
	from    netip.AddrPort
	payload []byte
}

var otherClient = netip.MustParseAddrPort("198.51.100.2:5000")

// everywhere has an attack go on against a server in simulated time, and against one that
// runs over the kernel's sockets.
func everywhere(t *testing.T, attack func(*testing.T, *besieged)) {
	t.Run("simulated", func(t *testing.T) { attack(t, newBesieged(t, newBench(t, ServerConfig{}))) })
	t.Run("running", func(t *testing.T) { attack(t, newBesieged(t, unopened(t, ServerConfig{}).running(t))) })
}

func newBesieged(t testing.TB, of *bench) *besieged {
	b := &besieged{bench: of}
	ask := func(from netip.AddrPort, m *pion.Message) {
		b.asked = append(b.asked, saying{from, bytes.Clone(m.Raw)})
		if code := codeOf(b.ones(from, m)); code != 0 {
			t.Fatalf("%v gets %d", m, code)
		}
	}
	room := stun.Attribute{Type: stun.AttrRoom, Value: []byte("hall")}
	session := stun.Attribute{Type: stun.AttrSession, Value: bytes.Repeat([]byte{7}, SessionSize)}
	ask(clientAddress, b.request(testKey(1), clientAddress, 1, stun.MethodRegister, offerOf("one")))
	ask(otherClient, b.request(testKey(2), otherClient, 2, stun.MethodRegister, offerOf("two")))
	ask(clientAddress, b.request(testKey(1), clientAddress, 3, stun.MethodJoin, room))
	ask(otherClient, b.request(testKey(2), otherClient, 4, stun.MethodJoin, room))
	ask(clientAddress, b.request(testKey(1), clientAddress, 5, stun.MethodConnect, idAttribute(stun.AttrTarget, testKey(2).ID()), session, offerOf("one")))
	return b
}

// ones gives the answer to a request, among what else the server sends then.
func (b *besieged) ones(from netip.AddrPort, m *pion.Message) answer {
	b.t.Helper()
	for _, a := range b.give(0, from, m.Raw) {
		if a.Message != nil && a.TransactionID == m.TransactionID {
			return a
		}
	}
	b.t.Fatalf("no answer to %v", m)
	return answer{}
}

// attack hands over a datagram and counts what is sent to whomever.
func (b *besieged) attack(from netip.AddrPort, payload []byte) (out int) {
	if b.field != nil {
		_, out = b.field.Flood(serverAddress, 1, func(int) (netip.AddrPort, []byte) { return from, payload })
		return out
	}
	for _, a := range b.give(0, from, payload) {
		out += len(a.raw)
	}
	return out
}

// state is all that attacks might change.
func (b *besieged) state() (s string) {
	b.inside(func() {
		s = fmt.Sprintf("%d rooms", len(b.rooms))
		for _, n := range []byte{1, 2} {
			if r := b.peers[testKey(n).ID()]; r != nil {
				s += fmt.Sprintf(", %d at %v with %q", n, r.address, r.offer)
			}
		}
		s += fmt.Sprintf(", %d registrations", len(b.peers))
	})
	return s
}

func (b *besieged) held() (h Held) {
	b.inside(func() { h = b.Held() })
	return h
}

func TestAttackSpoofedSource(t *testing.T) { everywhere(t, attackSpoofedSource) }

func attackSpoofedSource(t *testing.T, b *besieged) {
	before := b.state()
	for _, s := range b.asked {
		for _, from := range []netip.AddrPort{netip.MustParseAddrPort("203.0.113.9:9"), netip.AddrPortFrom(s.from.Addr(), s.from.Port()+1)} {
			got := b.give(0, from, s.payload)
			if len(got) != 1 || codeOf(got[0]) != stun.CodeStaleNonce || got[0].to != from || len(got[0].raw) > len(s.payload) {
				t.Errorf("a request of %v from %v: %d answers, the first with %d; want one short 438", s.from, from, len(got), codeOf(got[0]))
			}
		}
	}
	if after := b.state(); after != before {
		t.Errorf("%s\nbefore: %s", after, before)
	}
}

func TestAttackReplay(t *testing.T) { everywhere(t, attackReplay) }

func attackReplay(t *testing.T, b *besieged) {
	before := b.state()
	for range 20 {
		for _, s := range b.asked {
			if out := b.attack(s.from, s.payload); out > 3*len(s.payload) {
				t.Errorf("a copy of %d bytes makes the server send %d", len(s.payload), out)
			}
		}
		b.pass(time.Second)
	}
	if after := b.state(); after != before {
		t.Errorf("%s\nbefore: %s", after, before)
	}
}

// TestAttackStale: nonces end, and so does what was asked with them.
func TestAttackStale(t *testing.T) { everywhere(t, attackStale) }

func attackStale(t *testing.T, b *besieged) {
	b.pass(2 * time.Hour)
	for _, s := range b.asked {
		got := b.give(0, s.from, s.payload)
		if len(got) != 1 || codeOf(got[0]) != stun.CodeStaleNonce {
			t.Errorf("a request of two hours ago: %d answers; want one 438", len(got))
		}
	}
	if h := b.held(); h.Registrations != 0 || h.Rooms != 0 || h.Notices != 0 {
		t.Errorf("two hours later there are %+v", h)
	}
}

// TestAttackAmplification: who has no key gets no more bytes than it sends, whatever
// method and class it tries.
func TestAttackAmplification(t *testing.T) { everywhere(t, attackAmplification) }

func attackAmplification(t *testing.T, b *besieged) {
	peerID, target := idAttribute(stun.AttrPeerID, testKey(1).ID()), idAttribute(stun.AttrTarget, testKey(2).ID())
	unknown := stun.Attribute{Type: 0x7777}
	padding := stun.Attribute{Type: pion.AttrPadding, Value: make([]byte, 64)}
	n := byte(0)
	for method := pion.Method(0); method < 0x100; method++ {
		for _, class := range []pion.MessageClass{pion.ClassRequest, pion.ClassIndication, pion.ClassSuccessResponse, pion.ClassErrorResponse} {
			for _, attributes := range [][]pion.Setter{nil, {peerID}, {peerID, padding}, {peerID, target, unknown}, {unknown, unknown}, {peerID, stun.ShortTerm("guess")}} {
				m, err := stun.Build(method, class, transactionID{byte(method)}, attributes...)
				if err != nil {
					t.Fatal(err)
				}
				n++
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, n}), 1)
				if out := b.attack(from, m.Raw); out > len(m.Raw) {
					t.Errorf("method %#x, class %v, %d attributes: %d bytes out for %d", uint16(method), class, len(attributes), out, len(m.Raw))
				}
			}
		}
	}
	in, out := 0, 0
	m := bare()
	for range 2000 { // at once, in a victim's name
		in += len(m.Raw)
		out += b.attack(netip.MustParseAddrPort("203.0.113.200:53"), m.Raw)
		if out > in {
			t.Fatalf("%d bytes of Binding requests in a victim's name send it %d", in, out)
		}
	}
	if out == 0 {
		t.Error("no Binding request is answered")
	}
}

func TestAttackFlood(t *testing.T) { everywhere(t, attackFlood) }

func attackFlood(t *testing.T, b *besieged) {
	before := b.state()
	flood := func(from, to int) {
		if b.field != nil {
			b.field.Flood(serverAddress, to-from, func(n int) (netip.AddrPort, []byte) { return b.forgery(from + n) })
			return
		}
		for n := from; n < to; n++ {
			source, payload := b.forgery(n)
			b.attack(source, payload)
			b.now = b.now.Add(10 * time.Microsecond)
		}
	}
	flood(0, 20_000) // what is allocated once is
	heap := heapInUse()
	const all = 120_000
	flood(20_000, all)
	if grown := int64(heapInUse()) - int64(heap); grown > 2<<20 {
		t.Errorf("%d forged datagrams leave %d bytes", all, grown)
	}
	if after := b.state(); after != before {
		t.Errorf("%s\nbefore: %s", after, before)
	}
	b.pass(30 * time.Second)
	if code := codeOf(b.ones(clientAddress, b.request(testKey(1), clientAddress, 100, stun.MethodRegister))); code != 0 {
		t.Errorf("after the flood a peer's refresh gets %d", code)
	}
}

// forgery gives the n-th forged datagram.
func (b *besieged) forgery(n int) (from netip.AddrPort, payload []byte) {
	r := random(uint64(n))
	var word [8]byte
	_, _ = r.Read(word[:])
	from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, word[0], word[1], word[2]}), 1+uint16(word[3]))
	s := b.asked[int(word[4])%len(b.asked)]
	if word[5]&1 == 0 {
		from = s.from
	}
	switch payload = bytes.Clone(s.payload); n % 5 {
	case 0: // noise
		_, _ = r.Read(payload)
	case 1: // true but for a bit
		payload[int(word[6])%len(payload)] ^= 1 << (word[7] % 8)
	case 2: // cut short
		payload = payload[:int(word[6])%len(payload)]
	case 3: // a bare header of any type
		payload = payload[:20]
		binary.BigEndian.PutUint16(payload, binary.BigEndian.Uint16(word[6:])&0x3fff)
		payload[2], payload[3] = 0, 0
	case 4: // the server's own words
		payload = bytes.Repeat([]byte{0x40}, 40)
	}
	return from, payload
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAttackOversized(t *testing.T) { everywhere(t, attackOversized) }

func attackOversized(t *testing.T, b *besieged) {
	before := b.state()
	big := make([]byte, 60_000)
	for _, s := range b.asked {
		longer := append(bytes.Clone(s.payload), big...)
		if out := b.attack(s.from, longer); out != 0 {
			t.Errorf("a request with %d bytes behind it is answered with %d", len(big), out)
		}
		// The same with a length that says so, and one attribute of all that.
		attribute := make([]byte, 0, 4+len(big))
		attribute = binary.BigEndian.AppendUint16(attribute, uint16(stun.AttrOffer))
		attribute = binary.BigEndian.AppendUint16(attribute, uint16(len(big)))
		longer = append(append(bytes.Clone(s.payload), attribute...), big...)
		binary.BigEndian.PutUint16(longer[2:], uint16(len(longer)-20))
		if out := b.attack(s.from, longer); out > len(longer)/10 {
			t.Errorf("a request of %d bytes is answered with %d", len(longer), out)
		}
	}
	for n := range 256 {
		if out := b.attack(clientAddress, bytes.Repeat([]byte{byte(n)}, 65507)); out != 0 {
			t.Errorf("65507 bytes of %#x are answered with %d", n, out)
		}
	}
	if after := b.state(); after != before {
		t.Errorf("%s\nbefore: %s", after, before)
	}
}
