package connect

import (
	"strings"
	"testing"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/grid"
	"p2pmodel/sim/virtual"
)

// TestOursInVirtualTime: our peers meet all bars, behind every pair of mapping and
// filtering.
func TestOursInVirtualTime(t *testing.T) {
	stacks, err := Named([]string{"ours"})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		sides   []grid.Side
		classic bool
	}{{grid.Classic(), true}, {grid.Axes(), false}} {
		b := &Bench{Stacks: stacks, Sides: row.sides, Classic: row.classic, Rounds: 1, Fabric: virtual.Fabric{}, Seed: 1, Parallel: 1}
		res, err := b.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := len(row.sides) * (len(row.sides) + 1) / 2; len(res.Cells) != want {
			t.Errorf("%d cells, want %d", len(res.Cells), want)
		}
		var text strings.Builder
		if err := res.WriteText(&text); err != nil || !res.OK() {
			t.Errorf("%v\n%s", err, text.String())
		}
	}
}

// TestBars: what is late, lost or goes another way is told, of our peers only.
func TestBars(t *testing.T) {
	cell := func(ours bool, path scenarios.Path, first, direct float64) *Result {
		c := Cell{Stack: "ours", Expected: scenarios.Direct, ours: ours, classic: true, paths: map[scenarios.Path]int{path: 1}}
		c.FirstByte.add(first)
		c.Direct.add(direct)
		c.conclude()
		return &Result{RTT: 80, Cells: []Cell{c}}
	}
	for _, row := range []struct {
		name string
		res  *Result
		ok   bool
	}{
		{"in time", cell(true, scenarios.Direct, 120, 160), true},
		{"late first byte", cell(true, scenarios.Direct, 121, 160), false},
		{"late direct path", cell(true, scenarios.Direct, 120, 161), false},
		{"never direct", cell(true, scenarios.Direct, 120, -1), false},
		{"over the relay", cell(true, scenarios.Relay, 120, 160), false},
		{"somebody else's", cell(false, scenarios.Relay, 2000, -1), true},
	} {
		if row.res.OK() != row.ok {
			t.Errorf("%s: OK is %v: %+v", row.name, !row.ok, row.res.Cells[0])
		}
	}
	if _, err := Named([]string{"theirs"}); err == nil {
		t.Error("a stack that is not there is taken")
	}
}
