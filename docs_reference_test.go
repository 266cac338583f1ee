package p2pmodel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
)

// words gives all that stands between backquotes on a page, and its text.
func words(t *testing.T, file string) (map[string]bool, string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	spans := map[string]bool{}
	for _, l := range read(t, file).prose {
		for _, m := range codeSpan.FindAllStringSubmatch(l.text, -1) {
			spans[m[1]] = true
		}
	}
	return spans, string(data)
}

func TestEveryKeyOfScenarioFilesIsInTheReference(t *testing.T) {
	text, err := json.Marshal(scenarios.Schema())
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	reference, _ := words(t, "docs/scenarios.md")
	axes, _ := words(t, "docs/nat.md")
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			properties, _ := v["properties"].(map[string]any)
			for key := range properties {
				if !mentioned(reference, key) && !axes[key] {
					t.Errorf("docs/scenarios.md does not explain the key `%s`", key)
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(schema)
	for _, word := range []string{"expected", "unexpected", "vacuous", "broken", "direct", "relay", "none", "mixed"} {
		if !reference[word] {
			t.Errorf("docs/scenarios.md does not explain `%s`", word)
		}
	}
}

// mentioned reports whether a word stands between backquotes, alone or as part of
// a list or mapping.
func mentioned(spans map[string]bool, word string) bool {
	if spans[word] {
		return true
	}
	for span := range spans {
		fields := strings.FieldsFunc(span, func(r rune) bool { return strings.ContainsRune("{}[]:, |\\", r) })
		for _, f := range fields {
			if f == word {
				return true
			}
		}
	}
	return false
}

func TestEveryFieldOfResultsIsInTheReference(t *testing.T) {
	_, text := words(t, "docs/scenarios.md")
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			if !strings.Contains(text, `"`+name+`"`) && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("docs/scenarios.md does not explain the field %s of results.json", name)
			}
			walk(typ.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[scenarios.Report]())
}

func TestEveryAxisIsInTheReference(t *testing.T) {
	_, text := words(t, "docs/nat.md")
	for _, axis := range nat.Axes() {
		row, ok := rowOf(text, "| `"+string(axis)+"` |")
		if !ok {
			t.Errorf("docs/nat.md has no row for the axis %s", axis)
			continue
		}
		if preset := (nat.Behavior{}).Get(axis); !strings.Contains(row, "`"+preset+"`") {
			t.Errorf("docs/nat.md: the row of %s does not have its default, %s", axis, preset)
		}
		for _, value := range axis.Values() {
			if !strings.ContainsRune(value, ' ') && !strings.Contains(row, "`"+value+"`") {
				t.Errorf("docs/nat.md: the row of %s does not have the value %s", axis, value)
			}
		}
	}
}

// The page of presets is what the code makes, and the classic ones and Linux's are
// explained beside the axes, with what the code says of them.
func TestEveryPresetIsInTheReference(t *testing.T) {
	page, err := os.ReadFile("docs/presets.md")
	if err != nil || !bytes.Equal(page, nat.PresetsPage()) {
		t.Errorf("docs/presets.md is out of date: make generate (%v)", err)
	}
	spans, text := words(t, "docs/nat.md")
	for _, name := range []string{"full-cone", "restricted-cone", "port-restricted-cone", "symmetric", "linux"} {
		p, err := nat.PresetNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		row, ok := rowOf(text, "| `"+p.Name+"`")
		if !ok {
			t.Errorf("docs/nat.md has no row for the preset %s", p.Name)
			continue
		}
		b := p.Behavior
		if want := b.Get(nat.AxisMapping) + ", " + b.Get(nat.AxisFiltering) + ", " + b.Get(nat.AxisPorts); !strings.Contains(row, want) {
			t.Errorf("docs/nat.md: the row of %s does not say %s", p.Name, want)
		}
		for _, alias := range p.Aliases {
			if !spans[alias] {
				t.Errorf("docs/nat.md does not name %s, another name of %s", alias, p.Name)
			}
		}
		for _, e := range p.Evidence {
			if _, evidence, _ := strings.Cut(row, string(b.Get(nat.AxisPorts))); !strings.Contains(evidence, string(e)) {
				t.Errorf("docs/nat.md: the row of %s does not have the evidence %s", p.Name, e)
			}
		}
	}
}

func rowOf(text, prefix string) (string, bool) {
	for _, row := range strings.Split(text, "\n") {
		if strings.HasPrefix(row, prefix) {
			return row, true
		}
	}
	return "", false
}

func TestTheTableOfPairsIsTheOracles(t *testing.T) {
	_, text := words(t, "docs/nat.md")
	kinds := []string{"Ei", "Ea", "Ep", "Ai", "Aa", "Ap", "Pi", "Pa", "Pp"}
	behind := func(kind string) oracle.Chain {
		return oracle.Chain{{NAT: &nat.Behavior{
			Mapping:   nat.Dependence(strings.IndexByte("EAP", kind[0])),
			Filtering: nat.Dependence(strings.IndexByte("iap", kind[1])),
		}}}
	}
	for _, a := range kinds {
		row, ok := rowOf(text, "|**"+a+"**")
		if !ok {
			t.Errorf("docs/nat.md has no row for %s in the table of pairs", a)
			continue
		}
		cells := strings.Split(strings.Trim(row, "|"), "|")[1:]
		for i, b := range kinds {
			e, err := oracle.Expect(behind(a), behind(b), oracle.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(cells[i]); got != e.Outcome.String() {
				t.Errorf("docs/nat.md: %s × %s is %s by the oracle, not %s", a, b, e.Outcome, got)
			}
		}
	}
}

func TestTheReadmeListsTheCatalogue(t *testing.T) {
	_, text := words(t, "README.md")
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range all {
		if _, ok := rowOf(text, "| "+sc.ID+" |"); !ok {
			t.Errorf("README.md: the table of scenarios has no row for %s", sc.ID)
		}
		if _, ok := rowOf(text, "✓  "+sc.ID+" "); !ok {
			t.Errorf("README.md: the closing table has no row for %s", sc.ID)
		}
	}
}

// The README's bug and its cure are run as it says.
func TestTheExampleComesOutAsTheReadmeSays(t *testing.T) {
	t.Parallel()
	natlab := filepath.Join(binaries(t), "natlab")
	if out, err := exec.Command(natlab, "doctor").CombinedOutput(); err != nil {
		t.Skipf("the example was not run; `bin/natlab doctor` says why:\n%s", out)
	}
	const file, keepalive, off = "docs/examples/hotel.yaml", "keepalive: 10s", "keepalive: off"
	_, readme := words(t, "README.md")
	if change := "sed 's/" + keepalive + "/" + off + "/' " + file; !strings.Contains(readme, change) {
		t.Fatalf("README.md does not say %s", change)
	}
	cured, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bug := filepath.Join(t.TempDir(), "hotel-bug.yaml")
	write(t, bug, strings.Replace(string(cured), keepalive, off, 1))
	for _, run := range []struct {
		name    string
		args    []string
		status  int
		verdict scenarios.Verdict
	}{
		{"cured", []string{file}, 0, scenarios.Expected},
		{"bug", []string{"--skip-controls", bug}, 1, scenarios.Unexpected},
	} {
		t.Run(run.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, natlab, append([]string{"run", "--format", "json", "--capsules", "none"}, run.args...)...)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if status := cmd.ProcessState.ExitCode(); status != run.status {
				t.Errorf("natlab ended with %d (%v), want %d", status, err, run.status)
			}
			var rep scenarios.Report
			if err := json.Unmarshal(out, &rep); err != nil {
				t.Fatalf("read natlab's JSON: %v\n%s", err, out)
			}
			if res := rep.Scenarios[0]; res.Verdict != run.verdict {
				t.Errorf("%s is %s, want %s: %s", res.ID, res.Verdict, run.verdict, res.Reason)
			}
		})
	}
}

func TestEveryFirewallIsInTheReference(t *testing.T) {
	_, text := words(t, "docs/nat.md")
	for _, p := range nat.FirewallPresets() {
		if row, ok := rowOf(text, "| `"+p.Name+"` |"); !ok || !strings.Contains(row, "`"+p.Firewall.String()+"`") {
			t.Errorf("docs/nat.md has no row for the firewall %s, or it does not say %s", p.Name, p.Firewall)
		}
	}
	for _, key := range nat.FirewallKeys() {
		row, ok := rowOf(text, "| `"+key+"` |")
		if !ok {
			t.Errorf("docs/nat.md has no row for the key %s of a firewall", key)
		}
		for _, value := range nat.FirewallValues(key) {
			if !strings.Contains(row, "`"+value+"`") {
				t.Errorf("docs/nat.md: the row of %s does not have the value %s", key, value)
			}
		}
	}
}
