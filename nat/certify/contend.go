package certify

import (
	"fmt"
	"net/netip"
	"time"

	"p2pmodel/nat"
)

// contention is how two hosts fared that use one source port.
type contention struct {
	told     bool // they had one external address
	tries    int
	shared   bool // they had one external endpoint, while their destinations differed
	evidence []string
}

// measureContention has two hosts send from one source port, to different
// destinations and to one: RFC 4787 REQ-3 forbids that they share an external
// endpoint, as hosts behind Linux's masquerade do.
func (p *Probe) measureContention(time.Time) {
	const tries = 4 // where external addresses are chosen anew for each mapping
	if len(p.cfg.Inside) < 2 || p.contention.tries == tries {
		return
	}
	p.contention.tries++
	port := p.freshPort()
	d1, d2 := p.outside[0][0], p.outside[1][0]
	p.bothAt(port, func(now time.Time, a, b *socket) {
		p.reach(now, a, d1.local, func(now time.Time, sent *shot) {
			xa, ok := p.outcome(sent, d1)
			if !ok {
				return
			}
			p.reach(now, b, d2.local, func(now time.Time, sent *shot) {
				xb, ok := p.outcome(sent, d2)
				if !ok {
					return
				}
				if xa.Addr() != xb.Addr() {
					// One more mapping, so that turns do not fall the same again.
					p.inside(0, func(now time.Time, s *socket) {
						p.mapped(now, s, func(now time.Time, _ netip.AddrPort) { p.measureContention(now) })
					})
					return
				}
				c := &p.contention
				c.told, c.shared = true, xa == xb
				c.evidence = []string{
					fmt.Sprintf("%s to %s was mapped to %s", a.local, d1.local, xa),
					fmt.Sprintf("%s to %s was mapped to %s", b.local, d2.local, xb),
				}
				p.reach(now, b, d1.local, func(_ time.Time, sent *shot) {
					if x, ok := p.outcome(sent, d1); ok {
						c.shared = c.shared || x == xa
						c.evidence = append(c.evidence, fmt.Sprintf("%s to %s was mapped to %s", b.local, d1.local, x))
					}
				})
			})
		})
	})
}

// bothAt opens a socket of each of two hosts at one port, if nobody has it.
func (p *Probe) bothAt(port uint16, then func(now time.Time, a, b *socket)) {
	p.open(true, netip.AddrPortFrom(p.cfg.Inside[p.rivals[0]], port), func(_ time.Time, a *socket) {
		if a == nil {
			return
		}
		p.open(true, netip.AddrPortFrom(p.cfg.Inside[p.rivals[1]], port), func(now time.Time, b *socket) {
			if b != nil {
				then(now, a, b)
			}
		})
	})
}

// judgeContention concludes by what kind of machine the NAT is made: where ports
// are preserved, hosts share them behind Linux's masquerade only. Where they are
// random, one kind looks like the other.
func (p *Probe) judgeContention(time.Time) {
	c := p.contention
	if !c.told || !p.is(nat.AxisPorts, nat.Preserve.String()) {
		return
	}
	kind := nat.KindRFC
	if c.shared {
		kind = nat.KindMasquerade
	}
	p.find(nat.AxisKind, kind.String(), c.evidence...)
}

// judgePrivileged is RFC 4787 REQ-3 and REQ-3a.
func (p *Probe) judgePrivileged(time.Time) {
	c := p.contention
	if !c.told {
		p.judge("REQ-3", NotTested, "it takes two inside hosts with one external address")
	} else {
		why := "two hosts with one source port had different external endpoints, whatever their destinations"
		if c.shared {
			why = "two hosts with one source port shared an external endpoint"
		}
		p.require("REQ-3", !c.shared, why, c.evidence...)
	}
	for _, s := range p.seen {
		if s.inside.Port() >= 1024 && s.external.Port() < 1024 {
			p.require("REQ-3a", false, fmt.Sprintf("%s was mapped to %s", s.inside, s.external))
			return
		}
	}
	low := uint16(600 + p.cfg.Rand.IntN(400))
	p.open(true, netip.AddrPortFrom(p.cfg.Inside[0], low), func(now time.Time, s *socket) {
		if s == nil {
			p.judge("REQ-3a", NotTested, fmt.Sprintf("port %d of the probe's host is taken", low))
			return
		}
		p.mapped(now, s, func(_ time.Time, x netip.AddrPort) {
			p.require("REQ-3a", x.Port() < 1024, fmt.Sprintf("%s was mapped to %s", s.local, x))
		})
	})
}

// measureEarly has an outside socket send to where a mapping will be, before the
// inside socket sends: a router that takes the packet for itself has a flow then,
// with which that of the inside socket clashes, so that it gets another port.
func (p *Probe) measureEarly(time.Time) {
	first := p.outside[0][0]
	external, ok := p.externalOf(p.cfg.Inside[0])
	if !ok || !p.is(nat.AxisPorts, nat.Preserve.String()) {
		return
	}
	p.inside(0, func(now time.Time, s *socket) {
		expected := netip.AddrPortFrom(external, s.local.Port())
		p.shoot(now, first, expected, 2, time.Millisecond, p.cfg.Wait/8, func(now time.Time, _ *shot) {
			p.mapped(now, s, func(_ time.Time, x netip.AddrPort) {
				early := nat.EarlyDrop
				if x != expected {
					early = nat.EarlyAccept
				}
				p.find(nat.AxisEarly, early.String(), fmt.Sprintf("after a packet from %s to %s, %s was mapped to %s", first.local, expected, s.local, x))
			})
		})
	})
}
