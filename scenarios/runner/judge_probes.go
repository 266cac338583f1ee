package runner

import (
	"fmt"
	"net/netip"
	"slices"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// probes counts the ports that a peer's host has tried, as the wire shows it, where the
// phase bounds them.
func (j *judgement) probes(p *phase, res *scenarios.PhaseResult) {
	limit := p.spec.Expect.Probes
	if limit == 0 {
		return
	}
	servers := slices.Concat(j.s.serverAddresses(j.s.v.scenario.RendezvousHosts()), j.s.serverAddresses(j.s.v.scenario.RelayHosts()))
	for _, peer := range j.s.v.scenario.Peers {
		host := j.s.host(peer.Name)
		tried := map[netip.AddrPort]bool{}
		for _, packet := range j.o.run.Packets {
			if packet.Point.Node == host && packet.Direction == witness.Out && packet.At.Before(p.end) && !slices.Contains(servers, packet.Dst.Addr()) {
				tried[packet.Dst] = true
			}
		}
		if len(tried) > limit {
			j.against(p, "%s sent to %d different addresses and ports, expected %d at most", peer.Name, len(tried), limit)
			continue
		}
		res.Facts = append(res.Facts, fmt.Sprintf("%s sent to %d addresses and ports", peer.Name, len(tried)))
	}
}
