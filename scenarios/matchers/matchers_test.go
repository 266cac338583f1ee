package matchers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega/types"

	"p2pmodel/scenarios"
	. "p2pmodel/scenarios/matchers"
)

// result is a result with something of everything, changed as a test wants it.
func result(change func(*scenarios.Result)) *scenarios.Result {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	r := &scenarios.Result{
		ID: "TC-99", Title: "a title", Verdict: scenarios.Expected, Reason: "payload went direct",
		Expected: scenarios.ExpectedPath{Path: scenarios.Direct, Oracle: "a probe gets through"},
		Observed: scenarios.ObservedPath{Path: scenarios.Direct},
		NATs:     []scenarios.NATResult{{Router: "nat-a", Declared: "mapping=EIM", Measured: "mapping=EIM"}},
		Controls: []scenarios.ControlResult{{Name: "relay cut", Verdict: scenarios.Expected, Reason: "fine"}},
		Phases:   []scenarios.PhaseResult{{Name: "4G", Expected: scenarios.Direct, Observed: scenarios.Direct, GapMS: 42, Lost: 3, Facts: []string{"it fired"}}},
		Pairs:    []scenarios.PairResult{{A: "a", B: "b", Expected: scenarios.Direct, Observed: scenarios.Direct}},
		Run: &scenarios.Run{
			Started: at, Evidence: []string{"20 of 20 datagrams went direct"},
			Log: []scenarios.LogLine{{At: at.Add(1500 * time.Millisecond), From: "lab", Text: "the lab stands"}},
		},
	}
	if change != nil {
		change(r)
	}
	return r
}

func TestMatchers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		matcher types.GomegaMatcher
		change  func(*scenarios.Result)
		want    bool
	}{
		{"the path", TakePath(scenarios.Direct), nil, true},
		{"another path", TakePath(scenarios.Relay), nil, false},
		{"a path of a broken run", TakePath(scenarios.Direct), func(r *scenarios.Result) { r.Verdict = scenarios.Broken }, false},
		{"as expected", BeAsExpected(), nil, true},
		{"vacuous is not as expected", BeAsExpected(), func(r *scenarios.Result) { r.Verdict = scenarios.Vacuous }, false},
		{"the verdict", HaveVerdict(scenarios.Vacuous), func(r *scenarios.Result) { r.Verdict = scenarios.Vacuous }, true},
		{"certified", BeCertified(), nil, true},
		{"measured otherwise", BeCertified(), func(r *scenarios.Result) { r.NATs[0].Measured = "mapping=ADM" }, false},
		{"nothing certified", BeCertified(), func(r *scenarios.Result) { r.NATs = nil }, false},
		{"the control", PassControl("relay cut"), nil, true},
		{"a control that failed", PassControl("relay cut"), func(r *scenarios.Result) { r.Controls[0].Verdict = scenarios.Unexpected }, false},
		{"a control that was not run", PassControl("no keepalive"), nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.matcher.Match(result(tt.change))
			if err != nil || got != tt.want {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestMatchersWantResults(t *testing.T) {
	for _, actual := range []any{nil, 7, (*scenarios.Result)(nil), scenarios.Result{}} {
		if _, err := BeAsExpected().Match(actual); err == nil {
			t.Errorf("%T was taken", actual)
		}
	}
}

// A failure prints what was wanted and all evidence.
func TestFailureMessages(t *testing.T) {
	r := result(func(r *scenarios.Result) {
		r.Verdict = scenarios.Unexpected
		r.Controls[0].Verdict, r.Controls[0].Reason = scenarios.Broken, "the relay was up"
		r.Controls[0].Run = &scenarios.Run{Name: "relay cut", Evidence: []string{"of the control"}}
	})
	for _, want := range []struct {
		message string
		first   string
	}{
		{TakePath(scenarios.Relay).FailureMessage(r), "Expected that payload takes the path relay."},
		{PassControl("x").FailureMessage(r), `Expected that the control "x" comes out as it has to.`},
		{BeCertified().NegatedFailureMessage(r), "Expected that not: every NAT is measured to be what it was declared to be."},
	} {
		first, rest, _ := strings.Cut(want.message, "\n")
		if first != want.first {
			t.Errorf("got %q, want %q", first, want.first)
		}
		for _, evidence := range []string{
			"TC-99 a title is unexpected: payload went direct", "expected direct, observed direct", "oracle: a probe gets through",
			"NAT nat-a: declared mapping=EIM, measured mapping=EIM", `phase "4G": expected direct, observed direct, gap 42 ms, 3 lost`, "it fired",
			"pair a, b: expected direct", `control "relay cut": broken: the relay was up`,
			"evidence of the run: 20 of 20 datagrams went direct", "1.500 s  lab", "the lab stands",
			`evidence of the control "relay cut": of the control`,
		} {
			if !strings.Contains(rest, evidence) {
				t.Errorf("no %q in\n%s", evidence, rest)
			}
		}
	}
}

func TestEvidenceEndsWithTheEndOfALongLog(t *testing.T) {
	r := result(func(r *scenarios.Result) {
		line := r.Run.Log[0]
		r.Run.Log = nil
		for i := range 100 {
			line.Text = strings.Repeat("x", i+1)
			r.Run.Log = append(r.Run.Log, line)
		}
	})
	got := Evidence(r)
	if !strings.Contains(got, "the last 40 of 100 lines") || !strings.HasSuffix(got, strings.Repeat("x", 100)+"\n") || strings.Contains(got, " x\n") {
		t.Errorf("got\n%s", got)
	}
}
