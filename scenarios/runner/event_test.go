//go:build linux

package runner_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
)

// clockwork is EV-04 with another timeline, and an idle host.
func clockwork(t *testing.T, events string) *scenarios.Scenario {
	t.Helper()
	data, err := os.ReadFile("../catalog/ev-04.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	begin, end := strings.Index(text, "events:\n"), strings.Index(text, "controls:\n")
	text = text[:begin] + "events:\n" + events
	text = strings.Replace(text, "    relay: {}\n", "    relay: {}\n    idle: {}\n", 1)
	text = strings.ReplaceAll(text, "delay: 5ms", "delay: 0ms") // a busy machine keeps this promise
	text = strings.Replace(text, "mapping: {a: lost, b: kept}", "mapping: {b: kept}", 1)
	if end < begin {
		t.Fatal("ev-04.yaml has its controls before its events")
	}
	sc, err := scenarios.Parse("clockwork.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// An event of the timeline that had no effect makes the run worthless, and a fault
// that took nothing makes it broken.
func TestEventsThatProveNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, events string
		verdict      scenarios.Verdict
		reason       string
	}{
		{"nothing changed", "  - {at: 100ms, impair: {link: nat-a, delay: 0ms}}\n", scenarios.Vacuous, "what was done had no effect: the link of nat-a"},
		{"nobody was cut", "  - {at: 100ms, cut: {link: idle, for: 50ms}}\n", scenarios.Broken, "the cut of the link of idle met no packet"},
		{"nobody swallowed", "  - {at: 100ms, blackhole: {link: idle, direction: down}}\n", scenarios.Broken, "the black hole in the link of idle, down, met no packet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res := runScenario(t, clockwork(t, test.events), runner.Sabotage{}, true)
			want(t, res, test.verdict)
			if !strings.Contains(res.Reason, test.reason) {
				t.Errorf("the reason is %q, want one with %q", res.Reason, test.reason)
			}
		})
	}
}

// What the timeline does is in the results, with its proof, after the phase that
// it counts from has begun; and a NAT that it reboots, swaps or rebinds is still
// the one that was certified. A black hole has to meet a packet: it is there while b
// has somebody to speak to, a dozen of its datagrams long, since a busy machine says
// some of them late, and over when a NAT forgets or the path is read.
func TestTheTimelineIsInTheResults(t *testing.T) {
	t.Parallel()
	res := runScenario(t, clockwork(t, `
  - {phase: by the clock, at: 100ms, rebind: {router: nat-a, host: a}}
  - {phase: by the clock, at: 900ms, reboot: nat-a}
  - {phase: by the clock, at: 1800ms, swap: {router: nat-a, nat: full-cone}}
  - {phase: by the clock, at: 130ms, every: 500ms, times: 3, blackhole: {link: b, direction: up, for: 250ms}}
`), runner.Sabotage{}, true)
	want(t, res, scenarios.Expected)
	kinds := map[sim.EventKind]int{}
	for _, e := range res.Events {
		kinds[e.Event.Kind]++
		if e.Proof.State != sim.Proved || !e.Timeline || e.Phase == "" {
			t.Errorf("%v at %v ms of phase %q: %+v", e.Event, e.AtMS, e.Phase, e.Proof)
		}
		if e.Phase != "by the clock" {
			t.Errorf("%v was done in phase %q", e.Event, e.Phase)
		}
	}
	if kinds[sim.EventRebind] != 1 || kinds[sim.EventReboot] != 1 || kinds[sim.EventSwap] != 1 || kinds[sim.EventBlackhole] != 3 {
		t.Errorf("done were %v", kinds)
	}
	data, err := json.Marshal(res)
	if err != nil || !strings.Contains(string(data), `"event":{"rebind":{"router":"nat-a","host":"a"}},"proof":{"state":"proved"`) {
		t.Errorf("the result does not tell of the rebinding (%v): %s", err, data)
	}
}
