package runner

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"p2pmodel/nat"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// scan does the scans that a phase expects something of: from each host all ports
// of all hosts of servers.
func (s *stage) scan(ctx context.Context, p *phase) error {
	for _, e := range p.spec.Expect.Scans {
		h, err := s.net.Host(e.From)
		if err != nil {
			return err
		}
		var targets []netip.Addr
		for _, host := range s.v.scenario.System.Hosts() {
			if host == e.From {
				continue
			}
			targets = append(targets, s.serverAddresses([]string{host})...)
		}
		result, err := h.Scan(ctx, sim.Scan{Targets: targets})
		if err != nil {
			return fmt.Errorf("scan from %s: %w", e.From, err)
		}
		s.log.add(s.net.Now(), e.From, fmt.Sprintf("scan of %d addresses, %d probes in %v: %v", len(targets), result.Sent, result.Took, result))
		p.scans = append(p.scans, result)
	}
	return nil
}

// scans compares what scans found with what they had to.
func (j *judgement) scans(p *phase, res *scenarios.PhaseResult) {
	for i, e := range p.spec.Expect.Scans {
		found := p.scans[i]
		good := true
		for _, host := range j.s.v.scenario.System.Hosts() {
			if host == e.From {
				continue
			}
			for _, transport := range []sim.Transport{sim.TCP, sim.UDP} {
				want, got := rangesOf(e.Open[host], transport), found.Ports(host, transport)
				if !slices.Equal(want, got) {
					good = false
					j.against(p, "the scan from %s reached %s at %s ports %s, expected %s", e.From, host, transport, portWords(got), portWords(want))
				}
			}
		}
		if good {
			res.Facts = append(res.Facts, fmt.Sprintf("of %d probes from %s none entered a server but at %s", found.Sent, e.From, openWords(e)))
		}
	}
}

func rangesOf(list []scenarios.PortRange, t sim.Transport) (out []nat.PortRange) {
	for _, r := range list {
		if r.Protocol == string(t) {
			out = append(out, nat.PortRange{Low: r.Low, High: r.High})
		}
	}
	slices.SortFunc(out, func(a, b nat.PortRange) int { return int(a.Low) - int(b.Low) })
	return out
}

func portWords(list []nat.PortRange) string {
	if len(list) == 0 {
		return "none"
	}
	words := make([]string, len(list))
	for i, r := range list {
		words[i] = fmt.Sprint(r)
	}
	return strings.Join(words, ", ")
}

func openWords(e scenarios.ScanExpect) string {
	var words []string
	for _, host := range slices.Sorted(maps.Keys(e.Open)) {
		for _, r := range e.Open[host] {
			words = append(words, host+" "+r.String())
		}
	}
	return strings.Join(words, ", ")
}
