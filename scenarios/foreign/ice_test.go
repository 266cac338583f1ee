//go:build linux

package foreign_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios/interop"
	"p2pmodel/sim/witness"
)

// classicNATs are RFC 3489's four.
var classicNATs = []string{"full-cone", "restricted-cone", "port-restricted-cone", "symmetric"}

// iceReaches is what the oracle expects of ICE between two NATs: plain punching, with
// its rule of symmetry.
func iceReaches(tb testing.TB, a, b string) witness.Path {
	tb.Helper()
	chain := func(name string) oracle.Chain {
		if name == "" {
			return nil
		}
		behavior, err := nat.ParseBehavior(name)
		if err != nil {
			tb.Fatal(err)
		}
		return oracle.Chain{{NAT: &behavior}}
	}
	e, err := oracle.Expect(chain(a), chain(b), oracle.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	if e.Path == oracle.PathDirect {
		return witness.Direct
	}
	return witness.Relay
}

// expects has the two settle, and their payload take the path that the oracle says.
func (e encounter) expects(tb testing.TB) *meeting {
	tb.Helper()
	m := e.meet(tb)
	m.settle()
	e.judge(tb, m.observed())
	return m
}

// judge holds a path against the oracle's. aioice nominates with each of its checks
// (aggressively, as RFC 5245 had it), sends by the one that was answered last, whatever
// its priority, and never looks at another: where it controls, its datagrams may take the
// relay's path although there is a direct one. Ours take the best of those that it
// named (RFC 5245 §8.1.1.2), which then is another one.
func (e encounter) judge(tb testing.TB, got witness.Counts) {
	tb.Helper()
	interop.Observe(tb, "%v", got.Path())
	want := iceReaches(tb, e.natA, e.natB)
	if got.Path() == want || e.aioControls() && (got.Path() == witness.Relay || want == witness.Direct && e.aioStrays(got)) {
		return
	}
	tb.Errorf("the witness says that the path is %v (%v), want %v", got.Path(), got, want)
}

// aioStrays reports whether all that aioice sent went by the relay, and all that we sent
// did not.
func (e encounter) aioStrays(got witness.Counts) bool {
	for _, c := range got {
		if e.agent(c.From) == aioICE && c.Direct > 0 || e.agent(c.From) == ourICE && c.Relay > 0 {
			return false
		}
	}
	return len(got) == 2 && got.Path() == witness.Mixed
}

// agent is what plays the host of that name.
func (e encounter) agent(host string) iceAgent {
	return map[string]iceAgent{"a": e.a, "b": e.b}[host]
}

// role is what flags make an agent.
func role(flags []string, otherwise string) string {
	if i := slices.Index(flags, "--role"); i >= 0 {
		return flags[i+1]
	}
	return otherwise
}

// aioControls reports whether aioice may be the side that nominates: by its role, or
// because a conflict of roles leaves it to chance.
func (e encounter) aioControls() bool {
	a, b := role(e.flagsA, "controlling"), role(e.flagsB, "controlled")
	return e.a == aioICE && (a == "controlling" || a == b) || e.b == aioICE && (b == "controlling" || a == b)
}

var (
	controlling = []string{"--role", "controlling"}
	controlled  = []string{"--role", "controlled"}
)

// TestICE is a part of TestICETable: our agent and others', in both roles, over pairs
// of NATs that differ in what has to work: a direct path, one that one side only can
// learn from a check, and the relay's.
func TestICE(t *testing.T) {
	t.Parallel()
	for _, other := range []iceAgent{pionICE, aioICE} {
		for _, c := range []encounter{
			{a: ourICE, b: other, natA: "port-restricted-cone", natB: "port-restricted-cone"},
			{a: other, b: ourICE, natA: "port-restricted-cone", natB: "restricted-cone", coturn: true},
			{a: ourICE, b: other, natA: "symmetric", natB: "full-cone", coturn: true},
			{a: ourICE, b: other, natA: "symmetric", natB: "symmetric"},
			{a: other, b: ourICE, natA: "symmetric", natB: "port-restricted-cone", coturn: true},
		} {
			t.Run(string(other)+" "+c.natA+" "+c.natB, func(t *testing.T) {
				interop.Try(t, c.row(t, c.natA+" × "+c.natB))
				t.Parallel()
				c.expects(t)
			})
		}
	}
}

// TestICERoles: both sides claim one role, and the conflict is resolved.
func TestICERoles(t *testing.T) {
	t.Parallel()
	for _, other := range []iceAgent{pionICE, aioICE} {
		for name, role := range map[string][]string{"controlling": controlling, "controlled": controlled} {
			t.Run(string(other)+" both "+name, func(t *testing.T) {
				e := encounter{a: ourICE, b: other, natA: "port-restricted-cone", natB: "port-restricted-cone", flagsA: role, flagsB: role}
				interop.Try(t, e.row(t, "a conflict of roles: both "+name))
				t.Parallel()
				e.expects(t)
			})
		}
	}
}

// TestICEWithoutTrickle: either side tells all of its candidates at once.
func TestICEWithoutTrickle(t *testing.T) {
	t.Parallel()
	for _, c := range []encounter{
		{a: ourICE, b: pionICE, flagsA: []string{"--no-trickle"}},
		{a: ourICE, b: pionICE, flagsB: []string{"--no-trickle"}},
		{a: ourICE, b: aioICE, flagsA: []string{"--no-trickle"}},
	} {
		c.natA, c.natB = "restricted-cone", "port-restricted-cone"
		t.Run(string(c.b), func(t *testing.T) {
			who := c.a
			if c.flagsB != nil {
				who = c.b
			}
			interop.Try(t, c.row(t, string(who)+" does not trickle"))
			t.Parallel()
			c.expects(t)
		})
	}
}

// TestICELite: a lite agent of pion/ice only answers; we control, whatever we were
// told.
func TestICELite(t *testing.T) {
	e := encounter{a: pionICE, b: ourICE, natB: "symmetric", flagsA: []string{"--lite", "--role", "controlled"}}
	interop.Try(t, e.row(t, "a lite agent"))
	t.Parallel()
	e.expects(t)
}

// TestICERestart: either side restarts in the middle, and payload goes on over a path
// that was found with other credentials.
func TestICERestart(t *testing.T) {
	t.Parallel()
	for _, c := range []encounter{
		{a: ourICE, b: pionICE, flagsA: []string{"--restart-after", "2s"}},
		{a: ourICE, b: pionICE, flagsB: []string{"--restart-after", "2s"}},
		{a: pionICE, b: ourICE, flagsB: []string{"--restart-after", "2s"}},
	} {
		c.natA, c.natB = "port-restricted-cone", "port-restricted-cone"
		t.Run(c.String(), func(t *testing.T) {
			who := c.a
			if c.flagsB != nil {
				who = c.b
			}
			interop.Try(t, c.row(t, "an ICE restart by "+string(who)))
			t.Parallel()
			m := c.expects(t)
			for _, p := range []*program{m.a, m.b} {
				p.await(`"event":"introduced"`, 1)
			}
			m.settle()
			if got := m.observed().Path(); got != witness.Direct {
				t.Errorf("after the restart the path is %v", got)
			}
		})
	}
}

// TestICERenomination: both announce it, and the first path is the relay's, because
// pion-ice keeps all other candidates to itself. Once it does not, whoever controls
// moves to the direct path, by a nomination with a number, and the other one follows.
func TestICERenomination(t *testing.T) {
	for _, c := range []struct {
		e     encounter
		tried string
	}{
		{encounter{a: ourICE, b: pionICE, flagsA: []string{"--renomination"}, flagsB: []string{"--renomination", "--hold-direct"}}, "renomination by us"},
		{encounter{a: pionICE, b: ourICE, flagsA: []string{"--renomination", "--hold-direct"}, flagsB: []string{"--renomination"}}, "renomination by pion/ice"},
	} {
		c.e.natA, c.e.natB = "full-cone", "full-cone"
		t.Run(c.tried, func(t *testing.T) {
			r := c.e.row(t, c.tried)
			r.Expected = "relay, then direct"
			interop.Try(t, r)
			t.Parallel()
			m := c.e.meet(t)
			m.settle()
			if got := m.observed().Path(); got != witness.Relay {
				t.Fatalf("at first the path is %v", got)
			}
			theirs := m.b
			if c.e.a == pionICE {
				theirs = m.a
			}
			if err := theirs.Signal(int(syscall.SIGUSR1)); err != nil {
				t.Fatal(err)
			}
			for deadline := m.Now().Add(patience); ; {
				got := m.observed().Path()
				if got == witness.Direct {
					return
				}
				if m.Now().After(deadline) {
					t.Fatalf("the path is still %v after %v", got, patience)
				}
			}
		})
	}
}

// TestICEConsent: one side stops answering, and the other one notices; RFC 7675 gives
// 30 s for that. pion/ice takes 5 s to disconnect and 25 s more to fail, aioice six
// checks that fail.
func TestICEConsent(t *testing.T) {
	if !*wholeTable {
		t.Skip("LEFT OUT: it takes 40 s; make interop runs it")
	}
	t.Parallel()
	const says = `(?i)"event":"state".*"text":"failed`
	for _, other := range []iceAgent{pionICE, aioICE} {
		for _, stopped := range []string{"ours", "theirs"} {
			t.Run(string(other)+", "+stopped+" stops", func(t *testing.T) {
				e := encounter{a: ourICE, b: other, natA: "port-restricted-cone", natB: "full-cone"}
				r := e.row(t, "consent: "+stopped+" stops")
				r.Expected = "noticed after 20 to 40 s"
				interop.Try(t, r)
				t.Parallel()
				m := e.expects(t)
				gone, left := m.b, m.a
				if stopped == "ours" {
					gone, left = m.a, m.b
				}
				if err := gone.Signal(int(syscall.SIGSTOP)); err != nil {
					t.Fatal(err)
				}
				at := m.Now()
				left.awaitWithin(says, 1, 2*patience)
				took := m.Now().Sub(at)
				interop.Observe(t, "noticed after %.1f s", took.Seconds())
				if stopped == "theirs" && (took < 20*time.Second || took > 40*time.Second) {
					t.Errorf("noticed after %v, want 30 s and what is left of a check's interval", took)
				}
				if err := gone.Signal(int(syscall.SIGCONT)); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}
