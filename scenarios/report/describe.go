package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"p2pmodel/scenarios"
)

// List writes a line for each scenario: what it is called and what must happen.
func List(w io.Writer, all []*scenarios.Scenario) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tMUST HAPPEN\tCONTROLS\tTITLE")
	for _, sc := range all {
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\n", sc.ID, MustHappen(sc), len(sc.Controls), sc.Title)
	}
	return tw.Flush()
}

// Describe writes a scenario for people, for a terminal of w's width: its
// topology as a tree, who takes part, what must happen in each phase, and the
// controls with what they guard against.
func Describe(w io.Writer, sc *scenarios.Scenario, color bool) error {
	var b strings.Builder
	d := description{Builder: &b, width: widthOf(w), color: color}
	fmt.Fprintf(&b, "%s  %s\n", paint(sc.ID, lookHeading, color), sc.Title)
	paragraph(&b, "", "", sc.Description, d.width)

	d.heading("Topology")
	if err := sc.Lab.Draw(&b, d.width, color); err != nil {
		return err
	}
	d.heading("Who takes part")
	d.actors(sc)
	d.heading("What must happen")
	d.phases(sc.Phases, "")
	for _, e := range sc.Events {
		d.item(timelineWords(e))
	}
	d.heading("Controls")
	d.controls(sc)
	fmt.Fprintf(&b, "\n%s\n", paint("natlab run "+replayName(sc), lookHeading, color))
	_, err := io.WriteString(w, b.String())
	return err
}

// description is a scenario's text as it grows.
type description struct {
	*strings.Builder
	width int
	color bool
}

func (d description) heading(text string) {
	fmt.Fprintf(d, "\n%s\n", paint(text, lookHeading, d.color))
}

func (d description) item(text string) { paragraph(d, "  ", "  ", text, d.width) }

func (d description) actors(sc *scenarios.Scenario) {
	if sc.System != nil {
		d.system(sc)
	} else {
		d.peers(sc)
	}
	if len(sc.Peers) > 0 && !sc.Foreign() {
		d.item("techniques: " + strings.Join(sc.Techniques, ", "))
		d.settings(sc.Settings)
	}
}

// peers lists the servers, the peers, and who connects to whom.
func (d description) peers(sc *scenarios.Scenario) {
	d.programs(sc)
	for _, p := range sc.Peers {
		if p.Program != nil {
			continue
		}
		if sc.Room == "" || p.Name != p.Host {
			d.item(fmt.Sprintf("peer %s on host %s", p.Name, p.Host))
		}
	}
	if sc.Room != "" {
		names := make([]string, len(sc.Peers))
		for i, p := range sc.Peers {
			names[i] = p.Name
		}
		d.item(fmt.Sprintf("%s join the room %q: each is connected to each", strings.Join(names, ", "), sc.Room))
	}
	for _, pair := range sc.Connect {
		d.item(fmt.Sprintf("%s connects to %s", pair[0], pair[1]))
	}
}

func (d description) settings(s scenarios.Settings) {
	text := fmt.Sprintf("payload: %d bytes every %v in each direction", s.Size, s.Interval)
	switch {
	case s.Keepalive == scenarios.Off:
		text += "; no keepalive"
	case s.Keepalive > 0:
		text += fmt.Sprintf("; keepalive every %v", s.Keepalive)
	}
	d.item(text)
	if s.Scale > 1 {
		d.item(fmt.Sprintf("times of NATs, keepalives and waits run %d times as fast as written; --real-time runs them as written", s.Scale))
	}
}

// phases writes a line a phase: what is done, and the path that must come.
func (d description) phases(phases []scenarios.Phase, indent string) {
	name, path := 0, 0
	for _, p := range phases {
		name, path = max(name, utf8.RuneCountInString(p.Name)), max(path, len(p.Expect.Path))
	}
	name = min(name, d.width/3)
	for i, p := range phases {
		head := fmt.Sprintf("%s  %d. %s  ", indent, i+1, pad(cut(p.Name, name), name))
		text := actionsWords(p.Actions)
		if text != "" {
			text += " ⇒ "
		}
		rest := strings.Repeat(" ", utf8.RuneCountInString(head))
		paragraph(d, head, rest, text+expectWords(p.Expect), d.width)
	}
}

func (d description) controls(sc *scenarios.Scenario) {
	if len(sc.Controls) == 0 {
		d.item("none")
	}
	for _, c := range sc.Controls {
		fmt.Fprintf(d, "  %s\n", paint(c.Name, lookHeading, d.color))
		paragraph(d, "    why: ", "         ", c.Why, d.width)
		var changes []string
		for _, router := range slices.Sorted(maps.Keys(c.NATs)) {
			changes = append(changes, fmt.Sprintf("%s is %s", router, natWords(c.NATs[router])))
		}
		if len(c.Open) > 0 {
			changes = append(changes, "no firewall on "+strings.Join(c.Open, ", "))
		}
		if c.Techniques != nil {
			changes = append(changes, "techniques: "+strings.Join(c.Techniques, ", "))
		}
		switch {
		case c.Keepalive == scenarios.Off:
			changes = append(changes, "no keepalive")
		case c.Keepalive > 0:
			changes = append(changes, fmt.Sprintf("keepalive every %v", c.Keepalive))
		}
		if c.OwnEvents {
			var line []string
			for _, e := range c.Events {
				line = append(line, timelineWords(e))
			}
			changes = append(changes, cmp.Or(strings.Join(line, "; "), "no timeline"))
		}
		for _, a := range c.Before {
			changes = append(changes, "before the start "+actionWords(a))
		}
		if len(changes) > 0 {
			paragraph(d, "    with: ", "          ", strings.Join(changes, "; "), d.width)
		}
		if c.Phases == nil {
			paragraph(d, "    must be: ", "             ", expectWords(c.Expect), d.width)
			continue
		}
		d.phases(c.Phases, "  ")
	}
}

// replayName is how natlab run finds the scenario: by its id, or by its file.
func replayName(sc *scenarios.Scenario) string {
	if known, err := scenarios.Find(sc.ID); err == nil && known.File == sc.File {
		return sc.ID
	}
	return shellWord(sc.File)
}
