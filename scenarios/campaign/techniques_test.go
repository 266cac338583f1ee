package campaign

import (
	"math"
	"slices"
	"strings"
	"testing"

	"p2pmodel/scenarios"
)

// Half of these players draw ports, the others count them or are easy.
const hardSmall = `
id: hard
title: hard NATs
techniques: [split, prediction, birthday]
networks:
  phone:
    title: phones
    weight: 100
    evidence: A
    source: a test
    nats:
      draws: {weight: 40, chain: [{nat: "symmetric,ports=random"}], evidence: A, source: a test}
      counts: {weight: 30, chain: [{nat: "symmetric,ports=sequential"}], evidence: A, source: a test}
      port-restricted-cone: {weight: 30, evidence: A, source: a test}
    links:
      line: {weight: 100, link: {delay: 10ms}, evidence: A, source: a test}
traffic: {rate: 20, size: 64, evidence: A, source: a test}
play: {session: 2m, hours: 1, online: 10, evidence: A, source: a test}
price: {per-gb: 0.1, currency: EUR, evidence: A, source: a test}
`

// TestTechniquesArePlayed: what is predicted and searched is what theory says of the
// population, within intervals; without the key nothing is.
func TestTechniquesArePlayed(t *testing.T) {
	p, err := Parse("hard.yaml", []byte(hardSmall))
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, Campaign{Population: p, Trials: 250, Seed: 1})
	foretold := r.Report.Theory.foretold(p)
	total := 0.0
	for i, s := range r.Report.Shares {
		t.Logf("%-9s %5.1f %% (%.1f to %.1f), theory %.1f", s.Outcome, 100*s.Interval.Share, 100*s.Interval.Low, 100*s.Interval.High, 100*foretold[i])
		if total += foretold[i]; foretold[i] < s.Interval.Low-0.03 || foretold[i] > s.Interval.High+0.03 {
			t.Errorf("%s: %.3f to %.3f, theory says %.3f", s.Outcome, s.Interval.Low, s.Interval.High, foretold[i])
		}
	}
	if math.Abs(total-1) > rounding || foretold[1] < 0.2 || foretold[2] < 0.2 {
		t.Errorf("theory says %v", foretold)
	}
	if a := r.Report.Agreement; a.As != a.Pairs {
		t.Errorf("%d of %d pairs took the path that the model gives with these techniques", a.As, a.Pairs)
	}
	plain, err := Parse("plain.yaml", []byte(strings.Replace(hardSmall, "techniques: [split, prediction, birthday]\n", "", 1)))
	if err != nil || !slices.Equal(plain.Techniques, []string{scenarios.PlainPunching}) {
		t.Fatalf("without the key: %v, %v", plain.Techniques, err)
	}
	for _, wrong := range []string{"[]", "[guessing]", "plain"} {
		if _, err := Parse("wrong.yaml", []byte(strings.Replace(hardSmall, "[split, prediction, birthday]", wrong, 1))); err == nil {
			t.Errorf("techniques: %s is accepted", wrong)
		}
	}
}
