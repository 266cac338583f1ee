package punch

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

var (
	credA = newCredentials("aaaa", pwdA)
	credB = newCredentials("bbbb", pwdB)
)

// lone is an agent without a peer: what arrives, the test sends.
func lone(t testing.TB, controlling bool) *Agent {
	t.Helper()
	a, err := New(epoch, Config{
		Controlling: controlling, TieBreaker: 100, Extended: true, NoSplit: true, Rand: randReader{rand.New(rand.NewPCG(1, 1))},
		LocalUfrag: "aaaa", LocalPwd: pwdA, RemoteUfrag: "bbbb", RemotePwd: pwdB,
	})
	if err != nil {
		t.Fatal(err)
	}
	a.SetLocal(epoch, socketBase, []Candidate{host(addrPort("192.168.1.2:5000"))})
	return a
}

func drain(a *Agent) (sent []Transmit) {
	for t, ok := a.PollTransmit(); ok; t, ok = a.PollTransmit() {
		sent = append(sent, t)
	}
	return sent
}

// fromB is a check as the peer sends it, with changes.
func fromB(t testing.TB, c check, local, remote credentials) []byte {
	t.Helper()
	if c.priority == 0 {
		c.priority = Priority(PeerReflexive, 0)
	}
	return writeCheck(c, local, remote)
}

var stranger = addrPort("203.0.113.9:999")

// TestNothingForTheUnauthenticated: whoever does not know the password gets no
// packet and leaves no state.
func TestNothingForTheUnauthenticated(t *testing.T) {
	good := fromB(t, check{id: transactionID{1}, fill: paidSize - 96}, credB, credA)
	plain, err := stun.Build(pion.MethodBinding, pion.ClassRequest, transactionID{2},
		pion.NewUsername("aaaa:bbbb"), stun.Uint32(pion.AttrPriority, 1), pion.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		b    []byte
		ours bool
	}{
		{"wrong password", fromB(t, check{}, credB, newCredentials("aaaa", pwdB)), true},
		{"no integrity", plain.Raw, true},
		{"wrong user name", fromB(t, check{}, newCredentials("cccc", pwdB), credA), false},
		{"halves of the user name exchanged", fromB(t, check{}, credA, credB), false},
		{"a byte changed", append(bytes.Clone(good[:30]), append([]byte{good[30] ^ 1}, good[31:]...)...), false},
		{"cut short", good[:len(good)-8], false},
		{"not STUN", []byte("GET / HTTP/1.1\r\n\r\n...."), false},
		{"empty", nil, false},
	} {
		a := lone(t, true)
		if ours := a.HandleDatagram(epoch, socketBase, stranger, row.b); ours != row.ours {
			t.Errorf("%s: taken for ours: %v, want %v", row.name, ours, row.ours)
		}
		if sent := drain(a); len(sent) != 0 || len(a.pairs) != 0 {
			t.Errorf("%s: answered with %d packets and %d pairs, want none", row.name, len(sent), len(a.pairs))
		}
	}
	a := lone(t, true)
	if !a.HandleDatagram(epoch, socketBase, stranger, good) || len(drain(a)) != 2 || len(a.pairs) != 1 {
		t.Error("the same check unchanged: want an answer, a pair and a triggered check")
	}
}

// TestAppendedAttributesDoNotCount: what follows MESSAGE-INTEGRITY is anybody's.
func TestAppendedAttributesDoNotCount(t *testing.T) {
	m, err := stun.Build(pion.MethodBinding, pion.ClassRequest, transactionID{3},
		pion.NewUsername("aaaa:bbbb"), stun.Uint32(pion.AttrPriority, Priority(PeerReflexive, 0)),
		stun.Attribute{Type: pion.AttrICEControlling, Value: make([]byte, 8)},
		credA.integrity, stun.Attribute{Type: pion.AttrUseCandidate}, pion.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	a := lone(t, false)
	if !a.HandleDatagram(epoch, socketBase, stranger, m.Raw) || a.nominated != nil {
		t.Error("USE-CANDIDATE behind MESSAGE-INTEGRITY nominated a pair")
	}
}

// TestRequests: what a check is answered with.
func TestRequests(t *testing.T) {
	build := func(attributes ...pion.Setter) []byte {
		m, err := stun.Build(pion.MethodBinding, pion.ClassRequest, transactionID{4},
			append(append([]pion.Setter{pion.NewUsername("aaaa:bbbb")}, attributes...), credA.integrity, pion.Fingerprint)...)
		if err != nil {
			t.Fatal(err)
		}
		return m.Raw
	}
	priority := stun.Uint32(pion.AttrPriority, Priority(PeerReflexive, 0))
	for _, row := range []struct {
		name string
		b    []byte
		code int
	}{
		{"an attribute that must be understood", build(priority, stun.Attribute{Type: 0x7ABC, Value: make([]byte, 4)}), stun.CodeUnknownAttribute},
		{"no priority", build(), stun.CodeBadRequest},
		{"the same role, smaller tie-breaker", fromB(t, check{controlling: true, tieBreaker: 99}, credB, credA), codeRoleConflict},
	} {
		a := lone(t, true)
		a.HandleDatagram(epoch, socketBase, stranger, row.b)
		sent := drain(a)
		if len(sent) != 1 {
			t.Errorf("%s: %d packets sent, want one error", row.name, len(sent))
			continue
		}
		m, err := parse(new(stun.Parser), sent[0].Payload)
		if err != nil || !stun.IsCode(stun.ErrorOf(m), row.code) || credA.integrity.Check(m) != nil {
			t.Errorf("%s: answered with %v (%v), want error %d, authenticated", row.name, m, err, row.code)
		}
		if sent[0].Remote != stranger {
			t.Errorf("%s: answered to %v", row.name, sent[0].Remote)
		}
	}
}

// TestSymmetryRule: RFC 8445 section 7.2.5.2.1. An authentic answer that comes
// from another address than was probed proves nothing.
func TestSymmetryRule(t *testing.T) {
	a := lone(t, true)
	probed := addrPort("198.18.2.1:40000")
	a.SetRemote(epoch, []Candidate{reflexive(probed)})
	sent := drain(a)
	if len(sent) != 1 || sent[0].Remote != probed {
		t.Fatalf("sent %+v, want one check to %v", sent, probed)
	}
	request, err := parse(new(stun.Parser), sent[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	answer := writeSuccess(request, addrPort("198.18.1.1:40000"), credB, nil)
	a.HandleDatagram(epoch.Add(ms), socketBase, stranger, answer)
	a.HandleDatagram(epoch.Add(ms), relayBase, probed, answer)
	if _, ok := a.Path(); ok || a.Stats().Asymmetric != 2 {
		t.Errorf("path %v, %d asymmetric answers counted; want no path and 2", ok, a.Stats().Asymmetric)
	}
	forged := writeSuccess(request, addrPort("198.18.1.1:40000"), credA, nil)
	a.HandleDatagram(epoch.Add(ms), socketBase, probed, forged)
	if _, ok := a.Path(); ok || a.Stats().Unauthentic != 1 {
		t.Error("an answer with the wrong password was believed")
	}
	a.HandleDatagram(epoch.Add(2*ms), socketBase, probed, answer)
	path, ok := a.Path()
	if want := (Path{Kind: Direct, Base: socketBase, Local: addrPort("192.168.1.2:5000"), Remote: probed, Mapped: addrPort("198.18.1.1:40000")}); !ok || path != want {
		t.Errorf("after the true answer the path is %+v, want %+v", path, want)
	}
}

func TestPairsAreBounded(t *testing.T) {
	a := lone(t, true)
	for i := range 3 * MaxPairs {
		b := fromB(t, check{id: transactionID{byte(i), byte(i >> 8)}}, credB, credA)
		a.HandleDatagram(epoch, socketBase, addrPort("203.0.113.9:"+itoa(1000+i)), b)
	}
	if len(a.pairs) > MaxPairs {
		t.Errorf("%d pairs, want at most %d", len(a.pairs), MaxPairs)
	}
}

func TestPace(t *testing.T) {
	a := lone(t, true)
	var offer []Candidate
	for i := range 50 {
		offer = append(offer, reflexive(addrPort("203.0.113.9:"+itoa(1000+i))))
	}
	a.SetRemote(epoch, offer)
	var last time.Time
	for now := epoch; now.Before(epoch.Add(time.Second)); now = now.Add(ms) {
		a.HandleTimeout(now)
		sent := drain(a)
		most := 1
		if now.Equal(epoch) {
			continue // the opening, drained below
		}
		if len(sent) > most {
			t.Fatalf("%d checks at once, want one each %v", len(sent), DefaultPace)
		}
		if len(sent) == 1 {
			if !last.IsZero() && now.Sub(last) < DefaultPace {
				t.Fatalf("two checks within %v, want %v between them", now.Sub(last), DefaultPace)
			}
			last = now
		}
	}
}

func TestPriorities(t *testing.T) {
	for _, row := range []struct {
		kind  Kind
		index int
		want  uint32
	}{ // RFC 8445 section 5.1.2.1 with its recommended type preferences
		{Host, 0, 126<<24 + 65535<<8 + 255},
		{Host, 1, 126<<24 + 65534<<8 + 255},
		{ServerReflexive, 0, 100<<24 + 65535<<8 + 255},
		{Relayed, 0, 16383<<8 + 255},
	} {
		if got := Priority(row.kind, row.index); got != row.want {
			t.Errorf("priority of %v %d is %d, want %d", row.kind, row.index, got, row.want)
		}
	}
	if got, want := pairPriority(3, 5), uint64(3)<<32+10; got != want {
		t.Errorf("pair priority of 3, 5 is %d, want %d", got, want)
	}
	if got, want := pairPriority(5, 3), uint64(3)<<32+11; got != want {
		t.Errorf("pair priority of 5, 3 is %d, want %d", got, want)
	}
	if !throughRelay(checkPriority(relayed(server))) || throughRelay(checkPriority(host(server))) {
		t.Error("PRIORITY does not tell relayed checks from direct ones")
	}
}

func itoa(i int) string {
	return string([]byte{byte('0' + i/1000%10), byte('0' + i/100%10), byte('0' + i/10%10), byte('0' + i%10)})
}

func FuzzLocalUfrag(f *testing.F) {
	f.Add(fromB(f, check{}, credB, credA))
	f.Add(make([]byte, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := LocalUfrag(b)
		m, err := stun.Parse(b)
		if err != nil || m.Type != pion.BindingRequest {
			return
		}
		username, err := m.Get(pion.AttrUsername)
		if want, _, colon := bytes.Cut(username, []byte(":")); ok != (err == nil && colon) || ok && got != string(want) {
			t.Errorf("ufrag %q, %v; the codec reads user name %q", got, ok, username)
		}
	})
}

// FuzzHandleDatagram: the agent survives anything, authentic or not, and never
// answers with more bytes than it got.
func FuzzHandleDatagram(f *testing.F) {
	f.Add(fromB(f, check{id: transactionID{1}, useCandidate: true, nomination: 3, controlling: true, tieBreaker: 1000}, credB, credA), false)
	f.Add(fromB(f, check{id: transactionID{2}, tieBreaker: 5}, credB, credA), true)
	f.Add(writeIndication(transactionID{5}), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		a := lone(t, sign)
		a.SetRemote(epoch, []Candidate{reflexive(addrPort("198.18.2.1:40000"))})
		drain(a)
		if m, err := stun.Parse(b); sign && err == nil && !m.Contains(pion.AttrMessageIntegrity) && !m.Contains(pion.AttrFingerprint) {
			// Give what the fuzzer found a valid tag, so that it gets further in.
			if credA.integrity.AddTo(m) == nil && pion.Fingerprint.AddTo(m) == nil {
				b = m.Raw
			}
		}
		a.HandleDatagram(epoch.Add(ms), socketBase, stranger, b)
		unauthenticated := a.Stats().ChecksReceived == 0
		if sent := drain(a); unauthenticated && len(sent) != 0 {
			t.Errorf("%x was answered with %d packets", b, len(sent))
		}
		for now := epoch; now.Before(epoch.Add(3 * time.Second)); now = now.Add(100 * ms) {
			a.HandleTimeout(now)
		}
		if len(a.pairs) > MaxPairs {
			t.Errorf("%d pairs", len(a.pairs))
		}
	})
}
