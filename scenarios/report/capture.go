package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness/pcapng"
)

// captureExt is what names of captures end with.
const captureExt = ".pcapng"

// captureNames names the files of all captures: by the scenario's id, the seed
// where the report has repetitions, and the control. No two are the same, on
// file systems that do not know capitals either.
func captureNames(rep *scenarios.Report) map[*scenarios.Run]string {
	repeated := len(groupsOf(rep)) < len(rep.Scenarios)
	names := map[*scenarios.Run]string{}
	taken := map[string]bool{}
	add := func(run *scenarios.Run, parts ...string) {
		if run == nil || len(run.Packets) == 0 {
			return
		}
		base := strings.Join(parts, "-")
		name := base
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[name] = true
		names[run] = name + captureExt
	}
	for _, res := range rep.Scenarios {
		name := []string{slug(res.ID)}
		if repeated {
			name = append(name, fmt.Sprintf("seed-%d", res.Seed))
		}
		add(res.Run, name...)
		for _, c := range res.Controls {
			add(c.Run, append(name, slug(c.Name))...)
		}
	}
	return names
}

// slug makes part of a file name or an anchor out of a name.
func slug(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	if len(words) == 0 {
		return "unnamed"
	}
	const most = 60
	name := strings.Join(words, "-")
	return strings.TrimRight(name[:min(len(name), most)], "-")
}

// writeCaptures writes one pcapng file a lab: that of the scenario itself, and
// those of its controls. Captures of an earlier report go.
func writeCaptures(dir string, rep *scenarios.Report) error {
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range old {
		if filepath.Ext(entry.Name()) != captureExt {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	for run, name := range captureNames(rep) {
		if err := WriteFile(filepath.Join(dir, name), func(f io.Writer) error { return pcapng.Write(f, run.Packets, nil) }); err != nil {
			return err
		}
	}
	return nil
}
