package sim

import (
	"strings"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// DecodeNAT reads a behaviour in its text form or as a mapping of axes, and the
// name of the preset if it is exactly one. It is for routers, and for files that
// name NATs outside of a lab. What is wrong is recorded in the node's document;
// the behaviour is valid in any case.
func DecodeNAT(n *document.Node) (nat.Behavior, string) {
	if n.Kind() != document.Mapping {
		return decodeNATText(n)
	}
	m, b, preset := n.Map(nat.YAMLKeys()...), nat.Behavior{}, ""
	if len(m.Entries()) == 0 {
		n.Errorf("nat: name a preset or axes, as in {mapping: EIM, filtering: APDF}")
	}
	if p := m.Get(nat.PresetKey); p.Exists() {
		found, err := nat.PresetNamed(p.Text())
		if err != nil {
			p.Errorf("%v", err)
		} else {
			b, preset = found.Behavior, p.Text()
		}
	}
	for _, axis := range nat.SettingOrder() {
		v := m.Get(string(axis))
		if !v.Exists() {
			continue
		}
		preset = ""
		if text := v.Text(); v.IsScalar() {
			if err := b.Set(axis, text); err != nil {
				v.Errorf("%v", err)
			}
		}
	}
	if err := b.Validate(); err != nil {
		n.Errorf("nat: %v", err)
		b = nat.Behavior{}
	}
	return b, preset
}

func decodeNATText(n *document.Node) (nat.Behavior, string) {
	text := n.Text()
	if !n.IsScalar() {
		return nat.Behavior{}, ""
	}
	if strings.ContainsAny(text, ",=") {
		b, err := nat.ParseBehavior(text)
		if err != nil {
			n.Errorf("nat: %v", err)
		}
		return b, ""
	}
	p, err := nat.PresetNamed(text)
	if err != nil {
		n.Errorf("nat: %v", err)
		return nat.Behavior{}, ""
	}
	return p.Behavior, text
}
