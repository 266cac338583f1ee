package certify

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// noneOrExternal: surely not internal, and the filter hides the rest.
const noneOrExternal = "none-or-external"

// turned is what came back inside of the hairpin tests.
type turned struct {
	kind     string // empty: nothing came back
	evidence []string
}

// measureHairpin sends to the NAT's own external address (RFC 4787 section 6,
// REQ-9): from a socket to its own mapping, where the sender's own datagram
// opens the filter, and between two sockets, both ways.
func (p *Probe) measureHairpin(time.Time) {
	p.inside(0, func(now time.Time, s *socket) {
		p.mapped(now, s, func(now time.Time, x netip.AddrPort) {
			p.try(now, s, x, func(_ time.Time, shot *shot) { p.turn(shot, s) })
		})
	})
	p.inside(0, func(now time.Time, a *socket) {
		p.mapped(now, a, func(now time.Time, xa netip.AddrPort) {
			p.inside(1, func(now time.Time, b *socket) {
				p.mapped(now, b, func(now time.Time, xb netip.AddrPort) {
					p.try(now, a, xb, func(_ time.Time, shot *shot) { p.turn(shot, b) })
					p.try(now, b, xa, func(_ time.Time, shot *shot) { p.turn(shot, a) })
				})
			})
		})
	})
}

// mapped makes a mapping towards the first outside socket.
func (p *Probe) mapped(now time.Time, s *socket, then func(now time.Time, x netip.AddrPort)) {
	p.reach(now, s, p.outside[0][0].local, func(now time.Time, shot *shot) {
		if x, ok := p.outcome(shot, p.outside[0][0]); ok {
			then(now, x)
		}
	})
}

// turn notes what a hairpin test gave.
func (p *Probe) turn(s *shot, at *socket) {
	what := fmt.Sprintf("a datagram from %s to %s", s.from.local, s.to)
	for _, a := range s.arrivals {
		if a.socket != at {
			continue
		}
		kind := analysis.Irregular
		switch {
		case a.from == s.from.local:
			kind = nat.HairpinInternal.String()
		case slices.Contains(p.cfg.External, a.from.Addr()):
			kind = nat.HairpinExternal.String()
		}
		if p.hairpin.kind != "" && p.hairpin.kind != kind {
			kind = analysis.Irregular
		}
		p.hairpin.kind = kind
		p.hairpin.evidence = append(p.hairpin.evidence, fmt.Sprintf("%s came to %s with the source %s", what, at.local, a.from))
		return
	}
	p.hairpin.evidence = append(p.hairpin.evidence, what+" did not come back")
}

// predictHairpin is for NATs whose mapping and filtering both look at the
// remote side: there a hairpinned datagram passes the filter only if each side
// sent to the mapping that the other will have. Those mappings can be foretold
// where ports are preserved or sequential; two tries, as order matters.
func (p *Probe) predictHairpin(now time.Time) {
	if p.hairpin.kind != "" || !p.filtersHairpin() {
		return
	}
	from0, ok0 := p.externalOf(p.cfg.Inside[0])
	from1, ok1 := p.externalOf(p.cfg.Inside[1%len(p.cfg.Inside)])
	if !ok0 || !ok1 {
		return
	}
	switch {
	case p.is(nat.AxisPorts, nat.Preserve.String()):
		p.foretold = true
		p.inside(0, func(now time.Time, a *socket) {
			p.inside(1, func(now time.Time, b *socket) {
				p.cross(now, a, b, netip.AddrPortFrom(from0, a.local.Port()), netip.AddrPortFrom(from1, b.local.Port()))
			})
		})
	case p.is(nat.AxisPorts, nat.Sequential.String()):
		p.even(0, func(now time.Time, a *socket) {
			p.even(1, func(now time.Time, b *socket) {
				p.even(0, func(now time.Time, c *socket) {
					p.mapped(now, c, func(now time.Time, x netip.AddrPort) {
						p.foretold = true
						na := p.successor(x.Port())
						p.cross(now, a, b, netip.AddrPortFrom(from0, na), netip.AddrPortFrom(from1, p.successor(na)))
					})
				})
			})
		})
	}
}

// even opens an inside socket at an even port: each parity may have a counter of
// its own.
func (p *Probe) even(host int, opened func(now time.Time, s *socket)) {
	inside := p.cfg.Inside[host%len(p.cfg.Inside)]
	p.open(true, netip.AddrPortFrom(inside, p.withParity(p.freshPort(), 0)), func(now time.Time, s *socket) {
		if s != nil { // somebody has the port
			opened(now, s)
		}
	})
}

// cross sends from a to where b will be mapped, and a moment later from b to
// where a will be.
func (p *Probe) cross(now time.Time, a, b *socket, xa, xb netip.AddrPort) {
	p.try(now, a, xb, func(_ time.Time, shot *shot) { p.turn(shot, b) })
	p.after(now.Add(p.cfg.Wait/8), func(now time.Time) {
		p.try(now, b, xa, func(_ time.Time, shot *shot) { p.turn(shot, a) })
	})
}

// externalOf gives the external address of an inside address, if it is always
// the same.
func (p *Probe) externalOf(inside netip.Addr) (netip.Addr, bool) {
	var external netip.Addr
	for _, s := range p.seen {
		if s.inside.Addr() != inside {
			continue
		}
		if external.IsValid() && external != s.external.Addr() {
			return netip.Addr{}, false
		}
		external = s.external.Addr()
	}
	return external, external.IsValid()
}

// filtersHairpin reports whether a hairpinned datagram may die in the filter,
// however willing the NAT is.
func (p *Probe) filtersHairpin() bool {
	return !p.is(nat.AxisMapping, "EIM") && !p.is(nat.AxisFiltering, "EIF")
}

// judgeHairpin concludes. Where the filter may have eaten everything and no
// mapping could be foretold, silence says only that the inside source is not
// shown: then a claim of none or external is neither proved nor refuted, and
// the axis is left out.
func (p *Probe) judgeHairpin(time.Time) {
	kind := p.hairpin.kind
	if len(p.hairpin.evidence) == 0 {
		kind = analysis.Unreached
	}
	if kind == "" {
		kind = nat.HairpinNone.String()
		if p.filtersHairpin() && !p.foretold {
			if p.cfg.Declared.Hairpin != nat.HairpinInternal {
				return
			}
			kind = noneOrExternal
		}
	}
	p.find(nat.AxisHairpin, kind, p.hairpin.evidence...)
}
