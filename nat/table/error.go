package table

import (
	"time"

	"p2pmodel/nat"
)

// ErrorInbound translates what an ICMP error from outside quotes: a packet that
// went out, as it looks there. It gives it as it looked inside; the error is for
// its source. It is false where no mapping is the packet's. Errors refresh nothing
// (RFC 7857 section 5), and no filter judges them.
func (t *Table) ErrorInbound(now time.Time, quoted Packet) (Packet, bool) {
	if c := t.flows; c != nil {
		c.purge(now)
		f := c.states[quoted.Protocol].outer[flowKey{quoted.Src, quoted.Dst}]
		if f == nil || f.local() {
			return quoted, false
		}
		quoted.Src = f.inside
		return quoted, true
	}
	t.purge(now)
	m := t.states[quoted.Protocol].taken[quoted.Src]
	if m == nil || m.closed {
		return quoted, false
	}
	quoted.Src = m.key.inside
	return quoted, true
}

// ErrorOutbound translates what an ICMP error from inside quotes: a packet that
// came in, as it looks there. It gives it as it looked outside; the error comes
// from its destination.
func (t *Table) ErrorOutbound(now time.Time, quoted Packet) (Packet, bool) {
	if c := t.flows; c != nil {
		c.purge(now)
		f := c.states[quoted.Protocol].inner[flowKey{quoted.Dst, quoted.Src}]
		if f == nil {
			return quoted, false
		}
		quoted.Dst = f.external
		return quoted, true
	}
	t.purge(now)
	m := t.states[quoted.Protocol].out[key{inside: quoted.Dst, remote: narrow(t.behavior.Mapping, quoted.Src)}]
	if m == nil {
		return quoted, false
	}
	quoted.Dst = m.external
	return quoted, true
}

// ErrorInbound judges an ICMP error p that enters, about a packet that left;
// readable is false for one that quotes nothing that flows are made of. Errors
// about flows pass, and refresh nothing.
func (f *Firewall) ErrorInbound(now time.Time, p, quoted Packet, readable bool) Verdict {
	switch {
	case !f.Admits(now, p.Dst.Addr()):
		return f.refused(p, NotLoggedIn)
	case f.policy.Inbound == nat.InboundReplies && !(readable && alive(f.flows, flow{quoted.Protocol, quoted.Src, quoted.Dst}, now)):
		return f.refused(p, Unsolicited)
	}
	return Verdict{Packet: p}
}

// ErrorOutbound judges an ICMP error that leaves, about a packet that entered.
func (f *Firewall) ErrorOutbound(now time.Time, p, quoted Packet, readable bool) Verdict {
	if !f.Admits(now, p.Src.Addr()) {
		return f.refused(p, NotLoggedIn)
	}
	known := readable && alive(f.flows, flow{quoted.Protocol, quoted.Dst, quoted.Src}, now)
	switch {
	case !known && f.policy.KeepOther:
		return f.refused(p, ProtocolBlocked)
	case !known && f.access.Outbound.Closed:
		return f.refused(p, NotAllowed)
	}
	return Verdict{Packet: p}
}

// ErrorBetween judges an ICMP error from one host behind to another.
func (f *Firewall) ErrorBetween(now time.Time, p, quoted Packet, readable bool) Verdict {
	if !f.Admits(now, p.Src.Addr()) || !f.Admits(now, p.Dst.Addr()) {
		return f.refused(p, NotLoggedIn)
	}
	known := readable && (alive(f.within, flow{quoted.Protocol, quoted.Src, quoted.Dst}, now) ||
		alive(f.within, flow{quoted.Protocol, quoted.Dst, quoted.Src}, now))
	if f.access.Between.Closed && !known {
		return f.refused(p, NotAllowed)
	}
	return Verdict{Packet: p}
}

// refused drops an ICMP error: about those nobody is told.
func (f *Firewall) refused(p Packet, why Drop) Verdict { return Verdict{Packet: p, Drop: why} }
