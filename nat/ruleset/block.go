//go:build linux

package ruleset

import (
	"github.com/google/nftables/expr"

	"p2pmodel/nat"
)

// blocks is how many blocks of ports an external address has.
func blocks(b nat.Behavior) int { return b.Range.Size() / b.Block }

func (s *state) blockChain() string { return s.name + "_block" }

// blockLadder tries blocks until the inside address has one.
func (s *state) blockLadder(pool *pool) ladder {
	return ladder{chain: s.name + "_block_attempt", title: "try free blocks", until: s.ownBlock(pool)}
}

// ownBlock loads the subscriber, and the first port of its block; the rule ends
// where it has none.
func (s *state) ownBlock(pool *pool) []expr.Any {
	return join(load(source, subscriber), pool.choose(subscriber+1), lookup(s.block, subscriber, firstPort))
}

// blockRules give an inside address a block. Two of its packets on two processors
// at once may claim one each; block keeps the first, and the other one stays
// unused until it expires.
func (s *state) blockRules(t *transaction, pool *pool) {
	b, ladder := s.cfg.Behavior, s.blockLadder(pool)
	t.rule(s.roundChain(), "give the inside address a block, unless it has one", jump(s.blockChain()))
	t.rule(s.blockChain(), "enough", s.ownBlock(pool), back())
	ladder.climb(t, s.blockChain(), min(blocks(b), attempts))
	next := draw{count: blocks(b)}
	t.rule(ladder.chain, "take the next block, if it is free",
		load(source, subscriber), pool.choose(subscriber+1),
		next.number(factor, 0), immediate(term, port(b.Range.Low)...), sum(term, b.Block, firstPort),
		claim(s.blockUsed, subscriber+1), put(s.block, subscriber, firstPort))
	ladder.rules(t)
}

// keepBlock restarts the timeout of the block that a mapping's port is of. The
// inside and the external address are loaded by the parts before. It always ends
// the rule.
func (s *state) keepBlock() []expr.Any {
	return []expr.Any{
		lookup(s.block, subscriber, firstPort), refresh(s.block, subscriber, firstPort),
		keepClaim(s.blockUsed, subscriber+1, s.blockUsed.Timeout),
	}
}

// keepBlockOutbound is the rule for packets from inside that have a mapping.
func (s *state) keepBlockOutbound(t *transaction) {
	if s.block == nil {
		return
	}
	t.rule(s.translateChain(), "keep the block",
		s.loadKey(), lookup(s.out, inside, subscriber+1), load(source, subscriber), s.keepBlock())
}

// keepBlockInbound is the rule for packets that are let in, and that count.
func (s *state) keepBlockInbound(t *transaction, chain string, admit []expr.Any) {
	if s.block == nil {
		return
	}
	t.rule(chain, "keep the block",
		admit, lookup(s.in, external, subscriber), load(destination, subscriber+1), s.keepBlock())
}
