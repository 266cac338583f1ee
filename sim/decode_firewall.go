package sim

import (
	"slices"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// decodeFirewall reads a firewall in its text form or as a mapping, which may
// have lists.
func decodeFirewall(n *document.Node) (*nat.Firewall, *Access) {
	if !n.Exists() {
		return nil, nil
	}
	var f nat.Firewall
	if n.Kind() != document.Mapping {
		if text := n.Text(); n.IsScalar() {
			parsed, err := nat.ParseFirewall(text)
			if err != nil {
				n.Errorf("%v", err)
			}
			f = parsed
		}
		return &f, nil
	}
	m := n.Map(firewallKeys...)
	if len(m.Entries()) == 0 {
		n.Errorf("firewall: name what it does, as in {inbound: replies, udp: [3478]}")
	}
	if preset := m.Get(nat.PresetKey); preset.Exists() {
		if name := preset.Text(); preset.IsScalar() {
			p, err := nat.FirewallPresetNamed(name)
			if err != nil {
				preset.Errorf("%v", err)
			}
			f = p.Firewall
		}
	}
	for _, key := range nat.FirewallKeys() {
		v := m.Get(key)
		switch {
		case !v.Exists():
		case v.Kind() == document.List && key == nat.FirewallKeyUDP:
			f.OutboundUDP = sortedPorts(v)
		case v.Kind() == document.List && key == nat.FirewallKeyTCP:
			f.OutboundTCP = sortedPorts(v)
		case v.Kind() == document.Bool && key == nat.FirewallKeyPortal:
			f.Portal = nat.Portal{On: v.Bool()}
		default:
			if text := v.Text(); v.IsScalar() && v.Kind() != document.Bool {
				if err := f.Set(key, text); err != nil {
					v.Errorf("%v", err)
				}
			}
		}
	}
	access := Access{
		Allow:    decodeRules(m.Get(nat.AccessKeyAllow)),
		Outbound: decodePassage(m.Get(nat.AccessKeyOutbound)),
		Between:  decodePassage(m.Get(nat.AccessKeyBetween)),
	}
	if access.IsZero() {
		return &f, nil
	}
	return &f, &access
}

func sortedPorts(n *document.Node) []uint16 {
	ports := n.Ports()
	slices.Sort(ports)
	return slices.Compact(ports)
}

// decodePassage reads what may begin in one direction: all, none, or a list.
func decodePassage(n *document.Node) Passage {
	if n.Kind() == document.List {
		return Passage{Closed: true, Rules: decodeRules(n)}
	}
	if !n.IsScalar() && n.Exists() {
		n.Errorf("%s: want all, none or a list of rules, as [{to: a, tcp: [443]}]", n.Name())
		return Passage{}
	}
	return Passage{Closed: n.Word(n.Name(), wordAll, wordNone) == wordNone}
}

// The words for a direction, and for all ports.
const (
	wordAll  = "all"
	wordNone = "none"
)

func decodeRules(n *document.Node) []Rule {
	if n.Kind() == document.List && len(n.List()) == 0 {
		n.Errorf("%s: the list is empty: leave the key out, or give it rules, as [{to: a, tcp: [443]}]", n.Name())
	}
	var rules []Rule
	for _, v := range n.List() {
		m := v.Map(nat.RuleKeys()...)
		rules = append(rules, Rule{
			From: m.Get(nat.RuleKeyFrom).Text(), To: m.Get(nat.RuleKeyTo).Text(),
			TCP: decodePorts(m.Get(nat.RuleKeyTCP)), UDP: decodePorts(m.Get(nat.RuleKeyUDP)),
		})
	}
	return rules
}

// decodePorts reads ports and ranges of them: one, a list, or all.
func decodePorts(n *document.Node) []nat.PortRange {
	if !n.Exists() {
		return nil
	}
	if n.Kind() == document.Text && n.Text() == wordAll {
		return []nat.PortRange{nat.AllPorts}
	}
	entries := []*document.Node{n}
	if n.Kind() == document.List {
		if entries = n.List(); len(entries) == 0 {
			n.Errorf("%s: the list is empty: leave the key out, or name ports, as [443, 49152-65535]", n.Name())
		}
	}
	var ranges []nat.PortRange
	for _, e := range entries {
		if !e.IsScalar() || e.Kind() == document.Bool {
			e.Errorf("%s: want a port, a range of ports, or a list of them, as [443, 49152-65535]", n.Name())
			continue
		}
		r, err := nat.ParsePort(e.Text())
		if err != nil {
			e.Errorf("%s: %v", n.Name(), err)
			continue
		}
		ranges = append(ranges, r)
	}
	slices.SortStableFunc(ranges, func(a, b nat.PortRange) int { return int(a.Low) - int(b.Low) })
	return ranges
}
