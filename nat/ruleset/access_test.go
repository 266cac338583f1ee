//go:build linux

package ruleset_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/nat/table"
)

type access = nat.Access[[]netip.Addr]

func addrs(texts ...string) (all []netip.Addr) {
	for _, t := range texts {
		all = append(all, netip.MustParseAddr(t))
	}
	return all
}

func udpRule(from, to []netip.Addr, ports ...nat.PortRange) nat.Rule[[]netip.Addr] {
	return nat.Rule[[]netip.Addr]{From: from, To: to, UDP: ports}
}

// The kernel's firewall and the model agree on every datagram of random traffic,
// between hosts and in and out, whatever the lists.
func TestAccessModel(t *testing.T) {
	h0, h1, out := addrs(hostAddr(0)), addrs(hostAddr(1)), addrs(outsideA)
	some, one := nat.PortRange{Low: 40001, High: 40002}, nat.PortRange{Low: 3478, High: 3478}
	replies, open := nat.Firewall{Inbound: nat.InboundReplies}, nat.Firewall{}
	closed := func(rules ...nat.Rule[[]netip.Addr]) nat.Passage[[]netip.Addr] {
		return nat.Passage[[]netip.Addr]{Closed: true, Rules: rules}
	}
	for name, c := range map[string]struct {
		policy nat.Firewall
		access access
	}{
		"holes":              {replies, access{Allow: []nat.Rule[[]netip.Addr]{udpRule(out, h0, some)}}},
		"a hole for all":     {replies, access{Allow: []nat.Rule[[]netip.Addr]{udpRule(nil, h1, nat.AllPorts)}}},
		"holes, nothing out": {replies, access{Allow: []nat.Rule[[]netip.Addr]{udpRule(nil, nil, some)}, Outbound: closed()}},
		"some out":           {replies, access{Outbound: closed(udpRule(h0, out, one))}},
		"all in, some out":   {open, access{Outbound: closed(udpRule(nil, out, one))}},
		"all in, none out":   {open, access{Outbound: closed()}},
		"none between":       {open, access{Between: closed()}},
		"some between":       {open, access{Between: closed(udpRule(h0, h1, some))}},
		"for nobody":         {replies, access{Allow: []nat.Rule[[]netip.Addr]{udpRule([]netip.Addr{}, nil, nat.AllPorts)}}},
		"several hosts":      {replies, access{Allow: []nat.Rule[[]netip.Addr]{udpRule(addrs(outsideA, outsideB), addrs(hostAddr(0), hostAddr(1)), some)}, Between: closed(udpRule(h1, nil, one, some))}},
		"ports and a hole":   {nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{3478}}, access{Allow: []nat.Rule[[]netip.Addr]{udpRule(out, h0, some)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compareAccess(t, c.policy, c.access)
		})
	}
}

func compareAccess(t *testing.T, policy nat.Firewall, lists access) {
	const packets = 150
	n := newNetwork(t, 2)
	n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: policy, Access: lists}))
	model, err := table.NewFirewall(policy, lists)
	must(t, err)
	var inside, outside []*socket
	for h, host := range n.hosts {
		for port := 40001; port <= 40003; port++ {
			inside = append(inside, host.udp(fmt.Sprintf("%s:%d", hostAddr(h), port)))
		}
	}
	for _, a := range []string{outsideA, outsideB} {
		for _, port := range []int{3478, 3479} {
			outside = append(outside, n.outside.udp(fmt.Sprintf("%s:%d", a, port)))
		}
	}
	r := rand.New(rand.NewPCG(7, 1))
	pick := func(of []*socket) *socket { return of[r.IntN(len(of))] }
	now := time.Time{}
	history := ""
	passed := 0
	for i := range packets {
		var from, to *socket
		var judge func(time.Time, table.Packet) table.Verdict
		switch r.IntN(3) {
		case 0:
			from, to, judge = pick(inside), pick(outside), model.Outbound
		case 1:
			from, to, judge = pick(outside), pick(inside), model.Inbound
		default:
			for from, to, judge = pick(inside), pick(inside), model.Between; from.local().Addr() == to.local().Addr(); to = pick(inside) {
			}
		}
		v := judge(now, table.Packet{Src: from.local(), Dst: to.local()})
		history += fmt.Sprintf("%3d: %v\n", i, v)
		if got, want := reaches(from, to.local(), to), v.Drop == table.Passed; got != want {
			t.Fatalf("%sthe kernel lets it pass: %v\n%s", history, got, n.dump())
		} else if got {
			passed++
		}
	}
	if passed == 0 || passed == packets {
		t.Errorf("%d of %d datagrams passed: the test tells nothing", passed, packets)
	}
}

// What rules let begin is counted by rule, once for each flow; so is what is
// dropped, by direction. A new installation counts anew.
func TestFirewallCounts(t *testing.T) {
	n := newNetwork(t, 2)
	n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	cfg := ruleset.FirewallConfig{
		Router: "r", Outside: "wan", Policy: nat.Firewall{Inbound: nat.InboundReplies},
		Access: access{
			Allow: []nat.Rule[[]netip.Addr]{
				udpRule(nil, addrs(hostAddr(1)), nat.PortRange{Low: 5000, High: 5000}),
				udpRule(addrs(outsideA), nil, nat.PortRange{Low: 5001, High: 5002}, nat.PortRange{Low: 5003, High: 5003}),
			},
			Outbound: nat.Passage[[]netip.Addr]{Closed: true},
			Between:  nat.Passage[[]netip.Addr]{Closed: true, Rules: []nat.Rule[[]netip.Addr]{udpRule(addrs(hostAddr(0)), nil, nat.AllPorts)}},
		},
	}
	must(t, ruleset.InstallFirewall(n.conn, cfg))
	h0, h1 := n.hosts[0].udp(hostAddr(0)+":5001"), n.hosts[1].udp(hostAddr(1)+":5003")
	a, b := n.outside.udp(outsideA+":1"), n.outside.udp(outsideB+":1")
	for range 3 {
		for _, way := range [][2]*socket{{a, h0}, {h0, a}, {a, h1}, {b, h1}, {h1, b}, {h0, h1}, {h1, h0}} {
			reaches(way[0], way[1].local(), way[1])
		}
	}
	counts, err := ruleset.CountFirewall(n.conn)
	must(t, err)
	if got, want := fmt.Sprint(counts), "{map[allow:[0 2] between:[1]] 3 3 0 0 0 0}"; got != want {
		t.Errorf("counted %s, want %s\n%s", got, want, n.dump())
	}
	must(t, ruleset.InstallFirewall(n.conn, cfg))
	counts, err = ruleset.CountFirewall(n.conn)
	must(t, err)
	if got, want := fmt.Sprint(counts), "{map[allow:[0 0] between:[0]] 0 0 0 0 0 0}"; got != want {
		t.Errorf("after a new installation: %s, want %s", got, want)
	}
	must(t, ruleset.RemoveFirewall(n.conn))
	if counts, err := ruleset.CountFirewall(n.conn); err != nil || len(counts.Began) > 0 {
		t.Errorf("without a firewall: %v, %v", counts, err)
	}
}

func TestFirewallsThatCannotBe(t *testing.T) {
	n := newNetwork(t, 1)
	for name, cfg := range map[string]ruleset.FirewallConfig{
		"allow: it opens holes":               {Outside: "wan", Access: access{Allow: []nat.Rule[[]netip.Addr]{udpRule(nil, nil, nat.AllPorts)}}},
		"between, rule 1: it names no ports":  {Outside: "wan", Access: access{Between: nat.Passage[[]netip.Addr]{Closed: true, Rules: []nat.Rule[[]netip.Addr]{{}}}}},
		"outbound rule 1: ::1 is not an IPv4": {Outside: "wan", Access: access{Outbound: nat.Passage[[]netip.Addr]{Closed: true, Rules: []nat.Rule[[]netip.Addr]{udpRule(addrs("::1"), nil, nat.AllPorts)}}}},
		"no outside interface":                {},
	} {
		if err := ruleset.InstallFirewall(n.conn, cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %q, want one with %q", err, name)
		}
	}
}
