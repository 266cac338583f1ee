package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"p2pmodel/scenarios"
)

// load finds a scenario by id in the catalogue, or reads it from a file.
func load(name string) (*scenarios.Scenario, error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.IsDir():
		return scenarios.Load(name)
	case err == nil && looksLikePath(name):
		return nil, fmt.Errorf("%s is a directory: name the scenario files in it", name)
	case looksLikePath(name):
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no file %s", name)
		}
		return nil, err
	}
	return scenarios.Find(name)
}

// looksLikePath tells a file that is meant from an id.
func looksLikePath(name string) bool {
	ext := strings.ToLower(filepath.Ext(name))
	return strings.ContainsRune(name, os.PathSeparator) || ext == ".yaml" || ext == ".yml" || name == "." || name == ".."
}

// loadAll loads the named scenarios, or the whole catalogue; all that is wrong
// with any of them is in the error.
func loadAll(names []string) ([]*scenarios.Scenario, error) {
	if len(names) == 0 {
		return scenarios.Catalogue()
	}
	var list []*scenarios.Scenario
	var errs []error
	from := map[string]string{} // id in lower case → where it came from
	for _, name := range names {
		sc, err := load(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		id := strings.ToLower(sc.ID) // as it is in the names of captures
		if first, twice := from[id]; twice {
			errs = append(errs, fmt.Errorf("the id %s is there twice, from %s and from %s: their results could not be told apart", sc.ID, first, name))
			continue
		}
		from[id] = name
		list = append(list, sc)
	}
	return list, errors.Join(errs...)
}
