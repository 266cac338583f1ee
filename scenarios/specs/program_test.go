//go:build linux

package specs_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
)

// leftOut begins the reason of what was not run for want of a program.
const leftOut = "LEFT OUT: "

// examples are the modules of programs that scenarios run, from this folder.
var examples = []string{"../foreign/pion-ice"}

// programPath is where programs are looked for before the PATH: beside p2pmodel.
func programPath() []string { return []string{filepath.Dir(*program)} }

// buildExamples builds the programs of examples. What cannot be built, for want of
// the modules that it needs, is left out.
func buildExamples(dir string) {
	for _, folder := range examples {
		if out, err := exec.Command("go", "-C", folder, "build", "-o", dir+"/", ".").CombinedOutput(); err != nil {
			GinkgoWriter.Printf("build %s: %v\n%s\n", folder, err, out)
		}
	}
}

// needPrograms leaves a scenario out, or fails it where judges are required, if a
// program that it runs is not installed.
func needPrograms(sc *scenarios.Scenario) {
	err := runner.Missing(sc, programPath())
	switch {
	case err == nil:
	case os.Getenv("P2PMODEL_JUDGES") == "require":
		Fail(err.Error())
	default:
		Skip(leftOut + strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// writeLeftOut tells what was not run.
func writeLeftOut(w io.Writer, rep Report) {
	for _, spec := range rep.SpecReports {
		if spec.State == types.SpecStateSkipped && strings.HasPrefix(spec.Failure.Message, leftOut) {
			fmt.Fprintln(w, spec.Failure.Message)
		}
	}
}
