package nat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WritePresets writes all presets as a table for people.
func WritePresets(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PRESET\tMAPPING, FILTER\tPORTS\tUDP IDLE\tEVIDENCE\tWHAT IT IS")
	for _, p := range Presets() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.filters(), p.ports(), p.idle(), p.grades(), p.Title)
	}
	return t.Flush()
}

// WritePreset writes all that is known of a preset. The error names the nearest
// one where there is none of this name.
func WritePreset(w io.Writer, name string) error {
	p, err := PresetNamed(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s: %s\n", p.Name, p.Title)
	if len(p.Aliases) > 0 {
		fmt.Fprintf(w, "also called %s\n", strings.Join(p.Aliases, ", "))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nbehaviour\t%s\n", p.Behavior)
	for _, axis := range Axes() {
		if p.matters(axis) {
			fmt.Fprintf(t, "  %s\t%s\n", axis, p.value(axis))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nevidence: %s\nsource: %s\n", p.explained(), p.Source)
	if p.Note != "" {
		fmt.Fprintf(w, "note: %s\n", p.Note)
	}
	return nil
}

// presetJSON is a preset for programs. Axes has those that matter, defaults
// resolved; times that the preset does not name are not in it.
type presetJSON struct {
	Name     string            `json:"name"`
	Aliases  []string          `json:"aliases"`
	Title    string            `json:"title"`
	Behavior string            `json:"behavior"`
	Axes     map[string]string `json:"axes"`
	Evidence []Evidence        `json:"evidence"`
	Source   string            `json:"source"`
	Note     string            `json:"note,omitempty"`
}

// WritePresetsJSON writes presets as {"presets": […]}: those that are named, or
// all.
func WritePresetsJSON(w io.Writer, names ...string) error {
	chosen := Presets()
	if len(names) > 0 {
		chosen = nil
	}
	for _, name := range names {
		p, err := PresetNamed(name)
		if err != nil {
			return err
		}
		chosen = append(chosen, p)
	}
	out := struct {
		Presets []presetJSON `json:"presets"`
	}{}
	for _, p := range chosen {
		axes := make(map[string]string)
		for _, axis := range Axes() {
			if p.named(axis) && p.matters(axis) {
				axes[string(axis)] = p.Behavior.Get(axis)
			}
		}
		out.Presets = append(out.Presets, presetJSON{
			Name: p.Name, Aliases: append([]string{}, p.Aliases...), Title: p.Title, Behavior: p.Behavior.String(),
			Axes: axes, Evidence: p.Evidence, Source: p.Source, Note: p.Note,
		})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

// PresetsPage is docs/presets.md.
func PresetsPage() []byte {
	var b bytes.Buffer
	b.WriteString("# NAT presets\n\n" +
		"Made by `make generate` from [nat](../nat); `natlab presets` prints the same, and `natlab presets NAME` all axes of one.\n\n" +
		"A preset is a behaviour with a name ([nat.md](nat.md#axes)): `nat: mikrotik`, or with axes over it, `nat: mikrotik,timeout=30s`.\n\n" +
		"Evidence: **V** read in the primary text, **T** measured on a running Linux 6.18, **S** quoted by a secondary source, **D** derived " +
		"from other facts, **M** from memory. Hairpin is off where nothing is known; 80 of 335 devices had it (24 %; Ford, Srisuresh, " +
		"Kegel 2005, M).\n\n" +
		"| preset | other names | mapping, filter | ports | UDP idle | evidence |\n|---|---|---|---|---|---|\n")
	for _, p := range Presets() {
		var aliases []string
		for _, a := range p.Aliases {
			aliases = append(aliases, "`"+a+"`")
		}
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s | %s | %s |\n", p.Name, p.Name, strings.Join(aliases, ", "), p.filters(), p.ports(), p.idle(), p.grades())
	}
	for _, p := range Presets() {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n    %s\n\n%s: %s.\n", p.Name, capital(p.Title), p.Behavior, p.grades(), p.Source)
		if p.Note != "" {
			fmt.Fprintf(&b, "\n%s\n", p.Note)
		}
	}
	return b.Bytes()
}

func (p Preset) filters() string {
	return p.Behavior.Get(AxisMapping) + ", " + p.Behavior.Get(AxisFiltering)
}

// ports says how external ports are chosen.
func (p Preset) ports() string {
	b := p.Behavior
	text := b.Get(AxisPorts)
	switch {
	case b.Ports == Block:
		text = fmt.Sprintf("blocks of %d", b.Resolved().Block)
	case b.Kind == KindMasquerade:
		text += ", shared"
	}
	if b.Pooling == PoolArbitrary {
		text += ", of several addresses"
	}
	return text
}

// idle says how long a UDP mapping lives.
func (p Preset) idle() string {
	b := p.Behavior
	if b.Timeout == 0 {
		return "not named"
	}
	text := fmt.Sprintf("%g s", b.Timeout.Seconds())
	if b.Stream != 0 {
		text += fmt.Sprintf(", %g s answered", b.Stream.Seconds())
	}
	if b.Rotate != 0 {
		text += ", rotates"
	}
	return text
}

func (p Preset) grades() string {
	var grades []string
	for _, e := range p.Evidence {
		grades = append(grades, string(e))
	}
	return strings.Join(grades, " ")
}

// explained are the grades with their meaning.
func (p Preset) explained() string {
	var words []string
	for _, e := range p.Evidence {
		words = append(words, fmt.Sprintf("%s (%s)", e, e.Meaning()))
	}
	return strings.Join(words, ", ")
}

// Meaning says what a grade stands for.
func (e Evidence) Meaning() string {
	switch e {
	case EvidenceRead:
		return "read in the primary text"
	case EvidenceMeasured:
		return "measured on a running kernel"
	case EvidenceSecondary:
		return "quoted by a secondary source"
	case EvidenceDerived:
		return "derived from other facts"
	case EvidenceMemory:
		return "from memory, unverified"
	}
	return "unknown"
}

// named says whether the preset decides an axis: times that it does not name are
// those of any behaviour.
func (p Preset) named(axis Axis) bool {
	times := map[Axis]time.Duration{
		AxisTimeout: p.Behavior.Timeout, AxisStream: p.Behavior.Stream,
		AxisTimeoutTCP: p.Behavior.TimeoutTCP, AxisTimeoutICMP: p.Behavior.TimeoutICMP,
	}
	d, isTime := times[axis]
	return !isTime || d != 0
}

// matters leaves out axes that mean nothing beside the others.
func (p Preset) matters(axis Axis) bool {
	b := p.Behavior
	switch axis {
	case AxisFallback:
		return b.Kind == KindRFC && b.Ports == Preserve
	case AxisDelta:
		return b.Kind == KindRFC && (b.Ports == Sequential || b.Ports == Preserve && b.Fallback == FallbackSequential)
	case AxisBlock:
		return b.Ports == Block
	case AxisEarly:
		return b.Kind != KindRFC
	case AxisScope:
		return b.Mapping != EndpointIndependent && b.Filtering != EndpointIndependent
	}
	return true
}

func (p Preset) value(axis Axis) string {
	if p.named(axis) {
		return p.Behavior.Get(axis)
	}
	return p.Behavior.Get(axis) + " (not named)"
}

// capital begins a sentence.
func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
