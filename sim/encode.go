package sim

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"p2pmodel/nat"
)

// YAML writes the lab as a file that ParseLab reads as an equal lab, if the lab
// is valid.
func (l *Lab) YAML() []byte {
	var b bytes.Buffer
	b.WriteString("lab:\n")
	if len(l.Routers) > 0 {
		b.WriteString("  routers:\n")
	}
	for _, r := range l.Routers {
		fmt.Fprintf(&b, "    %s: %s\n", word(r.Name), flow(routerItems(r)))
	}
	if len(l.Hosts) > 0 {
		b.WriteString("  hosts:\n")
	}
	for _, h := range l.Hosts {
		fmt.Fprintf(&b, "    %s: %s\n", word(h.Name), flow(hostItems(h)))
	}
	if len(l.Links) > 0 {
		b.WriteString("  links:\n")
	}
	for _, k := range l.Links {
		name := k.Node
		if k.Uplink != "" {
			name += "/" + k.Uplink
		}
		text := word(k.Profile)
		if text == "" {
			text = flow(linkItems(k))
		}
		fmt.Fprintf(&b, "    %s: %s\n", word(name), text)
	}
	return b.Bytes()
}

func routerItems(r Router) []string {
	var items []string
	switch {
	case r.NAT != nil && r.Preset != "":
		items = append(items, "nat: "+word(r.Preset))
	case r.NAT != nil:
		items = append(items, "nat: "+strconv.Quote(r.NAT.String()))
	}
	items = append(items, wallItems(wallOf(r))...)
	return append(items, placeItems(r.Behind, r.Addresses)...)
}

// wallItems writes the firewall of a node, if it has one.
func wallItems(w wall) []string {
	switch {
	case w.firewall == nil:
		return nil
	case w.access != nil:
		return []string{"firewall: " + flow(firewallItems(*w.firewall, *w.access))}
	}
	return []string{"firewall: " + strconv.Quote(w.firewall.String())}
}

func firewallItems(f nat.Firewall, a Access) []string {
	var items []string
	for _, key := range f.Items() {
		value := f.Get(key)
		if ports := strings.ReplaceAll(value, "+", ", "); key == nat.FirewallKeyUDP || key == nat.FirewallKeyTCP {
			if value = ports; value != wordAll && value != wordNone {
				value = "[" + ports + "]"
			}
		}
		items = append(items, key+": "+value)
	}
	for _, l := range a.Lists() {
		var rules []string
		for _, r := range l.Rules {
			rules = append(rules, flow(ruleItems(r)))
		}
		closed := l.Key == nat.AccessKeyOutbound && a.Outbound.Closed || l.Key == nat.AccessKeyBetween && a.Between.Closed
		switch {
		case len(rules) > 0:
			items = append(items, l.Key+": ["+strings.Join(rules, ", ")+"]")
		case closed:
			items = append(items, l.Key+": "+wordNone)
		}
	}
	return items
}

func ruleItems(r Rule) []string {
	var items []string
	if r.From != "" {
		items = append(items, nat.RuleKeyFrom+": "+word(r.From))
	}
	if r.To != "" {
		items = append(items, nat.RuleKeyTo+": "+word(r.To))
	}
	ports := func(key string, ranges []nat.PortRange) {
		switch text := nat.FormatPorts(ranges); text {
		case "":
		case wordAll:
			items = append(items, key+": "+text)
		default:
			items = append(items, key+": ["+text+"]")
		}
	}
	ports(nat.RuleKeyTCP, r.TCP)
	ports(nat.RuleKeyUDP, r.UDP)
	return items
}

func hostItems(h Host) []string {
	if len(h.Uplinks) == 1 && h.Uplinks[0].Name == DefaultUplink && h.Active == "" {
		return append(wallItems(wallOfHost(h)), placeItems(h.Uplinks[0].Behind, h.Addresses)...)
	}
	var uplinks []string
	for _, u := range h.Uplinks {
		uplinks = append(uplinks, word(u.Name)+": "+flow(placeItems(u.Behind, 0)))
	}
	items := append(wallItems(wallOfHost(h)), "uplinks: "+flow(uplinks))
	if h.Active != "" {
		items = append(items, "active: "+word(h.Active))
	}
	return append(items, placeItems("", h.Addresses)...)
}

func placeItems(behind string, addresses int) []string {
	var items []string
	if front(behind) != Internet {
		items = append(items, "behind: "+word(behind))
	}
	if addresses > 0 {
		items = append(items, fmt.Sprintf("addresses: %d", addresses))
	}
	return items
}

func flow(items []string) string { return "{" + strings.Join(items, ", ") + "}" }

// word quotes names that YAML would take for something else.
func word(name string) string {
	switch strings.ToLower(name) {
	case "true", "false", "null":
		return strconv.Quote(name)
	}
	return name
}
