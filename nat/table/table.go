package table

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
)

// Table is one NAT at work. It is not safe for concurrent use.
type Table struct {
	behavior nat.Behavior // resolved
	external []netip.Addr
	rand     *rand.Rand
	states   [protocols]*state
	// flows is the state instead, if the NAT is of another kind than KindRFC.
	flows *conntrack
	// lag and follower are for a table that follows a NAT at work: its state lives so
	// much longer, and the follower chooses the endpoints of new mappings.
	lag      time.Duration
	follower *Follower
	// shadow and pair are for the table of a Shadow.
	shadow *Shadow
	pair   Pairing
}

// New makes a NAT with the behaviour and at least one external address. The
// rand.Rand serves random ports, be it as fallback or within a block, and kinds
// other than KindRFC; it may be nil otherwise.
func New(b nat.Behavior, external []netip.Addr, r *rand.Rand) (*Table, error) {
	if err := b.Validate(); err != nil {
		return nil, fmt.Errorf("NAT table: %w", err)
	}
	if len(external) == 0 {
		return nil, errors.New("NAT table: no external address")
	}
	if b.Kind != nat.KindRFC && r == nil {
		return nil, fmt.Errorf("NAT table: kind=%s needs a source of randomness", b.Kind)
	}
	if r == nil && (b.Ports == nat.Random || b.Ports == nat.Block || b.Ports == nat.Preserve && b.Fallback == nat.FallbackRandom) {
		return nil, fmt.Errorf("NAT table: random ports, as in %s, need a source of randomness", b)
	}
	t := &Table{behavior: b.Resolved(), external: slices.Clone(external), rand: r}
	t.Reboot()
	return t, nil
}

// Reboot loses all state and resets the counters. With addresses, they become
// the external ones.
func (t *Table) Reboot(external ...netip.Addr) {
	if len(external) > 0 {
		t.external = slices.Clone(external)
	}
	if t.behavior.Kind != nat.KindRFC {
		t.flows = t.newConntrack()
	}
	for i := range t.states {
		t.states[i] = newState(idle(t.behavior, Protocol(i)))
	}
}

// Behavior is the NAT's behaviour, defaults resolved.
func (t *Table) Behavior() nat.Behavior { return t.behavior }

// External gives the external addresses.
func (t *Table) External() []netip.Addr { return slices.Clone(t.external) }

// Outbound translates a packet that came from inside. One that is addressed to
// an external address of the NAT itself is hairpinned or dropped.
func (t *Table) Outbound(now time.Time, p Packet) Verdict {
	if t.flows != nil {
		return t.flows.outbound(now, p)
	}
	t.purge(now)
	if !slices.Contains(t.external, p.Dst.Addr()) {
		return t.translate(now, p)
	}
	switch {
	case p.Protocol == ICMPEcho:
		// A request bears its sender's identifier, and names no mapping (RFC 5508 REQ-7
		// asks for such of Basic NAT only).
	case t.behavior.Hairpin == nat.HairpinInternal:
		v := t.admit(now, p, false)
		v.Hairpin = true
		return v
	case t.behavior.Hairpin == nat.HairpinExternal:
		v := t.translate(now, p)
		if v.Drop == Passed {
			v = t.admit(now, v.Packet, true)
		}
		if v.Drop != Passed {
			v.Packet = p
		}
		v.Hairpin = true
		return v
	}
	return Verdict{Packet: p, Hairpin: true, Drop: HairpinRefused}
}

// Inbound translates a packet that came from outside.
func (t *Table) Inbound(now time.Time, p Packet) Verdict {
	if t.flows != nil {
		return t.flows.inbound(now, p)
	}
	t.purge(now)
	return t.admit(now, p, true)
}

// translate finds or makes the mapping of an outbound packet, refreshes it, and
// lets the destination answer.
func (t *Table) translate(now time.Time, p Packet) Verdict {
	s := t.states[p.Protocol]
	k := key{inside: p.Src, remote: narrow(t.behavior.Mapping, p.Dst)}
	m, restarts := s.out[k], t.behavior.Refresh != nat.RefreshInbound
	if m == nil {
		var drop Drop
		if m, drop = t.allocate(now, s, k); drop != Passed {
			return Verdict{Packet: p, Drop: drop}
		}
		restarts = true
	}
	s.refresh(now, m, restarts)
	s.permit(now, m, narrow(t.behavior.Filtering, p.Dst))
	p.Src = m.external
	return Verdict{Packet: p}
}

// admit finds the mapping of an inbound packet and asks its filter, unless the
// packet is one that filters do not judge.
func (t *Table) admit(now time.Time, p Packet, filtered bool) Verdict {
	s := t.states[p.Protocol]
	m := s.taken[p.Dst]
	if m == nil || m.closed {
		if s.expired.has(p.Dst) {
			return Verdict{Packet: p, Drop: Expired}
		}
		return Verdict{Packet: p, Drop: NoMapping}
	}
	remote := narrow(t.behavior.Filtering, p.Src)
	if filtered && !m.filter.admits(now.Add(-t.lag), remote) {
		return Verdict{Packet: p, Drop: Filtered}
	}
	m.replied = true
	if t.behavior.Refresh != nat.RefreshOutbound {
		s.refresh(now, m, true)
		if filtered {
			s.permit(now, m, remote)
		}
	}
	p.Dst = m.key.inside
	return Verdict{Packet: p}
}

// purge ends what has expired, of all protocols.
func (t *Table) purge(now time.Time) {
	if t.lag != 0 { // each packet comes by here
		now = now.Add(-t.lag)
	}
	for _, s := range t.states {
		s.purge(now)
	}
}

// narrow leaves of a remote endpoint what the axis looks at.
func narrow(d nat.Dependence, remote netip.AddrPort) netip.AddrPort {
	switch d {
	case nat.EndpointIndependent:
		return netip.AddrPort{}
	case nat.AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}
