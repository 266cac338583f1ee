// Package matchers has Gomega matchers for results of scenarios. When they fail
// they print the evidence on which the verdict stands.
package matchers

import (
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"p2pmodel/scenarios"
)

// TakePath matches a *scenarios.Result whose payload took the path, as the
// witness saw it on the wire.
func TakePath(path scenarios.Path) types.GomegaMatcher {
	return matcher{
		want: "payload takes the path " + string(path),
		match: func(r *scenarios.Result) bool {
			return r.Verdict != scenarios.Broken && r.Observed.Path == path
		},
	}
}

// BeAsExpected matches a *scenarios.Result whose verdict is expected: what had
// to happen did, and in every control as well.
func BeAsExpected() types.GomegaMatcher { return HaveVerdict(scenarios.Expected) }

// HaveVerdict matches a *scenarios.Result with this verdict.
func HaveVerdict(v scenarios.Verdict) types.GomegaMatcher {
	return matcher{
		want:  "the verdict is " + string(v),
		match: func(r *scenarios.Result) bool { return r.Verdict == v },
	}
}

// BeCertified matches a *scenarios.Result all of whose NATs were measured to be
// what they were declared to be; there must be at least one.
func BeCertified() types.GomegaMatcher {
	return matcher{
		want: "every NAT is measured to be what it was declared to be",
		match: func(r *scenarios.Result) bool {
			for _, n := range r.NATs {
				if n.Declared != n.Measured {
					return false
				}
			}
			return len(r.NATs) > 0
		},
	}
}

// PassControl matches a *scenarios.Result in which the control of this name was
// run and came out as it had to.
func PassControl(name string) types.GomegaMatcher {
	return matcher{
		want: fmt.Sprintf("the control %q comes out as it has to", name),
		match: func(r *scenarios.Result) bool {
			for _, c := range r.Controls {
				if c.Name == name {
					return c.Verdict == scenarios.Expected
				}
			}
			return false
		},
	}
}

// matcher is a claim about a result.
type matcher struct {
	want  string
	match func(*scenarios.Result) bool
}

// Match implements types.GomegaMatcher.
func (m matcher) Match(actual any) (bool, error) {
	r, ok := actual.(*scenarios.Result)
	if !ok || r == nil {
		return false, fmt.Errorf("want a *scenarios.Result, got %T", actual)
	}
	return m.match(r), nil
}

// FailureMessage implements types.GomegaMatcher.
func (m matcher) FailureMessage(actual any) string {
	return "Expected that " + m.want + ".\n" + Evidence(actual.(*scenarios.Result))
}

// NegatedFailureMessage implements types.GomegaMatcher.
func (m matcher) NegatedFailureMessage(actual any) string {
	return "Expected that not: " + m.want + ".\n" + Evidence(actual.(*scenarios.Result))
}

// Evidence is a result for people: the verdict, why, what the witness saw, the
// NATs as measured, the controls, and the end of the log.
func Evidence(r *scenarios.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s is %s: %s\n", r.ID, r.Title, r.Verdict, r.Reason)
	fmt.Fprintf(&b, "  path: expected %s, observed %s\n", r.Expected.Path, r.Observed.Path)
	if r.Expected.Oracle != "" {
		fmt.Fprintf(&b, "  oracle: %s\n", r.Expected.Oracle)
	}
	for _, n := range r.NATs {
		fmt.Fprintf(&b, "  NAT %s: declared %s, measured %s\n", n.Router, n.Declared, n.Measured)
	}
	for _, p := range r.Phases {
		fmt.Fprintf(&b, "  phase %q: expected %s, observed %s, gap %.0f ms, %d lost, %d duplicates %s\n", p.Name, p.Expected,
			p.Observed, p.GapMS, p.Lost, p.Duplicates, strings.Join(p.Facts, "; "))
	}
	for _, p := range r.Pairs {
		fmt.Fprintf(&b, "  pair %s, %s: expected %s, observed %s\n", p.A, p.B, p.Expected, p.Observed)
	}
	for _, c := range r.Controls {
		fmt.Fprintf(&b, "  control %q: %s: %s\n", c.Name, c.Verdict, c.Reason)
	}
	writeRun(&b, r.Run)
	for _, c := range r.Controls {
		if c.Verdict != scenarios.Expected {
			writeRun(&b, c.Run)
		}
	}
	return b.String()
}

// logTail is how many lines of a log are worth reading in a terminal.
const logTail = 40

func writeRun(b *strings.Builder, run *scenarios.Run) {
	if run == nil {
		return
	}
	name := "the run"
	if run.Name != "" {
		name = fmt.Sprintf("the control %q", run.Name)
	}
	for _, e := range run.Evidence {
		fmt.Fprintf(b, "  evidence of %s: %s\n", name, e)
	}
	lines := run.Log
	if len(lines) > logTail {
		fmt.Fprintf(b, "  log of %s (the last %d of %d lines):\n", name, logTail, len(lines))
		lines = lines[len(lines)-logTail:]
	} else {
		fmt.Fprintf(b, "  log of %s:\n", name)
	}
	for _, l := range lines {
		fmt.Fprintf(b, "    %8.3f s  %-11s %s\n", l.At.Sub(run.Started).Seconds(), l.From, l.Text)
	}
}
