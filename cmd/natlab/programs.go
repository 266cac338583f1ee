package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
)

// programPath is where programs of scenarios are looked for before the PATH: beside
// natlab, where make puts the examples.
func programPath() []string {
	own, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{filepath.Dir(own)}
}

// withPrograms makes sure that the fabric can build and run the scenarios, and that
// there are the programs which they run. Of the whole catalogue others are skipped,
// and those that lack a program left out and told.
func (f *runFlags) withPrograms(list []*scenarios.Scenario, all bool, stderr io.Writer) ([]*scenarios.Scenario, error) {
	var kept []*scenarios.Scenario
	var errs []error
	for _, sc := range list {
		if err := f.fabric.runnable(sc); err != nil {
			if all {
				f.skipped = append(f.skipped, scenarios.Skipped{ID: sc.ID, Reason: err.Error(), Scenario: sc})
			} else {
				errs = append(errs, fmt.Errorf("%s: %w", sc.ID, err))
			}
			continue
		}
		if err := runner.Unsupported(sc, f.fabric.on(f.links).Supports); err != nil {
			errs = append(errs, err)
			continue
		}
		switch err := runner.Missing(sc, programPath()); {
		case err == nil:
			kept = append(kept, sc)
		case all:
			fmt.Fprintf(stderr, "LEFT OUT: %v\n", err)
		default:
			errs = append(errs, err)
		}
	}
	return kept, errors.Join(errs...)
}
