package classify

import (
	"fmt"
	"net/netip"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// turned is what became of requests to the NAT's own external address.
type turned struct {
	kind     string
	evidence []string
}

// measureHairpin sends from each of two sockets to the other's mapping, and from
// one to its own (RFC 5780 section 4.5).
func (m *Machine) measureHairpin(time.Time) {
	if m.untranslated() {
		return
	}
	m.open(func(_ time.Time, a *socket) {
		m.open(func(now time.Time, b *socket) {
			m.mapped(now, a, func(now time.Time, xa netip.AddrPort) {
				m.mapped(now, b, func(now time.Time, xb netip.AddrPort) {
					m.ask(now, &query{from: a, at: b, to: xb, done: m.turn})
					m.ask(now, &query{from: b, at: a, to: xa, done: m.turn})
				})
			})
		})
	})
	m.open(func(now time.Time, s *socket) {
		m.mapped(now, s, func(now time.Time, x netip.AddrPort) {
			m.ask(now, &query{from: s, to: x, done: m.turn})
		})
	})
}

// mapped finds out a socket's mapping towards the server's first address.
func (m *Machine) mapped(now time.Time, s *socket, then func(now time.Time, x netip.AddrPort)) {
	m.ask(now, &query{from: s, to: m.cfg.Server, origin: m.cfg.Server, done: func(now time.Time, q *query) {
		if q.answered {
			then(now, q.reflexive)
		}
	}})
}

func (m *Machine) turn(_ time.Time, q *query) {
	what := fmt.Sprintf("a request from %s to %s", q.from.local, q.to)
	if !q.answered {
		m.hairpin.evidence = append(m.hairpin.evidence, what+" did not come back")
		return
	}
	kind := nat.HairpinExternal.String()
	if q.source == q.from.local {
		kind = nat.HairpinInternal.String()
	}
	if m.hairpin.kind != "" && m.hairpin.kind != kind {
		kind = analysis.Irregular
	}
	m.hairpin.kind = kind
	m.hairpin.evidence = append(m.hairpin.evidence, fmt.Sprintf("%s came to %s with the source %s", what, q.at.local, q.source))
}

// tellHairpin concludes. Silence says little: a machine drops packets that claim
// to come from itself, which is what hairpin=internal makes of them; and where
// neither mapping nor filtering is endpoint-independent, the filter may have eaten
// them.
func (m *Machine) tellHairpin(time.Time) {
	switch {
	case m.untranslated():
		m.untold(nat.AxisHairpin, "there is no translation")
	case m.hairpin.kind != "":
		m.find(nat.AxisHairpin, m.hairpin.kind, m.hairpin.evidence...)
	case len(m.hairpin.evidence) == 0:
		m.untold(nat.AxisHairpin, "the server stopped answering")
	case m.result.Measured(nat.AxisMapping) == "EIM" || m.result.Measured(nat.AxisFiltering) == "EIF":
		m.untold(nat.AxisHairpin, "nothing came back: the NAT has none, or one that shows the inside source, which a machine drops where it is its own")
	default:
		m.untold(nat.AxisHairpin, "nothing came back: the NAT has none, or its filter ate it, which depends on the remote side as the mapping does")
	}
}
