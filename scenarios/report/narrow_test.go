package report

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNarrowBreaksLinesAtSpaces(t *testing.T) {
	const table = "NAME        WHAT\n" +
		"fritzbox    a router for homes, as many have it – in two colours\n" +
		"short       x\n\n" +
		"a-word-that-is-longer-than-any-line-that-fits\n"
	const want = "NAME        WHAT\n" +
		"fritzbox    a router for homes,\n" +
		"      as many have it – in two\n" +
		"      colours\n" +
		"short       x\n\n" +
		"a-word-that-is-longer-than-any-line-that-fits\n"
	if got := narrow(table, 32); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(narrow(table, 45)) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 45 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	if got := narrow(table, 200); got != table {
		t.Errorf("what fits was changed:\n%s", got)
	}
}
