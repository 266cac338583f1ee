package scenarios_test

import (
	"bytes"
	"compress/gzip"
	"encoding/gob"
	"encoding/json"
	"slices"

	. "github.com/onsi/gomega"

	"p2pmodel/scenarios"
)

// partName marks the report entries that carry results. Ginkgo passes them from
// its parallel processes to the first one, which writes the report.
const partName = "result"

// part is a result with everything that was recorded, on its way between
// processes.
type part struct{ result *scenarios.Result }

func partOf(res *scenarios.Result) part { return part{res} }

// MarshalJSON implements json.Marshaler: a compressed gob, since a run's packets
// would be unwieldy as JSON.
func (p part) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if err := gob.NewEncoder(zw).Encode(p.result); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return json.Marshal(buf.Bytes())
}

// resultOf is the way back.
func resultOf(text string) *scenarios.Result {
	var data []byte
	Expect(json.Unmarshal([]byte(text), &data)).To(Succeed())
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
			run.Restore()
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
