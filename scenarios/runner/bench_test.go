//go:build linux

package runner_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/matchers"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/kernel"
)

// BenchmarkSeed runs TC-01 to TC-07 with all their controls, as many labs at
// once as the main job has. The aim is 40 s on two cores.
func BenchmarkSeed(b *testing.B) {
	all, err := scenarios.Catalogue()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		slots := runner.NewSlots(3 * runtime.NumCPU())
		var wg sync.WaitGroup
		for _, sc := range all {
			if !strings.HasPrefix(sc.ID, "TC-") {
				continue
			}
			wg.Go(func() {
				r := &runner.Runner{Fabric: kernel.Fabric{}, Seed: 1, Slots: slots}
				res, err := r.Run(b.Context(), sc)
				if err != nil {
					b.Error(err)
				} else if res.Verdict != scenarios.Expected {
					b.Error(matchers.Evidence(res))
				}
			})
		}
		wg.Wait()
	}
}
