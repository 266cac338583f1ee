package runner_test

import (
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
	os.Exit(m.Run())
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
	want(t, run(t, "TC-01", runner.Sabotage{}), scenarios.Expected)
}

// What follows is sabotage: each must be caught by the right verdict.

func TestSwappedNATIsBroken(t *testing.T) {
	b, err := nat.ParseBehavior("symmetric")
	if err != nil {
		t.Fatal(err)
	}
	want(t, run(t, "TC-01", runner.Sabotage{
		SwapNAT: map[string]scenarios.NATChoice{"nat-a": {Behavior: b}},
	}), scenarios.Broken)
}
