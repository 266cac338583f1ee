//go:build linux

package specs_test

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"p2pmodel/scenarios"
)

// partName marks the report entries that carry results. Ginkgo passes them from
// its parallel processes to the first one, which writes the report.
const partName = "result"

// part is a result with everything that was recorded, on its way between
// processes.
type part struct{ result *scenarios.Result }

// partOf takes away what the other side has or computes.
func partOf(res *scenarios.Result) part {
	out := *res
	out.Scenario = nil
	out.Run = withoutPlan(res.Run)
	out.Controls = slices.Clone(res.Controls)
	for i := range out.Controls {
		out.Controls[i].Run = withoutPlan(out.Controls[i].Run)
	}
	return part{&out}
}

func withoutPlan(run *scenarios.Run) *scenarios.Run {
	if run == nil {
		return nil
	}
	out := *run
	out.Plan = nil
	return &out
}

// String keeps Ginkgo from printing all packets as the entry's representation.
func (p part) String() string { return "result of " + p.result.ID }

// MarshalJSON implements json.Marshaler: a compressed gob, since a run's packets
// would be unwieldy as JSON.
func (p part) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if err := gob.NewEncoder(zw).Encode(p.result); err != nil {
		return nil, fmt.Errorf("send the result of %s: %w", p.result.ID, err)
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return json.Marshal(buf.Bytes())
}

// resultOf is the way back. An entry of the first process itself still has its
// value; one of another process has the JSON only.
func resultOf(entry types.ReportEntryValue) *scenarios.Result {
	text := []byte(entry.AsJSON)
	if own, is := entry.GetRawValue().(part); is {
		var err error
		text, err = own.MarshalJSON()
		Expect(err).NotTo(HaveOccurred())
	}
	var data []byte
	Expect(json.Unmarshal(text, &data)).To(Succeed())
	zr, err := gzip.NewReader(bytes.NewReader(data))
	Expect(err).NotTo(HaveOccurred())
	res := &scenarios.Result{}
	Expect(gob.NewDecoder(zr).Decode(res)).To(Succeed())
	sc, err := scenarios.Find(res.ID)
	Expect(err).NotTo(HaveOccurred())
	res.Scenario = sc
	runs := []*scenarios.Run{res.Run}
	for _, c := range res.Controls {
		runs = append(runs, c.Run)
	}
	for _, run := range runs {
		if run != nil {
			Expect(run.Restore()).To(Succeed())
		}
	}
	return res
}

func sortByCatalogue(results []*scenarios.Result) {
	all, err := scenarios.Catalogue()
	Expect(err).NotTo(HaveOccurred())
	index := map[string]int{}
	for i, sc := range all {
		index[sc.ID] = i
	}
	slices.SortFunc(results, func(a, b *scenarios.Result) int { return index[a.ID] - index[b.ID] })
}
