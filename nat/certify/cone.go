package certify

import (
	"fmt"
	"net/netip"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// outcome gives where an inside socket's datagram came out, if it did at the
// outside socket that it was sent to, and keeps it for the axes that are judged
// from all mappings.
func (p *Probe) outcome(s *shot, at *socket) (netip.AddrPort, bool) {
	for _, a := range s.arrivals {
		if a.socket == at {
			p.seen = append(p.seen, sighting{inside: s.from.local, external: a.from})
			return a.from, true
		}
	}
	return netip.AddrPort{}, false
}

// sighting is one mapping that an outside socket saw.
type sighting struct{ inside, external netip.AddrPort }

// got reports whether the shot came out at the inside socket, with its source
// as it was sent.
func got(s *shot, at *socket) bool {
	for _, a := range s.arrivals {
		if a.socket == at && a.from == s.from.local {
			return true
		}
	}
	return false
}

// measureFiltering opens a mapping towards one outside socket, and then knocks
// at it from all four: a fresh socket, because each outbound datagram opens the
// filter (RFC 4787 section 5, REQ-8).
func (p *Probe) measureFiltering(time.Time) {
	p.inside(0, func(now time.Time, s *socket) {
		p.knockAll(now, s, func(_ time.Time, filtering string, evidence []string) {
			p.find(nat.AxisFiltering, filtering, evidence...)
		})
	})
}

// knockAll has a fresh socket send to one outside socket, and all four send back.
func (p *Probe) knockAll(now time.Time, s *socket, done func(now time.Time, filtering string, evidence []string)) {
	first := p.outside[0][0]
	p.reach(now, s, first.local, func(now time.Time, shot0 *shot) {
		x, ok := p.outcome(shot0, first)
		if !ok {
			done(now, analysis.Unreached, []string{fmt.Sprintf("no datagram from %s reached %s", s.local, first.local)})
			return
		}
		evidence := []string{fmt.Sprintf("%s sent to %s alone, and was mapped to %s", s.local, first.local, x)}
		var entered [2][2]bool
		waiting := 4
		for a, pair := range p.outside {
			for b, from := range pair {
				knock := p.try
				if from == first {
					knock = p.reach
				}
				knock(now, from, x, func(now time.Time, shot *shot) {
					entered[a][b] = got(shot, s)
					what := "was dropped"
					if entered[a][b] {
						what = "came in"
					}
					evidence = append(evidence, fmt.Sprintf("a datagram from %s to %s %s", from.local, x, what))
					if waiting--; waiting == 0 {
						done(now, analysis.Filtering(entered), evidence)
					}
				})
			}
		}
	})
}

// measureMapping sends from one socket to all four outside sockets and compares
// the mappings (RFC 4787 section 4.1, REQ-1).
func (p *Probe) measureMapping(time.Time) {
	p.inside(1, func(now time.Time, s *socket) {
		p.sendToAll(now, s, func(_ time.Time, mapping string, evidence []string) {
			p.find(nat.AxisMapping, mapping, evidence...)
		})
	})
}

func (p *Probe) sendToAll(now time.Time, s *socket, done func(now time.Time, mapping string, evidence []string)) {
	var x [4]netip.AddrPort
	var evidence []string
	var next func(now time.Time, i int)
	next = func(now time.Time, i int) {
		if i == 4 {
			done(now, analysis.Mapping(s.local.Addr(), x), evidence)
			return
		}
		to := p.outside[i/2][i%2]
		p.reach(now, s, to.local, func(now time.Time, shot *shot) {
			var ok bool
			if x[i], ok = p.outcome(shot, to); !ok {
				done(now, analysis.Unreached, append(evidence, fmt.Sprintf("no datagram from %s reached %s", s.local, to.local)))
				return
			}
			evidence = append(evidence, fmt.Sprintf("%s to %s was mapped to %s", s.local, to.local, x[i]))
			next(now, i+1)
		})
	}
	next(now, 0)
}

// measureScope tells whether the filter belongs to the mapping or to the inside
// endpoint: a remote that was contacted through one mapping knocks at another
// of the same socket. It needs two mappings and a filter.
func (p *Probe) measureScope(time.Time) {
	if p.is(nat.AxisMapping, "EIM", analysis.Unreached, analysis.Irregular, analysis.Untranslated) || p.is(nat.AxisFiltering, "EIF", analysis.Unreached, analysis.Irregular, analysis.Closed) {
		return
	}
	p.inside(0, func(now time.Time, s *socket) {
		first, second := p.outside[0][0], p.outside[1][0]
		p.reach(now, s, first.local, func(now time.Time, shot0 *shot) {
			x0, ok0 := p.outcome(shot0, first)
			p.reach(now, s, second.local, func(now time.Time, shot1 *shot) {
				x1, ok1 := p.outcome(shot1, second)
				if !ok0 || !ok1 || x0 == x1 {
					return
				}
				p.try(now, second, x0, func(_ time.Time, shot *shot) {
					scope, what := nat.ScopeMapping, "was dropped"
					if got(shot, s) {
						scope, what = nat.ScopeEndpoint, "came in"
					}
					p.find(nat.AxisScope, scope.String(),
						fmt.Sprintf("%s was mapped to %s towards %s, and to %s towards %s", s.local, x0, first.local, x1, second.local),
						fmt.Sprintf("a datagram from %s to %s, the mapping of the other, %s", second.local, x0, what))
				})
			})
		})
	})
}

// is reports whether an axis was found to be one of the values.
func (p *Probe) is(axis nat.Axis, values ...string) bool {
	f, ok := p.told[axis]
	if !ok {
		return false
	}
	for _, v := range values {
		if f.Measured == v {
			return true
		}
	}
	return false
}
