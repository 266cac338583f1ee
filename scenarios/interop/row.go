package interop

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Row is one encounter.
type Row struct {
	// Client began, Server is whom it met: a server, or a peer. With version.
	Client string `json:"client"`
	Server string `json:"server"`
	// Over is the transport, and what else lay between the two.
	Over string `json:"over"`
	// Tried says in a few words what was done.
	Tried string `json:"tried"`
	// Expected and Observed are outcomes in the same words, where all went well.
	Expected string `json:"expected"`
	Observed string `json:"observed"`
	// NATs are those of client and server, where the rows of two programs make a
	// grid; else empty.
	NATs [2]string `json:"nats,omitzero"`

	Verdict Verdict `json:"verdict"`
	// Test is who tried, by package and name; Reason why it failed, was left out or
	// cannot be.
	Test   string `json:"test,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Verdict is what became of a row.
type Verdict string

// The verdicts.
const (
	Expected   Verdict = "expected"
	Unexpected Verdict = "unexpected"
	// LeftOut: a program, a right or time was missing.
	LeftOut Verdict = "left out"
	// Never: one of the two cannot do it.
	Never Verdict = "impossible"
)

// Test is a testing.TB.
type Test interface {
	Helper()
	Attr(key, value string)
}

// The attributes of tests that are rows.
const (
	rowKey      = "interop"
	observedKey = "interop-observed"
)

// Try declares that the test is a row. Client, Server, Over, Tried and Expected say
// what is going to be done; NATs may.
func Try(t Test, r Row) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings alone
	}
	t.Attr(rowKey, string(text))
}

// Observe says what the test saw. Who passes without it saw what was expected.
func Observe(t Test, format string, args ...any) {
	t.Helper()
	t.Attr(observedKey, oneLine(fmt.Sprintf(format, args...)))
}

// oneLine is text without line breaks and what it does not need.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
