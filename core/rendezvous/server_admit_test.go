package rendezvous

import (
	"crypto/ed25519"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/stun"
	"p2pmodel/core/ticket"
)

// gate signs tickets.
type gate struct {
	t      testing.TB
	signer *ticket.Signer
}

func newGate(t testing.TB, n byte) *gate {
	t.Helper()
	s, err := ticket.NewSigner(append(make([]byte, 31), n))
	if err != nil {
		t.Fatal(err)
	}
	return &gate{t, s}
}

// admissionOf knows the keys of gates.
func admissionOf(t testing.TB, gates ...*gate) *ticket.Verifier {
	t.Helper()
	var keys []ed25519.PublicKey
	for _, g := range gates {
		keys = append(keys, g.signer.Public())
	}
	v, err := ticket.NewVerifier(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ticket is good for so long from the beginning.
func (g *gate) ticket(peer byte, mesh string, life time.Duration) []byte {
	g.t.Helper()
	raw, err := g.signer.Sign(ticket.Ticket{Peer: testKey(peer).ID(), Mesh: mesh, Expires: simnet.Epoch.Add(life)})
	if err != nil {
		g.t.Fatal(err)
	}
	return raw
}

func showing(raw []byte) pion.Setter { return stun.Attribute{Type: stun.AttrTicket, Value: raw} }

func reasonOf(a answer) string {
	if err := stun.ErrorOf(a.Message); err != nil {
		return err.(*stun.ResponseError).Reason
	}
	return ""
}

func lifetimeOf(t *testing.T, a answer) time.Duration {
	t.Helper()
	seconds, err := stun.GetUint32(a.Message, pion.AttrLifetime)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(seconds) * time.Second
}

func TestWhoIsAdmitted(t *testing.T) {
	g, other := newGate(t, 1), newGate(t, 2)
	for _, row := range []struct {
		name     string
		ticket   []byte
		code     int
		reason   string
		lifetime time.Duration
	}{
		{"an hour", g.ticket(1, "hall", time.Hour), 0, "", DefaultLifetime},
		{"a minute", g.ticket(1, "hall", time.Minute), 0, "", time.Minute},
		{"the last second", g.ticket(1, "hall", time.Second), 0, "", time.Second},
		{"over", g.ticket(1, "hall", 0), 403, "Ticket Expired", 0},
		{"no ticket", nil, 403, "Ticket Required", 0},
		{"another's", g.ticket(2, "hall", time.Hour), 403, "Ticket Of Another Peer", 0},
		{"another gate's", other.ticket(1, "hall", time.Hour), 403, "Ticket Of An Unknown Key", 0},
		{"nonsense", []byte("ticket"), 403, "Ticket Malformed", 0},
	} {
		b := newBench(t, ServerConfig{Admission: admissionOf(t, g)})
		attributes := []pion.Setter{offerOf("x")}
		if row.ticket != nil {
			attributes = append(attributes, showing(row.ticket))
		}
		a := b.one(clientAddress, b.request(testKey(1), clientAddress, 1, stun.MethodRegister, attributes...))
		if codeOf(a) != row.code || reasonOf(a) != row.reason || b.key(testKey(1)).Check(a.Message) != nil {
			t.Errorf("%s: %d %q, want %d %q, authentic", row.name, codeOf(a), reasonOf(a), row.code, row.reason)
		} else if row.code == 0 && lifetimeOf(t, a) != row.lifetime {
			t.Errorf("%s: lifetime %v, want %v", row.name, lifetimeOf(t, a), row.lifetime)
		}
		if registered := len(b.peers) == 1; registered != (row.code == 0) {
			t.Errorf("%s: registered: %v", row.name, registered)
		}
		// Where nobody is asked for a ticket, none is looked at.
		open := newBench(t, ServerConfig{})
		if code := codeOf(open.one(clientAddress, open.request(testKey(1), clientAddress, 1, stun.MethodRegister, attributes...))); code != 0 {
			t.Errorf("%s, at an open server: %d", row.name, code)
		}
	}
}

// TestARegistrationEndsWithItsTicket, refreshed or not, and a newer ticket
// prolongs it.
func TestARegistrationEndsWithItsTicket(t *testing.T) {
	g := newGate(t, 1)
	b := newBench(t, ServerConfig{Admission: admissionOf(t, g)})
	sequence := uint64(0)
	register := func(attributes ...pion.Setter) answer {
		sequence++
		return b.one(clientAddress, b.request(testKey(1), clientAddress, sequence, stun.MethodRegister, attributes...))
	}
	at := func(d time.Duration) { b.now = simnet.Epoch.Add(d); b.HandleTimeout(b.now) }
	first, second := g.ticket(1, "hall", 60*time.Second), g.ticket(1, "hall", 200*time.Second)
	for _, step := range []struct {
		at         time.Duration
		attributes []pion.Setter
		code       int
		lifetime   time.Duration
	}{
		{0, []pion.Setter{offerOf("x"), showing(first)}, 0, 60 * time.Second},
		{15 * time.Second, nil, 0, 45 * time.Second},
		{30500 * time.Millisecond, []pion.Setter{showing(first)}, 0, 30 * time.Second}, // 29.5 s
		{45 * time.Second, []pion.Setter{showing(second)}, 0, 120 * time.Second},
		{50 * time.Second, []pion.Setter{showing(first)}, 0, 10 * time.Second}, // as the peer likes
		{55 * time.Second, []pion.Setter{showing(second)}, 0, 120 * time.Second},
		{100 * time.Second, []pion.Setter{showing(first)}, 403, 0}, // it stays registered by the second
		{100 * time.Second, nil, 0, 100 * time.Second},
		{199 * time.Second, nil, 0, time.Second},
		{200 * time.Second, nil, 437, 0},
		{200 * time.Second, []pion.Setter{offerOf("x"), showing(second)}, 403, 0},
		{201 * time.Second, []pion.Setter{stun.Uint32(pion.AttrLifetime, 0)}, 0, 0}, // to leave, nobody needs a ticket
	} {
		at(step.at)
		a := register(step.attributes...)
		if codeOf(a) != step.code || step.code == 0 && lifetimeOf(t, a) != step.lifetime {
			t.Errorf("after %v: %d, want %d with lifetime %v", step.at, codeOf(a), step.code, step.lifetime)
		}
	}
	if len(b.peers) != 0 || len(b.bySource) != 0 {
		t.Errorf("%d registrations left", len(b.peers))
	}
}

// TestAMeshIsAWorldOfItsOwn: peers of different meshes neither meet nor know of
// each other.
func TestAMeshIsAWorldOfItsOwn(t *testing.T) {
	g := newGate(t, 1)
	b := newBench(t, ServerConfig{Admission: admissionOf(t, g)})
	from := func(n byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 1) }
	sequence := uint64(0)
	ask := func(n byte, method pion.Method, attributes ...pion.Setter) answer {
		t.Helper()
		sequence++
		all := b.give(0, from(n), b.request(testKey(n), from(n), sequence, method, attributes...).Raw)
		i := slices.IndexFunc(all, func(a answer) bool { return a.to == from(n) && a.Type.Class != pion.ClassRequest })
		if i < 0 {
			t.Fatalf("no answer to peer %d", n)
		}
		return all[i]
	}
	register := func(n byte, mesh string) {
		t.Helper()
		if code := codeOf(ask(n, stun.MethodRegister, offerOf("x"), showing(g.ticket(n, mesh, time.Hour)))); code != 0 {
			t.Fatalf("peer %d registers: %d", n, code)
		}
	}
	join := func(n byte, name string) answer {
		return ask(n, stun.MethodJoin, stun.Attribute{Type: stun.AttrRoom, Value: []byte(name)})
	}
	connect := func(n, to byte) int {
		return codeOf(ask(n, stun.MethodConnect, idAttribute(stun.AttrTarget, testKey(to).ID()), offerOf("now"),
			stun.Attribute{Type: stun.AttrSession, Value: append(make([]byte, 15), byte(sequence))}))
	}
	register(1, "hall")
	register(2, "hall")
	register(3, "attic")
	if a := join(1, "attic"); codeOf(a) != 403 || reasonOf(a) != "Not The Ticket's Mesh" {
		t.Errorf("joining another mesh: %d %q", codeOf(a), reasonOf(a))
	}
	for n, room := range map[byte]string{1: "hall", 2: "hall", 3: "attic"} {
		if code := codeOf(join(n, room)); code != 0 {
			t.Errorf("peer %d joins its own mesh: %d", n, code)
		}
	}
	for _, row := range []struct {
		from, to byte
		want     int
	}{{1, 2, 0}, {2, 1, 0}, {1, 3, 404}, {3, 2, 404}, {1, 9, 404}} {
		if code := connect(row.from, row.to); code != row.want {
			t.Errorf("%d connects to %d: %d, want %d", row.from, row.to, code, row.want)
		}
	}
	// A ticket for another mesh takes the peer there, and out of the first one.
	register(2, "attic")
	if k := b.rooms["hall"]; k == nil || len(k.members) != 1 || len(b.peers[testKey(2).ID()].introductions) != 0 {
		t.Error("peer 2 is in its old room still, or is still being introduced there")
	}
	if got := connect(2, 3); got != 0 {
		t.Errorf("2 connects to 3 in its new mesh: %d", got)
	}
	if got := connect(1, 2); got != 404 {
		t.Errorf("1 connects to 2, who has left: %d, want 404", got)
	}
	if code := codeOf(join(2, "hall")); code != 403 {
		t.Errorf("2 goes back by its new ticket: %d, want 403", code)
	}
}

// TestKeysOfAdmissionChange: registrations by a key that is gone end at once.
func TestKeysOfAdmissionChange(t *testing.T) {
	old, fresh := newGate(t, 1), newGate(t, 2)
	b := newBench(t, ServerConfig{})
	register := func(n byte, attributes ...pion.Setter) int {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 1)
		return codeOf(b.one(from, b.request(testKey(n), from, uint64(b.now.UnixMicro())+uint64(n), stun.MethodRegister, append(attributes, offerOf("x"))...)))
	}
	who := func() (list []byte) {
		for n := range byte(9) {
			if b.peers[testKey(n).ID()] != nil {
				list = append(list, n)
			}
		}
		return list
	}
	want := func(when string, expected ...byte) {
		t.Helper()
		if got := who(); !slices.Equal(got, expected) {
			t.Errorf("%s: %v are registered, want %v", when, got, expected)
		}
		b.now = b.now.Add(time.Second)
	}
	register(1)
	register(2, showing(old.ticket(2, "hall", time.Hour)))
	want("while the server is open", 1, 2)
	b.SetAdmission(b.now, admissionOf(t, old))
	want("when tickets are asked for") // what was shown before was not looked at
	register(2, showing(old.ticket(2, "hall", time.Hour)))
	register(3, showing(old.ticket(3, "hall", time.Hour)))
	register(4, showing(fresh.ticket(4, "hall", time.Hour)))
	want("by the old key", 2, 3)
	b.SetAdmission(b.now, admissionOf(t, old, fresh))
	register(3, showing(fresh.ticket(3, "hall", time.Hour)))
	register(4, showing(fresh.ticket(4, "hall", time.Hour)))
	want("by both", 2, 3, 4)
	b.SetAdmission(b.now, admissionOf(t, fresh))
	want("when the old key is gone", 3, 4)
	b.SetAdmission(b.now, nil)
	register(1)
	want("open again", 1, 3, 4)
}

// TestATicketCostsNothingBeforeItsPeerIsKnown: no signature is checked for a
// source or a peer that may be forged, and no answer to it is longer.
func TestATicketCostsNothingBeforeItsPeerIsKnown(t *testing.T) {
	g := newGate(t, 1)
	b := newBench(t, ServerConfig{Admission: admissionOf(t, g)})
	good := showing(g.ticket(1, "hall", time.Hour))
	peer := idAttribute(stun.AttrPeerID, testKey(1).ID())
	nonce := stun.Attribute{Type: pion.AttrNonce, Value: []byte(b.nonces.Issue(b.now, clientAddress))}
	for name, m := range map[string]*pion.Message{
		"no nonce":        seal(stun.MethodRegister, pion.ClassRequest, transactionID{1}, nil, peer, good),
		"no integrity":    seal(stun.MethodRegister, pion.ClassRequest, transactionID{2}, nil, peer, sequenceAttribute(1), nonce, offerOf("x"), good),
		"wrong integrity": seal(stun.MethodRegister, pion.ClassRequest, transactionID{3}, b.key(testKey(2)), peer, sequenceAttribute(1), nonce, offerOf("x"), good),
	} {
		for _, a := range b.give(0, clientAddress, m.Raw) {
			if codeOf(a) != stun.CodeUnauthorized || len(a.raw) > len(m.Raw) {
				t.Errorf("%s: %d in %d bytes, want 401 in at most %d", name, codeOf(a), len(a.raw), len(m.Raw))
			}
		}
		if len(b.peers) != 0 {
			t.Errorf("%s: registered", name)
		}
	}
}

// TestClientsRenewTheirTickets and go to another mesh by them, without an event
// too many.
func TestClientsRenewTheirTickets(t *testing.T) {
	g := newGate(t, 1)
	w := newWorld(t)
	w.start(ServerConfig{Admission: admissionOf(t, g)})
	a := w.peer(1, nil, ClientConfig{Ticket: g.ticket(1, "hall", time.Minute)})
	b := w.peer(2, nil, ClientConfig{Ticket: g.ticket(2, "hall", time.Hour)})
	set := func(n byte, p *testPeer, mesh string, life time.Duration) func() {
		return func() {
			p.do(func(now time.Time) {
				if err := p.machine.client.SetTicket(now, g.ticket(n, mesh, life)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	a.join(t, "hall")
	w.net.Run(time.Second)
	b.join(t, "hall")
	for _, step := range []struct {
		what string
		do   func()
		a, b string
	}{
		{"at first", func() {}, "registered 198.51.100.1:5000 rtt 40ms\nmembers of hall: []\nhall peer 2 joined true",
			"registered 198.51.100.2:5000 rtt 40ms\nmembers of hall: [peer 1]"},
		{"a renews", set(1, a, "hall", 3*time.Minute), "rendezvous.TicketRenewed {}\nmembers of hall: [peer 2]", ""},
		{"the same again", set(1, a, "hall", 3*time.Minute), "", ""},
		{"for two minutes", func() { w.net.Run(2 * time.Minute) }, "", ""},
		{"a's ticket is over", func() { w.net.Run(80 * time.Second) }, "rendezvous.Refused {" + ErrTicket.Error() + ": refused with error 403 (Ticket Expired)}", "hall peer 1 joined false"},
		{"another bad one", set(1, a, "hall", time.Second), "rendezvous.Refused {" + ErrTicket.Error() + ": refused with error 403 (Ticket Expired)}", ""},
		{"it waits", func() { w.net.Run(time.Minute) }, "", ""},
		{"a good one", set(1, a, "hall", time.Hour), "registered 198.51.100.1:5000 rtt 40ms\nmembers of hall: [peer 2]", "hall peer 1 joined true"},
		{"a goes to another mesh", func() {
			set(1, a, "attic", time.Hour)()
			a.do(func(now time.Time) { a.machine.client.Leave(now, "hall") })
			a.join(t, "attic")
			a.connect(b, 1) // waits for the ticket, and is too late
		}, "rendezvous.TicketRenewed {}\nmembers of attic: []\nfailed peer 2 session 1: " + ErrUnknownPeer.Error(), "hall peer 1 joined false"},
		{"b follows, and forgets to leave", func() {
			set(2, b, "attic", time.Hour)()
			b.join(t, "attic")
		}, "attic peer 2 joined true", "rendezvous.TicketRenewed {}\n*rendezvous.RoomFailed"},
	} {
		step.do()
		w.net.Run(time.Second)
		gotA, gotB := a.take(a, b), b.take(a, b)
		if step.what == "b follows, and forgets to leave" {
			// It is told of the room where it cannot be, and enters the other.
			if !strings.Contains(gotB, "hall") || !strings.Contains(gotB, "403") || !strings.Contains(gotB, "members of attic: [peer 1]") {
				t.Errorf("%s: b is told %s", step.what, gotB)
			}
			gotB = step.b
		}
		w.expect(step.what+", a", gotA, step.a)
		w.expect(step.what+", b", gotB, step.b)
	}
}

// TestARestartedServerGetsTheTicket, since a client that is unknown shows all it
// has.
func TestARestartedServerGetsTheTicket(t *testing.T) {
	g := newGate(t, 1)
	w := newWorld(t)
	cfg := ServerConfig{Admission: admissionOf(t, g)}
	w.start(cfg)
	a := w.peer(1, nil, ClientConfig{Ticket: g.ticket(1, "hall", time.Hour)})
	w.net.Run(time.Second)
	w.start(cfg)
	w.net.Run(20 * time.Second)
	if r := w.server.peers[a.key.ID()]; r == nil || r.admission.mesh != "hall" {
		t.Errorf("after the server's restart: %+v\n%s", r, a.take())
	}
}

// TestWhoIsRefusedStaysInItsRooms: the server forgets a peer whose ticket is over;
// a good one takes it back to where it was.
func TestWhoIsRefusedStaysInItsRooms(t *testing.T) {
	g := newGate(t, 1)
	w := newWorld(t)
	w.start(ServerConfig{Admission: admissionOf(t, g)})
	a := w.peer(1, nil, ClientConfig{Ticket: g.ticket(1, "hall", 10*time.Second)})
	w.net.Run(10200 * time.Millisecond)
	if !a.machine.client.Registered() {
		t.Fatal("the client knows already that the ticket is over: join earlier")
	}
	a.join(t, "hall")
	w.net.Run(time.Minute)
	if got := a.take(); strings.Contains(got, "members") || !strings.Contains(got, "Ticket Expired") {
		t.Errorf("without a good ticket: %s", got)
	}
	a.do(func(now time.Time) {
		if err := a.machine.client.SetTicket(now, g.ticket(1, "hall", time.Hour)); err != nil {
			t.Error(err)
		}
	})
	w.net.Run(time.Second)
	w.expect("with one", a.take(), "registered 198.51.100.1:5000 rtt 40ms\nmembers of hall: []")
}

func TestSetTicketRefusesWhatIsNone(t *testing.T) {
	c := NewClient(ClientConfig{Server: serverAddress, Key: testKey(1), Rand: random(1)})
	if err := c.SetTicket(simnet.Epoch, make([]byte, ticket.MaxSize+1)); err == nil {
		t.Error("a ticket that is longer than any was taken")
	}
}

// BenchmarkRegister is a REGISTER as the server handles it, with nonce and
// integrity: a refresh without a ticket, with the one that it rests on, and with a
// new one.
func BenchmarkRegister(b *testing.B) {
	g := newGate(b, 1)
	for _, row := range []struct {
		name  string
		shown func(n int) []pion.Setter
	}{
		{"refresh", func(int) []pion.Setter { return nil }},
		{"same ticket", func(int) []pion.Setter { return []pion.Setter{showing(g.ticket(1, "hall", time.Hour))} }},
		{"new ticket", func(n int) []pion.Setter {
			return []pion.Setter{showing(g.ticket(1, "hall", time.Hour+time.Duration(n)*time.Second))}
		}},
	} {
		b.Run(row.name, func(b *testing.B) {
			s := newBench(b, ServerConfig{Admission: admissionOf(b, g), Limits: Limits{Rate: 1e9, Burst: 1e9}})
			s.one(clientAddress, s.request(testKey(1), clientAddress, 1, stun.MethodRegister, offerOf("x"), showing(g.ticket(1, "hall", time.Hour))))
			var requests [][]byte // two in turn, so that each brings another ticket
			for n := range 2 {
				requests = append(requests, s.request(testKey(1), clientAddress, 2, stun.MethodRegister, row.shown(n)...).Raw)
			}
			i := 0
			for b.Loop() {
				i++
				if len(s.give(0, clientAddress, requests[i%2])) != 1 {
					b.Fatal("no answer")
				}
			}
		})
	}
}
