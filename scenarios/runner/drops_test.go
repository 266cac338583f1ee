package runner

import (
	"testing"

	"p2pmodel/sim/witness"
)

// Conntrack drops what a link corrupted, whatever its mappings are; rules of our
// own do not look at checksums.
func TestOnlyConntrackDoesNotTrackDamagedPackets(t *testing.T) {
	for _, c := range []struct {
		nat, node string
		direction witness.Direction
		damaged   bool
		want      bool
	}{
		{nat: "linux", node: "nat-a", damaged: true, want: true},
		{nat: "linux-fully-random", node: "nat-b", damaged: true, want: true},
		{nat: "linux", node: "nat-a"},
		{nat: "linux", node: "nat-a", direction: witness.Out, damaged: true},
		{nat: "linux", node: "a", damaged: true},
		{nat: "port-restricted-cone", node: "nat-a", damaged: true},
	} {
		j := &judgement{s: tell(t, c.nat, "expect: {path: direct}\n").s}
		hop := witness.Hop{Point: witness.Point{Node: c.node}, Direction: c.direction, Damaged: c.damaged}
		if got := j.untracked(hop); got != c.want {
			t.Errorf("%+v: untracked is %v, want %v", c, got, c.want)
		}
	}
}
