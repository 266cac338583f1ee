package certify

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

const (
	// minimalRange is how many external ports, and table entries, a
	// certification takes at most.
	minimalRange = 64
	// narrowness is the share of the declared range within which random ports
	// may not all lie: with 15 of them, chance would do it once in 10^12.
	narrowness = 8
)

// judgePooling concludes from all mappings of one host (RFC 4787 section 4.1,
// REQ-2). It can be told only where there are several addresses.
func (p *Probe) judgePooling(time.Time) {
	if len(p.cfg.External) < 2 || len(p.seen) == 0 {
		return
	}
	count := make(map[netip.Addr]map[netip.Addr]int)
	for _, s := range p.seen {
		if count[s.inside.Addr()] == nil {
			count[s.inside.Addr()] = make(map[netip.Addr]int)
		}
		count[s.inside.Addr()][s.external.Addr()]++
	}
	measured := nat.PoolPaired.String()
	var evidence []string
	for _, inside := range p.cfg.Inside {
		if len(count[inside]) > 1 {
			measured = nat.PoolArbitrary.String()
		}
		for _, external := range p.cfg.External {
			if n := count[inside][external]; n > 0 {
				evidence = append(evidence, fmt.Sprintf("%s was mapped to %s in %d mappings", inside, external, n))
			}
		}
	}
	p.find(nat.AxisPooling, measured, evidence...)
}

// judgeRange concludes from all mappings. The range can be told where a port
// lies outside of the declared one, where a free port of it is not preserved,
// and where random ports keep to a part of it; a sequential NAT would have to
// be driven through all of it. Where nothing speaks against the declared range,
// it counts as measured if the declaration named one.
func (p *Probe) judgeRange(time.Time) {
	if len(p.seen) == 0 {
		return
	}
	declared := p.cfg.Declared.Resolved().Range
	ports := make([]uint16, len(p.seen))
	for i, s := range p.seen {
		ports[i] = s.external.Port()
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	hull := nat.PortRange{Low: ports[0], High: ports[len(ports)-1]}
	evidence := fmt.Sprintf("%d different external ports were seen, from %d to %d", len(ports), hull.Low, hull.High)
	outside := !declared.Contains(hull.Low) || !declared.Contains(hull.High)
	crowded := p.is(nat.AxisPorts, nat.Random.String()) && len(ports) >= portSamples*2 && hull.Size() < declared.Size()/narrowness
	switch {
	case p.ranged != "":
		p.find(nat.AxisRange, p.ranged, evidence, "all ports were used up")
	case outside:
		p.find(nat.AxisRange, hull.String(), evidence, fmt.Sprintf("the declared range is %s", declared))
	case p.narrow:
		p.find(nat.AxisRange, hull.String(), evidence, "free ports of the declared range were not preserved")
	case crowded:
		p.find(nat.AxisRange, hull.String(), evidence, fmt.Sprintf("random ports of %s would not lie so close together", declared))
	case declared != nat.DefaultPortRange:
		p.find(nat.AxisRange, declared.String(), evidence)
	}
}
