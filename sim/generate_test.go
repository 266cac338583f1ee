package sim

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/nat"
	"p2pmodel/sim/link"
)

// labs generates valid labs of every shape: nested NATs and plain routers,
// several addresses, several uplinks, impaired links.
func labs() *rapid.Generator[*Lab] {
	return rapid.Custom(func(t *rapid.T) *Lab {
		lab := &Lab{}
		depth := map[string]int{Internet: 0}
		fronts := []string{Internet}
		for i := range rapid.IntRange(0, 12).Draw(t, "routers") {
			r := Router{Name: fmt.Sprintf("r%d", i), Behind: rapid.SampledFrom(fronts).Draw(t, "behind")}
			if r.Behind == Internet {
				r.Behind = ""
			}
			if rapid.Bool().Draw(t, "nat") {
				drawNAT(t, &r)
			}
			if rapid.Bool().Draw(t, "firewall") {
				r.Firewall = drawFirewall(t)
				r.Firewall.Portal.On = rapid.Bool().Draw(t, "portal")
			}
			lab.Routers = append(lab.Routers, r)
			depth[r.Name] = depth[front(r.Behind)] + 1
			if depth[r.Name] < MaxChain {
				fronts = append(fronts, r.Name)
			}
		}
		for i := range rapid.IntRange(0, 12).Draw(t, "hosts") {
			h := drawHost(t, fmt.Sprintf("h%d", i), fronts)
			if rapid.IntRange(0, 3).Draw(t, "firewall") == 0 {
				h.Firewall = drawFirewall(t)
			}
			lab.Hosts = append(lab.Hosts, h)
		}
		if len(lab.Hosts)+len(lab.Routers) == 0 {
			lab.Hosts = []Host{{Name: "alone", Uplinks: []Uplink{{Name: DefaultUplink}}}}
		}
		for i := range lab.Routers {
			if lab.Routers[i].Firewall != nil && rapid.Bool().Draw(t, "lists") {
				lab.Routers[i].Access = drawAccess(t, lab, wallOf(lab.Routers[i]))
			}
		}
		for i := range lab.Hosts {
			if lab.Hosts[i].Firewall != nil && rapid.Bool().Draw(t, "lists") {
				lab.Hosts[i].Access = drawAccess(t, lab, wallOfHost(lab.Hosts[i]))
			}
		}
		for _, h := range lab.Hosts {
			for _, u := range h.Uplinks {
				if rapid.Bool().Draw(t, "impaired") {
					lab.Links = append(lab.Links, drawLink(t, h.Name, only(h, u.Name)))
				}
			}
		}
		for _, r := range lab.Routers {
			if rapid.Bool().Draw(t, "impaired") {
				lab.Links = append(lab.Links, drawLink(t, r.Name, ""))
			}
		}
		return lab
	})
}

// only leaves out the name of a default uplink, as files do.
func only(h Host, uplink string) string {
	if len(h.Uplinks) == 1 && uplink == DefaultUplink {
		return ""
	}
	return uplink
}

func drawNAT(t *rapid.T, r *Router) {
	r.Addresses = rapid.SampledFrom([]int{0, 2, 5}).Draw(t, "addresses")
	if rapid.Bool().Draw(t, "preset") {
		p := rapid.SampledFrom(nat.Presets()).Draw(t, "preset")
		r.NAT, r.Preset = new(p.Behavior), p.Name
		return
	}
	times := rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 90 * time.Second})
	if rapid.IntRange(0, 3).Draw(t, "kernel's own") == 0 {
		r.NAT = drawMasquerade(t, times)
		return
	}
	b := nat.Behavior{
		Mapping:     nat.Dependence(rapid.IntRange(0, 2).Draw(t, "mapping")),
		Filtering:   nat.Dependence(rapid.IntRange(0, 2).Draw(t, "filtering")),
		Scope:       nat.Scope(rapid.IntRange(0, 1).Draw(t, "scope")),
		Ports:       nat.Allocation(rapid.IntRange(0, 3).Draw(t, "ports")),
		Parity:      nat.Parity(rapid.IntRange(0, 1).Draw(t, "parity")),
		Range:       rapid.SampledFrom([]nat.PortRange{{}, {Low: 40000, High: 49999}}).Draw(t, "range"),
		Pooling:     nat.Pooling(rapid.IntRange(0, 1).Draw(t, "pooling")),
		Timeout:     times.Draw(t, "timeout"),
		Stream:      times.Draw(t, "stream"),
		TimeoutTCP:  times.Draw(t, "timeout-tcp"),
		TimeoutICMP: times.Draw(t, "timeout-icmp"),
		Refresh:     nat.Refresh(rapid.IntRange(0, 2).Draw(t, "refresh")),
		Rotate:      times.Draw(t, "rotate"),
		Hairpin:     nat.Hairpin(rapid.IntRange(0, 2).Draw(t, "hairpin")),
		TableSize:   rapid.SampledFrom([]int{0, 1000}).Draw(t, "size"),
	}
	switch b.Ports {
	case nat.Preserve:
		b.Fallback = nat.Fallback(rapid.IntRange(0, 1).Draw(t, "fallback"))
	case nat.Block:
		b.Block = rapid.SampledFrom([]int{0, 100, 2048}).Draw(t, "block")
	}
	if b.Ports == nat.Sequential || b.Ports == nat.Preserve && b.Fallback == nat.FallbackSequential {
		b.Delta = rapid.SampledFrom([]int{0, 2, 5}).Draw(t, "delta")
	}
	r.NAT = &b
}

// drawMasquerade draws Linux's own NAT, which decides most axes by its kind.
func drawMasquerade(t *rapid.T, times *rapid.Generator[time.Duration]) *nat.Behavior {
	text := rapid.SampledFrom([]string{"kind=masquerade", "kind=masquerade,early-inbound=accept", "kind=masquerade-random", "kind=masquerade-fully-random"}).Draw(t, "kind")
	text += rapid.SampledFrom([]string{"", ",range=40000-49999"}).Draw(t, "range") + rapid.SampledFrom([]string{"", ",size=1000"}).Draw(t, "size")
	for _, key := range []string{"timeout", "stream", "timeout-tcp", "timeout-icmp"} {
		if d := times.Draw(t, key); d > 0 {
			text += "," + key + "=" + d.String()
		}
	}
	b, err := nat.ParseBehavior(text)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

func drawHost(t *rapid.T, name string, fronts []string) Host {
	h := Host{Name: name, Addresses: rapid.SampledFrom([]int{0, 2}).Draw(t, "addresses")}
	behind := func() string {
		if b := rapid.SampledFrom(fronts).Draw(t, "behind"); b != Internet {
			return b
		}
		return ""
	}
	n := rapid.IntRange(1, 3).Draw(t, "uplinks")
	if n == 1 {
		h.Uplinks = []Uplink{{DefaultUplink, behind()}}
		return h
	}
	for i := range n {
		h.Uplinks = append(h.Uplinks, Uplink{fmt.Sprintf("%dg", i+3), behind()})
	}
	h.Active = rapid.SampledFrom([]string{"", "4g"}).Draw(t, "active")
	return h
}

func drawLink(t *rapid.T, node, uplink string) Link {
	switch rapid.IntRange(0, 2).Draw(t, "link") {
	case 0:
		p := rapid.SampledFrom(link.Profiles()).Draw(t, "profile")
		return Link{Node: node, Uplink: uplink, Up: p.Up, Down: p.Down, Profile: p.Name}
	case 1:
		both := drawImpairment(t)
		return Link{Node: node, Uplink: uplink, Up: both, Down: both}
	}
	return Link{Node: node, Uplink: uplink, Up: drawImpairment(t), Down: drawImpairment(t)}
}

func drawImpairment(t *rapid.T) link.Impairment {
	coin := func(label string) bool { return rapid.Bool().Draw(t, label) }
	share := func(label string) float64 {
		return rapid.SampledFrom([]float64{0, 0.01, 0.005, 1}).Draw(t, label)
	}
	i := link.Impairment{
		Delay:     time.Duration(rapid.IntRange(0, 700).Draw(t, "delay")) * time.Millisecond,
		Loss:      share("loss"),
		Duplicate: share("duplicate"),
		Corrupt:   share("corrupt"),
		Rate:      rapid.SampledFrom([]uint64{0, 384_000, 50_000_000, 1_500_000}).Draw(t, "rate"),
		MTU:       rapid.SampledFrom([]int{0, link.MinMTU, 1280, link.MaxMTU}).Draw(t, "mtu"),
	}
	i.Blackhole = i.MTU > 0 && coin("silent")
	if i.Delay > 0 && coin("jitter") {
		i.Jitter, i.Reorder = i.Delay/2, coin("reorder")
		i.Correlation = rapid.SampledFrom([]float64{0, 0.25}).Draw(t, "correlation")
		i.Distribution = rapid.SampledFrom([]link.Distribution{link.Uniform, link.Normal}).Draw(t, "distribution")
	}
	if i.Delay > 0 && coin("overtake") {
		i.Overtake = link.Overtake{Share: 0.05, Gap: rapid.SampledFrom([]int{0, 5}).Draw(t, "gap"), Correlation: share("repeat") / 2}
	}
	if coin("wander") {
		i.Wander = link.Wander{Delay: 20 * time.Millisecond, Every: 15 * time.Second}
	}
	if coin("burst") {
		i.Loss = 0
		i.Burst = rapid.SampledFrom([]link.Burst{link.Bursts(0.05, 8), {P: 0.01, R: 0.3, Bad: 0.7, Good: 0.001}}).Draw(t, "bursts")
	}
	if coin("trace") {
		i.Rate, i.Trace = 0, readTestTrace()
	}
	if (i.Rate > 0 || i.Trace != link.Trace{}) && coin("queue") {
		i.Queue = 64_000
	}
	return i
}

func drawFirewall(t *rapid.T) *nat.Firewall {
	if rapid.Bool().Draw(t, "firewall by name") {
		f, err := nat.ParseFirewall(rapid.SampledFrom([]string{"stateful", "udp-blocked", "tcp-443-only", "udp-blocked,reject=out", "tcp-443-only,tcp-reject=reset,reject=both"}).Draw(t, "name"))
		if err != nil {
			t.Fatal(err)
		}
		return &f
	}
	ports := rapid.SampledFrom([][]uint16{nil, {}, {443, 3478}})
	f := &nat.Firewall{
		Inbound: nat.InboundReplies, OutboundUDP: ports.Draw(t, "udp"), OutboundTCP: ports.Draw(t, "tcp"),
		KeepOther: rapid.Bool().Draw(t, "other"), Reject: nat.Rejection(rapid.IntRange(0, 3).Draw(t, "reject")),
	}
	f.ResetTCP = f.Reject.Leaving() && rapid.Bool().Draw(t, "reset")
	return f
}

// drawAccess gives a firewall lists of the hosts that it sees; nil: none.
func drawAccess(t *rapid.T, lab *Lab, w wall) *Access {
	name := func(side nat.Side, not string) string {
		names := []string{""}
		for _, h := range lab.Hosts {
			if seen, _ := lab.seenBy(w, h, side); len(seen) > 0 && h.Name != not {
				names = append(names, h.Name)
			}
		}
		return rapid.SampledFrom(names).Draw(t, "host")
	}
	ports := rapid.SampledFrom([][]nat.PortRange{{nat.AllPorts}, {{Low: 443, High: 443}}, {{Low: 1, High: 9}, {Low: 49152, High: 65535}}})
	rules := func(from, to nat.Side) (all []Rule) {
		for range rapid.IntRange(0, 3).Draw(t, "rules") {
			rule := Rule{From: name(from, ""), UDP: ports.Draw(t, "ports")}
			if rule.To = name(to, rule.From); rapid.Bool().Draw(t, "tcp") {
				rule.TCP = ports.Draw(t, "ports")
			}
			all = append(all, rule)
		}
		return all
	}
	passage := func(rules []Rule) Passage {
		return Passage{Closed: len(rules) > 0 || rapid.Bool().Draw(t, "closed"), Rules: rules}
	}
	a := &Access{Allow: rules(nat.Outside, nat.Inside)}
	if !w.ofHost() {
		a.Between = passage(rules(nat.Inside, nat.Inside))
	}
	if !w.firewall.KeepsIn() {
		a.Outbound = passage(rules(nat.Inside, nat.Outside))
	}
	if a.IsZero() {
		return nil
	}
	return a
}
