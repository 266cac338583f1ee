package measure

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Schema is that of the JSON of a Part.
const Schema = 1

// Part is one thing that was measured, a chapter of the page.
type Part struct {
	Schema int `json:"schema"`
	// Name is that of its file, of its chapter's link, and of the subcommand that made it.
	Name  string `json:"name"`
	Title string `json:"title"`
	// Text says what was measured and how, in sentences.
	Text        string       `json:"text"`
	At          time.Time    `json:"at"`
	Machine     Machine      `json:"machine"`
	Comparisons []Comparison `json:"comparisons,omitempty"`
	Curves      []Curve      `json:"curves,omitempty"`
	// Output is what another program said of it, line by line.
	Output string `json:"output,omitempty"`
	// Left is what could not be measured, and why.
	Left []string `json:"left_out,omitempty"`
	// Raw is all that a runner knows, for programs.
	Raw any `json:"raw,omitempty"`
}

// Comparison is one figure of several systems.
type Comparison struct {
	Title string `json:"title"`
	// Text may say what to bear in mind.
	Text string `json:"text,omitempty"`
	// Unit is that of the samples: "s" (seconds), "B" (bytes), "/s" and "bit/s" are written with the
	// prefix that fits; others as they are.
	Unit string `json:"unit"`
	// More is better; otherwise less is.
	More bool `json:"more_is_better,omitempty"`
	// Ours and Reference are names of systems: whose bar is coloured, and against whom
	// the ratios of the table are.
	Ours      string   `json:"ours"`
	Reference string   `json:"reference"`
	Systems   []System `json:"systems"`
	Goals     []Goal   `json:"goals,omitempty"`
	// Columns are the heads of what Systems say further.
	Columns []string `json:"columns,omitempty"`
}

// System is one of those compared.
type System struct {
	Name string `json:"name"`
	// Samples are of one round each (or of one case each), in the same order for all systems.
	Samples []float64 `json:"samples"`
	// Limited: something else than the system was the limit; it could do better.
	Limited bool `json:"limited,omitempty"`
	// More are the cells below Columns.
	More []string `json:"more,omitempty"`
}

// Goal is what a system has to be: at least Times as good as Than.
type Goal struct {
	System string  `json:"system"`
	Than   string  `json:"than"`
	Times  float64 `json:"times"`
}

// Curve is what work costs as it grows.
type Curve struct {
	Title string `json:"title"`
	Text  string `json:"text,omitempty"`
	// Axis is what grows: "allocations". Unit is as in Comparison.
	Axis  string `json:"axis"`
	Unit  string `json:"unit"`
	Lines []Line `json:"lines"`
}

// Line is one system's, or one figure's.
type Line struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// Point is what was measured at X.
type Point struct {
	X       float64   `json:"x"`
	Samples []float64 `json:"samples"`
}

// System gives the one that is called so, or nil.
func (c *Comparison) System(name string) *System {
	i := slices.IndexFunc(c.Systems, func(s System) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Systems[i]
}

// Ratio says how many times as good a system is as another, from round to round. It
// is nothing where either was not measured.
func (c *Comparison) Ratio(system, than string) Spread {
	one, other := c.System(system), c.System(than)
	if one == nil || other == nil {
		return Spread{}
	}
	var ratios []float64
	for i := range min(len(one.Samples), len(other.Samples)) {
		a, b := one.Samples[i], other.Samples[i]
		if !c.More {
			a, b = b, a
		}
		if a > 0 && b > 0 {
			ratios = append(ratios, a/b)
		}
	}
	return SpreadOf(ratios)
}

// judge says whether it was reached: "✓ ours: 7.2 × as good as ip + nft, wanted 6".
func (g Goal) judge(c *Comparison) (text string, reached bool) {
	r := c.Ratio(g.System, g.Than)
	if r == (Spread{}) {
		return fmt.Sprintf("– %s × %s: not measured, wanted %.3g", g.System, g.Than, g.Times), false
	}
	mark := "✗"
	if reached = r.Median >= g.Times; reached {
		mark = "✓"
	}
	return fmt.Sprintf("%s %s: %.2f × as good as %s [%.2f–%.2f], wanted %.3g", mark, g.System, r.Median, g.Than, r.Min, r.Max, g.Times), reached
}

// Write puts the part into a folder, as NAME.json, from which Pages are made.
func (p *Part) Write(folder string) error {
	p.Schema = Schema
	text, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, p.Name+".json"), append(text, '\n'), 0o644))
}

// Read gives all parts of a folder, by names; those of order first, in that order.
func Read(folder string, order ...string) (all []Part, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var p Part
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if p.Schema != Schema || p.Name == "" {
			return nil, fmt.Errorf("%s: schema %d of %q, want %d: measure again, or remove it", file, p.Schema, p.Name, Schema)
		}
		all = append(all, p)
	}
	place := func(p Part) int {
		if i := slices.Index(order, p.Name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(all, func(a, b Part) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}
