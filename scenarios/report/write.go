// Package report writes what people and machines read of a run: a closing
// table, results.json, JUnit, a summary in Markdown, captures, and one HTML page
// with everything in it.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness/pcapng"
)

// The files of a report.
const (
	indexFile   = "index.html"
	resultsFile = "results.json"
	junitFile   = "junit.xml"
	summaryFile = "summary.md"
	captureDir  = "captures"
)

// Index is the path of the page in a report's directory.
func Index(dir string) string { return filepath.Join(dir, indexFile) }

// Write writes a whole report into a directory, which is made if need be. What
// an earlier report left there is replaced. Pages refer to nothing outside.
func Write(dir string, rep *scenarios.Report) error {
	if err := WriteWithoutJUnit(dir, rep); err != nil {
		return err
	}
	return writeJUnit(filepath.Join(dir, junitFile), rep)
}

// WriteWithoutJUnit is Write for a caller whose test runner writes its own
// JUnit file.
func WriteWithoutJUnit(dir string, rep *scenarios.Report) error {
	captures := filepath.Join(dir, captureDir)
	if err := os.RemoveAll(captures); err != nil {
		return err
	}
	if err := os.MkdirAll(captures, 0o755); err != nil {
		return err
	}
	return errors.Join(
		writeJSON(filepath.Join(dir, resultsFile), rep),
		writeFile(filepath.Join(dir, summaryFile), func(f *os.File) error { return Markdown(f, rep) }),
		writeFile(filepath.Join(dir, indexFile), func(f *os.File) error { return HTML(f, rep) }),
		writeCaptures(captures, rep),
	)
}

func writeJSON(path string, rep *scenarios.Report) error {
	return writeFile(path, func(f *os.File) error {
		enc := json.NewEncoder(f)
		enc.SetIndent("", "  ")
		return enc.Encode(rep)
	})
}

// writeFile writes a file by way of a temporary one, so that a reader never
// meets half a file.
func writeFile(path string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".writing-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// writeCaptures writes one pcapng file a lab: that of the scenario itself, and
// those of its controls.
func writeCaptures(dir string, rep *scenarios.Report) error {
	for i, res := range rep.Scenarios {
		runs := []*scenarios.Run{res.Run}
		for _, c := range res.Controls {
			runs = append(runs, c.Run)
		}
		for _, run := range runs {
			if run == nil || len(run.Packets) == 0 {
				continue
			}
			path := filepath.Join(dir, CaptureName(rep, i, run.Name))
			if err := writeFile(path, func(f *os.File) error { return pcapng.Write(f, run.Packets, nil) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// CaptureName is the file of a run's capture: the scenario's id, the number of
// the repetition where the report has several, and the control.
func CaptureName(rep *scenarios.Report, index int, control string) string {
	res := rep.Scenarios[index]
	name := strings.ToLower(res.ID)
	before := 0
	for _, other := range rep.Scenarios[:index] {
		if other.ID == res.ID {
			before++
		}
	}
	if before > 0 {
		name += fmt.Sprintf("-%d", before+1)
	}
	if control != "" {
		name += "-" + slug(control)
	}
	return name + ".pcapng"
}

// slug makes a file name of a control's name.
func slug(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "-")
}
