package relay

import (
	"bytes"
	"net/netip"
	"testing"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

func FuzzChannelData(f *testing.F) {
	f.Add(appendChannelData(nil, 0x4000, []byte("data")))
	f.Add([]byte{0x40, 0, 0xff, 0xff})
	f.Add([]byte{0x7f, 0xff, 0, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		number, data, ok := parseChannelData(b)
		if !ok {
			return
		}
		if number < minChannel || number > maxChannel {
			t.Fatalf("channel %#x out of %x", number, b)
		}
		if again := appendChannelData(nil, number, data); !bytes.HasPrefix(b, again) {
			t.Fatalf("%x reads as channel %#x with %x, which is written %x", b, number, data, again)
		}
	})
}

// FuzzServer sends anything to a server with two allocations: as it is, or as
// the attributes of a request or indication of one of the clients, rightly
// signed.
func FuzzServer(f *testing.F) {
	addresses := &pion.Message{}
	addXORAddress(addresses, pion.AttrXORPeerAddress, peerX)
	for method := range byte(8) {
		f.Add(method, []byte{})
		f.Add(method, addresses.Raw[headerSize:])
	}
	f.Add(byte(0), appendChannelData(nil, 0x4000, []byte("data")))
	f.Add(byte(3), []byte{0, 0x19, 0, 4, 17, 0, 0, 0, 0, 0x18, 0, 1, 0x80, 0, 0, 0})
	f.Add(byte(4), []byte{0, 0x0d, 0, 4, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		if len(b) > 4096 {
			return
		}
		w := newWorld(t, nil)
		alice, bob := w.user(clientA, "alice", "secret-a"), w.user(clientB, "bob", "secret-b")
		relayedA, relayedB := alice.allocate(), bob.allocate()
		alice.want(0, alice.bindChannel(0x4000, relayedB))
		bob.want(0, bob.permit(relayedA, peerX))
		stranger := w.user(netip.MustParseAddrPort("198.18.8.8:8"), "alice", "secret-a")

		methods := []pion.Method{pion.MethodAllocate, pion.MethodRefresh, pion.MethodCreatePermission, pion.MethodChannelBind, pion.MethodSend}
		switch kind % 8 {
		case 0:
			w.send(clientA, serverAddr, b)
			w.send(stranger.addr, serverAddr, b)
			if out := bytesTo(w, stranger.addr); out > len(b) {
				t.Fatalf("%d bytes from a stranger drew %d", len(b), out)
			}
		case 1:
			w.send(peerX, relayedB, b)
			got := w.take(clientB)
			if len(got) != 1 {
				t.Fatalf("the permitted peer's %d bytes arrived as %v", len(b), got)
			}
			m, err := stun.Parse(got[0].payload)
			if err != nil {
				t.Fatalf("a Data indication that is none: %v", err)
			}
			if data, _ := m.Get(pion.AttrData); !bytes.Equal(data, b) {
				t.Fatalf("%x became %x", b, data)
			}
		case 2:
			// As the attributes of an unsigned Binding request.
			m := &pion.Message{TransactionID: [12]byte{1}}
			m.SetType(pion.BindingRequest)
			m.WriteHeader()
			m.Raw = append(m.Raw[:headerSize], b...)
			m.Length = uint32(len(b))
			m.WriteLength()
			w.send(stranger.addr, serverAddr, m.Raw)
		default:
			who, method := alice, methods[(kind%8-3)%5]
			if method == pion.MethodAllocate {
				who = stranger
			}
			class := pion.ClassRequest
			if method == pion.MethodSend {
				class = pion.ClassIndication
			}
			raw, ok := signedWith(who, method, class, b)
			if !ok {
				return
			}
			w.send(who.addr, serverAddr, raw)
			for _, a := range w.take(who.addr) {
				if m, err := stun.Parse(a.payload); err == nil && m.Type.Class == pion.ClassIndication {
					continue
				} else if err != nil && !isChannelData(a.payload) {
					t.Fatalf("the answer %x is malformed: %v", a.payload, err)
				}
			}
		}
		checkTables(t, w.server)
	})
}

func bytesTo(w *world, at netip.AddrPort) (n int) {
	for _, a := range w.take(at) {
		n += len(a.payload)
	}
	return n
}

// signedWith makes a message of raw attributes, signed by a user.
func signedWith(u *user, method pion.Method, class pion.MessageClass, attributes []byte) ([]byte, bool) {
	if u.nonce == nil {
		u.login()
	}
	m := &pion.Message{TransactionID: u.id()}
	m.SetType(pion.NewType(method, class))
	m.WriteHeader()
	m.Raw = append(m.Raw[:headerSize], attributes...)
	m.Length = uint32(len(attributes))
	m.WriteLength()
	if m.Decode() != nil || len(attributes)%4 != 0 {
		return m.Raw, true // sent as the broken thing that it is
	}
	if class == pion.ClassRequest {
		m.Add(pion.AttrUsername, []byte(u.name))
		m.Add(pion.AttrRealm, []byte(u.realm))
		m.Add(pion.AttrNonce, u.nonce)
		if stun.LongTerm(u.name, u.realm, u.password).AddTo(m) != nil {
			return nil, false // the attributes hold a FINGERPRINT
		}
	}
	return m.Raw, true
}

// checkTables checks that the server's tables agree with each other.
func checkTables(t *testing.T, s *Server) {
	t.Helper()
	relays, ports, byPort, tickets := 0, 0, 0, 0
	for _, a := range s.allocations {
		relays += a.size()
		for _, t := range a.tickets {
			if t != (ticket{}) {
				tickets++
			}
		}
	}
	for _, f := range s.families {
		if f != nil {
			ports, byPort = ports+len(f.ports.taken), byPort+len(f.byPort)
		}
	}
	if byPort != relays || len(s.bySocket) != relays || len(s.byTicket) != tickets {
		t.Fatalf("%d relayed addresses, %d by port, %d by socket; %d tickets, %d known", relays, byPort, len(s.bySocket), tickets, len(s.byTicket))
	}
	if want := relays + len(s.reservations); ports != want || s.charged != want || len(s.pending)+len(s.opening) != 0 {
		t.Fatalf("%d ports taken and %d charged for %d relayed addresses and reservations, %d pending", ports, s.charged, want, len(s.pending))
	}
	charged := 0
	for _, c := range s.accounts {
		charged += c
	}
	bySource := 0
	for _, c := range s.sources {
		bySource += c
	}
	if charged != s.charged || bySource != s.charged {
		t.Fatalf("%d charged by account and %d by source for %d in all", charged, bySource, s.charged)
	}
	for _, a := range s.allocations {
		if len(a.byNumber) != len(a.byPeer) || len(a.permissions) > maxPermissions {
			t.Fatalf("%d channels by number, %d by peer, %d permissions", len(a.byNumber), len(a.byPeer), len(a.permissions))
		}
	}
}

// FuzzClient hands anything to a client as if the server had sent it: as it is,
// or with the transaction id of a request in flight.
func FuzzClient(f *testing.F) {
	ok, _ := stun.Build(pion.MethodCreatePermission, pion.ClassSuccessResponse, [12]byte{1})
	refused, _ := stun.Build(pion.MethodCreatePermission, pion.ClassErrorResponse, [12]byte{1}, pion.CodeStaleNonce,
		stun.Attribute{Type: pion.AttrRealm, Value: []byte("r")}, stun.Attribute{Type: pion.AttrNonce, Value: []byte("n")})
	mismatch, _ := stun.Build(pion.MethodCreatePermission, pion.ClassErrorResponse, [12]byte{1}, pion.CodeAllocMismatch)
	data, _ := stun.Build(pion.MethodData, pion.ClassIndication, [12]byte{1},
		stun.XORAddress{Type: pion.AttrXORPeerAddress, Address: peerX}, stun.Attribute{Type: pion.AttrData, Value: []byte("data")})
	for _, m := range []*pion.Message{ok, refused, mismatch, data} {
		f.Add(true, m.Raw)
		f.Add(false, m.Raw)
	}
	f.Add(false, appendChannelData(nil, 0x4000, []byte("data")))
	f.Fuzz(func(t *testing.T, ours bool, b []byte) {
		w := newWorld(t, nil)
		h := w.client(clientA, nil)
		h.mustAllocate()
		h.Permit(w.now, peerX)
		_, request, _ := h.PollTransmit()
		if ours && len(b) >= headerSize {
			b = bytes.Clone(b)
			copy(b[8:headerSize], request[8:headerSize])
		}
		h.HandleDatagram(w.now, serverAddr, b)
		h.HandleDatagram(w.now, peerX, b)
		for e, ok := h.PollEvent(); ok; e, ok = h.PollEvent() {
			switch e := e.(type) {
			case Data:
				if e.From.Addr() != peerX.Addr() {
					t.Fatalf("data from %s, whom nobody permitted", e.From)
				}
			case PermitFailed, Lost:
			default: // a success would have to be signed
				t.Fatalf("%T %+v from unsigned bytes %x", e, e, b)
			}
		}
		for n := 0; ; n++ {
			to, _, ok := h.PollTransmit()
			if !ok {
				break
			}
			if to != serverAddr || n > 3 {
				t.Fatalf("%x drew datagram %d, to %s", b, n, to)
			}
		}
	})
}

// addXORAddress has the codec write an XOR-ed address attribute.
func addXORAddress(m *pion.Message, t pion.AttrType, addr netip.AddrPort) {
	m.Add(t, appendXORAddress(nil, m.TransactionID, addr))
}
