package p2pmodel_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// A row of the table of features is what is claimed, and what proves it.
type feature struct {
	line         int
	claim, proof string
}

func features(t *testing.T) []feature {
	t.Helper()
	var all []feature
	for _, l := range read(t, "docs/features.md").prose {
		if !strings.HasPrefix(l.text, "|") || strings.HasPrefix(l.text, "|-") || strings.HasPrefix(l.text, "| | proof") {
			continue
		}
		cells := strings.Split(strings.Trim(l.text, "|"), "|")
		if len(cells) != 2 {
			t.Fatalf("docs/features.md:%d: %d cells, want a claim and its proof", l.number, len(cells))
		}
		all = append(all, feature{l.number, cells[0], cells[1]})
	}
	if len(all) < 50 {
		t.Fatalf("docs/features.md has %d rows only: are they spelt otherwise?", len(all))
	}
	return all
}

// testFunctions gives the tests, examples and fuzz targets of a folder.
func testFunctions(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && proves.MatchString(fn.Name.Name) {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

// Benchmarks prove nothing: nobody reads them.
var proves = regexp.MustCompile(`^(Test|Example|Fuzz)[A-Z_]`)

func TestEveryFeatureNamesItsProof(t *testing.T) {
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{}
	for _, f := range features(t) {
		spans := codeSpan.FindAllStringSubmatch(f.proof, -1)
		if len(spans) == 0 {
			t.Errorf("docs/features.md:%d: nothing proves%s", f.line, f.claim)
		}
		for _, span := range spans {
			dir, name, isTest := strings.Cut(span[1], ".")
			if !isTest {
				if !slices.ContainsFunc(all, func(sc *scenarios.Scenario) bool { return sc.ID == span[1] }) {
					t.Errorf("docs/features.md:%d: the catalogue has no scenario %s", f.line, span[1])
				}
				continue
			}
			if dir == "" {
				dir = "."
			}
			if known[dir] == nil {
				known[dir] = testFunctions(t, dir)
			}
			if !known[dir][name] {
				t.Errorf("docs/features.md:%d: the tests of %s have no %s", f.line, dir, name)
			}
		}
	}
}

// Whatever has a name is claimed in some row.
func TestEveryNamedThingIsAFeature(t *testing.T) {
	t.Parallel()
	var claims strings.Builder
	for _, f := range features(t) {
		for _, span := range codeSpan.FindAllStringSubmatch(f.claim, -1) {
			claims.WriteString(" " + strings.ReplaceAll(strings.TrimPrefix(span[1], "natlab "), ",", " ") + " ")
		}
	}
	want := map[string]string{}
	for _, a := range nat.Axes() {
		want[string(a)] = "axis"
	}
	for _, p := range nat.FirewallPresets() {
		want[p.Name] = "firewall"
	}
	for _, k := range sim.EventKinds() {
		want[string(k)] = "event"
	}
	out, err := exec.Command(filepath.Join(binaries(t), "natlab"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, commands, _ := strings.Cut(string(out), "Available Commands:\n")
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+)  `).FindAllStringSubmatch(commands, -1) {
		if m[1] != "help" {
			want[m[1]] = "command"
		}
	}
	for name, kind := range want {
		if !strings.Contains(claims.String(), " "+name+" ") {
			t.Errorf("docs/features.md has no row for the %s %s", kind, name)
		}
	}
}

// What `make unit` runs a second time, whole, is there: a name of which go test knows
// nothing would be no error.
func TestWhatUnitRunsWholeIsThere(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(makefile), "\nWHOLE    := ")
	list, _, ended := strings.Cut(list, "\n#")
	if !found || !ended {
		t.Fatal("the Makefile has no WHOLE")
	}
	for name := range strings.FieldsSeq(strings.ReplaceAll(list, "\\\n", " ")) {
		dir, test, _ := strings.Cut(name, ".")
		if !testFunctions(t, dir)[test] {
			t.Errorf("the Makefile's WHOLE has %s, which %s has not", test, dir)
		}
	}
}
