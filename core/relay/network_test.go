package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
	"p2pmodel/core/stun"
)

// The world of these tests: one server, in simulated time, with hosts around it
// that are nothing but addresses.
var (
	serverAddr = netip.MustParseAddrPort("198.18.0.20:3478")
	relayAddr  = netip.MustParseAddr("198.18.0.20")
	clientA    = netip.MustParseAddrPort("198.18.1.1:4000")
	clientB    = netip.MustParseAddrPort("198.18.2.2:5000")
	peerX      = netip.MustParseAddrPort("198.18.3.3:6000")
	epoch      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// seeded is a reproducible random source.
func seeded(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(s)
}

type arrival struct {
	from    netip.AddrPort
	payload []byte
}

func (a arrival) String() string { return fmt.Sprintf("%q from %v", a.payload, a.from) }

// world carries datagrams between the server and addresses, without delay.
type world struct {
	t       *testing.T
	now     time.Time
	server  *Server
	sockets map[sansio.Socket]netip.AddrPort
	busy    map[uint16]bool // ports that another program owns
	closed  []netip.AddrPort
	// hosts get what is sent to their address; arrivals keep the rest.
	hosts    map[netip.AddrPort]func(from netip.AddrPort, payload []byte)
	arrivals map[netip.AddrPort][]arrival
	events   []sansio.Event
	binds    int
	handed   int
	whole    int // datagrams that left with DontFragment
	// entry is by which method the next datagram gets to the server; trace is of all that
	// was sent, where it is always the same one.
	entry entry
	trace []string

	// Where the server runs over the kernel's sockets: its field, and by what its
	// clients reach it. Of the above it has server and events.
	field  *siege.Field
	way    sansio.Transport
	secure *tls.Config
	// fast is the fast path that it has, and shut ends it; nil: none.
	fast *flows
	shut func()
}

// entry is how a driver may give datagrams to the server.
type entry int

const (
	alternating entry = iota // by Forward each second time
	handled
	forwarded
)

func worldConfig() ServerConfig {
	return ServerConfig{
		Listen:         serverAddr,
		RelayAddress:   relayAddr,
		PortLow:        50000,
		PortHigh:       50999,
		Realm:          "test",
		Authenticators: []Authenticator{Users{"alice": "secret-a", "bob": "secret-b"}},
		Rand:           seeded(1),
	}
}

func newWorld(t *testing.T, change func(*ServerConfig)) *world {
	t.Helper()
	cfg := worldConfig()
	if change != nil {
		change(&cfg)
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatalf("NewServer: %v", err)
	}
	w := &world{
		t:        t,
		now:      epoch,
		server:   s,
		sockets:  make(map[sansio.Socket]netip.AddrPort),
		busy:     make(map[uint16]bool),
		hosts:    make(map[netip.AddrPort]func(netip.AddrPort, []byte)),
		arrivals: make(map[netip.AddrPort][]arrival),
	}
	s.HandleInterfaces(w.now, []netip.Addr{relayAddr})
	w.drain()
	w.events = nil
	return w
}

// drain does what the server wants done.
func (w *world) drain() {
	for busy := true; busy; {
		busy = false
		for b, ok := w.server.PollBind(); ok; b, ok = w.server.PollBind() {
			busy = true
			w.bind(b)
		}
		for d, ok := w.server.PollTransmit(); ok; d, ok = w.server.PollTransmit() {
			busy = true
			w.transmit(d)
		}
		for e, ok := w.server.PollEvent(); ok; e, ok = w.server.PollEvent() {
			busy = true
			w.events = append(w.events, e)
		}
	}
}

func (w *world) bind(b sansio.Bind) {
	if b.Close {
		w.closed = append(w.closed, w.sockets[b.Socket])
		delete(w.sockets, b.Socket)
		return
	}
	w.binds++
	var err error
	if w.busy[b.Local.Port()] {
		err = errors.New("address already in use")
	}
	for _, other := range w.sockets {
		if other == b.Local {
			err = fmt.Errorf("%s is bound by the server itself", other)
		}
	}
	if err == nil {
		w.sockets[b.Socket] = b.Local
	}
	w.server.HandleBound(w.now, b.Socket, b.Local, err)
}

// hand gives the server a datagram, by one of the two methods.
func (w *world) hand(d sansio.Datagram) {
	w.handed++
	if w.entry == forwarded || w.entry == alternating && w.handed%2 == 0 {
		if f, done := w.server.Forward(w.now, d); done {
			if f.Remote.IsValid() {
				f.Payload = append(bytes.Clone(f.Prefix), f.Payload...)
				w.transmit(f.Datagram)
			}
			w.drain()
			return
		}
	}
	w.server.HandleDatagram(w.now, d)
	w.drain()
}

// transmit carries what the server sends.
func (w *world) transmit(d sansio.Datagram) {
	from, open := w.sockets[d.Socket]
	if !open {
		w.t.Fatalf("the server sends by socket %d, which is not open", d.Socket)
	}
	if d.DontFragment {
		w.whole++
	}
	if w.entry != alternating {
		w.trace = append(w.trace, fmt.Sprintf("%v %v %v %v %x", w.now, from, d.Remote, d.DontFragment, d.Payload))
	}
	w.deliver(from, d.Remote, bytes.Clone(d.Payload))
}

// deliver takes a datagram to whoever has the address.
func (w *world) deliver(from, to netip.AddrPort, payload []byte) {
	for s, local := range w.sockets {
		if local == to {
			w.hand(sansio.Datagram{Socket: s, Remote: from, Payload: payload})
			return
		}
	}
	if h := w.hosts[to]; h != nil {
		h(from, payload)
		return
	}
	w.arrivals[to] = append(w.arrivals[to], arrival{from, payload})
}

// send is a datagram from anybody to the server's sockets.
func (w *world) send(from, to netip.AddrPort, payload []byte) {
	w.t.Helper()
	if w.field != nil {
		w.sendRunning(from, to, payload)
		return
	}
	w.deliver(from, to, payload)
}

// pass lets time pass, waking the server when it wants to be woken.
func (w *world) pass(d time.Duration) {
	if w.field != nil {
		w.field.Pass(d)
		w.shifted()
		return
	}
	end := w.now.Add(d)
	for {
		at := w.server.PollTimeout()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		w.server.HandleTimeout(w.now)
		w.drain()
	}
	w.now = end
}

// take empties what arrived at an address.
func (w *world) take(at netip.AddrPort) []arrival {
	w.t.Helper()
	if w.field != nil {
		return w.takeRunning(at)
	}
	a := w.arrivals[at]
	delete(w.arrivals, at)
	return a
}

// user is a hand-written TURN client: every message exactly as a test wants it.
type user struct {
	w              *world
	addr           netip.AddrPort
	name, password string
	realm          string
	nonce          []byte
	ids            *rand.ChaCha8
}

func (w *world) user(addr netip.AddrPort, name, password string) *user {
	return &user{w: w, addr: addr, name: name, password: password, ids: seeded(uint64(addr.Port()))}
}

func (u *user) id() [pion.TransactionIDSize]byte {
	id, _ := stun.NewID(u.ids)
	return id
}

// raw sends a message and gives the answer, nil if there is none.
func (u *user) raw(payload []byte) *pion.Message {
	u.w.t.Helper()
	u.w.take(u.addr)
	u.w.send(u.addr, serverAddr, payload)
	got := u.w.take(u.addr)
	if len(got) == 0 {
		return nil
	}
	if len(got) > 1 {
		u.w.t.Fatalf("%d answers to one request", len(got))
	}
	m, err := stun.Parse(got[0].payload)
	if err != nil {
		u.w.t.Fatalf("answer %x: %v", got[0].payload, err)
	}
	return m
}

// attribute puts a raw attribute into a message.
func attribute(t pion.AttrType, value ...byte) pion.Setter {
	return stun.Attribute{Type: t, Value: value}
}

func peerAttribute(peer netip.AddrPort) pion.Setter { return peerSetter{peer} }

// peerSetter writes the address in the very form given, which the library's
// encoder would not for IPv4 inside IPv6.
type peerSetter struct{ peer netip.AddrPort }

func (p peerSetter) AddTo(m *pion.Message) error {
	if !p.peer.Addr().Is4In6() {
		addXORAddress(m, pion.AttrXORPeerAddress, p.peer)
		return nil
	}
	raw, pad := p.peer.Addr().As16(), xorPad(m.TransactionID)
	v := []byte{0, familyIPv6, byte(p.peer.Port()>>8) ^ 0x21, byte(p.peer.Port()) ^ 0x12}
	for i := range raw {
		v = append(v, raw[i]^pad[i])
	}
	m.Add(pion.AttrXORPeerAddress, v)
	return nil
}

var wantUDP = attribute(pion.AttrRequestedTransport, protocolUDP, 0, 0, 0)

// pad makes a request without credentials pay for its answer, as our client's do.
var pad = attribute(stun.AttrPad, padding[:96]...)

// login fetches realm and nonce by an unauthenticated Allocate.
func (u *user) login() {
	u.w.t.Helper()
	m, err := stun.Build(pion.MethodAllocate, pion.ClassRequest, u.id(), wantUDP, pad)
	if err != nil {
		u.w.t.Fatal(err)
	}
	answer := u.raw(m.Raw)
	if answer == nil || !stun.IsCode(stun.ErrorOf(answer), 401) {
		u.w.t.Fatalf("first Allocate: answer %v, want 401", answer)
	}
	realm, _ := answer.Get(pion.AttrRealm)
	nonce, _ := answer.Get(pion.AttrNonce)
	u.realm, u.nonce = string(realm), append([]byte(nil), nonce...)
}

// request builds a signed request.
func (u *user) request(id [pion.TransactionIDSize]byte, method pion.Method, attributes ...pion.Setter) []byte {
	u.w.t.Helper()
	if u.nonce == nil {
		u.login()
	}
	all := append(attributes,
		stun.Attribute{Type: pion.AttrUsername, Value: []byte(u.name)},
		stun.Attribute{Type: pion.AttrRealm, Value: []byte(u.realm)},
		stun.Attribute{Type: pion.AttrNonce, Value: u.nonce},
		stun.LongTerm(u.name, u.realm, u.password))
	m, err := stun.Build(method, pion.ClassRequest, id, all...)
	if err != nil {
		u.w.t.Fatal(err)
	}
	return m.Raw
}

// do sends a signed request and gives the answer.
func (u *user) do(method pion.Method, attributes ...pion.Setter) *pion.Message {
	u.w.t.Helper()
	return u.raw(u.request(u.id(), method, attributes...))
}

// want checks the answer's code, 0 meaning success, and that it is signed.
func (u *user) want(code int, answer *pion.Message) *pion.Message {
	u.w.t.Helper()
	switch {
	case answer == nil:
		u.w.t.Fatalf("no answer, want %d", code)
	case code == 0 && answer.Type.Class != pion.ClassSuccessResponse:
		u.w.t.Fatalf("answer %v, want success", stun.ErrorOf(answer))
	case code != 0 && !stun.IsCode(stun.ErrorOf(answer), code):
		u.w.t.Fatalf("answer %v (%v), want error %d", answer.Type, stun.ErrorOf(answer), code)
	}
	if code != 401 && code != 438 {
		if err := stun.LongTerm(u.name, u.realm, u.password).Check(answer); err != nil {
			u.w.t.Fatalf("the answer is not signed as it must be: %v", err)
		}
	}
	return answer
}

// allocate makes an allocation and gives its relayed address.
func (u *user) allocate(attributes ...pion.Setter) netip.AddrPort {
	u.w.t.Helper()
	return u.relayed(u.want(0, u.do(pion.MethodAllocate, append([]pion.Setter{wantUDP}, attributes...)...)))
}

func (u *user) relayed(answer *pion.Message) netip.AddrPort {
	u.w.t.Helper()
	a, err := stun.GetXORAddress(answer, pion.AttrXORRelayedAddress)
	if err != nil {
		u.w.t.Fatal(err)
	}
	return a
}

func (u *user) permit(peers ...netip.AddrPort) *pion.Message {
	u.w.t.Helper()
	var as []pion.Setter
	for _, p := range peers {
		as = append(as, peerAttribute(p))
	}
	return u.do(pion.MethodCreatePermission, as...)
}

func (u *user) bindChannel(number uint16, peer netip.AddrPort) *pion.Message {
	u.w.t.Helper()
	return u.do(pion.MethodChannelBind, attribute(pion.AttrChannelNumber, byte(number>>8), byte(number), 0, 0), peerAttribute(peer))
}

// indicate sends a Send indication.
func (u *user) indicate(peer netip.AddrPort, data string, more ...pion.Setter) {
	u.w.t.Helper()
	all := append([]pion.Setter{peerAttribute(peer), stun.Attribute{Type: pion.AttrData, Value: []byte(data)}}, more...)
	m, err := stun.Build(pion.MethodSend, pion.ClassIndication, u.id(), all...)
	if err != nil {
		u.w.t.Fatal(err)
	}
	u.w.send(u.addr, serverAddr, m.Raw)
}

// lifetime is LIFETIME as an attribute, in seconds.
func lifetime(seconds uint32) pion.Setter { return stun.Uint32(pion.AttrLifetime, seconds) }

func granted(t *testing.T, m *pion.Message) time.Duration {
	t.Helper()
	s, err := stun.GetUint32(m, pion.AttrLifetime)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(s) * time.Second
}

func sansioDatagram(from netip.AddrPort, payload []byte) sansio.Datagram {
	return sansio.Datagram{Remote: from, Payload: payload}
}
