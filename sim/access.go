package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// access checks the form of a router's lists.
func (v *validator) access(r Router, who string, path []string) {
	if r.Firewall == nil {
		v.add(path, "%s: it has lists of a firewall, but no firewall", who)
		return
	}
	if r.Access.IsZero() {
		v.add(path, "%s: firewall: its lists are empty: leave them out", who)
	}
	for _, e := range r.Access.Check(*r.Firewall) {
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
	for _, r := range v.lab.Routers {
		if r.Access == nil {
			continue
		}
		for _, l := range r.Access.Lists() {
			for i, rule := range l.Rules {
				at := []string{"routers", r.Name, "firewall", l.Key, strconv.Itoa(i)}
				v.accessHost(r, rule.From, l.From, nat.AccessError{List: l.Key, Rule: i, Key: nat.RuleKeyFrom}, append(slices.Clone(at), nat.RuleKeyFrom))
				v.accessHost(r, rule.To, l.To, nat.AccessError{List: l.Key, Rule: i, Key: nat.RuleKeyTo}, append(at, nat.RuleKeyTo))
				if rule.From != "" && rule.From == rule.To {
					v.add(at, "router %q: firewall: %s, rule %d: from and to are the same host, %q", r.Name, l.Key, i+1, rule.To)
				}
			}
		}
	}
}

func (v *validator) accessHost(r Router, name string, side nat.Side, e nat.AccessError, path []string) {
	if name == "" {
		return
	}
	h, ok := v.hosts[name]
	switch {
	case ok:
		if _, e.Message = v.lab.seenBy(r, h, side); e.Message == "" {
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
	v.add(path, "router %q: firewall: %v", r.Name, e)
}

// seenBy gives the uplinks of a host that a router has on one side, and whose
// addresses it sees as they are. If there are none, it says why, but for hosts
// that are not connected.
func (l *Lab) seenBy(r Router, h Host, side nat.Side) (uplinks []Uplink, why string) {
	hidden := ""
	for _, u := range h.Uplinks {
		chain, ok := l.inFront(u.Behind)
		if !ok {
			return nil, ""
		}
		at := slices.IndexFunc(chain, func(o Router) bool { return o.Name == r.Name })
		if (at >= 0) != (side == nat.Inside) {
			continue
		}
		if at >= 0 {
			chain = chain[:at] // what stands between the two
		}
		if translator := l.translatesBefore(r, chain); translator != "" {
			hidden = translator
			continue
		}
		uplinks = append(uplinks, u)
	}
	switch {
	case len(uplinks) > 0:
		return uplinks, ""
	case hidden != "":
		return nil, fmt.Sprintf("between this router and host %q stands the NAT %q, so that the host's address is not seen here", h.Name, hidden)
	case side == nat.Inside:
		return nil, fmt.Sprintf("host %q is not behind this router", h.Name)
	}
	return nil, fmt.Sprintf("host %q is behind this router, and must be outside here", h.Name)
}

// translatesBefore names a NAT of a host's chain through which the router does
// not look: one that does not stand in front of the router as well.
func (l *Lab) translatesBefore(r Router, chain []Router) string {
	fronts, _ := l.inFront(r.Behind)
	for _, o := range chain {
		if o.NAT != nil && !slices.ContainsFunc(fronts, func(f Router) bool { return f.Name == o.Name }) {
			return o.Name
		}
	}
	return ""
}

// Access gives the lists of a router's firewall, with the addresses that hosts
// are seen under. They stay the same whatever uplinks are active and whatever
// routers reboot. Without lists it is zero.
func (p *Plan) Access(router string) nat.Access[[]netip.Addr] { return p.access[router] }

// resolveAccess finds the addresses of all lists.
func (b *planner) resolveAccess() {
	for _, r := range b.lab.Routers {
		if r.Access == nil {
			continue
		}
		b.plan.access[r.Name] = nat.Resolve(*r.Access, func(name string, side nat.Side) []netip.Addr {
			h, ok := b.lab.Host(name)
			if !ok { // anyone
				return nil
			}
			addrs := []netip.Addr{}
			uplinks, _ := b.lab.seenBy(r, h, side)
			for _, u := range uplinks {
				addrs = append(addrs, b.plan.Addresses(name, u.Name)...)
			}
			return addrs
		})
	}
}
