//go:build linux

package runner_test

import (
	"flag"
	"os"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/matchers"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/kernel"
)

func TestMain(m *testing.M) {
	kernel.Init()
	if act := os.Getenv(actEnv); act != "" {
		be(act)
	}
	// Labs wait most of the time, so more of them than processors stand at once.
	if flag.Parse(); !parallelIsSet() {
		_ = flag.Set("test.parallel", "6")
	}
	os.Exit(m.Run())
}

func parallelIsSet() (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	return set
}

// run runs a scenario of the catalogue, sabotaged.
func run(t *testing.T, id string, sabotage runner.Sabotage) *scenarios.Result {
	t.Helper()
	sc, err := scenarios.Find(id)
	if err != nil {
		t.Fatal(err)
	}
	return runScenario(t, sc, sabotage, true)
}

func runScenario(t *testing.T, sc *scenarios.Scenario, sabotage runner.Sabotage, alone bool) *scenarios.Result {
	t.Helper()
	r := &runner.Runner{Fabric: kernel.Fabric{}, Seed: 1, Slots: runner.NewSlots(4), SkipControls: alone, Sabotage: sabotage}
	res, err := r.Run(t.Context(), sc)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is %s: %s", res.ID, res.Verdict, res.Reason)
	return res
}

func want(t *testing.T, res *scenarios.Result, v scenarios.Verdict) {
	t.Helper()
	if res.Verdict != v {
		t.Errorf("verdict %s, want %s\n%s", res.Verdict, v, matchers.Evidence(res))
	}
}

func TestExpected(t *testing.T) {
	t.Parallel()
	want(t, run(t, "TC-01", runner.Sabotage{}), scenarios.Expected)
}

// What follows is sabotage: each must be caught by the right verdict.

func TestSwappedNATIsBroken(t *testing.T) {
	t.Parallel()
	b, err := nat.ParseBehavior("symmetric")
	if err != nil {
		t.Fatal(err)
	}
	want(t, run(t, "TC-01", runner.Sabotage{
		SwapNAT: map[string]scenarios.NATChoice{"nat-a": {Behavior: b}},
	}), scenarios.Broken)
}

func TestSwapToAnotherTimeoutIsBroken(t *testing.T) {
	t.Parallel()
	b, err := nat.ParseBehavior("mapping=EIM,filtering=APDF,ports=sequential")
	if err != nil {
		t.Fatal(err)
	}
	want(t, run(t, "TC-05", runner.Sabotage{
		SwapNAT: map[string]scenarios.NATChoice{"nat-i": {Behavior: b}},
	}), scenarios.Broken)
}

func TestDisabledPunchingIsUnexpected(t *testing.T) {
	t.Parallel()
	want(t, run(t, "TC-01", runner.Sabotage{NoPunching: true}), scenarios.Unexpected)
}

// Where the relay is expected anyway, a stack that does not punch looks right:
// but it has tried nothing.
func TestDisabledPunchingIsVacuousWhereTheRelayIsExpected(t *testing.T) {
	t.Parallel()
	want(t, run(t, "TC-03", runner.Sabotage{NoPunching: true}), scenarios.Vacuous)
}

func TestDeadRelayIsUnexpected(t *testing.T) {
	t.Parallel()
	res := run(t, "TC-03", runner.Sabotage{DeadRelay: true})
	want(t, res, scenarios.Unexpected)
	if res.Observed.Path != scenarios.None {
		t.Errorf("observed %s, want none", res.Observed.Path)
	}
}

func TestBlindWitnessIsBroken(t *testing.T) {
	t.Parallel()
	want(t, run(t, "TC-01", runner.Sabotage{BlindWitness: true}), scenarios.Broken)
}

func TestWrongExpectationIsUnexpected(t *testing.T) {
	t.Parallel()
	for id, wrong := range map[string]scenarios.Path{"TC-01": scenarios.Relay, "TC-03": scenarios.Direct} {
		t.Run(id, func(t *testing.T) {
			sc, err := scenarios.Find(id)
			if err != nil {
				t.Fatal(err)
			}
			changed := *sc
			changed.Phases = []scenarios.Phase{{Name: "connect", Expect: scenarios.Expect{Path: wrong}}}
			want(t, runScenario(t, &changed, runner.Sabotage{}, true), scenarios.Unexpected)
		})
	}
}

// A control that does not come out as it has to makes the run vacuous.
func TestFailedControlIsVacuous(t *testing.T) {
	t.Parallel()
	sc, err := scenarios.Find("TC-03")
	if err != nil {
		t.Fatal(err)
	}
	changed := *sc
	changed.Controls = []scenarios.Control{{
		Name: "still symmetric", Why: "nothing is changed, so that the path stays relayed",
		Expect: scenarios.Expect{Path: scenarios.Direct},
	}}
	want(t, runScenario(t, &changed, runner.Sabotage{}, false), scenarios.Vacuous)
}

// A fault that nobody meets proves nothing.
func TestFaultThatDoesNotFireIsBroken(t *testing.T) {
	t.Parallel()
	sc := parse(t, `
phases:
  - name: connect
    do: [{cut: idle}]
    expect: {path: direct}
`)
	want(t, runScenario(t, sc, runner.Sabotage{}, true), scenarios.Broken)
}

// Where nobody gets out, nothing is what has to come.
func TestUDPBlockedIsNone(t *testing.T) {
	t.Parallel()
	sc := parse(t, `expect: {path: none}`)
	sc.Lab.Routers[1].NAT, sc.Lab.Routers[1].Preset = nil, ""
	sc.Lab.Routers[1].Firewall = &nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{}}
	want(t, runScenario(t, sc, runner.Sabotage{}, true), scenarios.Expected)
}
