package agreement

import (
	"slices"
	"strings"
	"testing"

	"p2pmodel/scenarios"
)

// outcome is a result as the comparison reads it.
func outcome(verdict scenarios.Verdict, firstByte, direct float64, paths ...scenarios.Path) *scenarios.Result {
	res := &scenarios.Result{ID: "X", Seed: 7, Verdict: verdict, Reason: "because", Observed: scenarios.ObservedPath{
		Path: paths[len(paths)-1], TimeToFirstByteMS: firstByte, TimeToDirectMS: direct,
	}}
	for i, p := range paths {
		res.Phases = append(res.Phases, scenarios.PhaseResult{Name: string(rune('a' + i)), Observed: p})
	}
	res.Controls = []scenarios.ControlResult{{Name: "cut", Verdict: scenarios.Expected, Observed: scenarios.None}}
	return res
}

func TestDifferences(t *testing.T) {
	const expected, unexpected = scenarios.Expected, scenarios.Unexpected
	a := outcome(expected, 80, 80, scenarios.Relay, scenarios.Direct)
	control := outcome(expected, 80, 80, scenarios.Relay, scenarios.Direct)
	control.Controls[0].Observed = scenarios.Relay
	short := outcome(expected, 80, 80, scenarios.Direct)
	pair := outcome(expected, 80, 80, scenarios.Relay, scenarios.Direct)
	pair.Pairs = []scenarios.PairResult{{A: "k", B: "l", Observed: scenarios.Relay}}
	for _, c := range []struct {
		name string
		b    *scenarios.Result
		want []string
	}{
		{"the same, at other times", outcome(expected, 120, -1, scenarios.Relay, scenarios.Direct), nil},
		{"verdict", outcome(unexpected, 80, 80, scenarios.Relay, scenarios.Direct), []string{"verdict: expected, unexpected"}},
		{"a phase", outcome(expected, 80, 80, scenarios.None, scenarios.Direct), []string{`phase "a": relay, none`}},
		{"the last phase", outcome(expected, 80, 80, scenarios.Relay, scenarios.Relay), []string{"path: direct, relay", `phase "b": direct, relay`}},
		{"a control", control, []string{`control "cut": expected, none, expected, relay`}},
		{"a pair more", pair, []string{"k ↔ l: nothing, relay"}},
		{"a phase less", short, []string{`phase "a": relay, direct`, `phase "b": direct, nothing`}},
	} {
		var got []string
		for _, d := range Differences(a, c.b) {
			got = append(got, d.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTimes(t *testing.T) {
	var runs []pairOfRuns
	for i := range 10 {
		kernel := outcome(scenarios.Expected, 100, float64(100+i), scenarios.Direct)
		virtual := outcome(scenarios.Expected, 90, 100, scenarios.Direct)
		if i == 0 {
			virtual.Observed.TimeToDirectMS = -1 // it never came
		}
		runs = append(runs, pairOfRuns{kernel, virtual})
	}
	first, direct := timesOf(runs)
	if first.Runs != 10 || first.P50MS != [2]float64{100, 90} || first.RatioP50 != 0.9 || first.RatioP90 != 0.9 {
		t.Errorf("first byte: %+v", first)
	}
	if direct.Runs != 9 || direct.P50MS != [2]float64{105, 100} || direct.P90MS != [2]float64{109, 100} || direct.RatioP50 != 0.952 || direct.RatioP90 != 0.99 {
		t.Errorf("direct: %+v", direct)
	}
	if none, _ := timesOf(nil); none.Runs != 0 || none.String() != "–\t–\t–\t–" {
		t.Errorf("of nothing: %+v", none)
	}
}

func TestWhatDoesNotAgreeIsTold(t *testing.T) {
	sc, err := scenarios.Find("TC-06")
	if err != nil {
		t.Fatal(err)
	}
	runs := []pairOfRuns{
		{outcome(scenarios.Expected, 100, 100, scenarios.Direct), outcome(scenarios.Expected, 99, 99, scenarios.Direct)},
		{outcome(scenarios.Expected, 100, 100, scenarios.Direct), outcome(scenarios.Unexpected, 99, -1, scenarios.Relay)},
		{outcome(scenarios.Broken, -1, -1, scenarios.None), outcome(scenarios.Expected, 99, 99, scenarios.Direct)},
	}
	res := &Result{Fabrics: [2]string{"kernel", "virtual"}, Scenarios: []Scenario{summarize(sc, runs)}, Links: byLinks([]*scenarios.Scenario{sc}, [][]pairOfRuns{runs})}
	if s := res.Scenarios[0]; res.OK() || s.Verdicts != 1 || s.Paths != 1 || s.Expected != [2]int{2, 1} || s.Compared != 2 || len(s.Broken) != 1 || len(s.Disagreements) != 1 {
		t.Errorf("%+v", s)
	}
	var text, page, csv strings.Builder
	if err := res.Table(&text); err != nil {
		t.Fatal(err)
	}
	if err := res.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if err := res.WriteCSV(&csv); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"✗  TC-06  1/2", "✗ TC-06, seed 7:", "! TC-06, seed 7 is broken on kernel", "verdict: expected on kernel, unexpected on virtual", "30ms ±10ms, 1% loss", "100.0 ms"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	for _, want := range []string{"1 of 2 runs agree", "TC-06, seed 7", "unexpected", "1 more were broken on kernel and are not compared"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if lines := strings.Split(strings.TrimSpace(csv.String()), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[1], "TC-06,") {
		t.Errorf("CSV: %s", csv.String())
	}
}
