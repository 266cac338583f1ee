package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"p2pmodel/scenarios"
)

// written is a report's page, parsed, and where it lies.
func written(t *testing.T, rep *scenarios.Report) (*html.Node, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "latest")
	if err := Write(dir, rep); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(Index(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root, err := html.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	return root, dir
}

// text is all text below a node but styles, with spaces between cells.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		switch {
		case d.Type == html.TextNode && (d.Parent.Data != "style" || d.Parent == n):
			b.WriteString(d.Data)
		case d.Type == html.ElementNode && strings.Contains(" td th dt dd p li small h4 pre u ", " "+d.Data+" "):
			b.WriteString(" ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// all are the elements of a name, and of a class if it is not "".
func all(root *html.Node, name, class string) (out []*html.Node) {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == name && (class == "" || strings.Contains(" "+attr(n, "class")+" ", " "+class+" ")) {
			out = append(out, n)
		}
	}
	return out
}

// The page stands alone: it loads nothing, runs nothing, and its links lead to
// places that are there.
func TestPageIsSelfContained(t *testing.T) {
	root, dir := written(t, reportOf(good(t), roaming(t), random(t), failed(t)))
	ids := map[string]bool{}
	for n := range root.Descendants() {
		if id := attr(n, "id"); n.Type == html.ElementNode && id != "" {
			if ids[id] {
				t.Errorf("the id %q is there twice", id)
			}
			ids[id] = true
		}
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "link", "iframe", "img", "object", "embed", "base", "form":
			t.Errorf("the page has a <%s>", n.Data)
		case "style":
			if css := text(n); strings.Contains(css, "url(") || strings.Contains(css, "@import") || strings.Contains(css, "@font-face") {
				t.Error("the style loads something")
			}
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "src", a.Key == "srcset", a.Key == "data":
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
				if !ids[a.Val[1:]] {
					t.Errorf("the link %s leads nowhere", a.Val)
				}
			case a.Key == "href":
				if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(a.Val))); err != nil {
					t.Errorf("the link %s leads nowhere: %v", a.Val, err)
				}
			}
		}
	}
}

func TestPageTellsEveryScenario(t *testing.T) {
	root, _ := written(t, reportOf(good(t), roaming(t), random(t), failed(t)))
	if n := len(all(root, "a", "card")); n != 4 {
		t.Errorf("%d cards, want 4", n)
	}
	articles := all(root, "article", "")
	if len(articles) != 4 {
		t.Fatalf("%d articles, want 4", len(articles))
	}
	for i, wants := range [][]string{
		{"✓ expected TC-01", "Payload took the expected path: direct.", "natlab run TC-01 --seed 7", "nat-a mapping=EIM,filtering=EIF,ports=preserve",
			"relay cut: expected direct, observed direct. A path that needs the relay is not direct.", "died inside nat-b, after it came in at uplink", "Mappings at the end"},
		{"✗ unexpected TC-06", `Phase "Wi-Fi": mobile ↔ peer: expected direct, observed relay.`, "mobile moves to its uplink wifi", "✓ mobile sent 9 packets", "412 ms",
			"None was certified", "Nothing was recorded of this run"},
		{"○ vacuous TC-07", "k ↔ m relay relay", "x: expected direct, observed relay.", "died inside nat-b"},
		{"! broken TC-03", "The lab could not be built: no room.", "None was run"},
	} {
		got := text(articles[i])
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("article %d has no %q:\n%s", i+1, want, got)
			}
		}
		if n := len(all(articles[i], "svg", "lab-topology")); n != 1 {
			t.Errorf("article %d has %d drawings of the topology", i+1, n)
		}
	}
}

// What is not ours on the page stays text.
func TestPageEscapes(t *testing.T) {
	const evil = `<script>alert("x")</script><img src=x onerror=y>&amp;'"`
	res := good(t)
	res.Title, res.Reason, res.Expected.Oracle = "T"+evil, "r"+evil, "o"+evil
	res.Controls[0].Name, res.Controls[0].Why, res.Controls[0].Verdict, res.Controls[0].Reason = "c"+evil, "w"+evil, scenarios.Broken, "q"+evil
	res.NATs[0].Router, res.NATs[0].Measured = "n"+evil, "m"+evil
	res.Run.Rules = map[string]string{"ru" + evil: "rt" + evil}
	res.Run.Log[0].Text, res.Run.Log[0].From = "l"+evil, "f"+evil
	res.Run.Evidence = []string{"e" + evil}
	res.Run.Phases = append(res.Run.Phases, scenarios.PhaseSpan{Name: "p" + evil, Begin: begin})
	res.Pairs = []scenarios.PairResult{{A: "a" + evil, B: "b"}, {A: "c", B: "d"}}
	root, _ := written(t, reportOf(res))
	for _, name := range []string{"script", "img"} {
		if n := len(all(root, name, "")); n > 0 {
			t.Errorf("%d <%s> in the page", n, name)
		}
	}
	got := text(root)
	for _, prefix := range []string{"T", "r", "o", "c", "w", "q", "n", "m", "ru", "rt", "l", "f", "e", "p", "a"} {
		if !strings.Contains(strings.ToLower(got), strings.ToLower(prefix+evil)) {
			t.Errorf("%s… is not on the page as it was written", prefix)
		}
	}
}

func TestPageOfRepetitions(t *testing.T) {
	root, _ := written(t, repeated(t))
	cards := all(root, "a", "card")
	if len(cards) != 1 || !strings.Contains(text(cards[0]), "2/3 expected") {
		t.Fatalf("cards: %q", text(cards[0]))
	}
	if got, want := attr(cards[0], "href"), "#tc-01-seed-8"; got != want {
		t.Errorf("the card leads to %s, want the run that failed, %s", got, want)
	}
	articles := all(root, "article", "")
	if len(articles) != 2 {
		t.Fatalf("%d articles, want the first run and the one that failed", len(articles))
	}
	if got := text(articles[0]); !strings.Contains(got, "All repetitions") || !strings.Contains(got, "8 ✗ unexpected relay 90 ms") {
		t.Errorf("the repetitions are not listed:\n%s", got)
	}
}

func TestPageOfNothing(t *testing.T) {
	root, _ := written(t, reportOf())
	if got := text(root); !strings.Contains(got, "No scenario was run: there is nothing to report.") {
		t.Errorf("got %s", got)
	}
}

func TestPageKeepsManyRepetitionsShort(t *testing.T) {
	rep := reportOf()
	for i := range 3 * maxRepeats {
		res := good(t)
		res.Seed, res.Run, res.Controls = uint64(i), nil, nil
		rep.Scenarios = append(rep.Scenarios, res)
	}
	root, _ := written(t, rep)
	if got := text(root); !strings.Contains(got, "600 runs are not listed here") {
		t.Error("the page does not say what it leaves out")
	}
}
