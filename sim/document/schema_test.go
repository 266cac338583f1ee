package document

import (
	"encoding/json"
	"fmt"
	"regexp"
	"testing"
)

// TestSchemasTakeWhatNodesTake compares the patterns that editors use with the
// decoder, value by value.
func TestSchemasTakeWhatNodesTake(t *testing.T) {
	for _, test := range []struct {
		name   string
		schema Schema
		decode func(*Node)
		values []string // quoted in the file
	}{
		{"duration", DurationSchema(), func(n *Node) { n.Duration() },
			[]string{"20ms", "5s", "1m30s", "1.5h", ".5s", "5.s", "+5s", "10µs", "-5s", "5", "s", "5 s", "5d", "", "1e3s", "5sx", ".s"}},
		{"probability", ProbabilitySchema(), func(n *Node) { n.Probability() },
			[]string{"2%", "0.5 %", ".5%", "5.%", "%", "-2%", "2%%", "x"}},
		{"rate", RateSchema(), func(n *Node) { n.Rate() },
			[]string{"50Mbit", "384kbit", "1.5 gbit/s", "10BIT", "1Tbit", "50", "50M", "50MB", "Mbit", "-1bit", "1bit/ss", "1e3bit"}},
		{"size", SizeSchema(), func(n *Node) { n.Size() },
			[]string{"64kB", "64KiB", "3 MB", "10b", "1.5GiB", "64k", "kB", "-1kB", "64kbit"}},
	} {
		for _, v := range test.values {
			doc, err := Parse("f", []byte(fmt.Sprintf("v: %q", v)))
			if err != nil {
				t.Fatal(err)
			}
			test.decode(doc.Root().Map("v").Get("v"))
			if proposed, taken := test.schema.takes(v), doc.Err() == nil; proposed != taken {
				t.Errorf("%s %q: the schema says %v, the decoder %v (%v)", test.name, v, proposed, taken, doc.Err())
			}
		}
	}
}

// takes reports whether the schema has a pattern that matches.
func (s Schema) takes(text string) bool {
	if pattern, ok := s["pattern"].(string); ok {
		return regexp.MustCompile(pattern).MatchString(text)
	}
	alternatives, _ := s["anyOf"].([]Schema)
	for _, a := range alternatives {
		if a.takes(text) {
			return true
		}
	}
	return false
}

func TestSchemaAsJSON(t *testing.T) {
	s := ObjectSchema(map[string]Schema{
		"name":  TextSchema().Described("What it is called."),
		"port":  PortSchema(),
		"fast":  BoolSchema(),
		"words": ListSchema(WordSchema("a", "b")),
		"by":    MapSchema("^x", TextSchema()),
	}, "name")
	got, err := json.Marshal(s)
	want := `{"additionalProperties":false,"properties":{` +
		`"by":{"additionalProperties":{"type":"string"},"propertyNames":{"pattern":"^x"},"type":"object"},` +
		`"fast":{"type":"boolean"},"name":{"description":"What it is called.","type":"string"},` +
		`"port":{"maximum":65535,"minimum":1,"type":"integer"},"words":{"items":{"enum":["a","b"]},"type":"array"}},` +
		`"required":["name"],"type":"object"}`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot:  %s\nwant: %s", err, got, want)
	}
}
