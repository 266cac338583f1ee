package agreement_test

import (
	"slices"
	"strings"
	"testing"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/agreement"
	"p2pmodel/scenarios/grid"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/virtual"
)

// agree compares scenarios on the kernel and in virtual time.
func agree(t *testing.T, list []*scenarios.Scenario, seeds int) {
	t.Helper()
	if err := kernel.Enter(); err != nil {
		t.Skipf("builds labs on the kernel: %v", err)
	}
	c := &agreement.Comparison{
		Fabrics: [2]sim.Fabric{kernel.Fabric{}, virtual.Fabric{}}, Scenarios: list, Seed: 1, Seeds: seeds, Parallel: 6,
	}
	res, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := res.Table(&table); err != nil {
		t.Fatal(err)
	}
	if !res.OK() {
		t.Errorf("%s\n%s", res.Summary(), table.String())
		return
	}
	t.Logf("%s\n%s", res.Summary(), table.String())
}

// Verdict and path of each phase, pair and control are the same on both fabrics. Of
// the whole catalogue the suite of scenarios compares them.
func TestTheFabricsAgree(t *testing.T) {
	agree(t, slices.DeleteFunc(virtualCatalogue(), func(sc *scenarios.Scenario) bool {
		return !slices.Contains([]string{"TC-01", "TC-03", "EV-01"}, sc.ID)
	}), 2)
}

// So they are for all pairs of the four classic NATs; `natlab agree --axes` has all
// 81 pairs of mapping and filtering.
func TestTheGridAgrees(t *testing.T) {
	template, err := grid.DefaultTemplate()
	if err != nil {
		t.Fatal(err)
	}
	var cells []*scenarios.Scenario
	for _, a := range grid.Classic() {
		for _, b := range grid.Classic() {
			sc, _, err := template.Cell(a, b)
			if err != nil {
				t.Fatal(err)
			}
			cells = append(cells, sc)
		}
	}
	agree(t, cells, 1)
}
