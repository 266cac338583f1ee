package certify

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// HandleICMP tells of an ICMP error that came to an inside socket, about a
// datagram of it.
func (p *Probe) HandleICMP(now time.Time, number int, e ICMPError) {
	if p.done || number < 0 || number >= len(p.sockets) {
		return
	}
	s := p.sockets[number]
	s.errors = append(s.errors, e)
}

// complain sends an ICMP error about what a mapping's socket sent: thrice, as it
// may be lost. done gets whether it came.
func (p *Probe) complain(now time.Time, from *socket, via netip.Addr, to netip.AddrPort, e ICMPError, owner *socket, done func(now time.Time, came bool)) {
	for range 3 {
		p.sends = append(p.sends, Send{Socket: from.number, To: to, Payload: p.payload(&shot{size: marked, from: from}), Form: Error, Error: e, Via: via})
	}
	owner.errors = nil
	p.after(now.Add(p.cfg.Wait/2), func(now time.Time) { done(now, slices.Contains(owner.errors, e)) })
}

// measureErrors is RFC 4787 REQ-12: errors of several types, from the host that
// was sent to and from another, must not end the mapping.
func (p *Probe) measureErrors(time.Time) {
	first := p.outside[0][0]
	p.inside(0, func(now time.Time, s *socket) {
		p.mapped(now, s, func(now time.Time, x netip.AddrPort) {
			var evidence, lost []string
			came := map[ICMPError]bool{}
			kinds := []ICMPError{HostUnreachable, PortUnreachable, TimeExceeded, ParameterProblem}
			var next func(now time.Time)
			next = func(now time.Time) {
				if len(kinds) == 0 {
					p.complain(now, first, p.cfg.Outside[1], x, HostUnreachable, s, func(_ time.Time, arrived bool) {
						p.require("REQ-12a", arrived, fmt.Sprintf("Host Unreachable from %s about a datagram to %s: came in: %t", p.cfg.Outside[1], first.local, arrived))
					})
					p.require("REQ-12", len(lost) == 0, strings.Join(append(lost, fmt.Sprintf("%d errors were sent to %s", len(evidence), x)), "; "), evidence...)
					p.require("REQ-12b", came[HostUnreachable] && came[PortUnreachable], fmt.Sprintf("Host Unreachable came in: %t, Port Unreachable: %t", came[HostUnreachable], came[PortUnreachable]), evidence...)
					return
				}
				e := kinds[0]
				kinds = kinds[1:]
				p.complain(now, first, first.local.Addr(), x, e, s, func(now time.Time, arrived bool) {
					came[e] = arrived
					p.reach(now, first, x, func(now time.Time, shot *shot) {
						alive := got(shot, s)
						p.mappedOr(now, s, func(now time.Time, y netip.AddrPort, ok bool) {
							evidence = append(evidence, fmt.Sprintf("ICMP type %d code %d: came in: %t; the mapping lived: %t", e.Type, e.Code, arrived, alive && ok && x == y))
							if !alive || !ok || x != y {
								lost = append(lost, fmt.Sprintf("ICMP type %d code %d ended %s", e.Type, e.Code, x))
							}
							next(now)
						})
					})
				})
			}
			next(now)
		})
	})
}

// mappedOr is mapped, and says as well if nothing came through.
func (p *Probe) mappedOr(now time.Time, s *socket, then func(now time.Time, x netip.AddrPort, ok bool)) {
	p.reach(now, s, p.outside[0][0].local, func(now time.Time, shot *shot) {
		x, ok := p.outcome(shot, p.outside[0][0])
		then(now, x, ok)
	})
}

// measureSizes is RFC 4787 REQ-13 and REQ-14.
func (p *Probe) measureSizes(time.Time) {
	first, second := p.outside[0][0], p.outside[1][0]
	size := p.cfg.Oversize
	if size == 0 {
		for _, id := range []string{"REQ-13", "REQ-13a"} {
			p.judge(id, NotTested, "the link of the inside hosts carries nothing that the router's outer one does not")
		}
	} else {
		p.inside(0, func(now time.Time, s *socket) {
			p.launch(now, &shot{from: s, to: first.local, size: size, form: DontFragment, copies: 2, every: p.cfg.Wait / 4, done: func(_ time.Time, shot *shot) {
				_, through := p.outcome(shot, first)
				told := slices.Contains(s.errors, FragmentationNeeded)
				p.require("REQ-13", told && !through, fmt.Sprintf("%d bytes with DF=1: Fragmentation Needed came back: %t; they came through: %t", size, told, through))
			}}, p.cfg.Wait)
		})
		// To another host, as the first one's path is known by now.
		p.inside(0, func(now time.Time, s *socket) {
			p.launch(now, &shot{from: s, to: second.local, size: size, form: MayFragment, copies: 3, every: p.cfg.Wait / 4, done: func(_ time.Time, shot *shot) {
				_, through := p.outcome(shot, second)
				p.require("REQ-13a", through, fmt.Sprintf("%d bytes with DF=0: they came through: %t; the order of the fragments is not seen", size, through))
			}}, p.cfg.Wait)
		})
	}
	p.inside(0, func(now time.Time, s *socket) {
		p.mapped(now, s, func(now time.Time, x netip.AddrPort) {
			waiting, delivered := 2, true
			var evidence []string
			for _, f := range []Form{Fragments, Reversed} {
				p.launch(now, &shot{from: first, to: x, size: 3*fragmentBytes - 100, form: f, copies: 3, every: p.cfg.Wait / 4, done: func(_ time.Time, shot *shot) {
					arrived := got(shot, s)
					delivered = delivered && arrived
					evidence = append(evidence, fmt.Sprintf("three fragments %s: delivered: %t", f, arrived))
					if waiting--; waiting == 0 {
						slices.Sort(evidence)
						p.require("REQ-14", delivered, strings.Join(evidence, "; "))
					}
				}}, p.cfg.Wait)
			}
		})
	})
}

// fragmentBytes is how much of a datagram a fragment carries that a driver makes,
// with the UDP header in the first one.
const fragmentBytes = 1000

func (f Form) String() string {
	if f == Reversed {
		return "in reverse order"
	}
	return "in order"
}

// measureALG is RFC 4787 REQ-10, with the protocol that ALGs meddle with first of
// all: an invitation of SIP must come through as it was sent.
func (p *Probe) measureALG(time.Time) {
	const sip = 5060
	p.open(false, netip.AddrPortFrom(p.cfg.Outside[0], sip), func(_ time.Time, at *socket) {
		if at == nil {
			p.judge("REQ-10", NotTested, "port 5060 of the probe's outside host is taken")
			return
		}
		p.inside(0, func(now time.Time, s *socket) {
			p.launch(now, &shot{from: s, to: at.local, text: true, copies: 3, every: p.cfg.Wait / 4, done: func(_ time.Time, shot *shot) {
				for _, a := range shot.arrivals {
					if a.socket == at {
						p.require("REQ-10", !a.changed, fmt.Sprintf("an invitation of SIP to port %d came through as it was: %t; other protocols were not tried", sip, !a.changed))
						return
					}
				}
				p.require("REQ-10", false, fmt.Sprintf("an invitation of SIP to port %d did not come through", sip))
			}}, p.cfg.Wait)
		})
	})
}
