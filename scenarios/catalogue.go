package scenarios

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"p2pmodel/sim/document"
)

//go:embed catalog/*.yaml
var catalogFiles embed.FS

// Catalogue gives the scenarios that ship with the project, those of
// the seed (TC-…) first. The slice and what it points to must not be changed.
var Catalogue = sync.OnceValues(func() ([]*Scenario, error) {
	files, err := fs.Glob(catalogFiles, "catalog/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*Scenario
	for _, file := range files {
		data, err := fs.ReadFile(catalogFiles, file)
		if err != nil {
			return nil, fmt.Errorf("catalogue: %w", err)
		}
		sc, err := Parse(path.Join("scenarios", file), data)
		if err != nil {
			return nil, fmt.Errorf("catalogue: %w", err)
		}
		out = append(out, sc)
	}
	slices.SortStableFunc(out, func(a, b *Scenario) int {
		seedA, seedB := strings.HasPrefix(a.ID, "TC-"), strings.HasPrefix(b.ID, "TC-")
		switch {
		case seedA == seedB:
			return strings.Compare(a.ID, b.ID)
		case seedA:
			return -1
		}
		return 1
	})
	return out, nil
})

// Find gives the scenario of the catalogue with this id; case does not matter.
func Find(id string) (*Scenario, error) {
	all, err := Catalogue()
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(all))
	for i, sc := range all {
		if strings.EqualFold(sc.ID, id) {
			return sc, nil
		}
		ids[i] = sc.ID
	}
	near := document.Suggest(id, ids)
	if near == "" {
		near = "; natlab list names those that are"
	}
	return nil, fmt.Errorf("no scenario %q in the catalogue%s", id, near)
}
