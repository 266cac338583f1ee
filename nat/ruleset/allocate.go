//go:build linux

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

// ladder is the chains that run one again and again.
type ladder struct {
	chain string // what is tried
	title string
	// unless is what ends a rule of the ladder where the packet has what it wants;
	// until is what ends a chain of it.
	unless, until []expr.Any
}

// level is the chain that tries branch to the power of the level times.
func (l ladder) level(n int) string {
	if n == 0 {
		return l.chain
	}
	return fmt.Sprintf("%ss%d", l.chain, n)
}

func (l ladder) chains() []string {
	var names []string
	for n := range levels {
		names = append(names, l.level(n))
	}
	return names
}

func (l ladder) rules(t *transaction) {
	for n := 1; n < levels; n++ {
		for range branch {
			l.try(t, l.level(n), n-1)
		}
	}
}

func (l ladder) try(t *transaction, chain string, level int, match ...expr.Any) {
	t.rule(chain, l.title, match, l.unless, jump(l.level(level)))
	if l.until != nil {
		t.rule(chain, "enough", l.until, back())
	}
}

// climb has a chain try so many times, where the packet matches.
func (l ladder) climb(t *transaction, chain string, times int, match ...expr.Any) {
	for level, left := levels-1, times; level >= 0; level-- {
		for size := power(branch, level); left >= size; left -= size {
			l.try(t, chain, level, match...)
		}
	}
}

// ports is the ladder that tries ports.
func (s *state) ports(pool *pool) ladder {
	return ladder{chain: s.name + "_attempt", title: "try free ports", unless: pool.untranslated()}
}

// draw is a way to get an external port: one of count, step by step from the
// first.
type draw struct {
	title       string
	match       []expr.Any // the inside ports that it is for
	first       uint16
	step, count int
	random      bool
}

// draws are the ways of the behaviour where the port is not preserved. Each has
// a rule of its own, and so a counter of its own.
func (s *state) draws() []draw {
	b := s.cfg.Behavior
	all := draw{title: "take the next port, if it is free", first: b.Range.Low, step: b.Delta}
	switch {
	case b.Ports == nat.Block:
		all.title = "take a random port of the block, if it is free"
		all.random, all.step, all.count = true, 1, b.Block
	case b.Ports == nat.Random || b.Ports == nat.Preserve && b.Fallback == nat.FallbackRandom:
		all.title, all.random, all.step = "take a random port, if it is free", true, 1
	}
	if b.Parity == nat.ParityIgnore {
		if all.count == 0 {
			all.count = (b.Range.Size() + all.step - 1) / all.step
		}
		return []draw{all}
	}
	var each []draw
	for odd, parity := range []string{"even: ", "odd: "} {
		d := all
		d.title = parity + all.title
		d.match = join(load(s.from, scratch), parityIs(scratch, scratch, byte(odd)))
		if b.Ports != nat.Block {
			d.step += d.step % 2
			d.first += (d.first + uint16(odd)) % 2
			if d.first > b.Range.High || d.first < b.Range.Low {
				continue // the range has no such port
			}
			d.count = int(b.Range.High-d.first)/d.step + 1
		}
		each = append(each, d)
	}
	return each
}

// number draws one of count numbers, in the machine's order.
func (d draw) number(to reg, offset uint16) expr.Any {
	kind := uint32(unix.NFT_NG_INCREMENTAL)
	if d.random {
		kind = unix.NFT_NG_RANDOM
	}
	return &expr.Numgen{Register: to.number(), Type: kind, Modulus: uint32(d.count), Offset: uint32(offset)}
}

// port loads the port that is drawn.
func (d draw) port(to reg) []expr.Any {
	if d.step == 1 {
		return []expr.Any{d.number(to, d.first), networkOrder(to)}
	}
	return join(d.number(factor, 0), immediate(firstPort, port(d.first)...), sum(firstPort, d.step, to))
}

// allocationRules make mappings. Two packets of one flow that has none, on two
// processors at once, may claim a port each; out keeps the first, both packets
// leave by it, and the other port stays unused until it expires.
func (s *state) allocationRules(t *transaction, pool *pool) {
	b, ladder := s.cfg.Behavior, s.ports(pool)
	if s.born != nil {
		t.rule(s.allocateChain(), "forget a mapping that is too old; its port stays used until it were idle",
			s.loadKey(), lookup(s.out, inside, external), notMember(s.born, external),
			remove(s.in, external, inside), remove(s.out, inside, external))
	}
	for range pool.rounds() {
		t.rule(s.allocateChain(), "try an external address", pool.untranslated(), jump(s.roundChain()))
	}

	pool.next(t, s.roundChain())
	if s.block != nil {
		s.blockRules(t, pool)
	}
	if b.Ports == nat.Preserve {
		t.rule(s.roundChain(), "keep the inside port",
			s.loadKey(), pool.choose(external), load(s.from, external+1),
			compare(external+1, expr.CmpOpGte, port(b.Range.Low)...),
			compare(external+1, expr.CmpOpLte, port(b.Range.High)...),
			s.take())
	}
	// One rule holds the counter, so that ports are given in strict sequence
	// whichever way a packet came here.
	for i, d := range s.draws() {
		ladder.climb(t, s.roundChain(), tries(d.count), d.match...)
		if s.block == nil {
			t.rule(ladder.chain, d.title, d.match, s.loadKey(), pool.choose(external), d.port(external+1), s.take())
			continue
		}
		parity := []expr.Any{}
		if d.match != nil {
			parity = parityIs(external+1, scratch, byte(i))
		}
		t.rule(ladder.chain, d.title, d.match,
			s.loadKey(), pool.choose(external), s.ownBlock(pool),
			d.number(factor, 0), sum(firstPort, 1, external+1), parity, s.take())
	}
	ladder.rules(t)
}

// take makes the mapping of the key and the external side that are loaded, and
// translates by it; the rule ends where the port is taken.
func (s *state) take() []expr.Any {
	exprs := []expr.Any{claim(s.used, external)}
	if s.born != nil {
		exprs = append(exprs, refresh(s.born, external, 0))
	}
	if s.replied != nil {
		exprs = append(exprs, remove(s.replied, external, 0))
	}
	return append(exprs, put(s.in, external, inside), put(s.out, inside, external), goTo(s.translateChain()))
}

// tries is how often one packet draws one of so many. Where they are few, it is a
// multiple of them: a packet that finds none then leaves the counter where it was.
func tries(count int) int {
	if count < attempts {
		return attempts / count * count
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
