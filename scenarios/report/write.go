// Package report writes what people and machines read of a run: a closing
// table, results.json, JUnit, a summary in Markdown, captures, and one HTML page
// with everything in it. It also describes scenarios for a terminal.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"p2pmodel/scenarios"
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

// Writable reports, before anything is run for it, whether a report could be
// written into a directory; it makes nothing.
func Writable(dir string) error {
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s is not a directory", at)
		case err == nil:
			if err := writable(at); err != nil {
				return fmt.Errorf("cannot write in %s: %w", at, err)
			}
			return nil
		case !errors.Is(err, os.ErrNotExist) || at == filepath.Dir(at):
			return err
		}
	}
}

// Write writes a whole report into a directory, which is made if need be. What
// an earlier report left there is replaced. The page refers to nothing but the
// captures and capsules beside it.
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
	if err := os.MkdirAll(captures, 0o755); err != nil {
		return err
	}
	return errors.Join(
		removeCapsules(dir, rep),
		writeCaptures(captures, rep),
		writeJSON(filepath.Join(dir, resultsFile), rep),
		WriteFile(filepath.Join(dir, summaryFile), func(f io.Writer) error { return Markdown(f, rep) }),
		WriteFile(filepath.Join(dir, indexFile), func(f io.Writer) error { return HTML(f, rep) }),
	)
}

// removeCapsules removes the capsules that an earlier report in the directory
// says are part of it.
func removeCapsules(dir string, rep *scenarios.Report) error {
	data, err := os.ReadFile(filepath.Join(dir, resultsFile))
	var old struct {
		Scenarios []struct {
			Capsule string `json:"capsule"`
		} `json:"scenarios"`
	}
	if err != nil || json.Unmarshal(data, &old) != nil {
		return nil // there was none
	}
	var errs []error
	for _, res := range old.Scenarios {
		name := res.Capsule
		if !strings.HasPrefix(name, "capsule-") || filepath.Base(name) != name ||
			slices.ContainsFunc(rep.Scenarios, func(res *scenarios.Result) bool { return res.Capsule == name }) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func writeJSON(path string, rep *scenarios.Report) error {
	return WriteFile(path, func(f io.Writer) error {
		enc := json.NewEncoder(f)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(rep)
	})
}

// WriteFile writes a file by way of a temporary one, so that a reader never meets
// half a file.
func WriteFile(path string, write func(io.Writer) error) (err error) {
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
