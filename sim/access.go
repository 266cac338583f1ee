package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// wall is a node with a firewall: a router, or a host with its own.
type wall struct {
	kind     string // router or host
	name     string
	firewall *nat.Firewall
	access   *Access
	behind   []string // what it stands behind, by each of its uplinks
}

func wallOf(r Router) wall {
	return wall{"router", r.Name, r.Firewall, r.Access, []string{r.Behind}}
}

func wallOfHost(h Host) wall {
	w := wall{kind: "host", name: h.Name, firewall: h.Firewall, access: h.Access}
	for _, u := range h.Uplinks {
		w.behind = append(w.behind, u.Behind)
	}
	return w
}

// walls gives all nodes with lists.
func (l *Lab) walls() (all []wall) {
	for _, r := range l.Routers {
		all = append(all, wallOf(r))
	}
	for _, h := range l.Hosts {
		all = append(all, wallOfHost(h))
	}
	return slices.DeleteFunc(all, func(w wall) bool { return w.access == nil })
}

func (w wall) ofHost() bool { return w.kind == "host" }

// path is where its firewall stands in a file.
func (w wall) path() []string { return []string{w.kind + "s", w.name, "firewall"} }

// wall checks a firewall and the form of its lists.
func (v *validator) wall(w wall) {
	who, path := fmt.Sprintf("%s %q", w.kind, w.name), w.path()
	if w.firewall != nil {
		for _, line := range lines(w.firewall.Validate()) {
			key, _, _ := strings.Cut(line, ":")
			v.add(append(path, key), "%s: firewall: %s", who, line)
		}
		if w.ofHost() && w.firewall.Portal.On {
			v.add(append(path, nat.FirewallKeyPortal), "%s: firewall: portal: a host's own firewall has nobody behind it to log in; give the firewall to a router in front of it", who)
		}
	}
	if w.access == nil {
		return
	}
	if w.firewall == nil {
		v.add(path, "%s: it has lists of a firewall, but no firewall", who)
		return
	}
	if w.access.IsZero() {
		v.add(path, "%s: firewall: its lists are empty: leave them out", who)
	}
	if w.ofHost() && !w.access.Between.IsZero() {
		v.add(append(path, nat.AccessKeyBetween), "%s: firewall: between: behind a host's own firewall is that host alone", who)
	}
	for _, e := range w.access.Check(*w.firewall) {
		v.add(accessPath(path, e), "%s: firewall: %v", who, e)
	}
}

// accessPath is where a mistake in a firewall's lists stands.
func accessPath(path []string, e nat.AccessError) []string {
	path = append(slices.Clone(path), e.List)
	if e.Rule >= 0 {
		path = append(path, strconv.Itoa(e.Rule))
	}
	if e.Key != "" {
		path = append(path, e.Key)
	}
	return path
}

// accessHosts checks that the hosts of all lists are there, and are where the
// lists say.
func (v *validator) accessHosts() {
	for _, w := range v.lab.walls() {
		for _, l := range w.access.Lists() {
			for i, rule := range l.Rules {
				at := append(w.path(), l.Key, strconv.Itoa(i))
				v.accessHost(w, rule.From, l.From, nat.AccessError{List: l.Key, Rule: i, Key: nat.RuleKeyFrom}, append(slices.Clone(at), nat.RuleKeyFrom))
				v.accessHost(w, rule.To, l.To, nat.AccessError{List: l.Key, Rule: i, Key: nat.RuleKeyTo}, append(at, nat.RuleKeyTo))
				if rule.From != "" && rule.From == rule.To {
					v.add(at, "%s %q: firewall: %s, rule %d: from and to are the same host, %q", w.kind, w.name, l.Key, i+1, rule.To)
				}
			}
		}
	}
}

func (v *validator) accessHost(w wall, name string, side nat.Side, e nat.AccessError, path []string) {
	if name == "" {
		return
	}
	h, ok := v.hosts[name]
	switch {
	case ok:
		if _, e.Message = v.lab.seenBy(w, h, side); e.Message == "" {
			return
		}
	case v.routers[name].Name != "":
		e.Message = fmt.Sprintf("%q is a router; lists name hosts", name)
	default:
		var names []string
		for _, h := range v.lab.Hosts {
			names = append(names, h.Name)
		}
		e.Message = fmt.Sprintf("there is no host %q%s", name, document.Suggest(name, names))
	}
	v.add(path, "%s %q: firewall: %v", w.kind, w.name, e)
}

// seenBy gives the uplinks of a host that a node with a firewall has on one side,
// and whose addresses it sees as they are. If there are none, it says why, but for
// hosts that are not connected.
func (l *Lab) seenBy(w wall, h Host, side nat.Side) (uplinks []Uplink, why string) {
	itself := w.ofHost() && h.Name == w.name
	switch {
	case itself && side == nat.Inside:
		return h.Uplinks, ""
	case itself:
		return nil, fmt.Sprintf("host %q cannot be outside of its own firewall", h.Name)
	case w.ofHost() && side == nat.Inside:
		return nil, fmt.Sprintf("behind a host's own firewall is that host alone, and not %q", h.Name)
	}
	hidden := ""
	for _, u := range h.Uplinks {
		chain, ok := l.inFront(u.Behind)
		if !ok {
			return nil, ""
		}
		at := slices.IndexFunc(chain, func(o Router) bool { return !w.ofHost() && o.Name == w.name })
		if (at >= 0) != (side == nat.Inside) {
			continue
		}
		if at >= 0 {
			chain = chain[:at] // what stands between the two
		}
		if translator := l.translatesBefore(w, chain); translator != "" {
			hidden = translator
			continue
		}
		uplinks = append(uplinks, u)
	}
	switch {
	case len(uplinks) > 0:
		return uplinks, ""
	case hidden != "":
		return nil, fmt.Sprintf("between this %s and host %q stands the NAT %q, so that the host's address is not seen here", w.kind, h.Name, hidden)
	case side == nat.Inside:
		return nil, fmt.Sprintf("host %q is not behind this router", h.Name)
	}
	return nil, fmt.Sprintf("host %q is behind this router, and must be outside here", h.Name)
}

// translatesBefore names a NAT of a host's chain through which a node does not
// look, by any of its uplinks: one that does not stand in front of the node as
// well.
func (l *Lab) translatesBefore(w wall, chain []Router) (translator string) {
	for _, behind := range w.behind {
		fronts, _ := l.inFront(behind)
		i := slices.IndexFunc(chain, func(o Router) bool {
			return o.NAT != nil && !slices.ContainsFunc(fronts, func(f Router) bool { return f.Name == o.Name })
		})
		if i < 0 {
			return ""
		}
		translator = chain[i].Name
	}
	return translator
}

// Access gives the lists of the firewall of a router or a host, with the addresses
// that hosts are seen under. They stay the same whatever uplinks are active and
// whatever routers reboot. Without lists it is zero.
func (p *Plan) Access(node string) nat.Access[[]netip.Addr] { return p.access[node] }

// resolveAccess finds the addresses of all lists.
func (b *planner) resolveAccess() {
	for _, w := range b.lab.walls() {
		b.plan.access[w.name] = nat.Resolve(*w.access, func(name string, side nat.Side) []netip.Addr {
			h, ok := b.lab.Host(name)
			if !ok { // anyone
				return nil
			}
			addrs := []netip.Addr{}
			uplinks, _ := b.lab.seenBy(w, h, side)
			for _, u := range uplinks {
				addrs = append(addrs, b.plan.Addresses(name, u.Name)...)
			}
			return addrs
		})
	}
}
