package sim

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"p2pmodel/nat"
	"p2pmodel/sim/link"
)

// branch is a node of a lab as drawings show it: a host with several uplinks is
// one branch for each.
type branch struct {
	name     string
	kind     []string // what a router or a host's firewall does, in a few words each
	router   bool
	uplink   string // of a host with several
	standby  bool   // not the uplink in use at the start
	addrs    string // in short
	up, down link.Impairment
	behind   []*branch
}

// outline gives the root of the lab, the Internet.
func (l *Lab) outline() (*branch, error) {
	plan, err := l.Plan()
	if err != nil {
		return nil, err
	}
	impaired := map[LinkID]Link{}
	for _, k := range l.Links {
		id, _ := l.LinkID(k.Node, k.Uplink)
		impaired[id] = k
	}
	routers, hosts := map[string]Router{}, map[string]Host{}
	for _, r := range l.Routers {
		routers[r.Name] = r
	}
	for _, h := range l.Hosts {
		hosts[h.Name] = h
	}
	root := &branch{name: Internet, addrs: InternetPrefix.String()}
	nodes := map[string]*branch{Internet: root}
	for _, p := range plan.Links {
		k := impaired[p.ID]
		b := &branch{name: p.ID.Node, addrs: shorten(p.NodeAddrs), up: k.Up, down: k.Down}
		if r, ok := routers[p.ID.Node]; ok {
			b.router, b.kind = true, r.Describe()
			nodes[r.Name] = b
		} else if h := hosts[p.ID.Node]; len(h.Uplinks) > 1 {
			b.uplink, b.standby = p.ID.Uplink, p.ID.Uplink != h.ActiveUplink()
		}
		if h, ok := hosts[p.ID.Node]; ok {
			b.kind = h.Describe()
		}
		nodes[p.Parent].behind = append(nodes[p.Parent].behind, b)
	}
	return root, nil
}

// title is the branch's name, and that of its uplink if it has several.
func (b *branch) title() string {
	switch {
	case b.standby:
		return b.name + " on " + b.uplink + ", standby"
	case b.uplink != "":
		return b.name + " on " + b.uplink
	}
	return b.name
}

// shorten writes addresses as text; of many, the first and the last.
func shorten(addrs []netip.Addr) string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	if n := len(all); n > 3 {
		return fmt.Sprintf("%s … %s (%d)", all[0], all[n-1], n)
	}
	return strings.Join(all, ", ")
}

// impairments is what the branch's link does, or "" for a perfect one.
func (b *branch) impairments() string {
	if b.up.IsZero() && b.down.IsZero() {
		return ""
	}
	if b.up == b.down {
		return "↕ " + DescribeImpairment(b.up)
	}
	perfect := func(s string) string {
		if s == "" {
			return "perfect"
		}
		return s
	}
	return "↑ " + perfect(DescribeImpairment(b.up)) + " ↓ " + perfect(DescribeImpairment(b.down))
}

// Describe says what the router does, for people, a few words each: its NAT by
// preset or axes, its firewall.
func (r Router) Describe() []string {
	var all []string
	if r.NAT != nil {
		all = append(all, describeNAT(*r.NAT, r.Preset))
	}
	all = append(all, wallOf(r).describe()...)
	if len(all) == 0 {
		all = append(all, "no NAT")
	}
	return all
}

func describeNAT(b nat.Behavior, preset string) string {
	if preset != "" {
		return preset
	}
	text := fmt.Sprintf("%s/%s, %s ports", b.Get(nat.AxisMapping), b.Get(nat.AxisFiltering), b.Get(nat.AxisPorts))
	if rest := strings.SplitN(b.String(), ",", 4); len(rest) == 4 {
		text += ", " + strings.ReplaceAll(strings.ReplaceAll(rest[3], ",", ", "), "=", " ")
	}
	return text
}

// Describe says what the host's own firewall does, for people, a few words each.
func (h Host) Describe() []string { return wallOfHost(h).describe() }

// describe says what a firewall and its lists do.
func (w wall) describe() (all []string) {
	if w.firewall != nil {
		all = append(all, describeFirewall(*w.firewall))
	}
	if w.access != nil {
		all = append(all, describeAccess(*w.access)...)
	}
	return all
}

func describeFirewall(f nat.Firewall) string {
	text := "firewall"
	if f.Portal.On {
		text += ", captive portal"
		if f.Portal.Session > 0 {
			text += " for " + f.Get(nat.FirewallKeyPortal)
		}
	}
	if f.Inbound == nat.InboundReplies {
		text += ", replies only"
	}
	out := func(protocol string, ports []uint16) {
		switch {
		case ports == nil:
		case len(ports) == 0:
			text += ", no " + protocol + " out"
		default:
			words := make([]string, len(ports))
			for i, p := range ports {
				words[i] = strconv.Itoa(int(p))
			}
			text += ", " + protocol + " out to " + strings.Join(words, ", ")
		}
	}
	out("UDP", f.OutboundUDP)
	out("TCP", f.OutboundTCP)
	if f.KeepOther {
		text += ", nothing else out"
	}
	switch f.Reject {
	case nat.RejectLeaving:
		text += ", tells inside"
	case nat.RejectEntering:
		text += ", tells outside"
	case nat.RejectBoth:
		text += ", tells senders"
	}
	if f.ResetTCP {
		text += ", resets TCP"
	}
	return text
}

// describeAccess says what the lists of a firewall let begin, a rule in each
// phrase.
func describeAccess(a Access) []string {
	var all []string
	for _, l := range []struct {
		head, nothing string
		Passage
	}{
		{"in", "", Passage{Rules: a.Allow}},
		{"out", "nothing out", a.Outbound},
		{"between", "nothing between its hosts", a.Between},
	} {
		if l.Closed && len(l.Rules) == 0 {
			all = append(all, l.nothing)
		}
		for _, r := range l.Rules {
			all = append(all, l.head+": "+DescribeRule(r))
		}
	}
	return all
}

// DescribeRule says what a rule of a list lets begin, for people: "agent →
// nats TCP 4222".
func DescribeRule(r Rule) string {
	name := func(host string) string {
		if host == "" {
			return "any"
		}
		return host
	}
	text := name(r.From) + " → " + name(r.To)
	var ports []string
	if len(r.TCP) > 0 {
		ports = append(ports, "TCP "+nat.FormatPorts(r.TCP))
	}
	if len(r.UDP) > 0 {
		ports = append(ports, "UDP "+nat.FormatPorts(r.UDP))
	}
	return text + " " + strings.Join(ports, ", ")
}
