package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// forger makes what somebody without credentials may send: every kind of message, whole
// and broken, with nonces that were issued to the same address, to others and by nobody.
type forger struct {
	*rand.Rand
	realm string
	nonce []byte // of the last challenge; nil: none
}

var forgedMethods = []pion.Method{
	pion.MethodBinding, pion.MethodAllocate, pion.MethodRefresh, pion.MethodSend, pion.MethodData,
	pion.MethodCreatePermission, pion.MethodChannelBind, pion.MethodConnect, 0, 0xeee,
}

func (f *forger) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(f.Uint32())
	}
	return b
}

func (f *forger) datagram() []byte {
	switch f.IntN(10) {
	case 0:
		return f.bytes(f.IntN(64))
	case 1:
		return appendChannelData(nil, uint16(f.Uint32()), f.bytes(f.IntN(64)))
	}
	raw := f.message()
	switch f.IntN(12) {
	case 0:
		raw = raw[:f.IntN(len(raw)+1)]
	case 1:
		raw[f.IntN(len(raw))] ^= 1 << f.IntN(8)
	case 2:
		binary.BigEndian.PutUint16(raw[2:], uint16(f.Uint32()))
	}
	return raw
}

// message is a well-formed one, as far as strangers can make it so.
func (f *forger) message() []byte {
	m := &pion.Message{TransactionID: [12]byte(f.bytes(12))}
	class := pion.ClassRequest
	if f.IntN(3) == 0 {
		class = pion.MessageClass(f.IntN(4))
	}
	m.SetType(pion.NewType(forgedMethods[f.IntN(len(forgedMethods))], class))
	m.WriteHeader()
	for range f.IntN(4) {
		f.attribute(m)
	}
	if f.IntN(2) == 0 {
		m.Add(pion.AttrUsername, [][]byte{[]byte("alice"), []byte("%n\x1b"), nil, f.bytes(600)}[f.IntN(4)])
		m.Add(pion.AttrRealm, []byte(f.realm))
		m.Add(pion.AttrNonce, [][]byte{f.nonce, f.bytes(29), nil, []byte("obMatJos2AAAA")}[f.IntN(4)])
		sizes := []int{20, 20, 20, 20, 20, 0, 19, 32}
		t := []pion.AttrType{pion.AttrMessageIntegrity, pion.AttrMessageIntegritySHA256}[f.IntN(2)]
		m.Add(t, f.bytes(sizes[f.IntN(len(sizes))]))
	}
	if f.IntN(3) == 0 {
		_ = pion.Fingerprint.AddTo(m) // fails on messages that are too long, which is as good
	}
	return m.Raw
}

func (f *forger) attribute(m *pion.Message) {
	switch f.IntN(7) {
	case 0:
		m.Add(pion.AttrRequestedTransport, []byte{protocolUDP, 0, 0, 0})
	case 1:
		addXORAddress(m, pion.AttrXORPeerAddress, peerX)
	case 2:
		m.Add(pion.AttrEvenPort, []byte{0x80})
	case 3:
		m.Add(stun.AttrMobilityTicket, f.bytes(f.IntN(17)))
	case 4:
		m.Add(stun.AttrPad, make([]byte, f.IntN(100)))
	case 5:
		m.Add(pion.AttrData, f.bytes(f.IntN(30)))
	default: // of those that must be understood, so that the answer names them
		m.Add(pion.AttrType(f.Uint32()&0x7fff), f.bytes(f.IntN(9)))
	}
}

// learn takes the nonce out of a challenge.
func (f *forger) learn(answer []byte) {
	if m, err := stun.Parse(answer); err == nil {
		if nonce, err := m.Get(pion.AttrNonce); err == nil {
			f.nonce = append([]byte(nil), nonce...)
		}
	}
}

// TestStrangersDrawNoMoreThanTheySend has strangers send everything there is: at no time
// has an address got more bytes than came from it, and nothing is remembered of anybody.
func TestStrangersDrawNoMoreThanTheySend(t *testing.T) {
	answers := 0
	for seed := range uint64(200) {
		w := newWorld(t, nil)
		f := &forger{Rand: rand.New(seeded(seed + 1)), realm: "test"}
		in, out := map[netip.AddrPort]int{}, map[netip.AddrPort]int{}
		for range 200 {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, 0, byte(f.IntN(4))}), 1+uint16(f.IntN(2)))
			sent := f.datagram()
			in[from] += len(sent)
			w.send(from, serverAddr, sent)
			w.now = w.now.Add(time.Duration(f.IntN(1e9)))
			for to, got := range w.arrivals {
				for _, a := range got {
					answers++
					out[to] += len(a.payload)
					f.learn(a.payload)
				}
				delete(w.arrivals, to)
			}
			for to := range out {
				// An address has one credit, whatever the port.
				if all := in[netip.AddrPortFrom(to.Addr(), 1)] + in[netip.AddrPortFrom(to.Addr(), 2)]; out[to] > all {
					t.Fatalf("seed %d: %v got %d bytes for %d, the last ones for %x", seed, to, out[to], all, sent)
				}
			}
		}
		remembersNobody(t, w.server)
		if at := w.server.PollTimeout(); !at.IsZero() || len(w.events) != 0 {
			t.Fatalf("seed %d: strangers made the server want to be woken at %v, and events %v", seed, at, w.events)
		}
	}
	if answers < 1000 {
		t.Errorf("%d answers: too few to show anything", answers)
	}
}

func remembersNobody(t *testing.T, s *Server) {
	t.Helper()
	ports := len(s.families[four].ports.taken)
	if n := len(s.allocations) + len(s.pending) + len(s.opening) + len(s.accounts) + len(s.sources) +
		len(s.userRates) + len(s.byTicket) + len(s.reservations) + ports; n != 0 {
		t.Fatalf("%d things remembered of strangers", n)
	}
}

// TestForgedDatagramsLeaveMemoryFlat sends 100,000 forged datagrams to a relay that
// runs, over sockets of many loopback addresses.
func TestForgedDatagramsLeaveMemoryFlat(t *testing.T) {
	server, loop, addr := startServer(t)
	f := &forger{Rand: rand.New(seeded(9)), realm: "test"}
	conns := make([]*net.UDPConn, 64)
	for i := range conns {
		// Linux has all of 127/8; elsewhere one address has to do.
		local := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
		if runtime.GOOS == "linux" {
			local.IP = net.IPv4(127, 1, byte(i), 1+byte(i))
		}
		conn, err := net.DialUDP("udp4", local, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
	}
	// What is sent in one go fits into any socket buffer. A request that pays for its
	// answer comes last: when it is answered, all before it have been handled.
	fence, err := stun.Build(pion.MethodBinding, pion.ClassRequest, [12]byte{7}, pad)
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 2048)
	flood := func(n int) {
		const window = 64
		for range n / window {
			for i := range window {
				if _, err := conns[i].Write(f.datagram()); err != nil {
					t.Fatal(err)
				}
			}
			last := conns[f.IntN(len(conns))]
			if _, err := last.Write(fence.Raw); err != nil {
				t.Fatal(err)
			}
			for err := last.SetReadDeadline(time.Now().Add(time.Minute)); ; {
				if err != nil {
					t.Fatal(err)
				}
				var n int
				if n, err = last.Read(answer); err == nil && n >= headerSize && answer[8] == 7 && [11]byte(answer[9:headerSize]) == [11]byte{} {
					break
				}
			}
		}
	}
	heap := func() (used uint64) {
		loop.Do(func(time.Time) { // nothing is on its way through the machine
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			used = m.HeapAlloc
		})
		return used
	}
	flood(20_000)
	before := heap()
	flood(100_000)
	after := heap()
	if after > before+64<<10 {
		t.Errorf("the heap grew from %d to %d bytes over 100,000 forged datagrams", before, after)
	}
	t.Logf("heap %d bytes before and %d after", before, after)
	loop.Do(func(time.Time) {
		st := server.Stats()
		if st.Challenged < 1000 || st.DroppedMalformed < 1000 || st.DroppedBudget == 0 {
			t.Errorf("%+v: want thousands of challenges and of malformed datagrams, and answers that were not paid for", st)
		}
		remembersNobody(t, server)
	})
}
