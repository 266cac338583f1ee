package punch

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// standard is a standard agent without a peer: what arrives, the test sends.
func standard(t testing.TB, change func(*Config)) *Agent {
	t.Helper()
	cfg := Config{
		Controlling: true, TieBreaker: 100, Rand: randReader{rand.New(rand.NewPCG(1, 1))},
		LocalUfrag: "aaaa", LocalPwd: pwdA, RemoteUfrag: "bbbb", RemotePwd: pwdB,
	}
	if change != nil {
		change(&cfg)
	}
	a, err := New(epoch, cfg)
	if err != nil {
		t.Fatal(err)
	}
	a.SetLocal(epoch, socketBase, []Candidate{host(addrPort("192.168.1.2:5000"))})
	return a
}

var remoteB = addrPort("198.18.2.1:40000")

// sentAt is what an agent sent, and when.
type sentAt struct {
	after time.Duration
	Transmit
}

// play lets an agent's time pass, and gives what it sends.
func play(t testing.TB, a *Agent, from, to time.Duration) (sent []sentAt) {
	t.Helper()
	now := epoch.Add(from)
	take := func() {
		for _, x := range drain(a) {
			sent = append(sent, sentAt{now.Sub(epoch), x})
		}
	}
	take()
	for steps := 0; ; steps++ {
		wake := a.PollTimeout()
		if wake.IsZero() || wake.After(epoch.Add(to)) {
			return sent
		}
		if wake.After(now) {
			now = wake
		} else if steps > 100_000 {
			t.Fatalf("it wants to be called at %v again and again", wake.Sub(epoch))
		}
		a.HandleTimeout(now)
		take()
	}
}

func request(t testing.TB, b []byte) *pion.Message {
	t.Helper()
	m, err := stun.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// reply answers a check as the peer does.
func reply(t testing.TB, a *Agent, at time.Duration, x sentAt, by credentials) {
	t.Helper()
	a.HandleDatagram(epoch.Add(at), x.Base, x.Remote, writeSuccess(request(t, x.Payload), addrPort("198.18.1.1:40000"), by, nil))
}

func settledEvents(a *Agent) (list []Settled) {
	for e, ok := a.PollEvent(); ok; e, ok = a.PollEvent() {
		if s, is := e.(Settled); is {
			list = append(list, s)
		}
	}
	return list
}

// Two standard agents find what extended ones find, and nominate one pair.
func TestStandardClassicPairs(t *testing.T) {
	for _, ca := range classic {
		for _, cb := range classic {
			for _, roles := range [][]bool{{true, false}, {false, true}} {
				want := Direct
				if ca.name() == "symmetric" && (cb.name() == "symmetric" || cb.name() == "port-restricted") ||
					cb.name() == "symmetric" && ca.name() == "port-restricted" {
					want = ViaRelay
				}
				n := newNetwork(t, ca, cb, options{standard: true, roles: roles})
				n.runUntil(2*time.Minute, n.settled)
				n.want(want)
				for _, s := range []*side{n.a, n.b} {
					if !s.agent.IsSettled() || s.agent.nominated != s.agent.selected {
						t.Errorf("%v and %v: %s has not concluded\n%s", ca, cb, s.name, s.describe())
					}
				}
				n.run(2 * time.Minute)
				n.want(want)
				if lost := count[PathLost](n.a) + count[PathLost](n.b); lost != 0 {
					t.Errorf("%v and %v: %d paths lost", ca, cb, lost)
				}
			}
		}
	}
}

// A check is one transaction, sent seven times, doubling from 500 ms; 39.5 s after the
// first one the pair has failed (RFC 8445 section 14.3, RFC 8489 section 6.2.1), and
// that is when patience ends, too (RFC 8863).
func TestRetransmissions(t *testing.T) {
	a := standard(t, nil)
	a.SetRemote(epoch, []Candidate{reflexive(remoteB)})
	sent := play(t, a, 0, 39499*ms)
	want := []time.Duration{0, 500 * ms, 1500 * ms, 3500 * ms, 7500 * ms, 15500 * ms, 31500 * ms}
	if len(sent) != len(want) {
		t.Fatalf("%d checks, want %d", len(sent), len(want))
	}
	for i, x := range sent {
		if x.after != want[i] || !bytes.Equal(x.Payload, sent[0].Payload) {
			t.Errorf("check %d after %v, want %v, the same bytes each time", i, x.after, want[i])
		}
	}
	if got := settledEvents(a); len(got) != 0 {
		t.Errorf("it failed before 39.5 s: %+v", got)
	}
	play(t, a, 39500*ms, 40*time.Second)
	if got := settledEvents(a); len(got) != 1 || got[0].Path.Kind != NoPath {
		t.Errorf("after 39.5 s: %+v, want the end, without a path", got)
	}
}

// The interval grows with the pairs under way, so that all get their turn.
func TestRetransmissionsOfManyPairs(t *testing.T) {
	a := standard(t, nil)
	var offer []Candidate
	for i := range byte(20) {
		offer = append(offer, reflexive(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 1 + i}), 1000)))
	}
	a.SetRemote(epoch, offer)
	var last time.Duration
	for i, x := range play(t, a, 0, 3*time.Second) {
		if i > 0 && x.after-last < StandardPace {
			t.Fatalf("two checks within %v, want Ta, %v (RFC 8445 section 14.2)", x.after-last, StandardPace)
		}
		last = x.after
	}
	for _, p := range a.pairs {
		if p.rto < leastRTO || p.rto > 20*StandardPace {
			t.Errorf("RTO %v, want 500 ms to Ta times the pairs under way", p.rto)
		}
	}
}

// Nobody fails early: not without candidates, and with none left only once the owner
// says that there will be no more (RFC 8863 section 4).
func TestPatience(t *testing.T) {
	a := standard(t, nil)
	play(t, a, 0, 39499*ms)
	if a.IsSettled() {
		t.Error("it failed before 39.5 s without a candidate")
	}
	play(t, a, 39500*ms, 40*time.Second)
	if !a.IsSettled() {
		t.Error("it has not failed after 40 s")
	}
	a = standard(t, nil)
	a.EndOfCandidates(epoch.Add(time.Second))
	if !a.IsSettled() {
		t.Error("it has not failed although nobody will have a candidate")
	}
	a = standard(t, nil)
	a.EndOfCandidates(epoch)
	a.AddRemote(epoch.Add(ms), reflexive(remoteB))
	sent := play(t, a, ms, 2*ms)
	reply(t, a, 10*ms, sent[0], credB)
	if path, ok := a.Path(); !ok || path.Remote != remoteB {
		t.Errorf("a candidate that came late leads to %+v", path)
	}
}

// Pairs of one foundation wait for each other (RFC 8445 section 6.1.2.6), and go on when
// one has worked.
func TestFrozenPairs(t *testing.T) {
	a := standard(t, nil)
	second := addrPort("198.18.2.1:40001")
	a.SetRemote(epoch, []Candidate{reflexive(remoteB), reflexive(second)})
	if a.findPair(socketBase, second).state != frozen {
		t.Fatalf("the second pair of a foundation is in state %d, want frozen", a.findPair(socketBase, second).state)
	}
	sent := play(t, a, 0, 100*ms)
	if len(sent) != 1 {
		t.Fatalf("%d checks, want one: the other pair is frozen", len(sent))
	}
	a.controlling = false // so that success does not end the search
	reply(t, a, 200*ms, sent[0], credB)
	if sent = play(t, a, 200*ms, 300*ms); len(sent) == 0 || sent[0].Remote != second {
		t.Errorf("after the first success %+v was sent, want a check to %v", sent, second)
	}
}

// A check of the peer's triggers ours at once, as a transaction of its own; an answer
// to the one before still counts (RFC 8445 section 7.3.1.4).
func TestTriggeredChecks(t *testing.T) {
	a := standard(t, nil)
	a.SetRemote(epoch, []Candidate{reflexive(remoteB)})
	first := play(t, a, 0, 100*ms)
	a.HandleDatagram(epoch.Add(100*ms), socketBase, remoteB, fromB(t, check{id: transactionID{9}}, credB, credA))
	sent := play(t, a, 100*ms, 200*ms)
	if len(sent) != 2 || request(t, sent[0].Payload).Type.Class != pion.ClassSuccessResponse {
		t.Fatalf("%d packets, want the answer and a check", len(sent))
	}
	if request(t, sent[1].Payload).TransactionID == request(t, first[0].Payload).TransactionID {
		t.Error("the triggered check repeats the transaction before")
	}
	reply(t, a, 210*ms, first[0], credB)
	if _, ok := a.Path(); !ok {
		t.Error("the answer to the check before does not count")
	}
}

// Regular nomination: one check with USE-CANDIDATE after the pair is valid, repeated as
// it is, and no other pair ever.
func TestNominationIsOnceAndFinal(t *testing.T) {
	a := standard(t, nil)
	better := addrPort("192.168.1.3:5000")
	a.SetRemote(epoch, []Candidate{reflexive(remoteB), host(better)})
	sent := play(t, a, 0, 60*ms)
	if len(sent) != 2 || sent[0].Remote != better {
		t.Fatalf("sent %+v, want checks to both, the better pair's first", sent)
	}
	for _, x := range sent {
		if request(t, x.Payload).Contains(pion.AttrUseCandidate) {
			t.Error("a check nominates before its pair is valid")
		}
	}
	reply(t, a, 100*ms, sent[1], credB)
	nominations := play(t, a, 100*ms, 3*time.Second)
	var named []sentAt
	for _, x := range nominations {
		if m := request(t, x.Payload); m.Contains(pion.AttrUseCandidate) {
			named = append(named, x)
			if m.Contains(attrNomination) {
				t.Error("a nomination has a number although renomination was not announced")
			}
		}
	}
	if len(named) < 2 || !bytes.Equal(named[0].Payload, named[1].Payload) || named[0].Remote != remoteB {
		t.Fatalf("nominations %+v, want one to %v, repeated", named, remoteB)
	}
	reply(t, a, 3010*ms, named[0], credB)
	if got := settledEvents(a); len(got) != 1 || got[0].Path.Remote != remoteB {
		t.Fatalf("settled on %+v, want %v", got, remoteB)
	}
	reply(t, a, 3020*ms, sent[0], credB) // the better one, late
	for _, x := range play(t, a, 3020*ms, 20*time.Second) {
		if x.Remote == better && request(t, x.Payload).Type == pion.BindingRequest {
			t.Error("a pair that was not nominated is checked after the end")
		}
	}
	if path, _ := a.Path(); path.Remote != remoteB {
		t.Errorf("the path is %v, want what was nominated", path.Remote)
	}
}

// An aggressive nominator nominates whatever it checks: the best of them counts.
func TestAggressiveNomination(t *testing.T) {
	a := standard(t, func(c *Config) { c.Controlling = false })
	better := addrPort("192.168.1.3:5000")
	a.SetRemote(epoch, []Candidate{reflexive(remoteB), host(better)})
	for i, from := range []struct{ at time.Duration }{{0}, {100 * ms}} {
		to := remoteB
		if i == 1 {
			to = better
		}
		a.HandleDatagram(epoch.Add(from.at), socketBase, to, fromB(t, check{id: transactionID{byte(i)}, useCandidate: true, controlling: true}, credB, credA))
		for _, x := range play(t, a, from.at, from.at+90*ms) {
			if x.Remote == to && request(t, x.Payload).Type == pion.BindingRequest {
				reply(t, a, from.at+90*ms, x, credB)
			}
		}
		if path, ok := a.Path(); !ok || path.Remote != to {
			t.Fatalf("after nomination %d the path is %+v, want %v", i, path, to)
		}
	}
}

// Consent: a check each 5 s ± 20 %, each a transaction of its own, never repeated; 30 s
// after the last answer nothing is sent any more, and the credentials are used up
// (RFC 7675 section 5.1).
func TestStandardConsent(t *testing.T) {
	a := connected(t)
	sent := play(t, a, 200*ms, 29*time.Second)
	ids := map[transactionID]bool{}
	last := 200 * ms
	for _, x := range sent {
		m := request(t, x.Payload)
		if gap := x.after - last; gap < 4*time.Second || gap > 6*time.Second {
			t.Errorf("consent asked after %v, want 4 to 6 s", gap)
		}
		if ids[m.TransactionID] || m.Contains(pion.AttrUseCandidate) {
			t.Error("a consent check repeats another one, or nominates")
		}
		ids[m.TransactionID], last = true, x.after
	}
	if len(sent) < 4 {
		t.Fatalf("%d consent checks in 29 s, want 4 to 7", len(sent))
	}
	if _, ok := a.Path(); !ok {
		t.Error("consent is over before 30 s")
	}
	play(t, a, 29*time.Second, 30200*ms)
	if _, ok := a.Path(); ok {
		t.Error("no answer for 30 s, and there is consent still")
	}
	reply(t, a, 31*time.Second, sent[len(sent)-1], credB)
	a.HandleDatagram(epoch.Add(31*time.Second), socketBase, remoteB, fromB(t, check{id: transactionID{7}}, credB, credA))
	play(t, a, 31*time.Second, 40*time.Second)
	if _, ok := a.Path(); ok {
		t.Error("consent came back without an ICE restart")
	}
}

// connected is a standard agent that has concluded, at 200 ms.
func connected(t *testing.T) *Agent {
	t.Helper()
	a := standard(t, nil)
	a.SetRemote(epoch, []Candidate{reflexive(remoteB)})
	reply(t, a, 100*ms, play(t, a, 0, 50*ms)[0], credB)
	reply(t, a, 200*ms, play(t, a, 100*ms, 150*ms)[0], credB)
	if !a.IsSettled() {
		t.Fatal("not connected")
	}
	return a
}

// Revocation, both ways (RFC 7675 section 5.2).
func TestRevocation(t *testing.T) {
	a := connected(t)
	sent := play(t, a, 200*ms, 7*time.Second)
	forbidden := writeError(request(t, sent[0].Payload), stun.CodeForbidden, "Forbidden", credB)
	a.HandleDatagram(epoch.Add(7*time.Second), socketBase, remoteB, forbidden)
	if _, ok := a.Path(); ok {
		t.Error("403 does not end consent")
	}
	a = connected(t)
	a.Revoke(epoch.Add(time.Second))
	a.HandleDatagram(epoch.Add(2*time.Second), socketBase, remoteB, fromB(t, check{id: transactionID{7}}, credB, credA))
	sent = play(t, a, time.Second, time.Minute)
	if len(sent) != 1 || !stun.IsCode(stun.ErrorOf(request(t, sent[0].Payload)), stun.CodeForbidden) {
		t.Errorf("%d packets after revocation, want one 403", len(sent))
	}
	if _, ok := a.Path(); ok {
		t.Error("there is a path after revocation")
	}
}

// A 487 has the agent switch, with another tie-breaker, and check again at once
// (RFC 8445 section 7.2.5.1).
func TestRoleConflictAnswer(t *testing.T) {
	a := standard(t, nil)
	a.SetRemote(epoch, []Candidate{reflexive(remoteB)})
	sent := play(t, a, 0, 50*ms)
	a.HandleDatagram(epoch.Add(50*ms), socketBase, remoteB, writeError(request(t, sent[0].Payload), codeRoleConflict, "Role Conflict", credB))
	sent = play(t, a, 50*ms, 100*ms)
	if a.Controlling() || len(sent) != 1 {
		t.Fatalf("controlling: %v, %d checks; want the other role and a check", a.Controlling(), len(sent))
	}
	v, err := stun.GetFixed(request(t, sent[0].Payload), pion.AttrICEControlled, 8)
	if err != nil || bytes.Equal(v, []byte{0, 0, 0, 0, 0, 0, 0, 100}) {
		t.Errorf("ICE-CONTROLLED %x (%v), want another tie-breaker", v, err)
	}
}

// An asymmetric answer fails the pair (RFC 8445 section 7.2.5.2.1), as other errors than
// 487 do (section 7.2.5.2.4).
func TestStandardFailures(t *testing.T) {
	for _, row := range []struct {
		name string
		from bool // from elsewhere
		code int
	}{{"asymmetric", true, 0}, {"an error", false, stun.CodeBadRequest}} {
		a := standard(t, nil)
		a.SetRemote(epoch, []Candidate{reflexive(remoteB)})
		x := play(t, a, 0, 50*ms)[0]
		from, answer := remoteB, writeSuccess(request(t, x.Payload), remoteB, credB, nil)
		if row.from {
			from = stranger
		} else {
			answer = writeError(request(t, x.Payload), row.code, "", credB)
		}
		a.HandleDatagram(epoch.Add(60*ms), socketBase, from, answer)
		if p := a.findPair(socketBase, remoteB); p.state != failed {
			t.Errorf("%s: the pair is in state %d, want failed", row.name, p.state)
		}
	}
}

// Checks that come before the answer with the peer's credentials are answered, and
// triggered ones follow once these are known.
func TestCredentialsThatComeLate(t *testing.T) {
	a := standard(t, func(c *Config) { c.RemoteUfrag, c.RemotePwd = "", "" })
	a.HandleDatagram(epoch, socketBase, remoteB, fromB(t, check{id: transactionID{1}}, credB, credA))
	if sent := play(t, a, 0, 10*time.Second); len(sent) != 1 || request(t, sent[0].Payload).Type.Class != pion.ClassSuccessResponse {
		t.Fatalf("%d packets before the credentials, want the answer alone", len(sent))
	}
	err := a.SetCredentials(epoch.Add(10*time.Second), Credentials{"aaaa", pwdA, "bbbb", pwdB})
	if sent := play(t, a, 10*time.Second, 10100*ms); err != nil || len(sent) != 1 || sent[0].Remote != remoteB {
		t.Errorf("%v, then %+v, want a check", err, sent)
	}
}

// An ICE restart: the path in use stays, with consent by the old credentials, until
// the new session has found one (RFC 8445 section 9).
func TestICERestart(t *testing.T) {
	a := connected(t)
	second := Credentials{"aaa2", pwdA + "2", "bbb2", pwdB + "2"}
	if err := a.SetCredentials(epoch.Add(time.Second), second); err != nil {
		t.Fatal(err)
	}
	if path, ok := a.Path(); !ok || path.Remote != remoteB || a.IsSettled() {
		t.Errorf("after the restart: path %+v, settled %v; want the former one, and no end", path, a.IsSettled())
	}
	a.HandleDatagram(epoch.Add(time.Second), socketBase, remoteB, fromB(t, check{id: transactionID{1}}, credB, credA))
	if sent := drain(a); len(sent) != 1 || credA.integrity.Check(request(t, sent[0].Payload)) != nil {
		t.Errorf("a check with the old credentials got %d packets, want an answer with them", len(sent))
	}
	freshB := newCredentials(second.RemoteUfrag, second.RemotePwd)
	a.SetRemote(epoch.Add(time.Second), []Candidate{reflexive(remoteB)})
	for at := time.Second; at < 3*time.Second && !a.IsSettled(); at += 100 * ms {
		for _, x := range play(t, a, at, at+50*ms) {
			m := request(t, x.Payload)
			if username, err := m.Get(pion.AttrUsername); err == nil && string(username) == "bbb2:aaa2" {
				reply(t, a, at+60*ms, x, freshB)
			}
		}
	}
	if path, ok := a.Path(); !ok || !a.IsSettled() || len(a.pairs) != 1 || a.selected.former {
		t.Errorf("the restart ended with %+v, settled %v, %d pairs", path, a.IsSettled(), len(a.pairs))
	}
	if a.HandleDatagram(epoch.Add(4*time.Second), socketBase, remoteB, fromB(t, check{id: transactionID{2}}, credB, credA)) {
		t.Error("the old credentials are good after the restart")
	}
	if a.SetCredentials(epoch, Credentials{"a", pwdA, "", ""}) == nil {
		t.Error("a ufrag of one character is taken")
	}
}

// Renomination, where both announced it: the later number counts, and the controlling
// side may change.
func TestRenomination(t *testing.T) {
	n := newNetwork(t, fullCone, fullCone, options{standard: true, renomination: true})
	n.runUntil(time.Minute, n.settled)
	n.want(Direct)
	numbered := standard(t, func(c *Config) { c.Controlling, c.Renomination = false, true })
	for i, number := range []uint32{2, 1} {
		from := addrPort("198.18.2.1:4000" + itoa(i)[3:])
		numbered.HandleDatagram(epoch, socketBase, from, fromB(t, check{id: transactionID{byte(i)}, useCandidate: true, nomination: number, controlling: true}, credB, credA))
	}
	if numbered.nominated == nil || numbered.nominated.remote.Addr.Port() != 40000 {
		t.Errorf("nominated %+v, want the pair with the higher number", numbered.nominated)
	}
}
