package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/capsule"
	"p2pmodel/sim"
	"p2pmodel/sim/document"
)

// load finds a scenario by id in the catalogue, or reads it from a file or a
// capsule.
func load(name string) (*scenarios.Scenario, error) {
	sc, _, err := find(name)
	return sc, err
}

// find is load; the capsule is nil for what comes from none.
func find(name string) (*scenarios.Scenario, *capsule.Capsule, error) {
	if info, err := os.Stat(name); err == nil && !info.IsDir() && capsule.Is(name) {
		c, err := capsule.Load(name)
		if err != nil {
			return nil, nil, err
		}
		return c.Parsed, c, nil
	}
	sc, err := findScenario(name)
	return sc, nil, err
}

func findScenario(name string) (*scenarios.Scenario, error) {
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
	return strings.ContainsRune(name, os.PathSeparator) || ext == ".yaml" || ext == ".yml" || ext == ".zst" || name == "." || name == ".."
}

// loadAll loads the named scenarios, or the whole catalogue; all that is wrong
// with any of them is in the error.
func loadAll(names []string) ([]*scenarios.Scenario, error) {
	list, _, err := loadWithCapsules(names)
	return list, err
}

// loadWithCapsules is loadAll, and gives the capsules that some came from.
func loadWithCapsules(names []string) ([]*scenarios.Scenario, replays, error) {
	if len(names) == 0 {
		list, err := scenarios.Catalogue()
		return list, nil, err
	}
	var list []*scenarios.Scenario
	capsules := replays{}
	var errs []error
	from := map[string]string{} // id in lower case → where it came from
	for _, name := range names {
		sc, c, err := find(name)
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
		if c != nil {
			capsules[sc] = c
		}
	}
	return list, capsules, errors.Join(errs...)
}

// loadLab reads a file with a lab, alone or in a scenario, or finds a scenario of
// the catalogue; the note says so where it is not the former.
func loadLab(name string) (lab *sim.Lab, events sim.Timeline, file, note string, err error) {
	if data, unread := os.ReadFile(name); unread == nil && isLab(name, data) {
		lab, events, err = sim.ParseLabFile(name, data)
		return lab, events, name, "", err
	}
	sc, err := load(name)
	if err != nil {
		return nil, nil, "", "", err
	}
	if file = sc.ID; looksLikePath(name) {
		file = name
	}
	return sc.Lab, nil, file, fmt.Sprintf("This is the lab of scenario %s alone: its peers, servers and controls are for natlab run.", sc.ID), nil
}

// isLab tells a file that has a lab alone from a scenario: it has nothing that
// every scenario must have. Whatever is wrong with it, it is wrong as that.
func isLab(name string, data []byte) bool {
	doc, err := document.Parse(name, data)
	if err != nil {
		return true
	}
	for _, key := range []string{"id", "title", "peers", "rendezvous", "expect", "phases"} {
		if doc.Root().Find(key).Name() == key {
			return false
		}
	}
	return true
}
