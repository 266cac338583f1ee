package oracle

import (
	"net/netip"
	"slices"

	"p2pmodel/nat"
)

// rounds is how often each side probes all it knows. What a round learns is used
// in the next; the longest chain of discoveries takes four.
const rounds = 8

// punch is one run of plain punching: each side probes the peer's candidates and
// every address that it sees packets arrive from, and answers from the same
// socket.
type punch struct {
	net     *network
	targets [2][]netip.AddrPort
	// searches: the side finds every port that the other's NATs open, at
	// addresses that it knows.
	searches [2]bool
	reached  [2]bool // the side's probes reached the other
	direct   bool    // an answer came from where its probe was sent to
}

// chance is what may come one way or the other between two peers: who sends first,
// and whose turn it is in the pools of arbitrary NATs.
type chance struct {
	order order
	turns [2]int // mappings that each side's NATs make between discovery and the first probe
}

// order is whose first probe is first at the other's NAT.
type order uint8

const (
	firstBefore order = iota
	secondBefore
	// crossing: each side's first probe left before the other's came, as when both
	// are introduced at once.
	crossing
)

// derive finds the outcomes that come of all chances: the least, and the best.
func derive(a, b Chain, opt Options) (least, best Outcome, err error) {
	least, best = Direct, Blocked
	for _, turnsA := range turns(a) {
		for _, turnsB := range turns(b) {
			for _, o := range []order{firstBefore, secondBefore, crossing} {
				outcome, err := deriveChance(a, b, opt, chance{o, [2]int{turnsA, turnsB}})
				if err != nil {
					return Blocked, Blocked, err
				}
				least, best = max(least, outcome), min(best, outcome)
			}
		}
	}
	return least, best, nil
}

// manyTurns bounds the turns that are tried of a large pool.
const manyTurns = 4

// turns are how many mappings there may be in between, as far as it matters: to a
// relay, say.
func turns(c Chain) []int {
	all := []int{0}
	for _, e := range c {
		if e.NAT != nil && e.NAT.Pooling == nat.PoolArbitrary {
			for len(all) < min(e.Addresses, manyTurns) {
				all = append(all, len(all))
			}
		}
	}
	return all
}

// deriveChance tries the outcomes, the best first.
func deriveChance(a, b Chain, opt Options, c chance) (Outcome, error) {
	for _, attempt := range []struct {
		outcome  Outcome
		searches [][2]bool
	}{
		{Direct, [][2]bool{{false, false}}},
		{OneGuess, [][2]bool{{true, false}, {false, true}}},
		{TwoIndependent, [][2]bool{{true, true}}},
	} {
		for _, searches := range attempt.searches {
			n, err := newNetwork(a, b, opt)
			if err != nil {
				return Blocked, err
			}
			p := &punch{net: n, searches: searches}
			for side := range 2 {
				if reflexive, ok := n.reflexive(side, n.rendezvous()); ok {
					p.target(1-side, reflexive)
				}
				p.target(1-side, n.sockets[side]) // the host candidate
			}
			for side, turns := range c.turns {
				n.use(side, turns)
			}
			p.run(c.order)
			switch {
			case p.direct, p.connected() && attempt.outcome != Direct:
				// A search that leads to a split path counts: who searches ports
				// takes answers as they come.
				return attempt.outcome, nil
			case p.connected():
				return Split, nil
			}
		}
	}
	// Both foretell the other's port, and send there first of all.
	n, err := newNetwork(foreseeable(a), foreseeable(b), opt)
	if err != nil {
		return Blocked, err
	}
	p := &punch{net: n}
	for side := range 2 {
		p.target(1-side, netip.AddrPortFrom(n.outermost(side), n.sockets[side].Port()))
	}
	p.run(c.order)
	if p.connected() {
		return TwoJoint, nil
	}
	return Blocked, nil
}

func (p *punch) connected() bool { return p.reached[0] && p.reached[1] }

// target adds an address to those that a side probes.
func (p *punch) target(side int, addr netip.AddrPort) {
	if !slices.Contains(p.targets[side], addr) {
		p.targets[side] = append(p.targets[side], addr)
	}
}

func (p *punch) knows(side int, addr netip.Addr) bool {
	return slices.ContainsFunc(p.targets[side], func(t netip.AddrPort) bool { return t.Addr() == addr })
}

func (p *punch) run(o order) {
	first := 0
	switch o {
	case secondBefore:
		first = 1
	case crossing:
		// The probes are on their way when the others leave; what they bring about is
		// what those of the next round do.
		for side := range 2 {
			for _, target := range p.targets[side] {
				p.net.leave(p.net.sockets[side], target)
			}
		}
	}
	for range rounds {
		for i := range 2 {
			p.probe((first + i) % 2)
		}
		if p.direct {
			return
		}
	}
}

// probe sends to every target of a side. Whoever gets a packet answers it.
func (p *punch) probe(side int) {
	if p.searches[side] {
		for _, m := range p.net.mappings(1 - side) {
			if p.knows(side, m.Addr()) {
				p.target(side, m)
			}
		}
	}
	for _, target := range slices.Clone(p.targets[side]) {
		probe, ok := p.net.send(p.net.sockets[side], target)
		if !ok || probe.Dst != p.net.sockets[1-side] {
			continue
		}
		p.reached[side] = true
		p.target(1-side, probe.Src)
		answer, ok := p.net.send(p.net.sockets[1-side], probe.Src)
		if !ok || answer.Dst != p.net.sockets[side] {
			continue
		}
		p.reached[1-side] = true
		p.target(side, answer.Src)
		if answer.Src == target {
			p.direct = true
		}
	}
}
