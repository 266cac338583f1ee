package measure

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		unit string
		v    float64
		want string
	}{
		{"s", 0.0123, "12.3 ms"}, {"s", 5.9e-6, "5.90 µs"}, {"s", 90, "90 s"}, {"s", 4e-10, "0.40 ns"}, {"s", 0.9999, "1.00 s"},
		{"B", 3512, "3.51 kB"}, {"B", 12, "12 B"}, {"B", 0, "0 B"}, {"/s", 262000, "262 k/s"}, {"/s", 12.5, "12.5 /s"}, {"bit/s", 1.04e10, "10.4 Gbit/s"},
		{"µs", 3.14159, "3.14 µs"}, {"", 7, "7"}, {"s", -0.002, "-2 ms"},
	} {
		if got := Format(c.unit, c.v); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    Spread
	}{{nil, Spread{}}, {[]float64{3}, Spread{3, 3, 3}}, {[]float64{9, 1, 5}, Spread{5, 1, 9}}, {[]float64{4, 1, 2, 9}, Spread{3, 1, 9}}} {
		if got := SpreadOf(c.samples); got != c.want {
			t.Errorf("%v: %v, want %v", c.samples, got, c.want)
		}
	}
}

func TestRatiosAreOfOneRound(t *testing.T) {
	// The second round was slow for both.
	c := Comparison{Systems: []System{{Name: "ours", Samples: []float64{1, 4, 1}}, {Name: "theirs", Samples: []float64{2, 8, 2.5}}}}
	if got, want := c.Ratio("ours", "theirs"), (Spread{2, 2, 2.5}); got != want {
		t.Errorf("less is better: %v, want %v", got, want)
	}
	c.More = true
	if got, want := c.Ratio("theirs", "ours"), (Spread{2, 2, 2.5}); got != want {
		t.Errorf("more is better: %v, want %v", got, want)
	}
	if got := c.Ratio("ours", "nobody"); got != (Spread{}) {
		t.Errorf("to nothing: %v", got)
	}
}

func TestGoals(t *testing.T) {
	c := Comparison{Systems: []System{{Name: "ours", Samples: []float64{1, 1}}, {Name: "theirs", Samples: []float64{6, 8}}}}
	for _, g := range []struct {
		Goal
		want    string
		reached bool
	}{
		{Goal{"ours", "theirs", 6}, "✓ ours: 7.00 × as good as theirs [6.00–8.00], wanted 6", true},
		{Goal{"ours", "theirs", 7.5}, "✗ ours: 7.00 × as good as theirs [6.00–8.00], wanted 7.5", false},
		{Goal{"ours", "nobody", 2}, "– ours × nobody: not measured, wanted 2", false},
	} {
		if text, reached := g.judge(&c); text != g.want || reached != g.reached {
			t.Errorf("%q %v, want %q %v", text, reached, g.want, g.reached)
		}
	}
}

func TestSlope(t *testing.T) {
	points := func(y ...float64) (all []Point) {
		for i, v := range y {
			all = append(all, Point{X: math.Pow(10, float64(i)), Samples: []float64{v}})
		}
		return all
	}
	for _, c := range []struct {
		points []Point
		want   string
	}{
		{points(3, 30, 300), "x: ten times the hosts, × 10.00 (exponent 1.00)."},
		{points(3, 3, 3), "x: ten times the hosts, × 1.00 (exponent 0.00): flat."},
		{points(2, 2*math.Sqrt(10)), "x: ten times the hosts, × 3.16 (exponent 0.50)."},
		{points(5), ""}, {nil, ""}, {points(0, 7), ""},
	} {
		if got := (Line{Name: "x", Points: c.points}).Sentence("hosts"); got != c.want {
			t.Errorf("%v: %q, want %q", c.points, got, c.want)
		}
	}
}

func example() Part {
	return Part{
		Name: "lab", Title: "Labs", Text: "How long <one> takes.", Machine: Machine{Processor: "any", Versions: map[string]string{"nft": "1.0"}},
		Comparisons: []Comparison{{
			Title: "Six namespaces", Unit: "s", Ours: "ours", Reference: "ip", Columns: []string{"taken down"},
			Systems: []System{
				{Name: "ours", Samples: []float64{0.01, 0.02}, More: []string{"3 ms"}},
				{Name: "ip", Samples: []float64{0.09, 0.1}, Limited: true, More: []string{"80 ms"}},
			},
			Goals: []Goal{{"ours", "ip", 6}},
		}},
		Curves: []Curve{{
			Title: "Growing", Axis: "namespaces", Unit: "s",
			Lines: []Line{{"build", []Point{{6, []float64{0.01}}, {1000, []float64{1.6, 1.7}}}}, {"down", []Point{{6, []float64{0.011}}}}},
		}},
		Output: "one line\n", Left: []string{"mininet"},
	}
}

func TestTextAndPage(t *testing.T) {
	p := example()
	var text, page bytes.Buffer
	if err := p.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := Page(&page, []Part{p}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"nft 1.0", "× as good as ip", "15 ms [10 ms–20 ms]", "95 ms [90 ms–100 ms] or better", "7.00 [5.00–9.00]",
		"✓ ours: 7.00 ×", "1000        1.65 s [1.60 s–1.70 s]  –", "build: ten times the namespaces, × 9.", "one line", "LEFT OUT: mininet",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text has no %q:\n%s", want, text.String())
		}
	}
	for _, want := range []string{
		"How long &lt;one&gt; takes.", `href="#lab"`, `class="ours"`, `class="reached">✓ ours: 7.00`, "80 ms", `<path class="l l0" d="M`, "1.65 s", "one line", "Left out: mininet",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %q:\n%s", want, page.String())
		}
	}
}

// Points and names lie within the drawing, names not on each other, whatever was measured.
func TestDrawings(t *testing.T) {
	for _, c := range []Curve{
		example().Curves[0],
		{Lines: []Line{{"a", []Point{{1, []float64{5}}}}, {"b", []Point{{1, []float64{5}}}}}},
		{Lines: []Line{{"a", []Point{{1, []float64{0}}, {10, []float64{1e-9, 1e9}}}}}},
		{Lines: []Line{{"a", nil}}}, {},
	} {
		d := c.draw()
		var before float64
		for i, l := range d.Lines {
			if i > 0 && math.Abs(l.NameY-before) < 12 {
				t.Errorf("%s: its name at %v lies on one at %v", l.Name, l.NameY, before)
			}
			before = l.NameY
			for _, p := range l.Dots {
				if p.X < d.Left || p.X > d.Right || p.Y < d.Top || p.Y > d.Bottom || p.Max < d.Top || p.Min > d.Bottom+1 {
					t.Errorf("%s: %+v is outside of the drawing", l.Name, p)
				}
			}
		}
	}
	if d := (&Comparison{Systems: []System{{Name: "none"}}}).draw(); d.Bars[0].Width != 0 {
		t.Errorf("nothing was measured: %+v", d.Bars[0])
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "relay"} {
		p := example()
		p.Name = name
		if err := p.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := Read(dir, "relay")
	if err != nil {
		t.Fatal(err)
	}
	var names string
	for _, p := range parts {
		names += p.Name + " "
	}
	if names != "relay a b " || parts[0].Comparisons[0].Ratio("ours", "ip").Median != 7 {
		t.Errorf("%s, %+v", names, parts[0])
	}
	if err := os.WriteFile(filepath.Join(dir, "c.json"), []byte(`{"schema": 7, "name": "c"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "c.json: schema 7") {
		t.Errorf("another schema: %v", err)
	}
}
