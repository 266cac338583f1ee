// Command pages makes the pages of the documents that are tables of what the
// code has:
//
//	go run ./sim/pages [-check] (from the root of the module)
//
// With -check it writes nothing and fails if a committed page is not what it
// would write.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// pages and what makes them.
var pages = []struct {
	path string
	make func() []byte
}{
	{"docs/profiles.md", sim.ProfilesPage},
	{"docs/presets.md", nat.PresetsPage},
}

func main() {
	check := flag.Bool("check", false, "write nothing; fail if a committed page is out of date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "pages:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	for _, p := range pages {
		want := p.make()
		if !check {
			if err := os.WriteFile(p.path, want, 0o644); err != nil {
				return err
			}
			continue
		}
		have, err := os.ReadFile(p.path)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, want) {
			return fmt.Errorf("%s is out of date: make generate", p.path)
		}
	}
	return nil
}
