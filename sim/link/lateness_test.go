package link_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/sim/link"
)

func TestLatenessIsExactToAnEighth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Minute)), 1, 300).Draw(t, "late")
		var l link.Late
		for _, d := range all {
			l.Add(time.Duration(d))
		}
		slices.Sort(all)
		got := l.Summary()
		for _, c := range []struct {
			name string
			got  time.Duration
			rank int
		}{{"p50", got.P50, (len(all)*50 + 99) / 100}, {"p99", got.P99, (len(all)*99 + 99) / 100}, {"max", got.Max, len(all)}} {
			want := time.Duration(all[c.rank-1])
			if c.got < want || c.got > want+want/8+8 {
				t.Fatalf("%s is %v, want %v, or up to an eighth more", c.name, c.got, want)
			}
		}
		if got.Max != time.Duration(all[len(all)-1]) || got.Packets != uint64(len(all)) {
			t.Fatalf("%+v is not exact about its largest and its count", got)
		}
	})
}
