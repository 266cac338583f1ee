package ruleset

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// A packet that needs a new mapping tries up to attempts ports. Chains of branch
// jumps each, one to the other, make so many tries of few rules. More would make
// the kernel's check of the rules, which follows every jump, slow on kernels that
// remember none.
const (
	branch   = 4
	levels   = 5
	attempts = 1024 // branch to the power of levels
)

// Chains of the protocol.
func (s *state) outboundChain() string  { return s.name + "_outbound" }
func (s *state) translateChain() string { return s.name + "_translate" }
func (s *state) allocateChain() string  { return s.name + "_allocate" }
func (s *state) inboundChain() string   { return s.name + "_inbound" }
func (s *state) hairpinChain() string   { return s.name + "_hairpin" }
func (s *state) roundChain() string     { return s.name + "_round" }

// attemptChain tries a port at level 0, and branch to the power of the level
// ports above.
func (s *state) attemptChain(level int) string {
	if level == 0 {
		return s.name + "_attempt"
	}
	return fmt.Sprintf("%s_attempts%d", s.name, level)
}

func (s *state) chains() []string {
	names := []string{s.outboundChain(), s.translateChain(), s.allocateChain(), s.roundChain(), s.inboundChain()}
	for level := range levels {
		names = append(names, s.attemptChain(level))
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

	for _, v := range s.variants() {
		t.rule(s.translateChain(), "translate and refresh"+v.title,
			v.match, s.loadKey(), lookup(s.out, inside, external),
			refresh(s.out, inside, external), refresh(s.in, external, inside),
			s.permit(),
			storeAddress(external, source), v.store(external+1, s.from),
			s.refreshClaim())
	}
}

// permit lets the remote side of an outbound packet send to us.
func (s *state) permit() []expr.Any {
	switch {
	case s.filter == nil:
		return nil
	case s.perEndpoint:
		return join(s.loadRemote(destination, s.to, remote, s.remoteLen), refresh(s.filter, inside, 0))
	default:
		return join(s.loadRemote(destination, s.to, stranger, s.remoteLen), refresh(s.filter, external, 0))
	}
}

// allocationRules make mappings. Two packets of one flow that has none, on two
// processors at once, may claim a port each; out keeps the first, both packets
// leave by it, and the other port stays unused until it expires.
func (s *state) allocationRules(t *transaction, pool *pool) {
	b := s.cfg.Behavior
	take := join(s.claim(), put(s.in, external, inside), put(s.out, inside, external), goTo(s.translateChain()))
	for range pool.rounds() {
		t.rule(s.allocateChain(), "try an external address", pool.untranslated(), jump(s.roundChain()))
	}

	pool.next(t, s.roundChain())
	if b.Ports == nat.Preserve {
		t.rule(s.roundChain(), "keep the inside port",
			s.loadKey(), pool.choose(), load(s.from, external+1),
			compare(external+1, expr.CmpOpGte, port(b.Range.Low)...),
			compare(external+1, expr.CmpOpLte, port(b.Range.High)...),
			take)
	}
	try := func(chain string, level int) {
		t.rule(chain, "try free ports", pool.untranslated(), jump(s.attemptChain(level)))
	}
	for level, left := levels-1, tries(b.Range); level >= 0; level-- {
		for size := power(branch, level); left >= size; left -= size {
			try(s.roundChain(), level)
		}
	}
	for level := 1; level < levels; level++ {
		for range branch {
			try(s.attemptChain(level), level-1)
		}
	}

	// One rule holds the counter, so that ports are given in strict sequence
	// whichever way a packet came here.
	kind, title := uint32(unix.NFT_NG_INCREMENTAL), "take the next port, if it is free"
	if b.Ports == nat.Random {
		kind, title = unix.NFT_NG_RANDOM, "take a random port, if it is free"
	}
	t.rule(s.attemptChain(0), title,
		s.loadKey(), pool.choose(),
		&expr.Numgen{Register: (external + 1).number(), Type: kind, Modulus: ports(b.Range), Offset: uint32(b.Range.Low)},
		&expr.Byteorder{
			SourceRegister: (external + 1).number(), DestRegister: (external + 1).number(),
			Op: expr.ByteorderHton, Len: 2, Size: 2,
		},
		take)
}

// tries is how many ports one packet tries. Where the range is small, it is a
// multiple of it: a packet that finds none then leaves the counter where it was.
func tries(r nat.PortRange) int {
	if n := int(ports(r)); n < attempts {
		return attempts / n * n
	}
	return attempts
}

func power(base, exponent int) int {
	p := 1
	for range exponent {
		p *= base
	}
	return p
}

// inboundRules translate packets from outside, or drop them.
func (s *state) inboundRules(t *transaction) {
	if s.bothRefresh {
		t.rule(s.inboundChain(), "keep the port", s.admit(), s.refreshClaim())
	}
	for _, v := range s.variants() {
		t.rule(s.inboundChain(), "let in"+v.title,
			v.match, s.admit(), s.refreshInbound(),
			storeAddress(inside, destination), v.store(inside+1, s.to), accept())
	}
	if s.filter != nil {
		t.rule(s.inboundChain(), "the mapping's filter does not let the sender in",
			load(destination, external), load(s.to, external+1), lookup(s.in, external, inside), drop(CauseFiltered))
	}
	t.rule(s.inboundChain(), "no mapping has the port", drop(CauseNoMapping))
}

// admit ends the rule where no mapping lets the packet in, and loads the inside
// side otherwise.
func (s *state) admit() []expr.Any {
	to := join(load(destination, external), load(s.to, external+1))
	switch {
	case s.filter == nil:
		return join(to, lookup(s.in, external, inside))
	case s.perEndpoint:
		return join(to, lookup(s.in, external, inside),
			s.loadRemote(source, s.from, remote, s.remoteLen), member(s.filter, inside))
	default:
		return join(to, s.loadRemote(source, s.from, stranger, s.remoteLen), member(s.filter, external),
			lookup(s.in, external, inside))
	}
}

// refreshInbound refreshes what an inbound packet goes by, the filter included:
// else it would expire under inbound traffic.
func (s *state) refreshInbound() []expr.Any {
	if !s.bothRefresh {
		return nil
	}
	mapping := join(refresh(s.out, inside, external), refresh(s.in, external, inside))
	switch {
	case s.filter == nil:
		return mapping
	case s.perEndpoint:
		// The sender is where the mapping's remote side was: load that again.
		return join(refresh(s.filter, inside, 0), lookup(s.in, external, inside), mapping)
	default:
		return join(mapping, refresh(s.filter, external, 0))
	}
}

// hairpinsInside says whether hairpinned packets keep their inside source.
func (s *state) hairpinsInside() bool {
	return s.cfg.Behavior.Hairpin == nat.HairpinInternal && !s.echo
}

// hairpinRules translate the destination of packets from inside and leave the
// source as it is. Filters do not judge them, since they know outside addresses
// only.
func (s *state) hairpinRules(t *transaction) {
	find := join(load(destination, external), load(s.to, external+1), lookup(s.in, external, inside))
	var again []expr.Any
	if s.bothRefresh {
		t.rule(s.hairpinChain(), "keep the port", find, s.refreshClaim())
		again = join(refresh(s.out, inside, external), refresh(s.in, external, inside))
	}
	for _, v := range s.variants() {
		t.rule(s.hairpinChain(), "turn back"+v.title,
			v.match, find, again,
			storeAddress(inside, destination), v.store(inside+1, s.to), accept())
	}
	t.rule(s.hairpinChain(), "no mapping", drop(CauseNoMapping))
}
