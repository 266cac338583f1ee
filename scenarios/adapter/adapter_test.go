package adapter_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"p2pmodel/scenarios/adapter"
)

// What a program prints: two events, a line of its log, and an event that nobody
// knows.
func ExampleDecode() {
	for line := range strings.Lines(`{"event":"introduced","peer":"b"}
gathering candidates
{"event":"settled","peer":"b","path":"srflx/srflx","took_ms":41}
{"event":"celebrated"}
`) {
		e, ok, err := adapter.Decode([]byte(line))
		fmt.Println(ok, e.Kind, e.Peer, err)
	}
	// Output:
	// true introduced b <nil>
	// false   <nil>
	// true settled b <nil>
	// true   unknown event "celebrated" is ignored
}

func TestDecode(t *testing.T) {
	long := strings.Repeat("ä", adapter.MaxText)
	for _, c := range []struct {
		line string
		want adapter.Event
		ok   bool
		says string
	}{
		{`{"event":"ready"}`, adapter.Event{Kind: adapter.Ready}, true, ""},
		{"  {\"event\":\"registered\",\"text\":\"x\"}\r", adapter.Event{Kind: adapter.Registered, Text: "x"}, true, ""},
		{`{"event":"lost","peer":"b"}`, adapter.Event{Kind: adapter.Lost, Peer: "b"}, true, ""},
		{`{"event":"ready","text":"` + long + `"}`, adapter.Event{Kind: adapter.Ready, Text: long[:adapter.MaxText]}, true, ""},
		{``, adapter.Event{}, false, ""},
		{`["ready"]`, adapter.Event{}, false, ""},
		{`{"event":"ready"`, adapter.Event{}, true, "this is no event: unexpected end"},
		{`{"event":"ready"} {}`, adapter.Event{}, true, "this is no event: invalid character"},
		{`{"event":7}`, adapter.Event{}, true, "this is no event: json: cannot unmarshal number"},
		{`{"peer":"b"}`, adapter.Event{}, true, `it has no "event"`},
		{`{"event":"settled"}`, adapter.Event{}, true, `the event "settled" has no "peer"`},
	} {
		e, ok, err := adapter.Decode([]byte(c.line))
		if e != c.want || ok != c.ok || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.60s: %+v, %v, %v; want %+v, %v, %q", c.line, e, ok, err, c.want, c.ok, c.says)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, line := range []string{
		`{"event":"ready"}`, `{"event":"settled","peer":"b","path":"relay"}`, `{"event":"lost"}`, `{}`, `{"event":"ready","text":"\ud800"}`,
		`{"event":"introduced","peer":"` + strings.Repeat("x", 2*adapter.MaxText) + `"}`, "{", "text", `{"Event":"ready"}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, ok, err := adapter.Decode(line)
		if (!ok || err != nil) && e != (adapter.Event{}) {
			t.Errorf("%q is refused, and yet gives %+v", line, e)
		}
		if ok && err == nil && e.Kind == "" {
			t.Errorf("%q is an event of no kind", line)
		}
		for _, text := range []string{e.Peer, e.Path, e.Text} {
			if len(text) > adapter.MaxText || !utf8.ValidString(text) {
				t.Errorf("%q gives the text %q", line, text)
			}
		}
		_ = e.String()
	})
}
