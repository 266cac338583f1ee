// Command pages makes the pages of the documents that are tables of what the
// code has:
//
//	go run ./cmd/pages [-check] (from the root of the module)
//
// With -check it writes nothing and fails if a committed page is not what it
// would write.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"p2pmodel/nat"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/campaign"
	"p2pmodel/sim"
)

// pages and what makes them.
var pages = []struct {
	path string
	make func() ([]byte, error)
}{
	{"docs/profiles.md", always(sim.ProfilesPage)},
	{"docs/presets.md", always(nat.PresetsPage)},
	{"docs/files.md", always(filesPage)},
	{"docs/commands.md", commandsPage},
}

func always(page func() []byte) func() ([]byte, error) {
	return func() ([]byte, error) { return page(), nil }
}

// filesPage has the keys of scenario files and of population files.
func filesPage() []byte { return append(scenarios.FilesPage(), campaign.FilesSection()...) }

const commandsHead = `# Commands

Every command with its flags, as the programs know them. What they are for is in [laboratory.md](laboratory.md) for labs that
stand, in [scenarios.md](scenarios.md), [grid.md](grid.md), [campaigns.md](campaigns.md) and [nat.md](nat.md) for what is run and measured, and in
[operating.md](operating.md) for servers.

`

// commandsPage asks both programs, since nobody can import them.
func commandsPage() ([]byte, error) {
	page := []byte(commandsHead)
	for _, program := range []string{"natlab", "p2pmodel"} {
		cmd := exec.Command("go", "run", "./cmd/"+program, "reference")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%v: %w", cmd.Args, err)
		}
		page = append(page, out...)
	}
	return append(bytes.TrimSpace(page), '\n'), nil
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
		want, err := p.make()
		if err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
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
