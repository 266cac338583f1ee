package punch

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"
)

// The NATs that map per destination and let in whoever comes, or addresses that were
// sent to.
var (
	perPort        = cone{transport, ignore}
	perPortAddress = cone{transport, address}
)

// TestSplitPaths: each side reaches the other, and answers come from another port than
// was probed. With ICE's rule such pairs are relayed.
func TestSplitPaths(t *testing.T) {
	for _, pair := range [][2]cone{{perPort, perPort}, {perPort, perPortAddress}, {perPortAddress, perPort}} {
		for _, roles := range [][]bool{{true, false}, {false, true}} {
			n := newNetwork(t, pair[0], pair[1], options{roles: roles, timing: laboratory})
			n.runUntil(10*time.Second, n.settled)
			n.want(Direct)
			a, _ := n.a.agent.Path()
			b, _ := n.b.agent.Path()
			if !a.Split() && !b.Split() {
				t.Errorf("neither path is split: %+v, %+v", a, b)
			}
			for _, s := range []*side{n.a, n.b} {
				if s.directAt > 200*ms {
					t.Errorf("%s: direct after %v, want at most 2.5 round trips of 80 ms", s.name, s.directAt)
				}
			}
			pairs := len(n.a.agent.pairs) + len(n.b.agent.pairs)
			n.run(time.Minute)
			n.want(Direct)
			if lost := count[PathLost](n.a) + count[PathLost](n.b); lost != 0 {
				t.Errorf("%d split paths lost within a minute", lost)
			}
			if now := len(n.a.agent.pairs) + len(n.b.agent.pairs); now > pairs+4 || now > 30 {
				t.Errorf("%d pairs, and %d a minute later: the sides learn of new addresses for ever", pairs, now)
			}
			n = newNetwork(t, pair[0], pair[1], options{roles: roles, noSplit: true})
			n.runUntil(10*time.Second, n.settled)
			n.want(ViaRelay)
		}
	}
}

// TestSplitNeedsItsOwnTransaction: an answer proves the pair whose check it answers, and
// no other; what was not asked, or long ago, proves nothing.
func TestSplitNeedsItsOwnTransaction(t *testing.T) {
	a := lone(t, true)
	a.cfg.NoSplit = false
	victim := addrPort("203.0.113.7:53")
	a.SetRemote(epoch, []Candidate{reflexive(remoteB), reflexive(victim)})
	var toPeer, toVictim []byte
	for _, x := range drain(a) {
		if x.Remote == victim {
			toVictim = x.Payload
		} else {
			toPeer = x.Payload
		}
	}
	at := epoch.Add(ms)
	m := request(t, toPeer)
	guessed := *m
	guessed.TransactionID[3] ^= 1
	for _, answer := range [][]byte{
		writeSuccess(&guessed, remoteB, credB, nil),
		writeSuccess(m, remoteB, credA, nil), // not with the password of the answers
	} {
		a.HandleDatagram(at, socketBase, stranger, answer)
	}
	if _, ok := a.Path(); ok {
		t.Fatal("a forged answer made a path")
	}
	a.HandleDatagram(at, socketBase, stranger, writeSuccess(m, remoteB, credB, nil))
	if path, ok := a.Path(); !ok || path.Remote != remoteB || path.RemoteFrom != stranger {
		t.Errorf("the path is %+v, want to %v and from %v", path, remoteB, stranger)
	}
	if a.findPair(socketBase, victim).state == succeeded {
		t.Error("the answer to another check proved the way to an address that never answered")
	}
	a.HandleDatagram(at, relayBase, stranger, writeSuccess(request(t, toVictim), remoteB, credB, nil))
	if a.findPair(socketBase, victim).state == succeeded {
		t.Error("an answer on another base than was asked from was believed")
	}
}

// TestOpening: all first checks at once, but no more than the burst, and a pace between
// those that follow.
func TestOpening(t *testing.T) {
	a := lone(t, true)
	var offer []Candidate
	for i := range 50 {
		offer = append(offer, reflexive(addrPort("203.0.113.9:"+itoa(1000+i))))
	}
	a.SetRemote(epoch, offer)
	sent := play(t, a, 0, time.Second)
	for i, x := range sent {
		if i < openingBurst && x.after != 0 {
			t.Errorf("check %d left after %v, want at once", i, x.after)
		}
		if i >= openingBurst && x.after < time.Duration(i-openingBurst)*DefaultPace {
			t.Fatalf("check %d left after %v: more than a burst ahead of its pace", i, x.after)
		}
	}
	if len(sent) < 100 {
		t.Errorf("%d checks in a second, want two or more of each of 50 pairs", len(sent))
	}
}

// TestNothingIsAmplified: before a check to an address is answered no more bytes go
// there than came from there, whatever came and however often: copies of a check with
// and without what pays for one in return, data of the application's in between, over
// hours. What is paid for is used: the address is checked, and answered.
func TestNothingIsAmplified(t *testing.T) {
	for _, row := range []struct {
		name            string
		noSplit, direct bool
		fill, copies    int
		every           time.Duration
		offered         bool
	}{
		{"one check", false, true, paidSize - 96, 1, 0, false},
		{"one short check", false, false, 0, 1, 0, false},
		{"checks", false, true, paidSize - 96, 40, 10 * ms, false},
		{"short checks", false, true, 0, 40, 10 * ms, false},
		{"short checks, rarely", false, false, 0, 40, time.Minute, false},
		{"without split paths", true, false, paidSize - 96, 40, 10 * ms, false},
		{"an offered address", false, true, 0, 40, 10 * ms, true},
	} {
		a := lone(t, false)
		a.cfg.NoSplit = row.noSplit
		a.SetRelays([]netip.Addr{addrPort("203.0.113.200:1").Addr()})
		from := stranger
		a.SetRemote(epoch, []Candidate{reflexive(addrPort("203.0.113.7:53"))})
		if row.offered {
			a.SetRemote(epoch, []Candidate{reflexive(from)})
		}
		if ways := a.Early(epoch, 1); len(ways) != 0 {
			t.Fatalf("%s: early data to %+v, from which nothing came", row.name, ways)
		}
		in, out, data, checked, answered := 0, 0, 0, 0, 0
		now := epoch
		take := func() {
			for _, x := range drain(a) {
				if x.Remote != from {
					continue
				}
				if m := request(t, x.Payload); m.Type == pion.BindingSuccess {
					answered++
				} else if checked++; row.offered {
					continue // it leaves in any case
				}
				out += len(x.Payload)
			}
			if out > in {
				t.Fatalf("%s: %d bytes for %d after %v", row.name, out, in, now.Sub(epoch))
			}
		}
		run := func(until time.Time) {
			for wake := a.PollTimeout(); !wake.IsZero() && wake.Before(until); wake = a.PollTimeout() {
				now = wake
				a.HandleTimeout(now)
				take()
			}
			now = until
		}
		take()
		for i := range row.copies {
			b := fromB(t, check{id: transactionID{byte(i)}, controlling: true, fill: row.fill}, credB, credA)
			in += len(b)
			a.HandleDatagram(now, socketBase, from, b)
			take()
			for range 10 {
				for _, way := range a.Early(now, 50) {
					if way.Remote != from {
						t.Fatalf("%s: early data to %v", row.name, way.Remote)
					}
					out += 50
					data += 50
				}
			}
			run(now.Add(row.every))
			if i == row.copies/2 {
				a.Restart(now)
			}
		}
		run(now.Add(time.Hour))
		if (data > 0) != row.direct {
			t.Errorf("%s: %d bytes of early data, want some: %v", row.name, data, row.direct)
		}
		if checked == 0 || answered == 0 && row.name != "one short check" {
			t.Errorf("%s: %d checks and %d answers", row.name, checked, answered)
		}
	}
	a := standard(t, func(c *Config) { c.Controlling = false })
	a.HandleDatagram(epoch, socketBase, stranger, fromB(t, check{controlling: true}, credB, credA))
	if a.Early(epoch, 1) != nil {
		t.Error("a standard agent says something before a pair is valid")
	}
}

// TestWhatBringsChecksForwardPaysForThem: a check that leaves at once, to an address that
// the peer has offered, because one came from there, is no longer than what is left of that.
func TestWhatBringsChecksForwardPaysForThem(t *testing.T) {
	for _, fill := range []int{0, 100, paidSize - 96} {
		a := lone(t, false)
		a.SetRemote(epoch, []Candidate{reflexive(stranger)})
		for now := epoch; len(drain(a)) > 0 || now == epoch; now = a.PollTimeout() { // the opening
			a.HandleTimeout(now)
			if now.After(epoch.Add(300 * ms)) {
				break
			}
		}
		for i := range 20 {
			now := epoch.Add(400*ms + time.Duration(i)*37*ms)
			for wake := a.PollTimeout(); !wake.IsZero() && wake.Before(now); wake = a.PollTimeout() {
				a.HandleTimeout(wake)
				drain(a)
			}
			b := fromB(t, check{id: transactionID{byte(i)}, controlling: true, fill: fill}, credB, credA)
			a.HandleDatagram(now, socketBase, stranger, b)
			drain(a)
			if p := a.findPair(socketBase, stranger); p.spent > p.got || p.spent == 0 {
				t.Fatalf("with checks filled up by %d: %d bytes because of %d", fill, p.spent, p.got)
			}
		}
	}
}

// TestDataFromWhereChecksFailed: an address that was offered, and from which nothing came
// while it was checked, is checked anew for data that comes from there, and pays for that.
func TestDataFromWhereChecksFailed(t *testing.T) {
	a, used := lone(t, false), addrPort("203.0.113.7:53")
	a.SetRemote(epoch, []Candidate{reflexive(used), reflexive(stranger)})
	in, out, now := 0, 0, epoch
	run := func(d time.Duration) {
		for end := now.Add(d); ; {
			for _, x := range drain(a) {
				switch {
				case x.Remote == used && request(t, x.Payload).Type == pion.BindingRequest:
					a.HandleDatagram(now, x.Base, used, writeSuccess(request(t, x.Payload), addrPort("198.18.1.1:40000"), credB, nil))
				case x.Remote == stranger:
					out += len(x.Payload)
				}
			}
			wake := a.PollTimeout()
			if wake.IsZero() || !wake.Before(end) {
				now = end
				return
			}
			now = wake
			a.HandleTimeout(now)
		}
	}
	run(10 * time.Second)
	if p := a.findPair(socketBase, stranger); p == nil || p.state != failed {
		t.Fatalf("the other address is %+v: the test proves nothing", p)
	}
	out = 0
	for range 200 {
		in += 50
		a.NoteReceived(now, socketBase, stranger, 50)
		run(20 * ms)
		if out > in {
			t.Fatalf("%d bytes because of %d", out, in)
		}
	}
	if out == 0 {
		t.Error("it is not checked")
	}
}

// TestEarlyOverTheRelay: to a relayed address of the peer's on a relay of ours data goes
// as soon as a check came from there, as much as there is; on any other relay, or to an
// address that the peer has not offered, as to any address.
func TestEarlyOverTheRelay(t *testing.T) {
	relay := addrPort("203.0.113.200:50000")
	for _, row := range []struct {
		name             string
		trusted, offered bool
		want             bool
	}{{"ours", true, true, true}, {"another one", false, true, false}, {"not offered", true, false, false}} {
		a := lone(t, false)
		if row.trusted {
			a.SetRelays([]netip.Addr{relay.Addr()})
		}
		offer := []Candidate{reflexive(addrPort("203.0.113.7:53"))}
		if row.offered {
			offer = append(offer, relayed(relay))
		}
		a.SetRemote(epoch, offer)
		if len(a.Early(epoch, 1)) != 0 {
			t.Errorf("%s: early data before anything came", row.name)
		}
		a.HandleDatagram(epoch, socketBase, relay, fromB(t, check{controlling: true, priority: checkPriority(relayed(relay))}, credB, credA))
		sent := 0
		for range 100 {
			sent += len(a.Early(epoch, 1000))
		}
		if (sent == 100) != row.want || !row.want && sent != 0 {
			t.Errorf("%s: %d of 100 datagrams leave, want all: %v", row.name, sent, row.want)
		}
	}
}

// rated is an agent that uses one direct pair and has another, with the round trips
// that the test sets. It is asked and answered each 500 ms.
type rated struct {
	*Agent
	rtt      [2]time.Duration
	now      time.Time
	remotes  [2]Candidate
	switches int
	under    []underWay
}

// underWay is a check whose answer comes at a time.
type underWay struct {
	at time.Time
	x  Transmit
}

func newRated(t *testing.T, families [2]string, rtt [2]time.Duration) *rated {
	t.Helper()
	a, err := New(epoch, Config{
		Controlling: true, TieBreaker: 100, Rand: randReader{rand.New(rand.NewPCG(1, 1))}, Extended: true, Timing: laboratory,
		LocalUfrag: "aaaa", LocalPwd: pwdA, RemoteUfrag: "bbbb", RemotePwd: pwdB,
	})
	if err != nil {
		t.Fatal(err)
	}
	a.SetLocal(epoch, socketBase, []Candidate{host(addrPort("192.168.1.2:5000")), {Kind: Host, Addr: addrPort("[2001:db8::1]:5000")}})
	r := &rated{Agent: a, rtt: rtt, now: epoch}
	for i, address := range families {
		r.remotes[i] = Candidate{Kind: Host, Addr: addrPort(address), Priority: Priority(Host, i)}
	}
	a.SetRemote(epoch, r.remotes[:])
	return r
}

// run lets the time pass: each check is answered after its way's round trip.
func (r *rated) run(d time.Duration, jitter func() float64, lost func(i int) bool) {
	for end := r.now.Add(d); r.now.Before(end); r.now = r.now.Add(ms) {
		if w := r.PollTimeout(); !w.IsZero() && !w.After(r.now) {
			r.HandleTimeout(r.now)
		}
		for _, x := range drain(r.Agent) {
			i := 0
			if x.Remote == r.remotes[1].Addr {
				i = 1
			}
			if m, err := parse(&r.parser, x.Payload); err == nil && m.Type == pion.BindingRequest && !lost(i) {
				r.under = append(r.under, underWay{r.now.Add(time.Duration(float64(r.rtt[i]) * jitter())), x})
			}
		}
		kept := r.under[:0]
		for _, u := range r.under {
			if u.at.After(r.now) {
				kept = append(kept, u)
				continue
			}
			m, _ := parse(&r.parser, u.x.Payload)
			r.HandleDatagram(r.now, u.x.Base, u.x.Remote, writeSuccess(m, u.x.Remote, credB, nil))
		}
		r.under = kept
		for e, ok := r.PollEvent(); ok; e, ok = r.PollEvent() {
			if _, is := e.(PathChanged); is {
				r.switches++
			}
		}
	}
}

func never(int) bool            { return false }
func steady() float64           { return 1 }
func (r *rated) use() Candidate { return r.selected.remote }

// TestBetterPathIsTaken: one that is faster by far is, after a while; one that loses, or
// that has the other family, counts less.
func TestBetterPathIsTaken(t *testing.T) {
	both := [2]string{"198.18.2.1:40000", "198.18.3.1:40000"}
	r := newRated(t, both, [2]time.Duration{30 * ms, 40 * ms})
	r.run(5*time.Second, steady, never)
	first := r.use()
	r.rtt = [2]time.Duration{200 * ms, 40 * ms}
	if first != r.remotes[0] {
		t.Fatalf("the first path is %v, want the one with the higher priority", first)
	}
	r.run(2*time.Second, steady, never)
	if r.use() != first {
		t.Error("it changed within 2 s: a better path has to be so for a while")
	}
	r.run(20*time.Second, steady, never)
	if r.use() != r.remotes[1] {
		t.Errorf("it stays at 200 ms although there are 40: costs %v", r.costs())
	}
	random := rand.New(rand.NewPCG(1, 2))
	r = newRated(t, both, [2]time.Duration{40 * ms, 40 * ms})
	r.run(60*time.Second, steady, func(i int) bool { return i == 0 && random.Float64() < 0.3 })
	if r.use() != r.remotes[1] {
		t.Errorf("it stays where three checks in ten are lost: costs %v", r.costs())
	}
	six := newRated(t, [2]string{"198.18.2.1:40000", "[2001:db8::2]:40000"}, [2]time.Duration{45 * ms, 40 * ms})
	four, v6 := six.remotes[0], six.remotes[1]
	p, q := &pair{remote: four, rtt: 40 * ms}, &pair{remote: v6, rtt: 40 * ms}
	if p.cost() <= q.cost() {
		t.Error("IPv4 costs no more than IPv6")
	}
}

func (r *rated) costs() (list []time.Duration) {
	for _, p := range r.pairs {
		list = append(list, p.cost())
	}
	return list
}

// TestPathsDoNotFlap: whatever two ways do, changes are rare, and none comes of noise.
func TestPathsDoNotFlap(t *testing.T) {
	both := [2]string{"198.18.2.1:40000", "198.18.3.1:40000"}
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 3))
		noise := func() float64 { return 0.8 + 0.4*random.Float64() }
		r := newRated(t, both, [2]time.Duration{time.Duration(20+random.IntN(100)) * ms, 0})
		r.rtt[1] = r.rtt[0]
		r.run(5*time.Second, noise, never)
		r.switches = 0
		r.run(time.Minute, noise, never)
		if r.switches != 0 {
			t.Errorf("seed %d: %d changes between two ways that are alike but for noise", seed, r.switches)
		}
		// Ways that change places all the time, at their worst.
		const turns = 30
		for range turns {
			r.rtt = [2]time.Duration{time.Duration(10+random.IntN(300)) * ms, time.Duration(10+random.IntN(300)) * ms}
			r.run(2*time.Second, noise, func(int) bool { return random.Float64() < 0.02 })
		}
		if most := int(turns*2*time.Second/switchPause) + 1; r.switches > most+2 { // two more by lost checks
			t.Errorf("seed %d: %d changes in a minute, want at most one in %v", seed, r.switches, switchPause)
		}
	}
}
