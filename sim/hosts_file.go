package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// HostsFile gives the text of an /etc/hosts for programs on a host: the nodes
// of the lab that have an address in the host's own realm or in one that is in
// front of it, by the address in the nearest of these realms. What stands behind
// a NAT that is not the host's own has no address there, and no line.
func HostsFile(n Network, host string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n")
	realms := realmsFrom(n, host)
	for _, node := range nodesOf(n) {
		if !slices.Contains(realms, node.realm) {
			continue
		}
		for _, a := range node.addrs {
			fmt.Fprintf(&b, "%s\t%s\n", a, node.name)
		}
	}
	return b.String()
}

// addressed is a node with the addresses that it has now.
type addressed struct {
	name  string
	realm string
	addrs []netip.Addr
}

// nodesOf gives the hosts and the routers of a lab, in the order of its file.
func nodesOf(n Network) []addressed {
	lab, plan := n.Lab(), n.Plan()
	var all []addressed
	for _, h := range lab.Hosts {
		uplink := h.ActiveUplink()
		if running, err := n.Host(h.Name); err == nil {
			uplink = running.Active()
		}
		l, _ := plan.Link(LinkID{h.Name, uplink})
		all = append(all, addressed{h.Name, l.Realm, l.NodeAddrs})
	}
	for _, r := range lab.Routers {
		l, _ := plan.Link(LinkID{r.Name, DefaultUplink})
		addrs := l.NodeAddrs
		if running, err := n.Router(r.Name); err == nil {
			addrs = running.External()
		}
		all = append(all, addressed{r.Name, l.Realm, addrs})
	}
	return all
}

// realmsFrom gives the realms that a host's packets pass on their way to the
// Internet, its own first.
func realmsFrom(n Network, host string) []string {
	h, ok := n.Lab().Host(host)
	if !ok {
		return nil
	}
	uplink := h.ActiveUplink()
	if running, err := n.Host(host); err == nil {
		uplink = running.Active()
	}
	chain, err := n.Lab().Chain(host, uplink)
	if err != nil {
		return nil
	}
	var realms []string
	for _, r := range chain {
		if r.NAT != nil {
			realms = append(realms, r.Name)
		}
	}
	return append(realms, Internet)
}
