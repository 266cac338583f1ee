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

const (
	classicSource = "RFC 3489 section 5, in the terms of RFC 4787"
	coneNote      = "RFC 3489 leaves ports open; preserve is what most home gateways do (27 of 34 in Hätönen et al. 2010)."
)

var presets = []Preset{
	{
		Name:     "full-cone",
		Title:    "one mapping for all destinations, and anyone may use it",
		Behavior: Behavior{Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: Preserve},
		Evidence: []Evidence{EvidenceSecondary}, Source: classicSource, Note: coneNote,
	},
	{
		Name: "restricted-cone", Aliases: []string{"address-restricted-cone", "restricted"},
		Title:    "one mapping, open to the addresses that were sent to",
		Behavior: Behavior{Mapping: EndpointIndependent, Filtering: AddressDependent, Ports: Preserve},
		Evidence: []Evidence{EvidenceSecondary}, Source: classicSource, Note: coneNote,
	},
	{
		Name: "port-restricted-cone", Aliases: []string{"port-restricted"},
		Title:    "one mapping, open to the addresses and ports that were sent to",
		Behavior: Behavior{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: Preserve},
		Evidence: []Evidence{EvidenceSecondary}, Source: classicSource, Note: coneNote,
	},
	{
		Name:     "symmetric",
		Title:    "a mapping for each destination, open to that destination alone",
		Behavior: Behavior{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Sequential},
		Evidence: []Evidence{EvidenceSecondary}, Source: classicSource,
		Note: "RFC 3489 leaves ports open; with sequential ones a run is reproducible, and whether a stack predicts ports shows. " +
			"Use symmetric,ports=random for the hard kind.",
	},
	{
		Name: "linux", Aliases: []string{"openwrt", "docker"},
		Title:    "a Linux router with masquerade, as long as no two hosts want one port",
		Behavior: Behavior{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: Preserve},
		Evidence: []Evidence{EvidenceMeasured, EvidenceRead},
		Source:   "measured on Linux 6.18; the kernel's conntrack defaults",
		Note: "A real Linux router is endpoint-independent only without contention: hosts that use one source port share its external port " +
			"while their destinations differ, and get another one where they clash. Its timeout is 30 s, and 120 s once replies " +
			"came; that is no single idle timeout, so the preset names none.",
	},
}

// Presets gives all presets, in a stable order.
func Presets() []Preset {
	all := slices.Clone(presets)
	for i := range all {
		all[i].Aliases = slices.Clone(all[i].Aliases)
		all[i].Evidence = slices.Clone(all[i].Evidence)
	}
	return all
}

// PresetNamed gives the preset of this name or alias, in any case. The error
// names the nearest preset and all of them.
func PresetNamed(name string) (Preset, error) {
	var names, words []string
	for _, p := range Presets() {
		names = append(names, p.Name)
		words = append(words, p.Name)
		words = append(words, p.Aliases...)
		for _, n := range append([]string{p.Name}, p.Aliases...) {
			if strings.EqualFold(n, name) {
				return p, nil
			}
		}
	}
	return Preset{}, fmt.Errorf("unknown NAT preset %q; did you mean %q? The presets are %s",
		name, nearest(name, words), strings.Join(names, ", "))
}
