package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// said is what go test -json says of tests, a line each.
type script struct{ strings.Builder }

func (s *script) line(action, test string, more ...string) *script {
	e := map[string]string{"Time": fmt.Sprintf("2026-01-02T03:04:%02d.5Z", strings.Count(s.String(), "\n")), "Action": action, "Package": "p", "Test": test}
	for i := 0; i < len(more); i += 2 {
		e[more[i]] = more[i+1]
	}
	text, _ := json.Marshal(e)
	s.Write(append(text, '\n'))
	return s
}

// attributes are a Test whose attributes go into a script.
type attributes struct {
	*script
	name string
}

func (attributes) Helper() {}

func (a attributes) Attr(key, value string) { a.line("attr", a.name, "Key", key, "Value", value) }

func (s *script) try(name string, r Row) *script {
	Try(attributes{s, name}, r)
	return s
}

func row(tried, expected string) Row {
	return Row{Client: "one", Server: "other", Over: "UDP", Tried: tried, Expected: expected}
}

func TestRowsAreTheirTestsOutcomes(t *testing.T) {
	var s script
	s.line("start", "").line("run", "T")
	s.try("T/a", row("data", "all of it")).line("pass", "T/a")
	s.try("T/b", row("more", "some of it"))
	Observe(attributes{&s, "T/b"}, "half of\nit: %d", 5)
	s.line("pass", "T/b")
	s.try("T/c", row("a guess", "401")).line("output", "T/c", "Output", "    x_test.go:7: it got in\n").line("output", "T/c", "Output", "    x_test.go:9: and said so\n").line("fail", "T/c")
	s.try("T/d", row("IPv6", "data")).line("output", "T/d", "Output", "    x_test.go:8: LEFT OUT: no IPv6 here\n").line("skip", "T/d")
	s.line("fail", "T")
	s.try("U", row("for ever", "an end")).line("output", "U", "Output", "panic: x\n")
	s.line("fail", "").line("start", "", "Package", "q").line("pass", "", "Package", "q")
	var told []string
	table, err := Read(strings.NewReader(s.String()), func(r Row) { told = append(told, r.Line()) })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"✓ one → other, UDP: data: all of it",
		"✓ one → other, UDP: more: half of it: 5",
		"✗ one → other, UDP: a guess: ✗ failed: it got in",
		"? one → other, UDP: IPv6: left out: no IPv6 here",
	}
	if strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("it told of\n%s", strings.Join(told, "\n"))
	}
	if table.OK() || table.Rows[4].Verdict != Unexpected || table.Rows[4].Reason != "its test has not ended" {
		t.Errorf("%+v", table.Rows[4])
	}
	// One that failed is told once, by its innermost test; the one that did not end, too.
	if n := len(table.Failures); n != 2 || table.Failures[0].Test != "p.T/c" || table.Failures[1].Test != "p.U (not ended)" {
		t.Errorf("failures %+v", table.Failures)
	}
	if got := table.Summary(); !strings.HasPrefix(got, "2 of 4 encounters as expected, 1 left out, 2 tests failed; ") {
		t.Error(got)
	}
}

func TestFailuresWithoutARow(t *testing.T) {
	for name, text := range map[string]string{
		"a package that fails": new(script).line("start", "").line("output", "", "Output", "no such flag\n").line("fail", "").String(),
		"one that ends early":  new(script).line("start", "").line("output", "", "Output", "killed\n").String(),
		"a build that fails":   new(script).line("start", "").String() + `{"ImportPath":"p","Action":"build-output","Output":"undefined: x\n"}` + "\n" + new(script).line("fail", "").String(),
	} {
		table, err := Read(strings.NewReader(text), nil)
		if err != nil || table.OK() || len(table.Failures) == 0 {
			t.Errorf("%s: %+v, %v", name, table, err)
		}
	}
	for _, text := range []string{"", "ok p 0.1s\n"} {
		if _, err := Read(strings.NewReader(text), nil); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestFormsOfTheTable(t *testing.T) {
	var s script
	s.line("start", "").try("T", row("a | b", "data")).line("pass", "T")
	for i, path := range []string{"direct", "direct", "relay"} {
		r := row("a path", "direct")
		r.NATs, r.Over = [2]string{"full-cone", "symmetric"}, "UDP, servers of "+[]string{"ours", "others"}[i%2]
		name := fmt.Sprint("G/", i)
		s.try(name, r)
		Observe(attributes{&s, name}, "%s", path)
		s.line("pass", name)
	}
	s.line("pass", "")
	table, err := Read(strings.NewReader(s.String()), nil)
	if err != nil || !table.OK() {
		t.Fatalf("%+v, %v", table, err)
	}
	var text, markdown, machine bytes.Buffer
	for _, err := range []error{table.WriteText(&text), table.WriteMarkdown(&markdown), table.WriteJSON(&machine)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for form, wants := range map[string][]string{
		text.String():     {"✓  one ", "full-cone  direct ×2, relay ×1", "one (rows) with other (columns); UDP, servers of ours; UDP, servers of others", "4 of 4 encounters"},
		markdown.String(): {`| ✓ | one | other | UDP | a \| b | data | data |`, "| full-cone | direct ×2, relay ×1 |", "on 2026-01-02."},
	} {
		for _, want := range wants {
			if !strings.Contains(form, want) {
				t.Errorf("lacks %q:\n%s", want, form)
			}
		}
	}
	var back Table
	if err := json.Unmarshal(machine.Bytes(), &back); err != nil || len(back.Rows) != len(table.Rows) {
		t.Errorf("%v: %d rows", err, len(back.Rows))
	}
	never := 0
	for _, r := range table.Rows {
		if r.Verdict == Never {
			never++
			if r.Reason == "" || r.Client == "" || r.Server == "" || r.Tried == "" {
				t.Errorf("%+v does not say what nobody can, or why", r)
			}
		}
	}
	if never != len(Impossible()) {
		t.Errorf("%d rows of what nobody can", never)
	}
}
