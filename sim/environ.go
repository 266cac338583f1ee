package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// environPrefix begins the names of all variables of Environ.
const environPrefix = "LAB_ADDR_"

// Environ gives the addresses of a lab as variables of a program's environment,
// NAME=VALUE, sorted by name. NODE stands for the name of a host or router in
// capitals, with an underscore for everything that is neither a letter nor a
// digit:
//
//	LAB_ADDR_NODE         the first address: of a host on the uplink that is active at
//	                      the start, of a router on its outer side
//	LAB_ADDR_NODE_2       its second address there, and so on
//	LAB_ADDR_NODE_UPLINK  of a host with several uplinks, the first address on that one
//
// The addresses are those of the plan: what a reboot or a move changes later is not
// in them. A name that would stand for two things is left out.
func Environ(lab *Lab, plan *Plan) []string {
	found := map[string]string{}
	double := map[string]bool{}
	add := func(value string, parts ...string) {
		name := environPrefix + environName(strings.Join(parts, "_"))
		_, there := found[name]
		double[name] = double[name] || there
		found[name] = value
	}
	node := func(name string, addrs []netip.Addr) {
		for i, a := range addrs {
			if i == 0 {
				add(a.String(), name)
			} else {
				add(a.String(), name, fmt.Sprint(i+1))
			}
		}
	}
	for _, r := range lab.Routers {
		node(r.Name, plan.External(r.Name))
	}
	for _, h := range lab.Hosts {
		node(h.Name, plan.Addresses(h.Name, h.ActiveUplink()))
		if len(h.Uplinks) < 2 {
			continue
		}
		for _, u := range h.Uplinks {
			if addrs := plan.Addresses(h.Name, u.Name); len(addrs) > 0 {
				add(addrs[0].String(), h.Name, u.Name)
			}
		}
	}
	var all []string
	for name, value := range found {
		if !double[name] {
			all = append(all, name+"="+value)
		}
	}
	slices.Sort(all)
	return all
}

// environName writes a name as names of variables are: LAB_ADDR_HOME_A for home-a.
func environName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}
