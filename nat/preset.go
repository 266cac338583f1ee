package nat

import (
	"fmt"
	"slices"
	"strings"
)

// Evidence says how well a preset's facts are known.
type Evidence string

// The grades of evidence, best first.
const (
	EvidenceRead      Evidence = "V" // read in the primary text
	EvidenceMeasured  Evidence = "T" // measured on a running kernel
	EvidenceSecondary Evidence = "S" // quoted by a secondary source
	EvidenceDerived   Evidence = "D" // derived from other facts
	EvidenceMemory    Evidence = "M" // from memory, unverified
)

// Preset is a behaviour with a name.
type Preset struct {
	Name    string
	Aliases []string
	// Title is what the preset stands for, in a line.
	Title    string
	Behavior Behavior
	// Evidence grades the facts, Source says where they come from.
	Evidence []Evidence
	Source   string
	// Note says what the preset leaves out or chooses; may be empty.
	Note string
}

// presets are in the order in which they are shown.
var presets = slices.Concat(classicPresets, linuxPresets, gatewayPresets, firewallPresets, cloudPresets, carrierPresets)

// Presets gives all presets, in a stable order.
func Presets() []Preset {
	all := slices.Clone(presets)
	for i := range all {
		all[i].Aliases = slices.Clone(all[i].Aliases)
		all[i].Evidence = slices.Clone(all[i].Evidence)
		all[i].Note = strings.TrimSpace(all[i].Note)
	}
	return all
}

// PresetNamed gives the preset of this name or alias, in any case. The error
// names one that is near.
func PresetNamed(name string) (Preset, error) {
	var words []string
	for _, p := range Presets() {
		words = append(words, p.Name)
		words = append(words, p.Aliases...)
		for _, n := range append([]string{p.Name}, p.Aliases...) {
			if strings.EqualFold(n, name) {
				return p, nil
			}
		}
	}
	return Preset{}, fmt.Errorf("unknown NAT preset %q%s", name, suggest(name, words, "`natlab presets` lists them"))
}
