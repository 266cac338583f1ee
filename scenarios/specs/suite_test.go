//go:build linux

package specs_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/reporters"
	. "github.com/onsi/gomega"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/agreement"
	"p2pmodel/scenarios/capsule"
	. "p2pmodel/scenarios/matchers"
	"p2pmodel/scenarios/report"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/virtual"
)

var (
	reportDir = flag.String("report", "", "write the report of the catalogue to this directory")
	tableFile = flag.String("table", "", "write the closing table to this file instead of standard output, which Ginkgo frames")
	labSeed   = flag.Uint64("lab-seed", 1, "seed of keys, payload, random ports and losses")
	program   = flag.String("p2pmodel", "", "the program p2pmodel, for scenarios of the shard structure (default: it is built)")
	realTime  = flag.Bool("real-time", false, "NAT timeouts as the files have them instead of scaled to seconds")
	started   = time.Now()
)

func TestMain(m *testing.M) {
	kernel.Init()
	flag.Parse()
	// Ginkgo takes what is written to standard error, and has it no more when the
	// process dies; it prints what its processes wrote before.
	if err := debug.SetCrashOutput(os.Stderr, debug.CrashOptions{}); err != nil {
		println("a crash of this process will not be told:", err.Error())
	}
	if err := kernel.Enter(); err != nil {
		println(err.Error())
		os.Exit(2)
	}
	os.Exit(m.Run())
}

func TestScenarios(t *testing.T) {
	RegisterFailHandler(Fail)
	suite, reporter := GinkgoConfiguration()
	suite.Timeout = 20 * time.Minute
	RunSpecs(t, "P2PModel scenarios", suite, reporter)
}

// turnDir has the locks of takeTurn.
var turnDir string

// The program is built once, for all processes of the suite.
var _ = SynchronizedBeforeSuite(func() []byte {
	dir := GinkgoT().TempDir()
	if *program == "" {
		*program = filepath.Join(dir, "p2pmodel")
		out, err := exec.Command("go", "build", "-o", *program, "p2pmodel/cmd/p2pmodel").CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(out))
		buildExamples(dir)
	}
	return []byte(dir + "\n" + *program)
}, func(shared []byte) { turnDir, *program, _ = strings.Cut(string(shared), "\n") })

// labsAtOnce bounds the labs of one process: a scenario's own run and its
// controls.
const labsAtOnce = 4

var _ = Describe("The catalogue", func() {
	all, err := scenarios.Catalogue()
	if err != nil {
		It("can be read", func() { Expect(err).NotTo(HaveOccurred()) })
		return
	}
	for _, sc := range all {
		It(sc.ID+": "+sc.Title, company(sc), func(ctx SpecContext) {
			needPrograms(sc)
			end, err := takeTurn(ctx, turnDir, sc)
			Expect(err).NotTo(HaveOccurred())
			defer end()
			r := &runner.Runner{
				Fabric: kernel.Fabric{}, P2PModel: *program, Seed: *labSeed, Slots: runner.NewSlots(labsAtOnce), RealTime: *realTime,
				Path: programPath(),
			}
			res, err := r.Run(ctx, sc)
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry(partName, partOf(res), ReportEntryVisibilityNever)
			Expect(res).To(BeCertified())
			Expect(res).To(TakePath(res.Expected.Path))
			for _, control := range sc.Controls {
				Expect(res).To(PassControl(control.Name))
			}
			Expect(res).To(BeAsExpected())
			if runner.NeedsKernel(sc) != nil {
				return
			}
			By("comparing with virtual time")
			again := *r
			again.Fabric, again.Slots = virtual.Fabric{}, nil
			model, err := again.Run(ctx, sc)
			Expect(err).NotTo(HaveOccurred())
			Expect(agreement.Differences(res, model)).To(BeEmpty(), "the fabrics disagree: kernel, virtual time")
		})
	}
})

var _ = ReportAfterSuite("report", func(rep Report) {
	if *reportDir == "" {
		return
	}
	out := &scenarios.Report{Schema: 1, Fabric: "kernel", Seed: *labSeed, RealTime: *realTime, Started: started}
	for _, spec := range rep.SpecReports {
		for _, entry := range spec.ReportEntries {
			if entry.Name == partName {
				out.Scenarios = append(out.Scenarios, resultOf(entry.Value))
			}
		}
	}
	if len(out.Scenarios) == 0 {
		return
	}
	sortByCatalogue(out.Scenarios)
	for _, res := range out.Scenarios {
		if err := capsule.Leave(*reportDir, *reportDir, res, capsule.Origin{RealTime: *realTime, Made: started, Versions: capsule.Here("")}); err != nil {
			fmt.Fprintf(os.Stderr, "the capsule of %s was not written: %v\n", res.ID, err)
		}
	}
	Expect(report.WriteWithoutJUnit(*reportDir, out)).To(Succeed())
	Expect(writeJUnit(rep)).To(Succeed())
	var table bytes.Buffer
	report.Table(&table, out, os.Getenv("NO_COLOR") == "")
	writeLeftOut(&table, rep)
	fmt.Fprintf(&table, "\nreport: %s\n", report.Index(*reportDir))
	for _, res := range out.Scenarios {
		if res.Capsule != "" {
			fmt.Fprintf(&table, "capsule: %s\n", capsule.Path(*reportDir, res))
		}
	}
	if *tableFile == "" {
		fmt.Print(table.String())
		return
	}
	Expect(os.WriteFile(*tableFile, table.Bytes(), 0o644)).To(Succeed())
})

// writeJUnit writes JUnit by Ginkgo's own reporter, called here and not by a
// flag: it would put the packets of all results into the file.
func writeJUnit(rep Report) error {
	rep.SpecReports = slices.Clone(rep.SpecReports)
	for i := range rep.SpecReports {
		rep.SpecReports[i].ReportEntries = nil
	}
	return reporters.GenerateJUnitReport(rep, filepath.Join(*reportDir, "junit.xml"))
}
