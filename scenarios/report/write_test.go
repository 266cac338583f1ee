package report

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"p2pmodel/scenarios"
)

func read(t *testing.T, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// shape is a JSON value's documented form: an object's keys, the form of a
// list's items, or the name of a scalar's type.
type shape any

var path = shape([]scenarios.Path{scenarios.Direct, scenarios.Relay, scenarios.None, scenarios.Mixed})

var verdict = shape([]scenarios.Verdict{scenarios.Expected, scenarios.Unexpected, scenarios.Vacuous, scenarios.Broken})

// documented is results.json as the README has it. Other fields may stand beside
// these; phases and pairs are there where a scenario has several.
var documented = map[string]shape{
	"schema": 1.0, "fabric": "", "seed": 0.0,
	"scenarios": []shape{map[string]shape{
		"id": "", "title": "", "verdict": verdict,
		"expected":    map[string]shape{"path": path},
		"observed":    map[string]shape{"path": path, "time_to_first_byte_ms": 0.0, "time_to_direct_ms": 0.0},
		"controls":    []shape{map[string]shape{"name": "", "verdict": verdict}},
		"nats":        []shape{map[string]shape{"router": "", "declared": "", "measured": ""}},
		"duration_ms": 0.0,
		"?phases":     []shape{map[string]shape{"name": "", "expected": path, "observed": path, "gap_ms": 0.0}},
		"?pairs":      []shape{map[string]shape{"a": "", "b": "", "expected": path, "observed": path}},
	}},
}

// conform compares a decoded JSON value with a documented form.
func conform(t *testing.T, at string, v any, form shape) {
	t.Helper()
	switch form := form.(type) {
	case map[string]shape:
		object, ok := v.(map[string]any)
		if !ok {
			t.Errorf("%s is no object but %v", at, v)
		}
		for key, f := range form {
			name, optional := strings.CutPrefix(key, "?")
			switch field, ok := object[name]; {
			case ok:
				conform(t, at+"."+name, field, f)
			case !optional:
				t.Errorf("%s has no %q", at, name)
			}
		}
	case []shape:
		list, ok := v.([]any)
		if !ok {
			t.Errorf("%s is no list but %v", at, v)
		}
		for _, item := range list {
			conform(t, at+"[]", item, form[0])
		}
	case string:
		if s, ok := v.(string); !ok || s == "" {
			t.Errorf("%s is no text but %v", at, v)
		}
	case float64:
		if n, ok := v.(float64); !ok || form != 0 && n != form {
			t.Errorf("%s is %v", at, v)
		}
	case []scenarios.Path:
		if s, ok := v.(string); !ok || !slices.Contains(form, scenarios.Path(s)) {
			t.Errorf("%s is no path but %v", at, v)
		}
	case []scenarios.Verdict:
		if s, ok := v.(string); !ok || !slices.Contains(form, scenarios.Verdict(s)) {
			t.Errorf("%s is no verdict but %v", at, v)
		}
	default:
		t.Fatalf("no form for %s", at)
	}
}

func TestResultsHaveTheDocumentedForm(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, reportOf(good(t), roaming(t), random(t), failed(t))); err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(read(t, dir, resultsFile), &v); err != nil {
		t.Fatal(err)
	}
	conform(t, "results", v, documented)
	list := v["scenarios"].([]any)
	if n := len(list[1].(map[string]any)["phases"].([]any)); n != 4 {
		t.Errorf("TC-06 has %d phases", n)
	}
	if n := len(list[2].(map[string]any)["pairs"].([]any)); n != 2 {
		t.Errorf("TC-07 has %d pairs", n)
	}
	if _, has := list[0].(map[string]any)["phases"]; has {
		t.Error("TC-01 has phases")
	}
}

func TestJUnit(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, reportOf(good(t), roaming(t))); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Cases []struct {
				Name    string `xml:"name,attr"`
				Time    string `xml:"time,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(read(t, dir, junitFile), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Tests != 2 || doc.Failures != 1 || len(doc.Suites) != 1 || len(doc.Suites[0].Cases) != 2 {
		t.Fatalf("%+v", doc)
	}
	first, second := doc.Suites[0].Cases[0], doc.Suites[0].Cases[1]
	if !strings.Contains(first.Name, "TC-01 Full cone") || first.Failure != nil || first.Time != "1.234" {
		t.Errorf("%+v", first)
	}
	if second.Failure == nil || !strings.Contains(second.Failure.Message, `phase "Wi-Fi": mobile ↔ peer`) {
		t.Errorf("%+v", second)
	}
}

// A report replaces an earlier one and nothing else.
func TestWriteReplacesItsOwn(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, captureDir, "holiday.jpg")
	stale := filepath.Join(dir, captureDir, "tc-99.pcapng")
	if err := os.MkdirAll(filepath.Dir(mine), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{mine, stale} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := Write(dir, reportOf(good(t), random(t))); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			got = append(got, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"captures/holiday.jpg", "captures/tc-01-relay-cut.pcapng", "captures/tc-01.pcapng", "captures/tc-07-x.pcapng",
		"index.html", "junit.xml", "results.json", "summary.md",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// Capsules of an earlier report go with it; those of anybody else stay, and so do
// those of this one.
func TestWriteReplacesItsCapsules(t *testing.T) {
	dir := t.TempDir()
	reports := []string{"capsule-TC-06.tar.zst", "capsule-TC-07.tar.zst", "../mine.tar.zst"}
	for _, name := range append(reports[:2:2], "capsule-mine.tar.zst") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	results := []*scenarios.Result{roaming(t), random(t), failed(t)}
	for i, name := range reports {
		results[i].Capsule = name
	}
	left := func() (names []string) {
		names, err := filepath.Glob(filepath.Join(dir, "*.tar.zst"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		return names
	}
	if err := Write(dir, reportOf(results...)); err != nil {
		t.Fatal(err)
	}
	if got := left(); len(got) != 3 {
		t.Errorf("its own capsules are gone: %v", got)
	}
	page := string(read(t, dir, indexFile))
	for _, want := range []string{`<a href="capsule-TC-06.tar.zst">`, `<a href="../mine.tar.zst">`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
	if err := Write(dir, reportOf(results[1])); err != nil {
		t.Fatal(err)
	}
	if got, want := left(), []string{"capsule-TC-07.tar.zst", "capsule-mine.tar.zst"}; !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

func TestCaptureNames(t *testing.T) {
	res := good(t)
	res.ID = "Ab.C_1"
	res.Controls = nil
	for _, name := range []string{"relay cut", "Relay-Cut", "日本", "../../etc/passwd", "-"} {
		res.Controls = append(res.Controls, scenarios.ControlResult{Name: name, Run: runOf(t, name)})
	}
	names := captureNames(reportOf(res))
	var got []string
	got = append(got, names[res.Run])
	for _, c := range res.Controls {
		got = append(got, names[c.Run])
	}
	want := []string{
		"ab-c-1.pcapng", "ab-c-1-relay-cut.pcapng", "ab-c-1-relay-cut-2.pcapng", "ab-c-1-unnamed.pcapng",
		"ab-c-1-etc-passwd.pcapng", "ab-c-1-unnamed-2.pcapng",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	rep := repeated(t)
	if got, want := captureNames(rep)[rep.Scenarios[1].Controls[0].Run], "tc-01-seed-8-relay-cut.pcapng"; got != want {
		t.Errorf("of a repetition: %s, want %s", got, want)
	}
}

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{
		dir: true, filepath.Join(dir, "new", "er"): true, "new": true, file: false, filepath.Join(file, "x"): false,
	} {
		if err := Writable(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Error("Writable made something")
	}
}
