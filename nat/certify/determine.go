package certify

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// load is how many mappings make a NAT busy.
const load = 64

// measureDeterminism is RFC 4787 REQ-11: mapping and filtering are measured again
// while the NAT is busy, and for a host whose port another one has; and mappings
// that were there before must be as they were.
func (p *Probe) measureDeterminism(now time.Time) {
	d := &determinism{mapping: p.told[nat.AxisMapping].Measured, filtering: p.told[nat.AxisFiltering].Measured}
	p.phases = append([]func(now time.Time){func(time.Time) { d.judge(p) }}, p.phases...)
	for range min(load, p.room()-len(p.seen)-load/2) {
		p.inside(0, func(now time.Time, s *socket) {
			p.reach(now, s, p.outside[1][1].local, func(_ time.Time, shot *shot) { p.outcome(shot, p.outside[1][1]) })
		})
	}
	p.inside(0, func(now time.Time, s *socket) { p.again(now, d, s, "while the NAT was busy") })
	if len(p.cfg.Inside) > 1 {
		p.bothAt(p.freshPort(), func(now time.Time, a, b *socket) {
			p.mapped(now, a, func(now time.Time, x netip.AddrPort) {
				p.again(now, d, b, "while another host used the same source port")
				p.inside(p.rivals[1], func(now time.Time, s *socket) { p.again(now, d, s, "of another socket then") })
				p.mapped(now, a, func(_ time.Time, later netip.AddrPort) {
					if later != x {
						d.note("%s was mapped to %s, and to %s once another host used the same port", a.local, x, later)
					}
				})
			})
		})
	}
}

// determinism is what was measured again.
type determinism struct {
	mapping, filtering string
	measured           int
	against, evidence  []string
}

func (d *determinism) note(format string, args ...any) {
	d.against = append(d.against, fmt.Sprintf(format, args...))
}

// again measures the mapping of one socket, and the filtering of a fresh one of
// the same host.
func (p *Probe) again(now time.Time, d *determinism, s *socket, when string) {
	p.knockAll(now, s, func(now time.Time, filtering string, _ []string) {
		p.sendToAll(now, s, func(_ time.Time, mapping string, evidence []string) {
			d.measured++
			d.evidence = append(d.evidence, fmt.Sprintf("%s: mapping %s, filtering %s", when, mapping, filtering))
			if mapping != d.mapping {
				d.note("mapping was %s, and %s %s", d.mapping, mapping, when)
				d.evidence = append(d.evidence, evidence...)
			}
			if filtering != d.filtering {
				d.note("filtering was %s, and %s %s", d.filtering, filtering, when)
			}
		})
	})
}

func (d *determinism) judge(p *Probe) {
	c := p.contention
	switch {
	case c.told && c.shared:
		d.note("how a port is mapped depends on what other hosts do")
		d.evidence = append(d.evidence, c.evidence...)
	case slices.Contains([]string{analysis.Unreached, ""}, d.mapping):
		return
	case d.measured == 0:
		p.judge("REQ-11", NotTested, "the second measurement did not come through")
		return
	}
	if len(d.against) > 0 {
		p.require("REQ-11", false, d.against[0], append(d.against[1:], d.evidence...)...)
		return
	}
	p.require("REQ-11", true, fmt.Sprintf("mapping %s and filtering %s each time; what other conditions change nobody can prove", d.mapping, d.filtering), d.evidence...)
}
