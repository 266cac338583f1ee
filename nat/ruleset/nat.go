//go:build linux

package ruleset

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// Base chains, where packets enter the rules.
const (
	chainUntrack      = "untrack"       // prerouting, before conntrack
	chainUntrackLocal = "untrack_local" // output, likewise
	chainArrive       = "arrive"        // prerouting: packets for an external address
	chainForward      = "forward"       // forward: packets from inside to outside
	chainOwn          = "own"           // output: errors that the router itself makes
)

// Chains that the base chains jump to.
const (
	chainInbound  = "inbound"
	chainOutbound = "outbound"
	chainHairpin  = "hairpin"
)

// Priorities. Defragmentation is at −400, conntrack at −200.
const (
	priorityUntrack   = -310
	prioritySpoofed   = -305
	priorityPortal    = -304
	priorityTranslate = -300
	priorityFirewall  = -10
	priorityForward   = 0
)

const protocolICMP = unix.IPPROTO_ICMP

// build makes the transaction that gives a router the NAT.
func build(cfg Config) *transaction {
	if cfg.Behavior.Kind != nat.KindRFC {
		return buildTracking(cfg)
	}
	t := newTransaction(natTable)
	t.log = cfg.Log

	pool, errors := &pool{cfg: cfg}, &icmpErrors{}
	pool.declare(t)
	errors.declare(t)
	var states []*state
	for _, p := range protocols {
		s := &state{protocol: p, cfg: cfg}
		s.declare(t)
		states = append(states, s)
	}

	for _, name := range []string{chainInbound, chainOutbound, chainHairpin, errorsInbound, errorsOutbound} {
		t.chain(name)
	}
	for _, s := range states {
		for _, name := range s.chains(pool) {
			t.chain(name)
		}
	}
	for _, s := range states {
		s.rules(t, pool)
		s.errorRules(t)
	}

	for _, s := range states {
		t.rule(chainInbound, s.name, s.inbound(), goTo(s.inboundChain()))
	}
	t.rule(chainInbound, "ICMP errors", errors.match(), jump(errorsInbound))
	t.rule(chainInbound, "nothing else enters, and nothing is answered", drop(CauseProtocol))

	t.rule(chainOutbound, "an inside host has no external address", pool.is(source), drop(CauseSource))
	for _, s := range states {
		t.rule(chainOutbound, s.name, s.outbound(), jump(s.outboundChain()))
	}
	t.rule(chainOutbound, "ICMP errors", errors.match(), jump(errorsOutbound))
	for _, s := range states {
		t.rule(chainOutbound, s.name+" not translated: no port is free, or the table is full", s.outbound(), pool.untranslated(), drop(CauseExhausted))
	}
	t.rule(chainOutbound, "not translated: the protocol is unknown, or it is an error about nothing", pool.untranslated(), drop(CauseProtocol))

	hooks(t)
	t.rule(chainArrive, "from outside for an external address",
		entersBy(cfg.Outside), pool.is(destination), goTo(chainInbound))
	t.rule(chainArrive, "from outside for another address: inside addresses are not known there",
		entersBy(cfg.Outside), drop(CauseInside))
	t.rule(chainArrive, "from inside for an external address", pool.is(destination), goTo(chainHairpin))
	switch cfg.Behavior.Hairpin {
	case nat.HairpinExternal:
		for _, s := range states {
			if s.echo {
				t.rule(chainHairpin, s.name+": a request bears its sender's identifier, and names no mapping", s.outbound(), drop(CauseHairpin))
			}
		}
		t.rule(chainHairpin, "as if it went out", jump(chainOutbound))
		t.rule(chainHairpin, "and came in", goTo(chainInbound))
	case nat.HairpinInternal:
		for _, s := range states {
			if s.hairpinsInside() {
				t.rule(chainHairpin, s.name, match(ipProtocol, s.number), goTo(s.hairpinChain()))
			}
		}
	}
	t.rule(chainHairpin, "no hairpin", drop(CauseHairpin))

	t.rule(chainForward, "from inside to outside",
		entersNotBy(cfg.Outside), leavesBy(cfg.Outside), jump(chainOutbound))

	// The router quotes packets as they are after the translation on arrival.
	t.rule(chainOwn, "to outside", leavesBy(cfg.Outside), errors.match(), jump(errorsOutbound))
	t.rule(chainOwn, "to an external address: about a packet that was translated already",
		pool.is(destination), errors.match(), jump(errorsOutbound))
	t.rule(chainOwn, "and so for an inside host", pool.is(destination), errors.match(), jump(errorsInbound))
	return t
}

// hooks makes the base chains of a NAT.
func hooks(t *transaction) {
	untrack(t)
	t.hook(chainArrive, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, priorityTranslate)
	t.hook(chainForward, nftables.ChainTypeFilter, nftables.ChainHookForward, priorityForward)
	// A chain of type route has the packet routed anew when it changed.
	t.hook(chainOwn, nftables.ChainTypeRoute, nftables.ChainHookOutput, priorityTranslate)
}

// untrack keeps packets from conntrack, but has them defragmented: any ct
// expression switches that on, and without it later fragments, which have no
// ports, would not be translated.
func untrack(t *transaction) {
	t.hook(chainUntrack, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, priorityUntrack)
	t.hook(chainUntrackLocal, nftables.ChainTypeFilter, nftables.ChainHookOutput, priorityUntrack)
	t.rule(chainUntrack, "defragment, but do not track",
		&expr.Ct{Key: expr.CtKeySTATE, Register: scratch.number()}, &expr.Notrack{})
	t.rule(chainUntrackLocal, "do not track", &expr.Notrack{})
}
