package nat

import "time"

const (
	hypothesis = "A hypothesis: no operator publishes this, and nothing is claimed of any particular one. "
	richter    = "Richter et al. 2016, a multi-perspective analysis of carrier-grade NAT deployment, as quoted"
)

// carrierPresets are what carriers may have, from the mildest to the hardest.
var carrierPresets = []Preset{
	{
		Name: "cgn-rfc6888", Aliases: []string{"cgn-permissive"},
		Title: "a carrier's NAT as RFC 6888 wants it",
		Behavior: Behavior{
			Mapping: EndpointIndependent, Filtering: EndpointIndependent, Ports: Block,
			Pooling: PoolPaired, Timeout: 300 * time.Second, Hairpin: HairpinExternal,
		},
		Evidence: []Evidence{EvidenceMemory}, Source: "RFC 6888 and RFC 4787: EIM, EIF, paired pooling, a limit of ports for each subscriber, hairpinning; blocks of 512, less than 1 K and about 4 K were seen (" + richter + ")",
		Note: hypothesis + "The permissive end for fixed lines. No reuse of a port for 120 s (RFC 6888 REQ-8) is not expressed. Give the router several addresses.",
	},
	{
		Name: "cgn-strict", Title: "a carrier's NAT for fixed lines that is symmetric",
		Behavior: Behavior{
			Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Block,
			Pooling: PoolPaired, Timeout: 35 * time.Second,
		},
		Evidence: []Evidence{EvidenceSecondary}, Source: richter + ": 11 % of fixed carriers' NATs were symmetric; median UDP timeout 35 s",
		Note: hypothesis + "The strict end for fixed lines.",
	},
	{
		Name: "mobile-permissive", Title: "a mobile carrier's NAT that keeps one port for all destinations",
		Behavior: Behavior{
			Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: Random,
			Pooling: PoolPaired, Timeout: 65 * time.Second,
		},
		Evidence: []Evidence{EvidenceSecondary}, Source: richter + ": about 60 % of cellular NATs were not symmetric; 45 % of cellular ones drew ports; median UDP timeout 65 s, from 10 to 200 s",
		Note: hypothesis + "The permissive end for phones. Which filter goes with it is not known; the strictest is chosen.",
	},
	{
		Name: "mobile-sequential", Title: "a mobile carrier's NAT that is symmetric and counts",
		Behavior: Behavior{
			Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Sequential,
			Timeout: 65 * time.Second,
		},
		Evidence: []Evidence{EvidenceSecondary}, Source: richter + ": 26 % of cellular NATs gave ports in sequence; median UDP timeout 65 s",
		Note: hypothesis + "Steps of 1 and 2 were seen: mobile-sequential,delta=2 is the other.",
	},
	{
		Name: "mobile-strict", Title: "a mobile carrier's NAT that is symmetric, with random ports and several addresses",
		Behavior: Behavior{
			Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Random,
			Pooling: PoolArbitrary, Timeout: 65 * time.Second,
		},
		Evidence: []Evidence{EvidenceSecondary}, Source: richter + ": about 40 % of cellular NATs were symmetric, 45 % of cellular ones drew ports; median UDP timeout 65 s",
		Note: hypothesis + "The strict end for phones. Give the router several addresses: each mapping takes the next one, so that against a filter by address it is a matter of whose turn it is.",
	},
}
