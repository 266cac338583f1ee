package classify

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// samplePorts makes mappings one after the other, from a socket each. The first
// one finds the server.
func (m *Machine) samplePorts(time.Time) {
	m.open(func(now time.Time, s *socket) {
		m.ask(now, &query{from: s, to: m.cfg.Server, origin: m.cfg.Server, done: func(now time.Time, q *query) {
			switch {
			case q.answered:
			case q.refused != "" && len(m.samples) == 0:
				m.fail(fmt.Errorf("classify: the STUN server %s refuses a Binding request: %s", m.cfg.Server, q.refused))
				return
			case len(m.samples) == 0:
				m.fail(fmt.Errorf("classify: %w %s: %d requests in %s brought none. Is it a STUN server, and may UDP pass to it and back?",
					ErrUnreachable, m.cfg.Server, m.cfg.Copies, m.cfg.RTO*time.Duration(m.cfg.Copies+1)))
				return
			default:
				return // a limit; what there is must do
			}
			if len(m.samples) == 0 {
				m.result.Local, m.result.Reflexive = s.local, q.reflexive
				if a := q.other; a.Addr() != m.cfg.Server.Addr() && a.Port() != m.cfg.Server.Port() && a.Addr().Is4() {
					m.other = a
				}
			}
			m.samples = append(m.samples, analysis.Sample{Inside: s.local, External: q.reflexive})
			if len(m.samples) < samples {
				m.samplePorts(now)
			}
		}})
	})
}

// untranslated reports whether there is no NAT.
func (m *Machine) untranslated() bool { return m.result.Local == m.result.Reflexive }

func (m *Machine) tellPorts() {
	var evidence []string
	for _, s := range m.samples {
		evidence = append(evidence, fmt.Sprintf("%s was seen as %s", s.Inside, s.External))
	}
	if m.untranslated() {
		m.untold(nat.AxisPorts, "there is no translation")
		return
	}
	p := analysis.JudgePorts(m.samples, analysis.Assumptions{Range: nat.DefaultPortRange})
	if p.Allocation == analysis.Unreached {
		m.untold(nat.AxisPorts, "%s", p.Reason)
		return
	}
	m.find(nat.AxisPorts, p.Allocation, append(evidence, p.Reason)...)
	if p.Fallback != "" {
		m.find(nat.AxisFallback, p.Fallback, p.Reason)
	}
	if p.Delta > 0 {
		m.find(nat.AxisDelta, fmt.Sprint(p.Delta), p.Reason)
	}
	if p.Parity != "" {
		m.find(nat.AxisParity, p.Parity, fmt.Sprintf("of %d mappings", len(m.samples)))
	} else {
		m.untold(nat.AxisParity, "preserved ports keep their parity in any case")
	}
}

func (m *Machine) tellPooling() {
	seen := make(map[netip.Addr]int)
	for _, s := range m.samples {
		seen[s.External.Addr()]++
	}
	switch {
	case m.untranslated():
	case len(seen) > 1:
		var evidence []string
		for a, n := range seen {
			evidence = append(evidence, fmt.Sprintf("%d sockets were seen as %s", n, a))
		}
		m.find(nat.AxisPooling, nat.PoolArbitrary.String(), evidence...)
	default:
		m.untold(nat.AxisPooling, "all %d mappings have one external address: the NAT is paired, or has no other", len(m.samples))
	}
}

// corner is one of the server's four addresses.
func (m *Machine) corner(otherAddress, otherPort bool) netip.AddrPort {
	a, p := m.cfg.Server.Addr(), m.cfg.Server.Port()
	if otherAddress {
		a = m.other.Addr()
	}
	if otherPort {
		p = m.other.Port()
	}
	return netip.AddrPortFrom(a, p)
}

// measureMapping asks all four from one socket (RFC 5780 section 4.3, where the
// fourth is left out).
func (m *Machine) measureMapping(time.Time) {
	if !m.other.IsValid() {
		m.untold(nat.AxisMapping, "%v", ErrNoAlternate)
		return
	}
	m.open(func(now time.Time, s *socket) {
		var x [4]netip.AddrPort
		var evidence []string
		var next func(now time.Time, i int)
		next = func(now time.Time, i int) {
			if i == 4 {
				m.find(nat.AxisMapping, analysis.Mapping(s.local.Addr(), x), evidence...)
				return
			}
			to := m.corner(i/2 == 1, i%2 == 1)
			m.ask(now, &query{from: s, to: to, origin: to, done: func(now time.Time, q *query) {
				if !q.answered {
					m.untold(nat.AxisMapping, "the server names %s as its other address, and does not answer at %s%s", m.other, to, q.excuse())
					return
				}
				x[i] = q.reflexive
				evidence = append(evidence, fmt.Sprintf("%s was seen as %s at %s", s.local, q.reflexive, to))
				next(now, i+1)
			}})
		}
		next(now, 0)
	})
}

func (q *query) excuse() string {
	if q.refused != "" {
		return ": " + q.refused
	}
	return ""
}

// measureFiltering asks for answers from all four (RFC 5780 section 4.4, where the
// third is left out), with a socket that has sent to the first one alone.
func (m *Machine) measureFiltering(time.Time) {
	if !m.other.IsValid() {
		m.untold(nat.AxisFiltering, "%v", ErrNoAlternate)
		return
	}
	m.open(func(now time.Time, s *socket) {
		var entered [2][2]bool
		evidence := []string{fmt.Sprintf("%s sent to %s alone", s.local, m.cfg.Server)}
		var broken []string
		waiting := 4
		for a := range 2 {
			for b := range 2 {
				origin := m.corner(a == 1, b == 1)
				m.ask(now, &query{from: s, to: m.cfg.Server, origin: origin, change: byte(a*changeAddress + b*changePort), done: func(_ time.Time, q *query) {
					entered[a][b] = q.answered
					switch {
					case q.answered:
						evidence = append(evidence, fmt.Sprintf("an answer from %s came in", origin))
					case q.refused != "":
						broken = append(broken, q.refused)
					case q.misled.IsValid():
						broken = append(broken, fmt.Sprintf("asked to answer from %s, it answered from %s", origin, q.misled))
					default:
						evidence = append(evidence, fmt.Sprintf("an answer from %s did not come in", origin))
					}
					if waiting--; waiting > 0 {
						return
					}
					if len(broken) > 0 {
						m.untold(nat.AxisFiltering, "the server does not honour CHANGE-REQUEST: %s", strings.Join(broken, "; "))
						return
					}
					m.find(nat.AxisFiltering, analysis.Filtering(entered), evidence...)
				}})
			}
		}
	})
}
