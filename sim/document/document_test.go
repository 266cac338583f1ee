package document

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// decode reads a file with one key of each sort, as decoders do.
func decode(doc *Document) {
	m := doc.Root().Map("title", "count", "ports", "wait", "loss", "rate", "size", "fast", "kind", "where", "seed", "inner")
	m.Need("title").Text()
	m.Get("count").Int(1, 9)
	m.Get("ports").Ports()
	m.Get("wait").Duration()
	m.Get("loss").Probability()
	m.Get("rate").Rate()
	m.Get("size").Size()
	m.Get("fast").Bool()
	m.Get("kind").Word("preset", "full-cone", "symmetric")
	m.Get("where").Addr()
	m.Get("seed").Uint64()
	for _, v := range m.Get("inner").Map().Entries() {
		v.Map("deep").Get("deep").Texts()
	}
}

func TestErrorsNameTheirPlaceAndTheWayOut(t *testing.T) {
	for _, test := range []struct{ name, file, want string }{
		{"nothing wrong", "title: x\n", ""},
		{"a number is text where text is wanted", "title: 2026\n", ""},
		{"windows line ends", "title: x\r\ncoun: 1\r\n", `f:2:1: unknown key "coun"; did you mean "count"?`},
		{"byte order mark", "\ufefftitle: x\ncoun: 1\n", `f:2:1: unknown key "coun"; did you mean "count"?`},
		{"columns are characters", "{title: ééé, coun: 1}", `f:1:14: unknown key "coun"; did you mean "count"?`},
		{"missing", "count: 1\n", `f:1:1: "title" is missing`},
		{"empty file", "", `f:1:1: "title" is missing`},
		{"only a comment", "# nothing\n", `f:1:1: "title" is missing`},
		{"not a mapping", "- a\n", "f:1:1: want a mapping (name: value), got a list\nf:1:1: \"title\" is missing"},
		{"nothing near", "title: x\nzzz: 1\n", `f:2:1: unknown key "zzz"; known: title, count, ports, wait, loss, rate, size, fast, kind, where, seed, inner`},
		{"twice", "title: x\ncount: 1\ntitle: y\n", `f:3:1: "title" is here twice; the first is on line 1`},
		{"sorted, all at once", "loss: 3\ntitle: [a]\nfast: maybe\n", strings.Join([]string{
			`f:1:7: loss: want a probability, as 2% or 0.02, got "3"`,
			`f:2:8: title: want text, got a list`,
			`f:3:7: fast: want true or false, got "maybe"`}, "\n")},
		{"text, not a truth", "title: true\n", `f:1:8: title: want text (put it in quotes), got "true"`},
		{"null is no text", "title:\n", `f:1:1: title: want text, got null`},
		{"number out of range", "title: x\ncount: 10\n", `f:2:8: count: 10 is not between 1 and 9`},
		{"no whole number", "title: x\ncount: 1.5\n", `f:2:8: count: want a whole number, as 3, got "1.5"`},
		{"port", "title: x\nports: [1, 70000]\n", `f:2:12: ports: 70000 is not between 1 and 65535`},
		{"no list", "title: x\nports: 3\n", `f:2:8: ports: want a list ([a, b]), got "3"`},
		{"duration without unit", "title: x\nwait: 5\n", `f:2:7: wait: want a duration, as 20ms, 5s or 1m30s, got "5"`},
		{"negative duration", "title: x\nwait: -5s\n", `f:2:7: wait: want a duration, as 20ms, 5s or 1m30s, got "-5s"`},
		{"rate without unit", "title: x\nrate: 50\n", `f:2:7: rate: want a rate, as 384kbit or 50Mbit, got "50"`},
		{"size", "title: x\nsize: 3 cows\n", `f:2:7: size: want a size, as 3000, 64kB or 64KiB, got "3 cows"`},
		{"word", "title: x\nkind: full_con\n", `f:2:7: unknown preset "full_con"; did you mean "full-cone"?`},
		{"address", "title: x\nwhere: 1.2.3\n", `f:2:8: where: want an IP address, as 198.18.0.1, got "1.2.3"`},
		{"seed", "title: x\nseed: -1\n", `f:2:7: seed: want a whole number, as 3, got "-1"`},
		{"nested", "title: x\ninner:\n  a:\n    deep: [1, b, {}]\n", `f:4:18: deep: want text, got a mapping`},
		{"block list of mappings", "title: x\ninner:\n  a: {depp: 1}\n", `f:3:7: unknown key "depp"; did you mean "deep"?`},
		{"syntax", "title: [x\n", `f:1:8: sequence end token ']' not found`},
		{"alias", "title: &x 1\nkind: *x\n", "f:1:8: anchors (&) are not supported: write the value out; quote text that starts with &\n" +
			"f:2:7: aliases (*) are not supported: write the value out; quote text that starts with *"},
		{"tag", "title: !!str 1\n", `f:1:8: tags (!) are not supported: quote text that starts with !`},
		{"merge", "title: x\n<<: {count: 1}\n", `f:2:1: merge keys (<<) are not supported: write the keys out`},
		{"two documents", "title: x\n---\ntitle: y\n", `f:3:6: a second document starts here; a file holds one`},
		{"null key", "title: x\n~: 1\n", `f:2:1: "~" is no name of a key; quote it if it is meant to be one`},
		{"deep", "title: " + strings.Repeat("[", 65), `f:1:72: lists and mappings nest more than 64 deep here`},
		{"deep entries", strings.Repeat("- ", 65), `f:1:129: lists and mappings nest more than 64 deep here`},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc, err := Parse("f", []byte(test.file))
			if err == nil {
				decode(doc)
				err = doc.Err()
			}
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("file:\n%s\ngot:\n%s\nwant:\n%s", test.file, got, test.want)
			}
		})
	}
}

func TestValuesAsDecoded(t *testing.T) {
	doc, err := Parse("f", []byte(`
title: "a\tb"
count: 3
ports: [80, 443]
wait: 1m30s
loss: 2.5%
rate: 1.5Mbit/s
size: 64KiB
fast: true
4g: {}
where: 2001:db8::1
seed: 18446744073709551615
`))
	if err != nil {
		t.Fatal(err)
	}
	m := doc.Root().Map()
	check := func(what string, ok bool) {
		t.Helper()
		if !ok {
			t.Errorf("%s: decoded wrongly", what)
		}
	}
	check("text", m.Get("title").Text() == "a\tb")
	check("int", m.Get("count").Int(1, 9) == 3)
	check("ports", len(m.Get("ports").Ports()) == 2 && m.Get("ports").Ports()[1] == 443)
	check("duration", m.Get("wait").Duration() == 90*time.Second)
	check("probability", m.Get("loss").Probability() == 0.025)
	check("rate", m.Get("rate").Rate() == 1500000)
	check("size", m.Get("size").Size() == 65536)
	check("bool", m.Get("fast").Bool())
	check("order and names", strings.Join(m.Keys(), " ") == "title count ports wait loss rate size fast 4g where seed")
	check("address", m.Get("where").Addr().Is6())
	check("seed", m.Get("seed").Uint64() == 1<<64-1)
	check("absent", !m.Has("nothing") && m.Get("nothing").Duration() == 0 && m.Get("nothing").Map().Get("deeper").Text() == "")
	check("find", doc.Root().Find("4g", "nothing", "more").Name() == "4g")
	if err := doc.Err(); err != nil {
		t.Errorf("no error was expected: %v", err)
	}
}

func TestErrorsUnwrapToPlaces(t *testing.T) {
	_, err := Parse("f", []byte("a: [\n"))
	var e Error
	if !errors.As(err, &e) || e.Line != 1 || e.File != "f" {
		t.Errorf("want an Error of line 1 inside %v", err)
	}
}

func TestQuantitiesReadBackAsWritten(t *testing.T) {
	for _, bits := range []uint64{0, 1, 384_000, 1_500_000, 1_234_567, 50_000_000, 2_500_000_000, 1e12} {
		if back, ok := ParseRate(FormatRate(bits)); !ok || back != bits {
			t.Errorf("rate %d is written %s and read as %d, %v", bits, FormatRate(bits), back, ok)
		}
	}
	for _, p := range []float64{0, 1, 0.01, 0.02, 0.005, 0.1 + 0.2, 1.0 / 3, 1e-9} {
		if back, ok := ParseProbability(FormatProbability(p)); !ok || back != p {
			t.Errorf("probability %v is written %s and read as %v, %v", p, FormatProbability(p), back, ok)
		}
	}
	for text, want := range map[string]string{"50000000": "50Mbit", "384000": "384kbit", "1500000": "1.5Mbit", "10": "10bit"} {
		r, _ := ParseRate(text + "bit")
		if got := FormatRate(r); got != want {
			t.Errorf("rate %s is written %s, want %s", text, got, want)
		}
	}
	for _, bad := range []string{"", "Mbit", "-1Mbit", "1e3bit", "NaNbit", "1 Mb", "99999999Tbit"} {
		if r, ok := ParseRate(bad); ok {
			t.Errorf("%q is read as rate %d", bad, r)
		}
	}
	for _, bad := range []string{"", "%", "101%", "1.01", "-1%", "0x1", "inf"} {
		if p, ok := ParseProbability(bad); ok {
			t.Errorf("%q is read as probability %v", bad, p)
		}
	}
}

func TestNearestWord(t *testing.T) {
	known := []string{"full-cone", "restricted-cone", "port-restricted-cone", "symmetric", "linux"}
	for word, want := range map[string]string{
		"full_cone": "full-cone", "FullCone": "full-cone", "symetric": "symmetric", "lniux": "linux",
		"restrictedcone": "restricted-cone", "port-restricted": "port-restricted-cone", "bananas": "", "": "",
	} {
		if got, _ := Nearest(word, known); got != want {
			t.Errorf("nearest of %q: %q, want %q", word, got, want)
		}
	}
}

// What the parser says is for those who wrote it; people are told what to do.
func TestErrorsOfSyntaxSayWhatToDo(t *testing.T) {
	for text, want := range map[string]string{
		"\ta: 1\n":                 "f:1:2: a tab cannot indent",
		"a:\n\tb: 1\n":             "f:2:1: a tab cannot indent",
		"a: |\n x\n\ty\n":          "f:3:1: a tab cannot indent",
		"a:\n   b: 1\n  c: 2\n":    "f:3:3: this is not indented as",
		"a:\n  b: 1\n   c: 2\n":    "f:2:6: no key can stand here",
		"title: it's: bad\n":       "f:1:8: no key can stand here: a text that has",
		"a: 1\nfoo\nb: 2\n":        "f:2:1: a key with a colon",
		"a: \"x\nb: 1\n":           "f:1:4: the quote (\") that begins here",
		"a: 'x\nb: 1\n":            "f:1:4: the quote (') that begins here",
		"a: [1, 2\nb: 1\n":         "f:2:1: the list",
		"a: {b: 1\nc: 2\n":         "f:2:1: the mapping",
		"a: @x\n":                  "f:1:4: a text that begins with @",
		": x\n":                    "f:1:1: there is no name before the colon",
		"a: 1\nb: \xff\n":          "f:2:1: this line is not in UTF-8",
		"a: 1\n\xc3(: caf\xc3\xa9": "f:2:1: this line is not in UTF-8",
	} {
		_, err := Parse("f", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s…", text, err, want)
		}
	}
}

func TestErrorsRepeatTheBeginningOfLongValues(t *testing.T) {
	doc, err := Parse("f", []byte("a: "+strings.Repeat("é", 3000)+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	doc.Root().Map("a").Get("a").Duration()
	if err := doc.Err(); err == nil || len(err.Error()) > 300 || !strings.Contains(err.Error(), "é\"…") {
		t.Errorf("want a short error, got %v", err)
	}
}
