package campaign

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"p2pmodel/sim/document"
)

//go:embed populations/*.yaml
var populationFiles embed.FS

// Catalogue gives the populations that ship with the project. They must not be
// changed.
var Catalogue = sync.OnceValues(func() ([]*Population, error) {
	files, err := fs.Glob(populationFiles, "populations/*.yaml")
	if err != nil {
		return nil, err
	}
	var all []*Population
	for _, file := range files {
		text, err := fs.ReadFile(populationFiles, file)
		if err != nil {
			return nil, err
		}
		p, err := Parse(path.Join("scenarios/campaign", file), text)
		if err != nil {
			return nil, fmt.Errorf("catalogue: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
})

// Find gives a population: one of the catalogue by its id, whose case does not
// matter, or a file.
func Find(name string) (*Population, error) {
	if strings.ContainsAny(name, "/\\.") {
		return ReadFile(name)
	}
	shipped, err := Catalogue()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, p := range shipped {
		if strings.EqualFold(p.ID, name) {
			return p, nil
		}
		ids = append(ids, p.ID)
	}
	return nil, fmt.Errorf("no population %q in the catalogue (a file's name has a dot or a slash)%s", name, document.Suggest(name, ids))
}
