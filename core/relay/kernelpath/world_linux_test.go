package kernelpath

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"go.uber.org/goleak"

	"p2pmodel/core/relay"
	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/siege"
)

func TestMain(m *testing.M) {
	siege.Enter()
	goleak.VerifyTestMain(m)
}

// The addresses are the loopback's in a siege's namespace, so that there are routes.
var (
	listen  = netip.MustParseAddrPort("198.18.0.20:3478")
	clients = []netip.AddrPort{netip.MustParseAddrPort("198.18.1.1:4000"), netip.MustParseAddrPort("198.18.2.2:5000")}
	peer    = netip.MustParseAddrPort("198.18.3.3:6000")
	nobody  = netip.MustParseAddrPort("198.18.4.4:7000")
)

// open makes a fast path for the test, or skips it and says why.
func open(t testing.TB) *Path {
	t.Helper()
	if err := siege.Ready(); err != nil {
		t.Skipf("LEFT OUT, the kernel's fast path: %v", err)
	}
	p, err := New(slog.New(slog.NewTextHandler(testLog{t}, nil)))
	if err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			t.Fatalf("%+v", v)
		}
		t.Skipf("LEFT OUT, the kernel's fast path: %v", err)
	}
	t.Cleanup(p.Shut)
	return p
}

// testLog fails the test with what is logged: all of it is trouble.
type testLog struct{ testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.Errorf("logged: %s", p)
	return len(p), nil
}

// recorder is a fast path that remembers the flows.
type recorder struct {
	*Path
	flows map[flowKey]relay.Flow
}

func (r *recorder) Open(now time.Time, f relay.Flow) {
	r.flows[keyOf(f.Client, f.Listen, f.Channel)] = f
	r.Path.Open(now, f)
}

func (r *recorder) Close(f relay.Flow) {
	delete(r.flows, keyOf(f.Client, f.Listen, f.Channel))
	r.Path.Close(f)
}

// world is a server without sockets, and its clients.
type world struct {
	t       testing.TB
	path    *Path
	fast    *recorder
	server  *relay.Server
	sockets map[sansio.Socket]netip.AddrPort
	users   []*relay.Client
	relayed []netip.AddrPort
}

func newWorld(t testing.TB) *world {
	t.Helper()
	path := open(t)
	w := &world{t: t, path: path, fast: &recorder{path, map[flowKey]relay.Flow{}}, sockets: map[sansio.Socket]netip.AddrPort{}}
	random := rand.NewChaCha8([32]byte{})
	var err error
	if w.server, err = relay.NewServer(relay.ServerConfig{
		Listen: listen, RelayAddress: listen.Addr(), Realm: "test", Rand: random, FastPath: w.fast,
		Authenticators: []relay.Authenticator{relay.Users{"alice": "secret"}},
	}); err != nil {
		t.Fatal(err)
	}
	w.drain()
	for i := range clients {
		w.users = append(w.users, relay.NewClient(relay.ClientConfig{Server: listen, Username: "alice", Password: "secret", Rand: random, ChannelAfter: 1}))
		w.users[i].Start(time.Now())
		w.drain()
		relayed, ok := w.users[i].Relayed()
		if !ok {
			t.Fatalf("%v has no allocation", clients[i])
		}
		w.relayed = append(w.relayed, relayed)
	}
	return w
}

// channel has a client bind a channel, and gives its number.
func (w *world) channel(client int, to netip.AddrPort) uint16 {
	w.t.Helper()
	u := w.users[client]
	u.Permit(time.Now(), to)
	w.drain()
	if err := u.Send(time.Now(), to, []byte("first")); err != nil {
		w.t.Fatal(err)
	}
	w.drain()
	for _, f := range w.fast.flows {
		if f.Client == clients[client] && f.Peer == to {
			return f.Channel
		}
	}
	w.t.Fatalf("%v has no channel to %v", clients[client], to)
	return 0
}

// drain carries what clients and server send each other.
func (w *world) drain() {
	now := time.Now()
	for busy := true; busy; {
		busy = false
		for b, ok := w.server.PollBind(); ok; b, ok = w.server.PollBind() {
			busy = true
			if b.Close {
				delete(w.sockets, b.Socket)
				continue
			}
			w.sockets[b.Socket] = b.Local
			w.server.HandleBound(now, b.Socket, b.Local, nil)
		}
		for d, ok := w.server.PollTransmit(); ok; d, ok = w.server.PollTransmit() {
			busy = true
			for i := range w.users {
				if d.Remote == clients[i] {
					w.users[i].HandleDatagram(now, listen, d.Payload)
				}
			}
		}
		for _, ok := w.server.PollEvent(); ok; _, ok = w.server.PollEvent() {
			busy = true
		}
		for i, u := range w.users {
			for to, payload, ok := u.PollTransmit(); ok; to, payload, ok = u.PollTransmit() {
				busy = true
				w.server.HandleDatagram(now, sansio.Datagram{Socket: w.at(to), Remote: clients[i], Payload: payload})
			}
			for _, ok := u.PollEvent(); ok; _, ok = u.PollEvent() {
				busy = true
			}
		}
	}
}

// none is no socket of the server.
const none = sansio.Socket(1 << 20)

// at is the server's socket of an address.
func (w *world) at(a netip.AddrPort) sansio.Socket {
	for s, local := range w.sockets {
		if local == a {
			return s
		}
	}
	return none
}

// pass is what the server makes of a datagram, from one relayed address to another included;
// nothing: it sends nothing, or not at once.
func (w *world) pass(d datagram) (out datagram, ok bool) {
	for {
		s := w.at(d.to)
		if s == none {
			return d, ok
		}
		f, done := w.server.Forward(time.Now(), sansio.Datagram{Socket: s, Remote: d.from, Payload: d.payload})
		if !done || !f.Remote.IsValid() {
			return datagram{}, false
		}
		d = datagram{from: w.sockets[f.Socket], to: f.Remote, payload: append(append([]byte(nil), f.Prefix...), f.Payload...)}
		ok = true
	}
}

// datagram is one of UDP.
type datagram struct {
	from, to netip.AddrPort
	payload  []byte
}

// frame is the datagram in IPv4 and Ethernet, as this host sends it but for the id, which
// is 0.
func (d datagram) frame() []byte {
	b := make([]byte, 42, 42+len(d.payload))
	b[12] = 0x08
	ip := b[14:]
	ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(d.payload)))
	copy(ip[12:], d.from.Addr().AsSlice())
	copy(ip[16:], d.to.Addr().AsSlice())
	udp := b[34:]
	binary.BigEndian.PutUint16(udp, d.from.Port())
	binary.BigEndian.PutUint16(udp[2:], d.to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(d.payload)))
	b = append(b, d.payload...)
	seal(b)
	return b
}

// seal writes the checksums (RFC 791, RFC 768).
func seal(b []byte) {
	header := b[14 : 14+4*int(b[14]&15)]
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], ^fold(header, 0))
	udp := b[14+len(header) : 14+int(binary.BigEndian.Uint16(header[2:]))]
	udp[6], udp[7] = 0, 0
	sum := ^fold(udp, uint32(fold(header[12:20], 0))+17+uint32(len(udp)))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
}

func fold(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// channelData is a message with a length that may lie.
func channelData(number uint16, length int, rest []byte) []byte {
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, number), uint16(length)), rest...)
}
