package nat

import "time"

// cloudPresets are the clouds' gateways.
var cloudPresets = []Preset{
	{
		Name: "aws-nat-gateway", Title: "AWS NAT gateway",
		Behavior: aws(),
		Evidence: []Evidence{EvidenceSecondary, EvidenceRead}, Source: "AWS, Amazon VPC User Guide, NAT gateways: idle timeout 350 s (V); mapping, filter and ports S",
		Note: edmNote + "55,000 connections to each unique destination for each address, ports shared between destinations: neither is expressed. " +
			"After the timeout it answers TCP with a reset.",
	},
	{
		Name: "gcp-cloud-nat", Title: "Google Cloud NAT with 64 ports for each VM",
		Behavior: gcp(AddressAndPortDependent),
		Evidence: []Evidence{EvidenceSecondary}, Source: "Google Cloud, Cloud NAT: ports and addresses, and RouterNat of its API (udpIdleTimeoutSec 30, icmpIdleTimeoutSec 30, minPortsPerVm 64)",
		Note: edmNote + "64 ports for each VM are the static default; with dynamic allocation a VM begins with 32 or more and gets others by doubling, " +
			"which no axis expresses. A port serves several destinations at once there; here it has one. " + sessionNote,
	},
	{
		Name: "gcp-cloud-nat-eim", Title: "Google Cloud NAT with endpoint-independent mapping, 64 ports for each VM",
		Behavior: gcp(EndpointIndependent),
		Evidence: []Evidence{EvidenceSecondary}, Source: "Google Cloud, Cloud NAT: enableEndpointIndependentMapping of RouterNat in its API",
		Note: "The option excludes dynamic port allocation. " + sessionNote,
	},
	{
		Name: "azure-nat-gateway", Title: "Azure NAT Gateway",
		Behavior: session(240 * time.Second),
		Evidence: []Evidence{EvidenceRead}, Source: "Microsoft, Azure NAT Gateway resource: ports at random from 64,512 for each address, reused towards other destinations, idle timeout 4 min",
		Note: edmNote + "When all ports are used, one is reused towards another destination, after a cool-down for the same one: neither is expressed, and a full range drops. " +
			"The idle timeout can be set up to 120 min, for TCP. " + sessionNote,
	},
}

func aws() Behavior {
	b := session(350 * time.Second)
	b.TimeoutTCP = 350 * time.Second
	return b
}

func gcp(mapping Dependence) Behavior {
	b := session(30 * time.Second)
	b.Mapping, b.Ports, b.Block = mapping, Block, 64
	b.TimeoutTCP = 1200 * time.Second
	return b
}
