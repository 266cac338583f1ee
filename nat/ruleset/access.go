//go:build linux

package ruleset

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"p2pmodel/nat"
)

// lists adds the rules of a list to a chain: what begins a flow by one of them is
// counted, remembered and let pass. Packets of known flows do not come here.
func (f *firewall) lists(t *transaction, chain, key string, rules []nat.Rule[[]netip.Addr], remember func(protocol) []expr.Any) {
	for i, r := range rules {
		name := ruleName(key, i)
		from := hosts(t, name+" from", source, r.From)
		to := hosts(t, name+" to", destination, r.To)
		for p, ranges := range [][]nat.PortRange{r.UDP, r.TCP} {
			for _, ports := range ranges {
				t.rule(chain, fmt.Sprintf("%s, %s %s", name, protocols[p].name, nat.FormatPort(ports)),
					match(ipProtocol, protocols[p].number), from, to, within(destinationPort, ports),
					remember(protocols[p]), &expr.Counter{}, accept())
			}
		}
	}
}

// ruleName is how the rules that a rule of a list becomes are called.
func ruleName(key string, i int) string { return fmt.Sprintf("%s rule %d", key, i+1) }

// hosts matches packets whose address is one of the given; nil matches all.
func hosts(t *transaction, set string, f field, addrs []netip.Addr) []expr.Any {
	switch {
	case addrs == nil:
		return nil
	case len(addrs) == 1:
		return match(f, addrs[0].AsSlice()...)
	}
	known := &nftables.Set{Name: set, KeyType: nftables.TypeIPAddr}
	var elements []nftables.SetElement
	for _, a := range addrs {
		elements = append(elements, nftables.SetElement{Key: a.AsSlice()})
	}
	t.set(known, elements...)
	return join(load(f, scratch), member(known, scratch))
}

// within matches a port that is in a range.
func within(f field, r nat.PortRange) []expr.Any {
	if r.Low == r.High {
		return match(f, port(r.Low)...)
	}
	return []expr.Any{
		load(f, scratch),
		compare(scratch, expr.CmpOpGte, port(r.Low)...), compare(scratch, expr.CmpOpLte, port(r.High)...),
	}
}

// checkHosts makes sure that all hosts of the lists are IPv4 addresses.
func checkHosts(a nat.Access[[]netip.Addr]) error {
	for _, l := range a.Lists() {
		for i, r := range l.Rules {
			for _, addr := range slices.Concat(r.From, r.To) {
				if !addr.Is4() {
					return fmt.Errorf("%s: %v is not an IPv4 address", ruleName(l.Key, i), addr)
				}
			}
		}
	}
	return nil
}

// FirewallCounts are what a firewall has counted since it was installed.
type FirewallCounts struct {
	// Began are the flows that began by each rule of a list, by key and number of
	// the rule from 0. A flow that was silent for so long that it was forgotten
	// begins again.
	Began map[string][]uint64
	// Entering, Leaving and Between are packets that were dropped: those that
	// came from outside, those that were to go there, and those between two hosts
	// inside. Spoofed are those whose source was not where they came from.
	Entering, Leaving, Between, Spoofed uint64
	// Captive are packets that were dropped because the host inside was not logged
	// in at the portal, Redirected those that the portal itself got instead.
	Captive, Redirected uint64
}

// CountFirewall reads the counters of the firewall in the namespace. Without one,
// all are zero.
func CountFirewall(conn *nftables.Conn) (FirewallCounts, error) {
	counts := FirewallCounts{Began: make(map[string][]uint64)}
	table := tableNamed(firewallTable)
	there, err := exists(conn, table)
	if err != nil {
		return counts, fmt.Errorf("count firewall: %w", err)
	}
	if !there {
		return counts, nil
	}
	rules, err := dumpRules(conn, table)
	if err != nil {
		return counts, fmt.Errorf("count firewall: %w", err)
	}
	for _, r := range rules {
		for _, e := range r.exprs {
			if c, ok := e.expr.(*expr.Counter); ok {
				counts.add(r.comment, c.Packets)
			}
		}
	}
	return counts, nil
}

// add counts packets for the rule with the comment.
func (c *FirewallCounts) add(comment string, packets uint64) {
	switch comment {
	case deniedEntering, portalOutside:
		c.Entering += packets
	case deniedLeaving, deniedUDP, deniedAllUDP, deniedTCP, deniedAllTCP, deniedOther:
		c.Leaving += packets
	case deniedCaptive, deniedToCaptive:
		c.Captive += packets
	case redirected:
		c.Redirected += packets
	case deniedBetween:
		c.Between += packets
	case spoofedSource:
		c.Spoofed += packets
	}
	name, _, _ := strings.Cut(comment, ",")
	var key string
	var number int
	if _, err := fmt.Sscanf(name, "%s rule %d", &key, &number); err != nil || number < 1 {
		return
	}
	for len(c.Began[key]) < number {
		c.Began[key] = append(c.Began[key], 0)
	}
	c.Began[key][number-1] += packets
}
