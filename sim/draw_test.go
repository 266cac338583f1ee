package sim

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestDrawingForTerminals(t *testing.T) {
	for _, test := range []struct {
		name  string
		width int
		want  string
	}{
		{"wide", 100, `
internet                      198.18.0.0/15
├── nat-a                     198.18.0.2               full-cone
│   └── a                     192.168.1.2              ↕ 20ms ±5ms reordered, 1% loss, 50Mbit
├── carrier                   198.18.0.3, 198.18.0.4   APDM/APDF, random ports
│   ├── home                  100.64.0.2               port-restricted-cone  ↕ 1ms
│   │   └── m on wifi         192.168.1.3              ↑ 5ms ↓ 20Mbit, queue 64000 B
│   └── phone-nat             100.64.0.3               APDM/APDF, random ports
│       └── m on 4g, standby  192.168.1.2              ↑ 30ms ↓ 30ms, 0.5% loss
├── hard                      198.18.0.5               APDM/APDF, sequential ports, range 2000-3000,
│                                                      timeout 5s
├── fw                        198.18.0.6               firewall, replies only, UDP out to 443, 3478
│   └── closed                198.18.0.7               firewall, replies only, no UDP out
├── plain                     198.18.0.8               no NAT
├── rendezvous                198.18.0.9, 198.18.0.10
└── relay                     198.18.0.11
`},
		{"narrow", 40, `
internet
│   198.18.0.0/15
├── nat-a
│   │   198.18.0.2
│   │   full-cone
│   └── a
│           192.168.1.2
│           ↕ 20ms ±5ms reordered,
│           1% loss, 50Mbit
├── carrier
│   │   198.18.0.3, 198.18.0.4
│   │   APDM/APDF, random ports
│   ├── home
│   │   │   100.64.0.2
│   │   │   port-restricted-cone
│   │   │   ↕ 1ms
│   │   └── m on wifi
│   │           192.168.1.3
│   │           ↑ 5ms ↓ 20Mbit,
│   │           queue 64000 B
│   └── phone-nat
│       │   100.64.0.3
│       │   APDM/APDF, random ports
│       └── m on 4g, standby
│               192.168.1.2
│               ↑ 30ms ↓ 30ms, 0.5% loss
├── hard
│       198.18.0.5
│       APDM/APDF, sequential ports,
│       range 2000-3000, timeout 5s
├── fw
│   │   198.18.0.6
│   │   firewall, replies only,
│   │   UDP out to 443, 3478
│   └── closed
│           198.18.0.7
│           firewall, replies only,
│           no UDP out
├── plain
│       198.18.0.8
│       no NAT
├── rendezvous
│       198.18.0.9, 198.18.0.10
└── relay
        198.18.0.11
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			if err := exampleLab().Draw(&b, test.width, false); err != nil {
				t.Fatal(err)
			}
			if got := "\n" + b.String(); got != test.want {
				t.Errorf("drawn:%s\nwant:%s", got, test.want)
			}
		})
	}
}

func TestColoursChangeNothingElse(t *testing.T) {
	var plain, coloured strings.Builder
	if err := errors.Join(exampleLab().Draw(&plain, 80, false), exampleLab().Draw(&coloured, 80, true)); err != nil {
		t.Fatal(err)
	}
	if got := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured.String(), ""); got != plain.String() {
		t.Errorf("without colours:\n%s\nwith colours, which were then removed:\n%s", plain.String(), got)
	}
	if !strings.Contains(coloured.String(), lookRouter+"carrier"+lookOff) {
		t.Error("routers have no colour")
	}
}

// TestEveryLabIsDrawn: all drawings of all labs are made, stay within their
// bounds and show every node.
func TestEveryLabIsDrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lab := labs().Draw(t, "lab")
		var terminal, mermaid strings.Builder
		var svg bytes.Buffer
		if err := errors.Join(lab.Draw(&terminal, 80, false), lab.Mermaid(&mermaid), lab.SVG(&svg)); err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(terminal.String(), "\n") {
			if utf8.RuneCountInString(l) > 80 {
				t.Fatalf("a line of the drawing has more than 80 characters:\n%s", l)
			}
		}
		texts := svgTexts(t, svg.Bytes())
		show := func(name string) {
			if !strings.Contains(terminal.String(), name) || !strings.Contains(mermaid.String(), name) || !texts[name] {
				t.Fatalf("%s is not in all drawings:\n%s\n%s\n%s", name, terminal.String(), mermaid.String(), svg.String())
			}
		}
		for _, r := range lab.Routers {
			show(r.Name)
		}
		for _, h := range lab.Hosts {
			show(h.Name)
		}
	})
}

// svgTexts gives the texts of a drawing, which must be well-formed and refer to
// nothing outside of it.
func svgTexts(t *rapid.T, svg []byte) map[string]bool {
	texts := map[string]bool{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatalf("the SVG is not well-formed: %v\n%s", err, svg)
		}
		switch e := token.(type) {
		case xml.CharData:
			texts[string(e)] = true
		case xml.StartElement:
			for _, a := range e.Attr {
				if a.Name.Local == "href" || a.Name.Local == "src" {
					t.Fatalf("the SVG refers to %s", a.Value)
				}
			}
		}
	}
}

func TestLongNamesAreShortenedInTheDrawing(t *testing.T) {
	name := strings.Repeat("long-", 30) + "name"
	lab := &Lab{Hosts: []Host{{Name: name, Uplinks: []Uplink{{Name: DefaultUplink}}}}}
	var b strings.Builder
	if err := lab.SVG(&b); err != nil {
		t.Fatal(err)
	}
	width := regexp.MustCompile(`viewBox="0 0 ([0-9]+) `).FindStringSubmatch(b.String())
	if len(width) != 2 || len(width[1]) > 3 || !strings.Contains(b.String(), "<title>"+name) {
		t.Errorf("want a drawing narrower than 1000 that has the whole name as a title, got:\n%s", b.String())
	}
}

func TestMermaidHasEachHostOnce(t *testing.T) {
	var b strings.Builder
	if err := nested().Mermaid(&b); err != nil {
		t.Fatal(err)
	}
	want := `flowchart TD
  n0(["internet<br>198.18.0.0/15"])
  n1["carrier<br>APDM/APDF, random ports<br>198.18.0.2, 198.18.0.3"]
  n0 --- n1
  n2["home<br>EIM/APDF, preserve ports<br>100.64.0.2"]
  n1 --- n2
  n3("a<br>192.168.1.2")
  n2 --- n3
  n4("phone")
  n2 -.-|"guest<br>192.168.1.3"| n4
  n1 ---|"4g<br>100.64.0.3"| n4
  n5["dsl<br>EIM/APDF, preserve ports<br>198.18.0.4"]
  n0 --- n5
  n5 -.-|"wifi<br>192.168.1.2"| n4
  n6["floor<br>no NAT<br>198.18.0.5"]
  n0 --- n6
  n7["office<br>no NAT<br>198.18.0.6"]
  n6 --- n7
  n8("desk<br>198.18.0.7")
  n7 --- n8
  n9("server<br>198.18.0.8, 198.18.0.9")
  n0 --- n9
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestInvalidLabsAreNotDrawn(t *testing.T) {
	lab := &Lab{Hosts: []Host{{Name: "a", Uplinks: []Uplink{{DefaultUplink, "nowhere"}}}}}
	for name, err := range map[string]error{
		"terminal": lab.Draw(io.Discard, 80, false), "SVG": lab.SVG(io.Discard), "Mermaid": lab.Mermaid(io.Discard),
	} {
		if err == nil {
			t.Errorf("%s: a lab with a dangling name was drawn", name)
		}
	}
}
