package sim

import (
	"p2pmodel/nat"
	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

// DecodeFirewall reads a firewall without lists, for files that name firewalls
// outside of a lab; nil if there is none. What is wrong is recorded in the node's
// document.
func DecodeFirewall(n *document.Node) *nat.Firewall {
	f, access := decodeFirewall(n)
	if access != nil {
		n.Errorf("firewall: lists (allow, outbound, between) name hosts of a lab, and there is none here")
	}
	if f != nil {
		if err := f.Validate(); err != nil {
			n.Errorf("firewall: %v", err)
		}
	}
	return f
}

// DecodeImpairments reads what a link does each way, and the profile's name if it
// is exactly one, for files that name links outside of a lab. What is wrong is
// recorded in the node's document.
func DecodeImpairments(n *document.Node) (up, down link.Impairment, profile string) {
	k := decodeLink(n)
	for _, i := range []link.Impairment{k.Up, k.Down} {
		if err := i.Validate(); err != nil {
			n.Errorf("link: %v", err)
			break
		}
	}
	return k.Up, k.Down, k.Profile
}

// FirewallSchema is the schema of what DecodeFirewall takes; it takes no lists.
func FirewallSchema() document.Schema { return firewallSchema() }

// LinkSchema is the schema of what DecodeImpairments takes.
func LinkSchema() document.Schema { return linkSchema() }
