package runner

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat/certify"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// What the oracle is asked follows what actions make of the lab.
func TestWorld(t *testing.T) {
	const (
		direct = oracle.PathDirect
		relay  = oracle.PathRelay
		none   = oracle.PathNone
	)
	for _, c := range []struct {
		nat, actions string
		want         oracle.Path
	}{
		{"full-cone", "{wait: 1s}", direct},
		{"symmetric", "{wait: 1s}", relay},
		{"full-cone", "{swap: {router: nat-a, nat: symmetric}}", direct},
		{"port-restricted-cone", "{swap: {router: nat-a, nat: symmetric}}", relay},
		{"full-cone", "{restrict: {host: a, to: [rendezvous, relay]}}", relay},
		{"full-cone", "{restrict: {host: a, to: [rendezvous, relay]}}, {unrestrict: a}", direct},
		{"full-cone", "{restrict: {host: a, to: [rendezvous]}}", none},
		{"full-cone", "{restrict: {host: a, to: [rendezvous, relay, b]}}", relay}, // b is not found under its own address
		{"full-cone", "{cut: relay}", direct},
		{"symmetric", "{cut: relay}", none},
		{"symmetric", "{cut: relay}, {restore: relay}", relay},
		{"symmetric", "{stop: relay}", none},
		{"symmetric", "{stop: relay}, {restart: relay}", relay},
		{"symmetric", "{stop: rendezvous}", relay}, // the peers were introduced before
		{"full-cone", "{cut: a}", none},
		{"full-cone", "{cut: nat-b}", none},
		{"full-cone", "{blackhole: {link: a, direction: up}}", none},
		{"full-cone", "{blackhole: {link: a, direction: down}}, {restore: a}", direct},
		{"full-cone", "{cut: {link: a, for: 1s}}", direct}, // it is over
		{"symmetric", "{partition: [[a], [relay]]}", none},
		{"symmetric", "{partition: [[a], [relay]]}, {heal: true}", relay},
		{"full-cone", "{flush: nat-a}, {rebind: {router: nat-b, host: b}}", direct},
		{"full-cone", "{cut: nat-b}, {restore: nat-b}", direct},
		{"full-cone", "{reboot: {router: nat-a}}, {quiet: 1s}", direct},
	} {
		text := fmt.Sprintf("phases:\n  - name: x\n    do: [%s]\n    expect: {path: direct}\n", c.actions)
		tl := tell(t, c.nat, text)
		w := newWorld(tl.s.v)
		w.apply(tl.phases[0].spec.Actions)
		got, err := w.ask("a", "b")
		if err != nil || got.Path != c.want {
			t.Errorf("%s, %s: %s (%s), %v; want %s", c.nat, c.actions, got.Path, got.Why, err, c.want)
		}
		back, err := w.ask("b", "a")
		if err != nil || back.Path != got.Path {
			t.Errorf("%s, %s: %s from a to b, %s from b to a, %v", c.nat, c.actions, got.Path, back.Path, err)
		}
	}
}

// Peers that never reached the rendezvous have no path, and those that did keep
// theirs without it.
func TestWorldBeforeTheStart(t *testing.T) {
	for _, c := range []struct {
		before, later string
		want          oracle.Path
	}{
		{"{cut: rendezvous}", "{wait: 1s}", oracle.PathNone},
		{"{stop: rendezvous}", "{wait: 1s}", oracle.PathNone},
		{"{restrict: {host: a, to: [relay]}}", "{wait: 1s}", oracle.PathNone},
		{"{cut: a}", "{wait: 1s}", oracle.PathNone},
		{"{cut: rendezvous}", "{restore: rendezvous}", oracle.PathDirect},
		{"{cut: a}", "{restore: a}", oracle.PathDirect},
		{"{wait: 1s}", "{cut: rendezvous}", oracle.PathDirect},
	} {
		tl := tell(t, "full-cone", fmt.Sprintf("phases:\n  - {name: before, do: [%s], expect: {path: none}}\n  - {name: later, do: [%s], expect: {path: none}}\n", c.before, c.later))
		tl.s.v.before = tl.phases[0].spec.Actions
		w := newWorld(tl.s.v)
		w.apply(tl.phases[1].spec.Actions)
		if got, err := w.ask("a", "b"); err != nil || got.Path != c.want {
			t.Errorf("%s, then %s: %s (%s), %v; want %s", c.before, c.later, got.Path, got.Why, err, c.want)
		}
	}
}

// A relay that does not answer must not delay the introduction; what a relay that
// answers delays is not judged.
func TestPromptIntroduction(t *testing.T) {
	for _, c := range []struct {
		cut, timeless bool
		after         time.Duration
		failed        time.Duration // 0: nobody gave up
		want          scenarios.Verdict
	}{
		{true, true, 100 * ms, 0, scenarios.Expected},
		{true, true, promptFloor + ms, 0, scenarios.Unexpected},
		{false, true, promptFloor + ms, 0, scenarios.Expected},
		// A machine may be slow; a peer may not wait.
		{true, false, promptFloor + ms, 0, scenarios.Expected},
		{true, false, promptFloor + ms, promptFloor + 2*ms, scenarios.Expected},
		{true, false, promptFloor + ms, promptFloor, scenarios.Unexpected},
		{true, false, 100 * ms, 50 * ms, scenarios.Unexpected},
		{false, false, 100 * ms, 50 * ms, scenarios.Expected},
	} {
		tl := tell(t, "full-cone", expectDirect)
		if c.cut {
			id, _ := tl.s.v.lab.LinkID("relay", "")
			tl.s.v.before = []scenarios.Action{scenarios.EventAction(sim.Event{Kind: sim.EventCut, Link: id})}
		}
		tl.s.timeless = c.timeless
		for _, a := range tl.s.actors {
			for other := range a.introduced {
				a.introduced[other] = tl.s.launched.Add(c.after)
			}
		}
		if c.failed > 0 {
			tl.s.actors["b"].relayFailed = tl.s.launched.Add(c.failed)
		}
		words := ""
		if c.want != scenarios.Expected {
			words = "the failed allocation delayed it"
		}
		tl.talk(0, tl.direct).judge().must(t, c.want, words)
	}
}

func TestDeclaration(t *testing.T) {
	tl := tell(t, `"port-restricted-cone,timeout=5s"`, expectDirect)
	b := *tl.s.v.lab.Routers[0].NAT
	for measured, same := range map[string]bool{
		"mapping=EIM,filtering=APDF,ports=preserve,timeout=5s":                               true,
		"mapping=EIM,filtering=APDF,ports=preserve,timeout=5s,refresh=outbound,hairpin=none": true,
		"mapping=EIM,filtering=APDF,ports=preserve,timeout=4s":                               false,
		"mapping=EIM,filtering=APDF,ports=preserve":                                          false, // the timeout was not measured
		"mapping=EIM,ports=preserve,timeout=5s":                                              false, // nor the filtering
		"":                                                                                   false,
	} {
		if got := declaration(b, measured, certify.Options{}); (got == measured) != same {
			t.Errorf("measured %q, declared %q: equal %v, want %v", measured, got, got == measured, same)
		}
	}
	// A time that nobody waits for is not asked for.
	if got, want := declaration(b, "hairpin=none", certify.Options{Patience: time.Second}), "mapping=EIM,filtering=APDF,ports=preserve,hairpin=none"; got != want {
		t.Errorf("declared %q, want %q", got, want)
	}
}

// Controls change what they name and nothing else; times are divided once.
func TestVariants(t *testing.T) {
	sc, err := scenarios.Parse("x.yaml", []byte(fmt.Sprintf(taleLab, `"port-restricted-cone,timeout=30s"`)+`
settings: {scale: 10, keepalive: 5s}
phases:
  - name: first
    do: [{quiet: 20s}, {swap: {router: nat-a, nat: "symmetric,timeout=60s"}}]
    expect: {path: direct}
  - name: second
    expect: {path: direct}
controls:
  - name: other NAT
    why: to see it
    nats: {nat-b: symmetric}
    keepalive: off
    phases:
      - name: only
        do: [{flap: {link: a, times: 2, down: 1s, up: 2s}}]
        expect: {path: relay}
`))
	if err != nil {
		t.Fatal(err)
	}
	tell := func(v *variant) string {
		var b strings.Builder
		fmt.Fprintf(&b, "%s: keepalive %v", v.label(), v.settings.Keepalive)
		for _, r := range v.lab.Routers {
			fmt.Fprintf(&b, ", %s %v", r.Name, r.NAT)
		}
		for _, p := range v.phases {
			fmt.Fprintf(&b, "; %s %s", p.Name, p.Expect.Path)
			for _, a := range p.Actions {
				fmt.Fprintf(&b, " %s %v %v %v", a.Kind, a.For+a.Event.Down, a.Event.Up, a.Event.NAT.Timeout)
			}
		}
		return b.String()
	}
	const cone, symmetric = "mapping=EIM,filtering=APDF,ports=preserve", "mapping=APDM,filtering=APDF,ports=sequential"
	for i := range 2 { // the scenario itself stays as it was
		all := variants(sc, false)
		for n, want := range []string{
			"TALE: keepalive 500ms, nat-a " + cone + ",timeout=3s, nat-b " + cone + ",timeout=3s; first direct quiet 2s 0s 0s swap 0s 0s 6s; second direct",
			"TALE / other NAT: keepalive -1ns, nat-a " + cone + ",timeout=3s, nat-b " + symmetric + "; only relay flap 100ms 200ms 0s",
		} {
			if got := tell(all[n]); got != want {
				t.Errorf("round %d:\ngot  %s\nwant %s", i, got, want)
			}
		}
	}
	if got := tell(variants(sc, true)[0]); !strings.Contains(got, "keepalive 5s") || !strings.Contains(got, "timeout=30s") || !strings.Contains(got, "quiet 20s") {
		t.Errorf("in real time: %s", got)
	}
}

// A run stands with its controls.
func TestConclude(t *testing.T) {
	tl := tell(t, "full-cone", expectDirect+`controls:
  - {name: one, why: one, expect: {path: direct}}
  - {name: two, why: two, expect: {path: direct}}
`)
	all := variants(tl.s.v.scenario, false)
	for _, c := range []struct{ own, one, two, want scenarios.Verdict }{
		{"expected", "expected", "expected", "expected"},
		{"expected", "expected", "unexpected", "vacuous"},
		{"expected", "vacuous", "expected", "vacuous"},
		{"expected", "expected", "broken", "broken"},
		{"unexpected", "expected", "expected", "unexpected"},
		{"unexpected", "broken", "expected", "unexpected"},
		{"vacuous", "expected", "expected", "vacuous"},
		{"broken", "expected", "expected", "broken"},
	} {
		outcomes := []*outcome{{verdict: c.own, reason: "own"}, {verdict: c.one, reason: "one"}, {verdict: c.two, reason: "two"}}
		res := conclude(tl.s.v.scenario, all, outcomes)
		if res.Verdict != c.want || len(res.Controls) != 2 || res.Controls[1].Verdict != c.two {
			t.Errorf("%v: %s (%s), controls %v", c, res.Verdict, res.Reason, res.Controls)
		}
	}
	alone := conclude(tl.s.v.scenario, all[:1], []*outcome{{verdict: scenarios.Expected, reason: "own"}})
	if !strings.Contains(alone.Reason, "controls were left out") {
		t.Errorf("without controls: %s", alone.Reason)
	}
}
