package scenarios

import (
	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/document"
)

// scaled says where a NAT's times, divided by the scenario's scale, are none that
// it can have: too short ones, or part of a second where conntrack counts.
func (d *decoder) scaled(n *document.Node, b nat.Behavior) {
	if d.sc.Settings.Scale <= 1 || !n.Exists() {
		return
	}
	if err := b.Scaled(d.sc.Settings.Scale).Validate(); err != nil {
		n.Errorf("nat: divided by settings.scale, %d: %v", d.sc.Settings.Scale, err)
	}
}

// scaledLab does so for all routers.
func (d *decoder) scaledLab(n *document.Node) {
	for _, r := range d.sc.Lab.Routers {
		if r.NAT != nil {
			d.scaled(n.Find("routers", r.Name, "nat"), *r.NAT)
		}
	}
}

// decodeNAT reads a behaviour that a scenario gives to a router.
func (d *decoder) decodeNAT(n *document.Node) (nat.Behavior, string) {
	before := n.Errors()
	b, preset := sim.DecodeNAT(n)
	if n.Errors() == before {
		d.scaled(n, b)
	}
	return b, preset
}
