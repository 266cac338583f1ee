package explore

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/nat"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// made is a run of TC-01 in which all is well, as nobody ran it.
func made(t *testing.T) *outcome {
	t.Helper()
	tp := newTemplate(catalogue(t, "TC-01"))
	s := Schedule{{Event: sim.Event{Kind: sim.EventInject, Host: tp.stranger, For: time.Second}}}
	sc, err := tp.scenario(s, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := sc.Lab.Plan()
	if err != nil {
		t.Fatal(err)
	}
	foretold, err := runner.Foretell(sc)
	if err != nil {
		t.Fatal(err)
	}
	o := &outcome{sc: sc, schedule: s, foretold: foretold, probes: &probes{}}
	o.res = &scenarios.Result{
		Verdict: scenarios.Expected, Observed: scenarios.ObservedPath{Path: scenarios.Direct},
		Phases: []scenarios.PhaseResult{{}}, Run: &scenarios.Run{Plan: plan, Mappings: map[string]string{}},
	}
	for _, name := range []string{scenarios.ServerRendezvous, scenarios.ServerRelay, "a", "b"} {
		p := &probe{name: name, sessions: map[identity.ID][]peer.SessionID{}, sent: map[int64]int{}}
		if name == "a" || name == "b" {
			p.sessions[identity.ID{1}] = []peer.SessionID{{1}}
			p.held.Sessions = 1
			for second := range int64(10) {
				p.sent[second] = 22
			}
		}
		o.probes.all = append(o.probes.all, p)
	}
	return o
}

// say has the stranger exchange datagrams with a host.
func (o *outcome) say(with string, sent, got int) {
	to := netip.AddrPortFrom(o.res.Run.Plan.Addresses(with, sim.DefaultUplink)[0], 3478)
	from := netip.AddrPortFrom(o.res.Run.Plan.Addresses("stranger", sim.DefaultUplink)[0], 5000)
	for _, node := range []string{"stranger", "nat-a", with} { // who forwards is asked nothing
		first, second := witness.In, witness.Out
		if node == "stranger" {
			first, second = witness.Out, witness.In
		}
		if sent > 0 && node != "nat-a" {
			o.see(node, first, from, to, sent)
		}
		if got > 0 {
			o.see(node, second, to, from, got)
		}
	}
}

func (o *outcome) see(node string, d witness.Direction, src, dst netip.AddrPort, size int) {
	o.res.Run.Packets = append(o.res.Run.Packets, witness.Packet{Point: witness.Point{Node: node}, Direction: d, Src: src, Dst: dst, Payload: make([]byte, size)})
}

func (o *outcome) probe(name string) *probe {
	for _, p := range o.probes.all {
		if p.name == name {
			return p
		}
	}
	return nil
}

// TestInvariants: what is done to a run in which all is well, and what is said of
// it then.
func TestInvariants(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(o *outcome)
		want   Invariant // "": nothing is found
		text   string
	}{
		{"all is well", func(*outcome) {}, "", ""},
		{"another path", func(o *outcome) { o.res.Observed.Path = scenarios.Relay }, WrongPath, "a ↔ b: relay, although it must be direct"},
		{"no path", func(o *outcome) { o.res.Observed.Path = scenarios.None }, WrongPath, "none, although it must be direct"},
		{"either path", func(o *outcome) {
			o.foretold[0].Path, o.foretold[0].Or, o.res.Verdict = scenarios.Relay, scenarios.Direct, scenarios.Unexpected
		}, "", ""},
		{"twice", func(o *outcome) { o.res.Phases[0].Duplicates = 3 }, Twice, "3 datagrams"},
		{"two sessions", func(o *outcome) {
			o.probe("b").sessions[identity.ID{1}] = []peer.SessionID{{1}, {2}}
		}, Sessions, "b had 2 sessions"},
		{"a session that was lost", func(o *outcome) { o.probe("a").ended = []string{"no path to the peer for too long"} }, Sessions, "a lost a session: no path"},
		{"a session too many", func(o *outcome) { o.probe("a").held.Sessions = 2 }, State, "a kept 2 sessions, at most 1"},
		{"pairs without end", func(o *outcome) { o.probe("a").held.MostPairs = 60 }, State, "60 pairs of one session"},
		{"checks without end", func(o *outcome) { o.probe("a").held.Checks = 5000 }, State, "5000 checks in flight"},
		{"requests without end", func(o *outcome) { o.probe("a").held.Requests = 100 }, State, "100 requests to servers"},
		{"registrations of nobody", func(o *outcome) { o.probe("rendezvous").server = rendezvous.Held{Registrations: 3} }, State, "rendezvous kept 3 registrations, at most 2"},
		{"allocations of nobody", func(o *outcome) { o.probe("relay").relay = relay.Stats{Allocations: 9} }, State, "relay kept 9 allocations"},
		{"mappings of nobody", func(o *outcome) { o.res.Run.Mappings["nat-a"] = "udp one\nudp two\n" }, State, "the NAT of nat-a has 2 mappings in the end, although hosts behind it began 0 flows"},
		{"mappings of flows", func(o *outcome) {
			o.res.Run.Mappings["nat-a"] = "udp one\n"
			o.res.Run.Packets = append(o.res.Run.Packets, witness.Packet{Point: witness.Point{Node: "nat-a", Interface: "to a"}, Direction: witness.In})
		}, "", ""},
		{"a NAT that knows nothing", func(o *outcome) { o.res.Run.Mappings["nat-a"] = "no mappings\n" }, "", ""},
		{"a flood", func(o *outcome) { o.probe("a").sent[3] = 600 }, Storm, "a sent 600 datagrams in a second"},
		{"a murmur that does not end", func(o *outcome) {
			for second := range int64(10) {
				o.probe("a").sent[second] = 80
			}
		}, Storm, "a sent 80 datagrams a second at rest"},
		{"a murmur that ends", func(o *outcome) {
			for second := range int64(7) {
				o.probe("a").sent[second] = 80
			}
		}, "", ""},
		{"a stranger who gets as much", func(o *outcome) { o.say(o.sc.Rendezvous, 100, 100) }, "", ""},
		{"a stranger who gets more", func(o *outcome) { o.say(o.sc.Rendezvous, 100, 101) }, Amplified, "sent 101 bytes to stranger, which never authenticated, for 100"},
		{"a stranger who asks where it is", func(o *outcome) { o.say(o.sc.Rendezvous, 20, 32) }, Amplified, "sent 32 bytes"},
		{"a stranger who asks once more", func(o *outcome) { o.say(o.sc.Rendezvous, 20, 0); o.say(o.sc.Rendezvous, 20, 32) }, "", ""},
		{"a stranger who pays later", func(o *outcome) { o.say(o.sc.Rendezvous, 20, 32); o.say(o.sc.Rendezvous, 100, 0) }, Amplified, "sent 32 bytes to stranger, which never authenticated, for 20"},
		{"a stranger who paid somebody else", func(o *outcome) { o.say(o.sc.Rendezvous, 200, 0); o.say(o.sc.RelayHosts()[0], 20, 120) }, Amplified, "sent 120 bytes to stranger, which never authenticated, for 20"},
		{"a stranger who is challenged", func(o *outcome) { o.say(o.sc.RelayHosts()[0], 20, 120) }, Amplified, "sent 120 bytes"},
		{"a stranger whom a peer answers", func(o *outcome) { o.say(o.sc.Peers[0].Host, 100, 101) }, Amplified, "stranger"},
		{"the laboratory", func(o *outcome) { o.res.Verdict, o.res.Reason = scenarios.Broken, "a router is not what it was" }, Laboratory, "a router is not"},
		{"the verdict", func(o *outcome) { o.res.Verdict, o.res.Reason = scenarios.Unexpected, "for whatever reason" }, Unexpected, "for whatever reason"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := made(t)
			for i := range o.foretold { // by names that do not change with the catalogue
				o.foretold[i].A, o.foretold[i].B = "a", "b"
			}
			o.sc.Peers[0].Name, o.sc.Peers[1].Name = "a", "b"
			test.change(o)
			found := o.findings()
			if test.want == "" {
				if len(found) > 0 {
					t.Fatalf("found %v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Invariant != test.want || !strings.Contains(found[0].Text, test.text) {
				t.Errorf("found %v, want %s: …%s…", found, test.want, test.text)
			}
		})
	}
}

// faulty is a machine that does what its name says.
type faulty struct {
	sansio.Outbox
	fault string
}

func (m *faulty) HandleBound(time.Time, sansio.Socket, netip.AddrPort, error) {}
func (m *faulty) HandleDatagram(time.Time, sansio.Datagram) {
	if m.fault == "panic" {
		panic("something cannot be")
	}
	m.Send(0, netip.AddrPort{}, nil)
}
func (m *faulty) HandleInterfaces(time.Time, []netip.Addr) {}
func (m *faulty) HandleTimeout(time.Time)                  {}
func (m *faulty) PollTimeout() time.Time                   { return time.Unix(1, 0) }

// A panic is a finding with the place in the code, and so is a machine that wants
// to be called for ever; both are dead then, and the run goes on.
func TestProbesKeepAFaultFromEndingTheRun(t *testing.T) {
	now := time.Unix(1, 0)
	ps := &probes{}
	m := ps.wrap("a", &faulty{fault: "panic"})
	m.HandleDatagram(now, sansio.Datagram{})
	if found := ps.all[0].findings; len(found) != 1 || found[0].Invariant != Panicked ||
		!strings.Contains(found[0].Text, "a: panic: something cannot be") || !strings.Contains(found[0].Text, "judge_test.go") {
		t.Errorf("found %v", found)
	}
	m.HandleDatagram(now, sansio.Datagram{})
	if at := m.PollTimeout(); !at.IsZero() || len(ps.all[0].findings) != 1 {
		t.Errorf("a machine that has panicked wants to be called at %v, %d findings", at, len(ps.all[0].findings))
	}

	m = ps.wrap("b", &faulty{})
	calls := 0
	for ; !m.PollTimeout().IsZero() && calls < 1000; calls++ {
		m.HandleTimeout(now)
	}
	if found := ps.all[1].findings; calls > stormCalls+1 || len(found) != 1 || found[0].Invariant != Storm {
		t.Errorf("after %d calls found %v", calls, found)
	}

	m = ps.wrap("c", &faulty{})
	for i := range 3 * stormCalls { // time passes
		m.HandleTimeout(now.Add(time.Duration(i)))
	}
	m.HandleDatagram(now.Add(2*time.Second), sansio.Datagram{})
	if _, ok := m.PollTransmit(); !ok || ps.all[2].sent[3] != 1 || len(ps.all[2].findings) != 0 {
		t.Errorf("a machine with time: sent %v, found %v", ps.all[2].sent, ps.all[2].findings)
	}
}

// The bound of recovery grows with what it is made of.
func TestRecoveryIsDerived(t *testing.T) {
	least := Recovery(40*time.Millisecond, 500*time.Millisecond, 0)
	for name, more := range map[string]time.Duration{
		"a slower path":         Recovery(400*time.Millisecond, 500*time.Millisecond, 0),
		"rarer keepalives":      Recovery(40*time.Millisecond, 0, 0),
		"an outage":             Recovery(40*time.Millisecond, 500*time.Millisecond, 10*time.Second),
		"an outage of a minute": Recovery(40*time.Millisecond, 500*time.Millisecond, time.Minute),
	} {
		if more <= least || more > 2*time.Minute {
			t.Errorf("%s: %v, and %v without", name, more, least)
		}
	}
}

func TestWhatCannotBeExplored(t *testing.T) {
	for id, want := range map[string]string{
		"SH-02": "has a system of servers", "PRG-01": "programs of others", "PRG-04": "programs of others", "TC-01": "",
	} {
		x := &Explorer{Scenario: catalogue(t, id), Bounds: scenarios.DefaultBounds()}
		switch err := x.Check(); {
		case want == "" && err != nil:
			t.Errorf("%s: %v", id, err)
		case want != "" && (!errors.Is(err, ErrScenario) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want one with %q", id, err, want)
		}
	}
	x := &Explorer{Scenario: catalogue(t, "TC-01"), Bounds: scenarios.DefaultBounds()}
	x.Bounds.Kinds = []scenarios.Disturbance{scenarios.DisturbMove}
	if err := x.Check(); err == nil || !strings.Contains(err.Error(), "its lab has no such part") {
		t.Errorf("moves of hosts with one uplink: %v", err)
	}
	x.Bounds.Last = time.Hour
	if err := x.Check(); err == nil || !strings.Contains(err.Error(), "last: 1h0m0s is not between") {
		t.Errorf("an hour: %v", err)
	}
	if seed := x.seedOf(1); seed == x.seedOf(2) || seed>>63 != 0 {
		t.Errorf("seeds of runs: %d, %d", seed, x.seedOf(2))
	}
}

// TestOldPortsAreGivenAgain: a NAT that counts and begins again may give a port that the
// other side knows; without that, or where it draws, nobody finds one.
func TestOldPortsAreGivenAgain(t *testing.T) {
	for _, row := range []struct {
		name, nat string
		kind      sim.EventKind
		found     bool
	}{
		{"a NAT that counts reboots", "symmetric", sim.EventReboot, false},
		{"it forgets its mappings", "symmetric", sim.EventFlush, false},
		{"it goes on", "symmetric", sim.EventInject, true},
		{"one that draws reboots", "symmetric,ports=random", sim.EventReboot, true},
	} {
		o := made(t)
		lab := *o.sc.Lab
		lab.Routers = slices.Clone(lab.Routers)
		for i, text := range []string{row.nat, "port-restricted-cone"} {
			b, err := nat.ParseBehavior(text)
			if err != nil {
				t.Fatal(err)
			}
			lab.Routers[i].NAT = &b
		}
		sc := *o.sc
		sc.Lab = &lab
		foretold, err := runner.Foretell(&sc)
		if err != nil {
			t.Fatal(err)
		}
		o.sc, o.foretold = &sc, foretold
		o.schedule = Schedule{{Event: sim.Event{Kind: row.kind, Router: lab.Routers[0].Name}}}
		if found := o.paths(); (len(found) != 0) != row.found || o.definite() != row.found {
			t.Errorf("%s: found %v, definite %v", row.name, found, o.definite())
		}
	}
}
