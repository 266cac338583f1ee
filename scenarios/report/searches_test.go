package report

import (
	"strings"
	"testing"

	"p2pmodel/scenarios"
)

// TestSearchesAreScored: repetitions' searches are counted beside the formula, such
// that ended before they were over not at all, and of a few nothing is told.
func TestSearchesAreScored(t *testing.T) {
	var g group
	g.id = "TC-09"
	tell := func() string {
		var b strings.Builder
		searchRows(&b, g)
		return b.String()
	}
	for i := range 20 {
		s := scenarios.SearchResult{By: "r", For: "q", Probes: 120 + 100*i, Hit: 100 * (i + 1)}
		if i == 19 {
			s = scenarios.SearchResult{By: "r", For: "q", Probes: 2048}
		}
		g.results = append(g.results, &scenarios.Result{ID: g.id, Searches: []scenarios.SearchResult{s, {By: "r", For: "q", Probes: 7}}})
		if i == 8 && tell() != "" {
			t.Errorf("of nine searches: %q", tell())
		}
	}
	const want = `
TC-09 searched ports 20 times. Hit within so many probes, with Wilson's 95 % interval:
     174    5.0 % (0.9 to 23.6), theory 49.98 %
     256   10.0 % (2.8 to 30.1), theory 63.94 %
     512   25.0 % (11.2 to 46.9), theory 87.05 %
    1024   50.0 % (29.9 to 70.1), theory 98.35 %
    2048   95.0 % (76.4 to 99.1), theory 99.97 %
`
	if got := tell(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
