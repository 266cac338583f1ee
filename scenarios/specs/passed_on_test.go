//go:build linux

package specs_test

import (
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/virtual"
)

var _ = Describe("A result", func() {
	It("is the same after its way to another process", func(ctx SpecContext) {
		sc, err := scenarios.Find("TC-01")
		Expect(err).NotTo(HaveOccurred())
		r := &runner.Runner{Fabric: virtual.Fabric{}, Seed: *labSeed}
		res, err := r.Run(ctx, sc)
		Expect(err).NotTo(HaveOccurred())
		text, err := json.Marshal(partOf(res))
		Expect(err).NotTo(HaveOccurred())
		got := resultOf(types.ReportEntryValue{AsJSON: string(text)})
		Expect(got.Scenario).To(BeIdenticalTo(sc))
		runs, passed := partOf(res), partOf(got)
		Expect(runs.Packets).To(HaveLen(1 + len(sc.Controls)))
		for i, run := range got.Run.Packets {
			own := res.Run.Packets[i]
			Expect(run.At.Equal(own.At)).To(BeTrue())
			run.At = own.At
			Expect(run).To(Equal(own))
		}
		Expect(passed.Packets).To(Equal(runs.Packets))
		Expect(res.Run.Packets).NotTo(BeEmpty(), "what is passed on is a copy")
		Expect(got.Reason).To(Equal(res.Reason))
	})
})
