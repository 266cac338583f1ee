//go:build linux

package ruleset

import (
	"github.com/google/nftables/expr"

	"p2pmodel/nat"
)

// Chains of the protocol.
func (s *state) outboundChain() string  { return s.name + "_outbound" }
func (s *state) translateChain() string { return s.name + "_translate" }
func (s *state) allocateChain() string  { return s.name + "_allocate" }
func (s *state) inboundChain() string   { return s.name + "_inbound" }
func (s *state) hairpinChain() string   { return s.name + "_hairpin" }
func (s *state) roundChain() string     { return s.name + "_round" }

func (s *state) chains(pool *pool) []string {
	names := []string{s.outboundChain(), s.translateChain(), s.allocateChain(), s.roundChain(), s.inboundChain()}
	names = append(names, s.ports(pool).chains()...)
	if s.block != nil {
		names = append(append(names, s.blockChain()), s.blockLadder(pool).chains()...)
	}
	if s.hairpinsInside() {
		names = append(names, s.hairpinChain())
	}
	return names
}

// rules adds the rules of the protocol.
func (s *state) rules(t *transaction, pool *pool) {
	s.outboundRules(t, pool)
	s.allocationRules(t, pool)
	s.inboundRules(t)
	if s.hairpinsInside() {
		s.hairpinRules(t)
	}
}

// outboundRules translate packets from inside. A packet is translated exactly if
// its source is external afterwards: that is how callers know.
func (s *state) outboundRules(t *transaction, pool *pool) {
	t.rule(s.outboundChain(), "translate by the mapping, if there is one", jump(s.translateChain()))
	t.rule(s.outboundChain(), "make a mapping", pool.untranslated(), jump(s.allocateChain()))

	s.keepBlockOutbound(t)
	for _, v := range s.variants() {
		for _, a := range s.ages() {
			t.rule(s.translateChain(), "translate and refresh"+v.title+a.title,
				v.match, s.loadKey(), lookup(s.out, inside, external), s.young(), a.match,
				s.refreshOutbound(a), s.permit(a),
				storeAddress(external, source), v.store(external+1, s.from),
				keepClaim(s.used, external, a.hold))
		}
	}
}

// young ends the rule where the mapping of the external side is too old.
func (s *state) young() []expr.Any {
	if s.born == nil {
		return nil
	}
	return []expr.Any{member(s.born, external)}
}

// refreshOutbound restarts the timer of a mapping, where outbound packets do.
func (s *state) refreshOutbound(a age) []expr.Any {
	if !s.outRefreshes {
		return nil
	}
	exprs := []expr.Any{refreshFor(s.out, inside, external, a.idle), refreshFor(s.in, external, inside, a.idle)}
	if a.match != nil {
		exprs = append(exprs, refresh(s.replied, external, 0))
	}
	return exprs
}

// permit lets the remote side of an outbound packet send to us.
func (s *state) permit(a age) []expr.Any {
	switch {
	case s.filter == nil:
		return nil
	case s.perEndpoint:
		return join(s.loadRemote(destination, s.to, remote, s.remoteLen), refreshFor(s.filter, inside, 0, a.idle))
	default:
		return join(s.loadRemote(destination, s.to, stranger, s.remoteLen), refreshFor(s.filter, external, 0, a.idle))
	}
}

// inboundRules translate packets from outside, or drop them.
func (s *state) inboundRules(t *transaction) {
	if s.inRefreshes {
		s.keepBlockInbound(t, s.inboundChain(), s.admit())
		t.rule(s.inboundChain(), "keep the port", s.admit(), keepClaim(s.used, external, s.stream.hold))
	}
	for _, v := range s.variants() {
		t.rule(s.inboundChain(), "let in"+v.title,
			v.match, s.admit(), s.refreshInbound(), s.reply(),
			storeAddress(inside, destination), v.store(inside+1, s.to), accept())
	}
	if s.filter != nil {
		t.rule(s.inboundChain(), "the mapping's filter does not let the sender in",
			load(destination, external), load(s.to, external+1), lookup(s.in, external, inside), s.young(), drop(CauseFiltered))
	}
	t.rule(s.inboundChain(), "no mapping has the port", drop(CauseNoMapping))
}

// admit ends the rule where no mapping lets the packet in, and loads the inside
// side otherwise.
func (s *state) admit() []expr.Any {
	to := join(load(destination, external), load(s.to, external+1))
	switch {
	case s.filter == nil:
		return join(to, lookup(s.in, external, inside), s.young())
	case s.perEndpoint:
		return join(to, lookup(s.in, external, inside), s.young(),
			s.loadRemote(source, s.from, remote, s.remoteLen), member(s.filter, inside))
	default:
		return join(to, s.loadRemote(source, s.from, stranger, s.remoteLen), member(s.filter, external),
			lookup(s.in, external, inside), s.young())
	}
}

// reply notes that a packet came in through the mapping.
func (s *state) reply() []expr.Any {
	if s.replied == nil {
		return nil
	}
	return []expr.Any{refresh(s.replied, external, 0)}
}

// refreshInbound refreshes what an inbound packet goes by, the filter included:
// else it would expire under inbound traffic.
func (s *state) refreshInbound() []expr.Any {
	if !s.inRefreshes {
		return nil
	}
	mapping := s.prolong()
	switch {
	case s.filter == nil:
		return mapping
	case s.perEndpoint:
		// The sender is where the mapping's remote side was: load that again.
		return join(refreshFor(s.filter, inside, 0, s.stream.idle), lookup(s.in, external, inside), mapping)
	default:
		return join(mapping, refreshFor(s.filter, external, 0, s.stream.idle))
	}
}

// prolong restarts the timer of a mapping through which a packet comes in.
func (s *state) prolong() []expr.Any {
	return join(refreshFor(s.out, inside, external, s.stream.idle), refreshFor(s.in, external, inside, s.stream.idle))
}

// hairpinsInside says whether hairpinned packets keep their inside source.
func (s *state) hairpinsInside() bool {
	return s.cfg.Behavior.Hairpin == nat.HairpinInternal && !s.echo
}

// hairpinRules translate the destination of packets from inside and leave the
// source as it is. Filters do not judge them, since they know outside addresses
// only.
func (s *state) hairpinRules(t *transaction) {
	find := join(load(destination, external), load(s.to, external+1), lookup(s.in, external, inside), s.young())
	var again []expr.Any
	if s.inRefreshes {
		s.keepBlockInbound(t, s.hairpinChain(), find)
		t.rule(s.hairpinChain(), "keep the port", find, keepClaim(s.used, external, s.stream.hold))
		again = s.prolong()
	}
	for _, v := range s.variants() {
		t.rule(s.hairpinChain(), "turn back"+v.title,
			v.match, find, again, s.reply(),
			storeAddress(inside, destination), v.store(inside+1, s.to), accept())
	}
	t.rule(s.hairpinChain(), "no mapping", drop(CauseNoMapping))
}
