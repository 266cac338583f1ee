package grid

import (
	"fmt"

	"p2pmodel/nat"
)

// Side is a row, and a column, of a grid: a NAT with the name that people know.
type Side struct {
	// Name is a preset's, or the short form of mapping and filtering.
	Name     string
	Behavior nat.Behavior
}

// Text names the behaviour in full: mapping, filtering, ports and what differs
// from its default.
func (s Side) Text() string { return s.Behavior.String() }

// Classic are the four names of RFC 3489.
func Classic() []Side {
	var sides []Side
	for _, name := range []string{"full-cone", "restricted-cone", "port-restricted-cone", "symmetric"} {
		p, err := nat.PresetNamed(name)
		if err != nil {
			panic(err) // the presets are ours
		}
		sides = append(sides, Side{p.Name, p.Behavior})
	}
	return sides
}

// Axes are all nine pairs of mapping and filtering. Dependent mappings draw their
// ports at random, so that nothing is foretold; others preserve them.
func Axes() []Side {
	var sides []Side
	for m := nat.EndpointIndependent; m <= nat.AddressAndPortDependent; m++ {
		for f := nat.EndpointIndependent; f <= nat.AddressAndPortDependent; f++ {
			b := nat.Behavior{Mapping: m, Filtering: f}
			if m != nat.EndpointIndependent {
				b.Ports = nat.Random
			}
			sides = append(sides, Side{b.Get(nat.AxisMapping) + "/" + b.Get(nat.AxisFiltering), b})
		}
	}
	return sides
}

// Listed reads behaviours in text form: presets, axes, or both.
func Listed(texts []string) ([]Side, error) {
	var sides []Side
	seen := map[string]string{}
	for _, text := range texts {
		b, err := nat.ParseBehavior(text)
		if err != nil {
			return nil, err
		}
		if other, twice := seen[b.String()]; twice {
			return nil, fmt.Errorf("%q and %q are the same behaviour, %v: name it once", other, text, b)
		}
		seen[b.String()] = text
		sides = append(sides, Side{text, b})
	}
	return sides, nil
}
