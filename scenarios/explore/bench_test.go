package explore

import (
	"testing"

	"p2pmodel/scenarios"
	"p2pmodel/sim/virtual"
)

// BenchmarkSchedule is what a schedule costs: drawn, played, and looked at.
func BenchmarkSchedule(b *testing.B) {
	for _, id := range []string{"TC-02", "TC-06", "MESH-8"} {
		b.Run(id, func(b *testing.B) {
			b.ReportAllocs()
			seed := uint64(1)
			for b.Loop() {
				x := &Explorer{Scenario: catalogue(b, id), Fabric: virtual.Fabric{}, Bounds: scenarios.DefaultBounds(), Runs: 1, Seed: seed, Workers: 1}
				if r, err := x.Run(b.Context()); err != nil || r.Broken > 0 {
					b.Fatalf("%v\n%s", err, r)
				}
				seed++
			}
		})
	}
}
