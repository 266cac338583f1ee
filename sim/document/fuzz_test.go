package document

import (
	"errors"
	"strings"
	"testing"
)

// FuzzParse: whatever the file, nothing panics, and every error stands at a line
// and column that a text editor can go to.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "title: x\n", "title: [a, b]\nports: [1, 2]\n", "a: {b: {c: d}}\n", "- a\n- b: c\n", "a: |\n  text\n",
		"a: 'b'\nc: \"d\\n\"\n", "? a\n: b\n", "a: &x *x\n", "%YAML 1.2\n---\na\n...\n", "{a, b: }", "[[[[", "\t", "a: >-\n\n x\n",
		"wait: 5s\nloss: 2%\nrate: 50Mbit\ninner: {a: {deep: [x]}}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Parse("f", data)
		if err == nil {
			decode(doc)
			err = doc.Err()
		}
		if err == nil {
			return
		}
		var all Errors
		if !errors.As(err, &all) || len(all) == 0 {
			t.Fatalf("the error has no places: %v", err)
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, e := range all {
			if e.File != "f" || e.Line < 1 || e.Line > lines || e.Column < 1 || e.Message == "" {
				t.Errorf("the place of %q is no place of a file of %d lines", e, lines)
			}
		}
	})
}
