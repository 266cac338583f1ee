package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Time                          time.Time
	Action, Package, Test, Output string
	Key, Value                    string
	Elapsed                       float64 // seconds
	ImportPath                    string  // of a build
}

// running is a test, or with an empty name a package, that has not ended.
type running struct {
	row    *Row
	output strings.Builder
}

// mostOutput bounds what is kept of one test's output, in bytes.
const mostOutput = 1 << 16

// reader makes a Table of events.
type reader struct {
	table   *Table
	tests   map[string]*running
	rows    []*Row
	build   strings.Builder
	ended   func(Row)
	failure []string // names of failed tests, innermost first
}

// Read reads the output of go test -json, of one run or of several in a row. Ended, if
// it is not nil, is told of each row when its test has ended. The error says that this
// is no such output; that tests failed is in the Table.
func Read(from io.Reader, ended func(Row)) (*Table, error) {
	r := &reader{table: &Table{Schema: 1}, tests: map[string]*running{}, ended: ended}
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			var e event
			if bad := json.Unmarshal(line, &e); bad != nil {
				return nil, fmt.Errorf("this is no output of go test -json: %.100q: %w", line, bad)
			}
			r.take(e)
		}
		switch err {
		case nil:
		case io.EOF:
			return r.conclude()
		default:
			return nil, err
		}
	}
}

func (r *reader) take(e event) {
	if r.table.Began.IsZero() {
		r.table.Began = e.Time
	}
	if e.Action == "build-output" || e.Action == "build-fail" {
		r.build.WriteString(e.Output)
		return
	}
	name := e.Package + "." + e.Test
	t := r.tests[name]
	if t == nil {
		t = &running{}
		r.tests[name] = t
	}
	switch e.Action {
	case "output":
		if t.output.Len() < mostOutput {
			t.output.WriteString(e.Output)
		}
	case "attr":
		r.attribute(t, name, e)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.table.Seconds += e.Elapsed
		}
		r.end(t, name, e)
		delete(r.tests, name)
	}
}

func (r *reader) attribute(t *running, name string, e event) {
	switch {
	case e.Key == rowKey:
		row := &Row{}
		if json.Unmarshal([]byte(e.Value), row) == nil {
			row.Test = name
			t.row = row
			r.rows = append(r.rows, row)
		}
	case e.Key == observedKey && t.row != nil:
		t.row.Observed = e.Value
	}
}

func (r *reader) end(t *running, name string, e event) {
	if e.Action == "fail" {
		r.failed(t, name)
	}
	row := t.row
	if row == nil {
		return
	}
	first, last := words(t.output.String())
	switch e.Action {
	case "pass":
		row.Verdict = Expected
		if row.Observed == "" {
			row.Observed = row.Expected
		}
	case "fail":
		row.Verdict, row.Reason = Unexpected, first
	case "skip":
		row.Verdict, row.Reason = LeftOut, last
	}
	if r.ended != nil {
		r.ended(*row)
	}
}

// failed keeps what a failed test said, unless one below it has failed: then that one
// has said it.
func (r *reader) failed(t *running, name string) {
	above := strings.TrimSuffix(name, ".")
	if !slices.ContainsFunc(r.failure, func(below string) bool {
		return strings.HasPrefix(below, above+"/") || above+"." == name && strings.HasPrefix(below, name)
	}) {
		r.table.Failures = append(r.table.Failures, Failure{Test: above, Output: t.output.String()})
	}
	r.failure = append(r.failure, name)
}

// said is what a test says in its own words: "    file_test.go:12: words".
var said = regexp.MustCompile(`(?m)^\s+\S+_test\.go:\d+: (.*)$`)

// words are what a test has said: of one that failed the first is the reason, of one
// that was skipped the last.
func words(output string) (first, last string) {
	all := said.FindAllStringSubmatch(output, -1)
	if len(all) == 0 {
		return oneLine(output), oneLine(output)
	}
	return oneLine(all[0][1]), oneLine(strings.TrimPrefix(all[len(all)-1][1], "LEFT OUT: "))
}

// conclude names what did not end, and adds what nobody can.
func (r *reader) conclude() (*Table, error) {
	if r.table.Began.IsZero() {
		return nil, fmt.Errorf("go test has said nothing")
	}
	if r.build.Len() > 0 {
		r.table.Failures = append(r.table.Failures, Failure{Test: "build", Output: r.build.String()})
	}
	var open []string
	for name := range r.tests {
		open = append(open, name)
	}
	slices.Sort(open)
	for _, name := range open {
		t := r.tests[name]
		if t.row != nil {
			t.row.Verdict, t.row.Reason = Unexpected, "its test has not ended"
		}
		r.table.Failures = append(r.table.Failures, Failure{Test: strings.TrimSuffix(name, ".") + " (not ended)", Output: t.output.String()})
	}
	for _, row := range r.rows {
		r.table.Rows = append(r.table.Rows, *row)
	}
	r.table.Rows = append(r.table.Rows, Impossible()...)
	return r.table, nil
}
