package agreement

import (
	"math"
	"slices"

	"p2pmodel/scenarios"
)

// Times compares a time that runs took on both fabrics: over the seeds in which it
// came on both.
type Times struct {
	Runs int `json:"runs"`
	// P50MS and P90MS are of each fabric, in milliseconds.
	P50MS [2]float64 `json:"p50_ms"`
	P90MS [2]float64 `json:"p90_ms"`
	// Ratio is of the other fabric's time to the reference's, seed by seed.
	RatioP50 float64 `json:"ratio_p50"`
	RatioP90 float64 `json:"ratio_p90"`
}

// timesOf compares times to the first byte, and to the first direct one.
func timesOf(runs []pairOfRuns) (firstByte, direct Times) {
	of := func(time func(*scenarios.Result) float64) Times {
		var ms [2][]float64
		var ratios []float64
		for _, p := range runs {
			a, b := time(p[0]), time(p[1])
			if !p.compared() || a < 0 || b < 0 {
				continue
			}
			ms[0], ms[1] = append(ms[0], a), append(ms[1], b)
			if a > 0 {
				ratios = append(ratios, b/a)
			}
		}
		t := Times{Runs: len(ms[0]), RatioP50: quantile(ratios, 0.5), RatioP90: quantile(ratios, 0.9)}
		for n := range ms {
			t.P50MS[n], t.P90MS[n] = quantile(ms[n], 0.5), quantile(ms[n], 0.9)
		}
		return t
	}
	return of(func(r *scenarios.Result) float64 { return r.Observed.TimeToFirstByteMS }),
		of(func(r *scenarios.Result) float64 { return r.Observed.TimeToDirectMS })
}

// quantile is the nearest rank; 0 of nothing.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return math.Round(sorted[max(rank, 0)]*1000) / 1000
}

// byLinks compares times over all scenarios with the same links, in the order in
// which links are met.
func byLinks(list []*scenarios.Scenario, runs [][]pairOfRuns) (all []Links) {
	gathered := map[string][]pairOfRuns{}
	for i, sc := range list {
		links := linksOf(sc)
		if _, known := gathered[links]; !known {
			all = append(all, Links{Links: links})
		}
		gathered[links] = append(gathered[links], runs[i]...)
	}
	for i := range all {
		all[i].FirstByte, all[i].Direct = timesOf(gathered[all[i].Links])
	}
	return all
}
