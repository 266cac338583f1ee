package grid

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"p2pmodel/scenarios"
)

func TestSides(t *testing.T) {
	if got := Axes(); len(got) != 9 || got[0].Text() != "mapping=EIM,filtering=EIF,ports=preserve" || got[8].Text() != "mapping=APDM,filtering=APDF,ports=random" {
		t.Errorf("the axes are %v", got)
	}
	if got := Classic(); len(got) != 4 || got[3].Name != "symmetric" {
		t.Errorf("the classic ones are %v", got)
	}
	if _, err := Listed([]string{"full-cone", "mapping=EIM,filtering=EIF"}); err == nil || !strings.Contains(err.Error(), "the same behaviour") {
		t.Errorf("two names of one behaviour: %v", err)
	}
	if _, err := Listed([]string{"symetric"}); err == nil || !strings.Contains(err.Error(), `did you mean "symmetric"`) {
		t.Errorf("a misspelt preset: %v", err)
	}
}

// TestEveryCellIsAScenario: of all pairs, with what the check table of docs/nat.md
// says of them.
func TestEveryCellIsAScenario(t *testing.T) {
	template, err := DefaultTemplate()
	if err != nil {
		t.Fatal(err)
	}
	const classes = `
		D D D D D D D D D
		D D D D D D D D D
		D D D 1 1 1 1 1 1
		D D 1 D D 1 D D 1
		D D 1 D 1 1 D 1 1
		D D 1 1 1 1+1 1 1 1+1
		D D 1 D D 1 S S 2
		D D 1 D 1 1 S 1 2
		D D 1 1 1 1+1 2 2 2`
	want := strings.Fields(classes)
	for i, a := range Axes() {
		for j, b := range Axes() {
			sc, expected, err := template.Cell(a, b)
			if err != nil {
				t.Fatal(err)
			}
			path := scenarios.Relay
			if want[i*9+j] == "D" {
				path = scenarios.Direct
			}
			if expected.Outcome.String() != want[i*9+j] || sc.Phases[0].Expect.Path != path {
				t.Errorf("%s: class %v, path %v; want %s, %s", sc.ID, expected.Outcome, sc.Phases[0].Expect.Path, want[i*9+j], path)
			}
			if r, _ := sc.Lab.Router("nat-b"); *r.NAT != b.Behavior {
				t.Errorf("%s: nat-b is %v", sc.ID, r.NAT)
			}
		}
	}
}

func TestTemplatesThatAreNone(t *testing.T) {
	const head = "id: X\ntitle: x\n"
	for _, c := range []struct{ name, file, want string }{
		{"one router for both", head + `
lab: {routers: {r: {nat: full-cone}}, hosts: {a: {behind: r}, b: {behind: r}, s: {}}}
rendezvous: s
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
expect: {path: direct}
`, "both peers stand behind router r"},
		{"no NAT", head + `
lab: {routers: {r: {nat: full-cone}}, hosts: {a: {behind: r}, b: {}, s: {}}}
rendezvous: s
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
expect: {path: direct}
`, "peer b stands behind 0 routers"},
	} {
		sc, err := scenarios.Parse("x.yaml", []byte(c.file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewTemplate(sc); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.yaml") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	sc, err := scenarios.Find("TC-06")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewTemplate(sc); err == nil || !strings.Contains(err.Error(), "single phase") {
		t.Errorf("TC-06: %v", err)
	}
}

// cell makes one with so many runs of an outcome.
func cell(a, b string, expected scenarios.Path, runs ...scenarios.Result) Cell {
	c := Cell{A: a, B: b, NameA: a, NameB: b, Expected: expected, Paths: map[scenarios.Path]int{}}
	for i := range runs {
		c.add(&runs[i])
	}
	c.conclude()
	return c
}

func outcome(v scenarios.Verdict, p scenarios.Path) scenarios.Result {
	return scenarios.Result{Verdict: v, Reason: "because", Observed: scenarios.ObservedPath{Path: p, TimeToFirstByteMS: 80, TimeToDirectMS: -1}}
}

func times(n int, r scenarios.Result) []scenarios.Result {
	var all []scenarios.Result
	for range n {
		all = append(all, r)
	}
	return all
}

func TestCellsAndTheirForms(t *testing.T) {
	good := outcome(scenarios.Expected, scenarios.Direct)
	r := &Result{Schema: 1, Sides: []Side{{Name: "x"}, {Name: "y"}}, Cells: []Cell{
		cell("x", "x", scenarios.Direct, times(3, good)...),
		cell("x", "y", scenarios.Relay, outcome(scenarios.Vacuous, scenarios.Relay)),
		cell("y", "x", scenarios.Relay, good, outcome(scenarios.Unexpected, scenarios.Direct)),
		cell("y", "y", scenarios.Direct, outcome(scenarios.Broken, "")),
	}}
	if r.OK() {
		t.Error("a grid with failures is as expected")
	}
	if got, want := r.Summary(), "2 of 4 cells as expected (2 direct, 1 relay, 1 broken); 5 of 7 runs, 1 broken"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	table := r.Table(80, false)
	for _, want := range []string{"direct 3/3", "✗ direct 1/2, not relay", "✗ broken, not direct"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil || strings.Count(b.String(), `class="k broken"`) != 1 || strings.Contains(b.String(), `class="k none"`) {
		t.Errorf("the legend has to name what is there, and no more: %v", err)
	}
	b.Reset()
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var raw struct {
		Cells []struct {
			A, B, Expected, Observed string
			Runs                     int
			AsExpected               int `json:"as_expected"`
		}
	}
	if err := json.Unmarshal(b.Bytes(), &raw); err != nil || raw.Cells[2].Runs != 2 || raw.Cells[2].AsExpected != 1 || raw.Cells[2].Observed != "direct" {
		t.Errorf("JSON: %+v, %v", raw, err)
	}
	back, err := ReadJSON(&b)
	if err != nil || len(back.Cells) != 4 {
		t.Errorf("read back: %v, %v", back, err)
	}
	b.Reset()
	if err := r.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	if lines, err := csv.NewReader(&b).ReadAll(); err != nil || len(lines) != 5 || lines[3][2] != "" || lines[3][4] != "direct" {
		t.Errorf("CSV: %q, %v", lines, err)
	}
	for _, text := range []string{"", "{", `{"schema":7}`, `{"schema":1,"cells":[]}`} {
		if _, err := ReadJSON(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read as a grid", text)
		}
	}
}

func TestRegressions(t *testing.T) {
	good, bad := outcome(scenarios.Expected, scenarios.Direct), outcome(scenarios.Unexpected, scenarios.Relay)
	with := func(ok, wrong int) *Result {
		return &Result{Cells: []Cell{cell("x", "y", scenarios.Direct, append(times(ok, good), times(wrong, bad)...)...)}}
	}
	for _, c := range []struct {
		name        string
		before, now *Result
		worse       int
	}{
		{"the same", with(10, 0), with(10, 0), 0},
		{"better", with(5, 5), with(10, 0), 0},
		{"a little worse, which chance may do", with(9, 1), with(8, 2), 0},
		{"much worse", with(30, 0), with(15, 15), 1},
		{"one run that went the other way", with(1, 0), with(0, 1), 1},
		{"one run that failed before, too", with(0, 1), with(0, 1), 0},
	} {
		if worse, _ := c.now.Regressions(c.before); len(worse) != c.worse {
			t.Errorf("%s: %v, want %d", c.name, worse, c.worse)
		}
	}
	other := &Result{Cells: []Cell{cell("x", "z", scenarios.Direct, good)}}
	if _, missing := other.Regressions(with(1, 0)); len(missing) != 1 {
		t.Errorf("missing are %v, want the pair of the baseline", missing)
	}
}
