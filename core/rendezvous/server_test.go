package rendezvous

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/stun"
)

// bench is a server that the test speaks to datagram by datagram.
type bench struct {
	*Server
	t   testing.TB
	now time.Time
	// field is where the server runs, if it runs over the kernel's sockets.
	field *siege.Field
}

// running has the server of a bench run over the kernel's sockets.
func (b *bench) running(t testing.TB) *bench {
	b.t.Helper()
	ready := make(chan sansio.Event, 2)
	b.field = siege.Run(t, b.Server, sansio.StreamConfig{}, func(e sansio.Event) {
		switch e.(type) {
		case Listening, ListenFailed:
			ready <- e
		}
	})
	select {
	case e := <-ready:
		if e, failed := e.(ListenFailed); failed {
			t.Fatalf("listen: %v", e.Err)
		}
	case <-time.After(patience):
		t.Fatal("the rendezvous does not listen")
	}
	return b
}

// inside looks into the server between its calls.
func (b *bench) inside(do func()) {
	if b.field == nil {
		do()
		return
	}
	b.field.Do(func(now time.Time) {
		b.now = now
		do()
	})
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	if b.field != nil {
		b.field.Pass(d)
		return
	}
	b.now = b.now.Add(d)
	b.HandleTimeout(b.now)
	b.give(0, clientAddress, nil) // what it says of those who have expired
}

var clientAddress = netip.MustParseAddrPort("198.51.100.1:5000")

func newBench(t testing.TB, cfg ServerConfig) *bench {
	t.Helper()
	b := unopened(t, cfg)
	for w, ok := b.PollBind(); ok; w, ok = b.PollBind() {
		b.HandleBound(b.now, w.Socket, w.Local, nil)
	}
	return b
}

// unopened is a bench whose sockets nobody has opened yet.
func unopened(t testing.TB, cfg ServerConfig) *bench {
	t.Helper()
	if !cfg.Listen.IsValid() {
		cfg.Listen, cfg.Alternate = serverAddress, alternateAddress
	}
	cfg.Key, cfg.Rand = keyServer, random(3)
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{Server: s, t: t, now: simnet.Epoch}
}

// answer is a datagram of the server's, parsed.
type answer struct {
	*pion.Message
	raw  []byte
	from sansio.Socket
	to   netip.AddrPort
}

// give hands a datagram to the server and collects what it sends.
func (b *bench) give(socket sansio.Socket, from netip.AddrPort, payload []byte) (answers []answer) {
	b.t.Helper()
	if b.field != nil {
		for _, d := range b.field.Answers(from, b.sockets[socket].wish, payload) {
			m, _ := stun.Parse(d.Payload)
			answers = append(answers, answer{m, d.Payload, d.Socket, d.Remote})
		}
		return answers
	}
	b.HandleDatagram(b.now, sansio.Datagram{Socket: socket, Remote: from, Payload: payload})
	for d, ok := b.PollTransmit(); ok; d, ok = b.PollTransmit() {
		m, _ := stun.Parse(d.Payload)
		answers = append(answers, answer{m, d.Payload, d.Socket, d.Remote})
	}
	return answers
}

// one is give for a request that gets one answer.
func (b *bench) one(from netip.AddrPort, m *pion.Message) answer {
	b.t.Helper()
	got := b.give(0, from, m.Raw)
	if len(got) != 1 || got[0].Message == nil {
		b.t.Fatalf("%d answers to %v, want one", len(got), m)
	}
	return got[0]
}

// binding is a request that pays for its answer.
func binding(attributes ...pion.Setter) *pion.Message {
	pad := stun.Attribute{Type: stun.AttrPad, Value: make([]byte, stun.PaysForDiscovery)}
	return bare(append([]pion.Setter{pad}, attributes...)...)
}

// bare is a request of these attributes and no more.
func bare(attributes ...pion.Setter) *pion.Message {
	m, err := stun.Build(pion.MethodBinding, pion.ClassRequest, transactionID{9}, attributes...)
	if err != nil {
		panic(err)
	}
	return m
}

func changeRequest(flags uint32) stun.Attribute { return stun.Uint32(pion.AttrChangeRequest, flags) }

// TestBinding is RFC 5780 section 6: where answers come from and what they say.
func TestBinding(t *testing.T) {
	b := newBench(t, ServerConfig{})
	local := []string{"203.0.113.1:3478", "203.0.113.1:3479", "203.0.113.2:3478", "203.0.113.2:3479"}
	for socket := range sansio.Socket(4) {
		for _, c := range []struct {
			flags uint32
			from  sansio.Socket
		}{{0, socket}, {changePort, socket ^ 1}, {changeAddress, socket ^ 2}, {changeAddress | changePort, socket ^ 3}} {
			got := b.give(socket, clientAddress, binding(changeRequest(c.flags), pion.Fingerprint).Raw)
			if len(got) != 1 {
				t.Fatalf("socket %d, flags %d: %d answers", socket, c.flags, len(got))
			}
			a := got[0]
			origin, _ := stun.GetAddress(a.Message, pion.AttrResponseOrigin)
			other, _ := stun.GetAddress(a.Message, pion.AttrOtherAddress)
			mapped, _ := stun.GetXORAddress(a.Message, pion.AttrXORMappedAddress)
			plain, _ := stun.GetAddress(a.Message, pion.AttrMappedAddress)
			if a.from != c.from || origin.String() != local[c.from] || other.String() != local[socket^3] || mapped != clientAddress || plain != clientAddress || a.to != clientAddress {
				t.Errorf("socket %d, flags %d: from socket %d to %v, RESPONSE-ORIGIN %v, OTHER-ADDRESS %v, XOR-MAPPED-ADDRESS %v, MAPPED-ADDRESS %v",
					socket, c.flags, a.from, a.to, origin, other, mapped, plain)
			}
			if !a.Contains(pion.AttrFingerprint) {
				t.Error("a request with FINGERPRINT gets an answer without")
			}
		}
	}
}

func TestBindingAttributes(t *testing.T) {
	two, single := newBench(t, ServerConfig{}), newBench(t, ServerConfig{Listen: serverAddress})
	port := stun.Attribute{Type: pion.AttrResponsePort, Value: []byte{0x12, 0x34, 0, 0}}
	padding := stun.Attribute{Type: pion.AttrPadding, Value: make([]byte, 1000)}
	for name, c := range map[string]struct {
		bench   *bench
		request *pion.Message
		code    int
		to      netip.AddrPort
		size    int
	}{
		"plain":                          {two, binding(), 0, clientAddress, 20 + 4*12},
		"plain, one address":             {single, binding(), 0, clientAddress, 20 + 2*12},
		"CHANGE-REQUEST, one address":    {single, binding(changeRequest(0)), 420, clientAddress, 0},
		"a CHANGE-REQUEST too short":     {two, binding(stun.Attribute{Type: pion.AttrChangeRequest, Value: []byte{1}}), 400, clientAddress, 0},
		"RESPONSE-PORT":                  {two, binding(port), 0, netip.MustParseAddrPort("198.51.100.1:4660"), 0},
		"a RESPONSE-PORT of zero":        {two, binding(stun.Attribute{Type: pion.AttrResponsePort, Value: make([]byte, 4)}), 400, clientAddress, 0},
		"PADDING":                        {two, binding(padding), 0, clientAddress, 20 + 4*12 + 1004},
		"PADDING with RESPONSE-PORT":     {two, binding(padding, port), 400, clientAddress, 0},
		"an unknown required attribute":  {two, binding(stun.Attribute{Type: 0x7777, Value: nil}), 420, clientAddress, 0},
		"an unknown optional attribute":  {two, binding(stun.Attribute{Type: 0xC777, Value: nil}), 0, clientAddress, 0},
		"USERNAME and MESSAGE-INTEGRITY": {two, binding(pion.NewUsername("u"), stun.ShortTerm("p")), 0, clientAddress, 0},
	} {
		a := c.bench.one(clientAddress, c.request)
		code := 0
		if err := stun.ErrorOf(a.Message); err != nil {
			code = err.(*stun.ResponseError).Code
		}
		if code != c.code || a.to != c.to || c.size != 0 && len(a.raw) != c.size {
			t.Errorf("%s: code %d to %v, %d bytes; want %d to %v, %d bytes", name, code, a.to, len(a.raw), c.code, c.to, c.size)
		}
	}
}

func TestWhatGetsNoAnswer(t *testing.T) {
	b := newBench(t, ServerConfig{})
	indication, _ := stun.Build(pion.MethodBinding, pion.ClassIndication, transactionID{1})
	success, _ := stun.Build(pion.MethodBinding, pion.ClassSuccessResponse, transactionID{1})
	failure, _ := stun.Build(stun.MethodRegister, pion.ClassErrorResponse, transactionID{1}, pion.ErrorCodeAttribute{Code: 401})
	for name, payload := range map[string][]byte{
		"nothing": nil, "text": []byte("GET / HTTP/1.1\r\n\r\n.."), "an indication": indication.Raw,
		"a response": success.Raw, "an error": failure.Raw, "a truncated request": binding(changeRequest(0)).Raw[:24],
		"an unknown method": seal(0x0EE, 0, transactionID{1}, nil).Raw, "a bare REGISTER": seal(stun.MethodRegister, 0, transactionID{1}, nil).Raw,
		"ChannelData":                           append([]byte{0x40, 0, 0, 16}, make([]byte, 16)...),
		"a REGISTER shorter than its challenge": seal(stun.MethodRegister, 0, transactionID{1}, nil, idAttribute(stun.AttrPeerID, testKey(1).ID())).Raw,
	} {
		if got := b.give(0, clientAddress, payload); len(got) != 0 {
			t.Errorf("%s gets an answer of %d bytes", name, len(got[0].raw))
		}
	}
	if got := b.give(0, netip.MustParseAddrPort("198.51.100.1:0"), binding().Raw); len(got) != 0 {
		t.Error("port 0 gets an answer")
	}
}

// TestClassic is RFC 3489: no magic cookie, plain addresses, old names.
func TestClassic(t *testing.T) {
	request := binding(changeRequest(changeAddress)).Raw
	copy(request[4:8], "abcd")
	got := newBench(t, ServerConfig{}).give(0, clientAddress, request)
	if len(got) != 1 || !bytes.Equal(got[0].raw[4:20], request[4:20]) || got[0].from != 2 {
		t.Fatalf("answers: %+v", got)
	}
	binary.BigEndian.PutUint32(got[0].raw[4:], stun.Cookie)
	m, err := stun.Parse(got[0].raw)
	if err != nil {
		t.Fatal(err)
	}
	for attribute, want := range map[pion.AttrType]string{
		pion.AttrMappedAddress: "198.51.100.1:5000", pion.AttrSourceAddress: "203.0.113.2:3478", pion.AttrChangedAddress: "203.0.113.2:3479",
	} {
		if a, err := stun.GetAddress(m, attribute); err != nil || a.String() != want {
			t.Errorf("attribute %#x is %v (%v), want %s", uint16(attribute), a, err, want)
		}
	}
	redirect := binding(stun.Address{Type: responseAddress, Address: netip.MustParseAddrPort("192.0.2.66:53")}).Raw
	copy(redirect[4:8], "abcd")
	if got := newBench(t, ServerConfig{}).give(0, clientAddress, redirect); len(got) != 0 {
		t.Error("RESPONSE-ADDRESS makes us answer to somebody else")
	}
}

// A source that has not shown that it hears us gets no more than it sends.
func TestNoAmplificationOfPeerRequests(t *testing.T) {
	b := newBench(t, ServerConfig{})
	for size := 0; size < 200; size += 4 {
		for _, method := range []pion.Method{stun.MethodRegister, stun.MethodConnect, stun.MethodJoin, stun.MethodLeave} {
			for _, nonce := range []pion.Setter{nil, stun.Attribute{Type: pion.AttrNonce, Value: []byte("x")}} {
				attributes := []pion.Setter{idAttribute(stun.AttrPeerID, testKey(1).ID()), stun.Attribute{Type: pion.AttrPadding, Value: make([]byte, size)}}
				if nonce != nil {
					attributes = append(attributes, nonce)
				}
				m := seal(method, pion.ClassRequest, transactionID{1}, nil, attributes...)
				for _, a := range b.give(0, netip.AddrPortFrom(clientAddress.Addr(), uint16(1000+size)), m.Raw) {
					if len(a.raw) > len(m.Raw) {
						t.Errorf("%v of %d bytes gets %d", method, len(m.Raw), len(a.raw))
					}
				}
			}
		}
	}
	if len(b.peers)+len(b.keys)+len(b.rooms) != 0 {
		t.Error("unauthenticated requests left state")
	}
}

func TestRateLimits(t *testing.T) {
	b := newBench(t, ServerConfig{Limits: Limits{Rate: 10, Burst: 20, ErrorRate: 1, ErrorBurst: 5}})
	count := func(n int, m *pion.Message, from string) (answers int) {
		for range n {
			answers += len(b.give(0, netip.MustParseAddrPort(from), m.Raw))
		}
		return answers
	}
	bad, full := binding(stun.Attribute{Type: 0x7777}), binding()
	for _, c := range []struct {
		what string
		got  int
		want int
	}{
		{"the burst", count(100, full, "198.51.100.1:1"), 20},
		{"from another port of the same address", count(10, full, "198.51.100.1:2"), 0},
		{"from another address", count(10, full, "198.51.100.2:1"), 10},
		{"errors", count(10, bad, "198.51.100.3:1"), 5},
		{"from one IPv6 /64", count(15, full, "[2001:db8::1]:1") + count(15, full, "[2001:db8::2]:1"), 20},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d answers, want %d", c.what, c.got, c.want)
		}
	}
	b.now = b.now.Add(time.Second)
	if got := count(100, full, "198.51.100.1:1"); got != 10 {
		t.Errorf("a second later: %d answers, want 10", got)
	}
	if !b.PollTimeout().IsZero() {
		t.Error("strangers make the server want to be woken")
	}
}

// TestBindingIsPaidFor is a conversation of one address: what it asks with, and of how
// many bytes the answer is, 0 for none.
func TestBindingIsPaidFor(t *testing.T) {
	classic := bare()
	copy(classic.Raw[4:8], "abcd")
	whole := func(size int) []byte { return stun.Binding(transactionID{9}, size) }
	type row struct {
		ask  []byte
		want int
	}
	repeated := func(n int, rows ...row) (all []row) {
		for range n {
			all = append(all, rows...)
		}
		return all
	}
	for name, c := range map[string]struct {
		cfg  ServerConfig
		rows []row
	}{
		"bare":                     {ServerConfig{}, []row{{bare().Raw, 0}, {bare().Raw, 32}, {bare().Raw, 0}, {bare().Raw, 32}, {bare().Raw, 32}}},
		"bare, of RFC 3489":        {ServerConfig{}, []row{{classic.Raw, 0}, {classic.Raw, 32}}},
		"long enough for the most": {ServerConfig{}, repeated(100, row{whole(stun.PaysForDiscovery), 76})},
		"for our address alone":    {ServerConfig{}, []row{{whole(stun.PaysForMapped), 40}, {whole(stun.PaysForMapped), 40}, {whole(stun.PaysForMapped), 76}}},
		"long enough, one address": {ServerConfig{Listen: serverAddress}, repeated(100, row{whole(stun.PaysForMapped), 52})},
		"an error":                 {ServerConfig{}, []row{{bare(stun.Attribute{Type: 0x7777}).Raw, 0}, {bare(stun.Attribute{Type: 0x7777}).Raw, 36}}},
		"advanced":                 {ServerConfig{Advance: true}, repeated(100, row{bare().Raw, 68}, row{classic.Raw, 56})},
	} {
		b := newBench(t, c.cfg)
		for i, r := range c.rows {
			got := 0
			for _, a := range b.give(0, clientAddress, r.ask) {
				got += len(a.raw)
			}
			if got != r.want {
				t.Errorf("%s: request %d, of %d bytes, is answered with %d, want %d", name, i+1, len(r.ask), got, r.want)
			}
		}
	}
	// To a stream nothing is lent: its other end has shown where it is.
	b := newBench(t, ServerConfig{TCP: serverAddress})
	if got := b.give(tcpSocket, clientAddress, bare().Raw); len(got) != 1 {
		t.Errorf("a bare request on a stream has %d answers", len(got))
	}
}

func TestServerConfigErrors(t *testing.T) {
	ap := netip.MustParseAddrPort
	for name, c := range map[string]struct {
		listen, alternate netip.AddrPort
		want              string
	}{
		"nothing":            {netip.AddrPort{}, netip.AddrPort{}, "address to listen on"},
		"one address":        {ap("192.0.2.1:1"), ap("192.0.2.1:2"), "differ in address and in port"},
		"one port":           {ap("192.0.2.1:1"), ap("192.0.2.2:1"), "differ in address and in port"},
		"all addresses":      {ap("0.0.0.0:1"), ap("192.0.2.2:2"), "given in full"},
		"any port":           {ap("192.0.2.1:0"), ap("192.0.2.2:2"), "ports have to be given"},
		"different families": {ap("192.0.2.1:1"), ap("[2001:db8::1]:2"), "one family"},
	} {
		if _, err := NewServer(ServerConfig{Listen: c.listen, Alternate: c.alternate, Key: keyServer, Rand: random(1)}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error about %q", name, err, c.want)
		}
	}
	if _, err := NewServer(ServerConfig{Listen: serverAddress, Rand: random(1)}); err == nil {
		t.Error("a server without a key")
	}
}

func TestListenFailure(t *testing.T) {
	s, err := NewServer(ServerConfig{Listen: serverAddress, Key: keyServer, Rand: random(1)})
	if err != nil {
		t.Fatal(err)
	}
	s.HandleBound(simnet.Epoch, 0, serverAddress, fmt.Errorf("in use"))
	if e, _ := s.PollEvent(); !strings.Contains(fmt.Sprint(e), "listen on 203.0.113.1:3478: in use") {
		t.Errorf("event %v", e)
	}
}

// FuzzServer: no datagram makes trouble, neither a stranger's nor one that a
// registered peer has signed.
func FuzzServer(f *testing.F) {
	for _, m := range serverCorpus(newGate(f, 1)) {
		f.Add(m, false, uint8(0))
		f.Add(m, true, uint8(0))
	}
	f.Fuzz(func(t *testing.T, payload []byte, authentic bool, socket uint8) {
		b := newBench(t, ServerConfig{})
		if len(payload)%8 == 4 { // as good as any half of all messages
			b.SetAdmission(b.now, admissionOf(t, newGate(t, 1)))
		}
		if authentic {
			m := &pion.Message{Raw: bytes.Clone(payload)}
			if m.Decode() == nil {
				payload = b.sign(testKey(1), m)
			}
		}
		sent := 0
		for _, a := range b.give(sansio.Socket(socket), clientAddress, payload) {
			sent += len(a.raw)
		}
		if !authentic && sent > len(payload) {
			t.Errorf("%d bytes in answer to %d", sent, len(payload))
		}
		for range 10 {
			b.now = b.now.Add(time.Second)
			b.HandleTimeout(b.now)
		}
	})
}
