package nat

const (
	classicSource = "RFC 3489 section 5, in the terms of RFC 4787"
	coneNote      = "RFC 3489 leaves ports open; preserve is what most home gateways do (27 of 34 in Hätönen et al. 2010)."
)

// classicPresets are the four kinds of RFC 3489.
var classicPresets = []Preset{
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
}
