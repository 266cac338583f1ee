package report

import (
	"time"

	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/onsi/ginkgo/v2/types"

	"p2pmodel/scenarios"
)

// writeJUnit writes a report in JUnit's form by Ginkgo's own reporter, so that a
// run from the command line reads like one from the suite.
func writeJUnit(path string, rep *scenarios.Report) error {
	suite := types.Report{
		SuiteDescription: "P2PModel scenarios",
		SuiteSucceeded:   true,
		StartTime:        rep.Started,
	}
	for _, res := range rep.Scenarios {
		took := time.Duration(res.DurationMS * float64(time.Millisecond))
		spec := types.SpecReport{
			LeafNodeType: types.NodeTypeIt,
			LeafNodeText: res.ID + " " + res.Title,
			State:        types.SpecStatePassed,
			RunTime:      took,
			StartTime:    rep.Started,
			EndTime:      rep.Started.Add(took),
		}
		if res.Verdict != scenarios.Expected {
			suite.SuiteSucceeded = false
			spec.State = types.SpecStateFailed
			spec.Failure = types.Failure{Message: string(res.Verdict) + ": " + res.Reason}
		}
		suite.SpecReports = append(suite.SpecReports, spec)
		suite.RunTime = max(suite.RunTime, took)
	}
	for _, s := range rep.Skipped {
		suite.SpecReports = append(suite.SpecReports, types.SpecReport{
			LeafNodeType: types.NodeTypeIt, LeafNodeText: s.ID + " " + skippedTitle(s), State: types.SpecStateSkipped,
			StartTime: rep.Started, EndTime: rep.Started, Failure: types.Failure{Message: s.Reason},
		})
	}
	suite.PreRunStats = types.PreRunStats{TotalSpecs: len(rep.Scenarios) + len(rep.Skipped), SpecsThatWillRun: len(rep.Scenarios)}
	return reporters.GenerateJUnitReport(suite, path)
}
