package capsule

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"p2pmodel/scenarios"
)

// kernelFabric is the fabric of runs that say of none.
const kernelFabric = "kernel"

// entry is one file of a capsule. What it holds is made only when it is its turn:
// captures are large.
type entry struct {
	name  string
	write func(io.Writer) error
}

// Write writes the capsule of a result whose scenario is known. Equal arguments
// give equal bytes.
func Write(w io.Writer, res *scenarios.Result, o Origin) error {
	if res.Scenario == nil || len(res.Scenario.Source) == 0 {
		return fmt.Errorf("capsule of %s: the text of its scenario is not known", res.ID)
	}
	m, entries, err := pack(res, o)
	if err != nil {
		return fmt.Errorf("capsule of %s: %w", res.ID, err)
	}
	zw, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return err
	}
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		if err := add(tw, e, m.Made); err != nil {
			return errors.Join(fmt.Errorf("capsule of %s: %s: %w", res.ID, e.name, err), zw.Close())
		}
	}
	return errors.Join(tw.Close(), zw.Close())
}

func add(tw *tar.Writer, e entry, made time.Time) error {
	var data bytes.Buffer
	if err := e.write(&data); err != nil {
		return err
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: e.name, Size: int64(data.Len()), Mode: 0o644,
		ModTime: made.UTC().Truncate(time.Second), Format: tar.FormatPAX,
	}
	if err := tw.WriteHeader(header); err != nil {
		return err
	}
	_, err := tw.Write(data.Bytes())
	return err
}

// pack gives the manifest and all entries, in their order.
func pack(res *scenarios.Result, o Origin) (*Manifest, []entry, error) {
	sc := res.Scenario
	folder, err := filepath.Abs(sc.Folder)
	if err != nil {
		return nil, nil, err
	}
	m := &Manifest{
		Schema: Schema, ID: res.ID, Title: res.Title, Seed: res.Seed, Fabric: cmp.Or(o.Fabric, kernelFabric), RealTime: o.RealTime, Scale: max(sc.Settings.Scale, 1), SkipControls: o.SkipControls,
		Verdict: res.Verdict, Reason: res.Reason, Replay: "natlab run " + cmp.Or(o.Name, Name(res.ID, res.Seed, false)),
		Made: o.Made.UTC(), Versions: o.Versions,
		Scenario: Source{File: sc.File, Folder: folder, Referred: []Reference{}}, Runs: []Run{}, Notes: []string{},
	}
	entries := []entry{text(scenarioEntry, string(sc.Source))}
	for i, name := range slices.Sorted(maps.Keys(sc.Referred)) {
		r := Reference{Name: name, Entry: referredEntry(name, i)}
		m.Scenario.Referred = append(m.Scenario.Referred, r)
		entries = append(entries, text(r.Entry, string(sc.Referred[name])))
	}
	entries = append(entries, asJSON(resultsEntry, &scenarios.Report{
		Schema: 1, Fabric: cmp.Or(o.Fabric, kernelFabric), Seed: res.Seed, Version: o.Versions.Natlab, RealTime: o.RealTime, Started: m.Made,
		Scenarios: []*scenarios.Result{res},
	}))
	for _, r := range runsOf(res, m) {
		files := r.entries()
		if len(entries)+len(files) > maxEntries-2 { // README.md and capsule.json are to come
			m.Notes = append(m.Notes, fmt.Sprintf("%s: left out, since a capsule has %d entries at most", r.Folder, maxEntries))
			continue
		}
		m.Runs = append(m.Runs, r.Run)
		entries = append(entries, files...)
	}
	m.notePrograms(sc)
	return m, append([]entry{text(readmeEntry, readme(m, res)), asJSON(manifestEntry, m)}, entries...), nil
}

// referredEntry is where a file of the scenario's lies: beside scenario.yaml where
// the scenario means it there, so that what was unpacked can be run as well.
func referredEntry(name string, i int) string {
	first, _, _ := strings.Cut(name, "/")
	clean := path.Clean(name) == name && filepath.IsLocal(name) && !strings.ContainsAny(name, "\\\x00")
	if clean && !slices.Contains([]string{readmeEntry, manifestEntry, scenarioEntry, resultsEntry, runsFolder, filesFolder}, first) {
		return name
	}
	return fmt.Sprintf("%s/%d-%s", filesFolder, i+1, plain(path.Base(filepath.ToSlash(name))))
}

// notePrograms says what a replay needs besides the capsule.
func (m *Manifest) notePrograms(sc *scenarios.Scenario) {
	var commands []string
	for _, p := range sc.AllPrograms() {
		for _, c := range append([]string{p.Run[0]}, p.Needs...) {
			if !slices.Contains(commands, c) {
				commands = append(commands, c)
			}
		}
	}
	if sc.System != nil {
		commands = append(commands, "p2pmodel")
	}
	if len(commands) > 0 {
		m.Notes = append(m.Notes, "programs that the scenario runs are not in the capsule; to run it again there must be "+strings.Join(commands, ", "))
	}
}

func text(name, content string) entry {
	return entry{name, func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}}
}

func asJSON(name string, v any) entry {
	return entry{name, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}}
}
