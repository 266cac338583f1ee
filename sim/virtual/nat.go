package virtual

import (
	"net/netip"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
	"p2pmodel/sim/witness"
)

// drop ends a packet in the NAT.
func (r *Router) drop(p *packet, cause witness.Cause, rule string) {
	if rule != "" {
		r.network.dropped(r.node, p, cause, rule)
	}
	r.network.put(p)
}

// arrive translates what comes in from outside, and what comes from inside for an
// external address. It is false when the packet came to its end.
func (r *Router) arrive(p *packet, outside bool) bool {
	switch external := r.isExternal(p.dst.Addr()); {
	case r.tracked():
		if outside {
			return r.arriveTracked(p, external)
		}
		if external {
			r.drop(p, causeHairpin, ruleTrackedHairpin)
			return false
		}
		return true
	case outside && !external:
		r.drop(p, causeInside, ruleOtherAddress)
		return false
	case outside:
		return r.inbound(p)
	case external:
		return r.hairpin(p)
	}
	return true
}

// inbound translates a packet from outside for an external address.
func (r *Router) inbound(p *packet) bool {
	if p.isError() {
		if r.errorInbound(p) {
			return true
		}
		r.drop(p, causeProtocol, ruleNothingElse)
		return false
	}
	view, ok := p.view()
	if !ok || p.protocol == protocolICMP && p.kind != icmpEchoReply {
		r.drop(p, causeProtocol, ruleNothingElse)
		return false
	}
	return r.verdict(p, r.table.Inbound(r.network.time, view))
}

// verdict does what the NAT's model says.
func (r *Router) verdict(p *packet, v table.Verdict) bool {
	if v.Drop != table.Passed {
		cause, rule := natDrop(r.behavior.Kind, v)
		r.drop(p, cause, rule)
		return false
	}
	p.translated(v.Packet)
	return true
}

// hairpin turns a packet from inside for an external address back, or drops it.
func (r *Router) hairpin(p *packet) bool {
	echo := p.protocol == protocolICMP
	switch {
	case r.behavior.Hairpin == nat.HairpinNone || r.behavior.Hairpin == nat.HairpinInternal && echo:
		r.drop(p, causeHairpin, ruleHairpin)
		return false
	case p.isError():
		if r.errorOutbound(p) && r.errorInbound(p) {
			return true
		}
		r.drop(p, causeProtocol, ruleUntranslated)
		return false
	case !r.translates(p):
		return false
	}
	view, _ := p.view()
	v := r.table.Outbound(r.network.time, view)
	if v.Drop != table.Passed && r.behavior.Hairpin == nat.HairpinExternal {
		// It dies as one that went out and comes in: with its external source.
		sent := table.Packet{Protocol: view.Protocol, Src: view.Dst, Dst: view.Src}
		if back, mapped := r.table.ErrorOutbound(r.network.time, sent); mapped {
			v.Hairpin = false
			p.translated(table.Packet{Src: back.Dst, Dst: p.dst})
		}
	}
	return r.verdict(p, v)
}

// translates reports whether the NAT makes mappings for what the packet is; it
// drops the packet otherwise.
func (r *Router) translates(p *packet) bool {
	if r.isExternal(p.src.Addr()) {
		rule := ruleInsideExternal
		if r.tracked() {
			rule = ruleTrackedInsideExtra
		}
		r.drop(p, causeSource, rule)
		return false
	}
	if _, ok := p.view(); ok && (p.protocol != protocolICMP || p.kind == icmpEchoRequest) {
		return true
	}
	rule := ruleUntranslated
	if r.tracked() {
		rule = ruleTrackedUnknown
	}
	r.drop(p, causeProtocol, rule)
	return false
}

// depart translates a packet from inside that leaves.
func (r *Router) depart(p *packet) bool {
	if p.isError() {
		if r.errorOutbound(p) {
			return true
		}
		rule := ruleUntranslated
		if r.tracked() {
			rule = ruleTrackedUnknown
		}
		r.drop(p, causeProtocol, rule)
		return false
	}
	if !r.translates(p) {
		return false
	}
	if r.tracked() && p.damaged {
		// conntrack verifies checksums, and knows no flow of what is wrong.
		r.drop(p, causeProtocol, ruleTrackedUnknown)
		return false
	}
	view, _ := p.view()
	return r.verdict(p, r.table.Outbound(r.network.time, view))
}

// arriveTracked translates what conntrack expects from outside. Everything else
// stays as it is: for the router itself, which drops it unless it accepts what
// comes early.
func (r *Router) arriveTracked(p *packet, external bool) bool {
	p.expected = false
	if p.isError() {
		if p.expected = r.errorInbound(p); p.expected {
			return true
		}
	} else if view, ok := p.view(); ok && !p.damaged && (p.protocol != protocolICMP || p.kind == icmpEchoReply) {
		v := r.table.Inbound(r.network.time, view)
		if v.Drop == table.Passed {
			p.expected = true
			p.translated(v.Packet)
			return true
		}
	}
	if external && r.behavior.Early != nat.EarlyAccept {
		r.drop(p, causeNoMapping, ruleTrackedInput)
		return false
	}
	return true
}

// errorInbound translates an ICMP error from outside about a packet that went
// out (RFC 5508 section 4). It is false where no mapping knows of that.
func (r *Router) errorInbound(p *packet) bool {
	quoted, ok := p.quoted.view()
	if !ok || p.quoted.protocol == protocolICMP && p.quoted.kind != icmpEchoRequest {
		return false
	}
	inside, ok := r.table.ErrorInbound(r.network.time, quoted)
	if !ok {
		return false
	}
	p.quoted.translated(inside)
	p.dst, p.data = netip.AddrPortFrom(inside.Src.Addr(), 0), nil
	return true
}

// errorOutbound translates an ICMP error from inside about a packet that came in.
func (r *Router) errorOutbound(p *packet) bool {
	quoted, ok := p.quoted.view()
	if !ok || p.quoted.protocol == protocolICMP && p.quoted.kind != icmpEchoReply {
		return false
	}
	external, ok := r.table.ErrorOutbound(r.network.time, quoted)
	if !ok {
		return false
	}
	p.quoted.translated(external)
	p.src, p.data = netip.AddrPortFrom(external.Dst.Addr(), 0), nil
	return true
}
