package analysis

import (
	"fmt"
	"net/netip"

	"p2pmodel/nat"
)

const (
	// coincidence is how many ports must keep their parity until that is no
	// coincidence: one NAT in 65536 that does not look at it would.
	coincidence = 16
	// clustered is the largest block of ports that shows without being declared: by
	// chance five random ports of a host lie within it once in 10^5, and those of
	// two hosts once in 10^10.
	clustered = 4096
	// fewest is how many mappings it takes to conclude anything.
	fewest = 5
)

// Sample is one mapping: samples are judged in the order in which they were made.
type Sample struct {
	Inside, External netip.AddrPort
}

func (s Sample) preserved() bool { return s.Inside.Port() == s.External.Port() }

func (s Sample) keepsParity() bool { return s.Inside.Port()%2 == s.External.Port()%2 }

// Ports is what the samples say of the allocation of ports.
type Ports struct {
	// Allocation is a value of the axis, or a word for what is none.
	Allocation string
	// Fallback, Parity and Delta are values of their axes; they are empty, and 0,
	// where the samples do not tell.
	Fallback, Parity string
	Delta            int
	// Lucky is the sample that may have been preserved by chance, as one in ten
	// thousand NATs with random ports would; -1: there is none.
	Lucky int
	// Clusters says that the ports of each host lie together, but that this may be
	// chance.
	Clusters bool
	// Narrow says that some free ports were preserved and others were not: the
	// range is narrower than the samples.
	Narrow bool
	// Reason is how the allocation was concluded.
	Reason string
}

// Assumptions are what is known of a NAT before its ports are judged.
type Assumptions struct {
	Range nat.PortRange // where a sequential NAT starts again
	Block int           // the size of a block of ports that is declared; 0: none
	Delta int           // the step that is declared; 0: none
	// Alone says that nobody else uses the NAT: then a port that is not preserved
	// without need means a narrow range.
	Alone bool
}

// JudgePorts concludes how external ports are chosen (RFC 4787 section 4.2).
func JudgePorts(samples []Sample, known Assumptions) Ports {
	if len(samples) < fewest {
		return Ports{Allocation: Unreached, Lucky: -1, Reason: fmt.Sprintf("%d mappings were seen, and it takes %d", len(samples), fewest)}
	}
	holder := make(map[netip.AddrPort]netip.AddrPort)
	preserved, uncontended, lucky := 0, 0, -1
	var chosen []choice // those that got another port than their own
	for i, s := range samples {
		if owner, taken := holder[s.External]; taken && owner != s.Inside {
			return Ports{Allocation: Overloading, Lucky: -1, Reason: fmt.Sprintf("%s and %s share %s", owner, s.Inside, s.External)}
		}
		if _, taken := holder[netip.AddrPortFrom(s.External.Addr(), s.Inside.Port())]; !taken {
			uncontended++
			if s.preserved() {
				preserved++
				lucky = i
			}
		}
		if !s.preserved() {
			c := choice{Sample: s, taken: make(map[netip.AddrPort]bool, len(holder))}
			for x := range holder {
				c.taken[x] = true
			}
			chosen = append(chosen, c)
		}
		holder[s.External] = s.Inside
	}
	p := Ports{Lucky: -1}
	block, clusters := blocks(samples, known.Block)
	p.Clusters = clusters
	p.Parity, p.Delta = judgeSteps(chosen, known)
	steps := p.Delta > 0
	if preserved == 1 && uncontended > fewest && !steps {
		p.Lucky = lucky
	}
	switch {
	case preserved > 0 && (p.Lucky < 0 || !known.Alone):
		p.Allocation = nat.Preserve.String()
		p.Reason = fmt.Sprintf("%d of %d ports that were free were preserved", preserved, uncontended)
		p.Narrow = known.Alone && preserved < uncontended
		switch {
		case len(chosen) < 3: // two steps may be chance
			p.Delta = 0
		case steps:
			p.Fallback = nat.FallbackSequential.String()
			p.Reason += fmt.Sprintf("; the others count up by %d", p.Delta)
		default:
			p.Fallback = nat.FallbackRandom.String()
			p.Reason += "; the others do not count up"
		}
	case steps:
		p.Allocation = nat.Sequential.String()
		p.Reason = fmt.Sprintf("no port was preserved, and in order of creation they count up by %d", p.Delta)
	case block:
		p.Allocation = nat.Block.String()
		p.Reason = "no port was preserved, they do not count up, and each host's lie together, apart from those of others"
	default:
		p.Allocation = nat.Random.String()
		p.Reason = fmt.Sprintf("%d of %d ports were preserved, and in order of creation they do not count up", preserved, uncontended)
	}
	return p
}

// choice is a port that a NAT chose, and those that it could not.
type choice struct {
	Sample
	taken map[netip.AddrPort]bool
}

// judgeSteps tells parity and step of ports that a NAT chose. Delta is 0 where
// they do not count up, parity empty where it may be chance. A NAT that keeps the
// parity counts even and odd ports apart, and by even steps.
func judgeSteps(chosen []choice, known Assumptions) (parity string, delta int) {
	if len(chosen) == 0 {
		return "", 0
	}
	var of [2][]choice // by parity of the inside port
	kept := 0
	for _, c := range chosen {
		of[c.Inside.Port()%2] = append(of[c.Inside.Port()%2], c)
		if c.keepsParity() {
			kept++
		}
	}
	if delta = step(known, chosen); kept < len(chosen) {
		return nat.ParityIgnore.String(), delta
	}
	if delta == 0 && len(chosen) > 2 {
		if delta = step(known, of[0], of[1]); delta > 0 {
			parity = nat.ParityKeep.String()
			if delta--; known.Delta == delta+1 { // two steps that are rounded to one
				delta = known.Delta
			}
		}
	}
	if kept >= coincidence {
		parity = nat.ParityKeep.String()
	}
	return parity, delta
}

// step is the one by which all sequences count up; 0: there is none.
func step(known Assumptions, sequences ...[]choice) int {
	pairs := 0
	for d := 1; d <= nat.MaxDelta+1; d++ {
		fits := len(sequences) == 1 || d%2 == 0
		pairs = 0
		for _, s := range sequences {
			for i := 1; i < len(s) && fits; i++ {
				pairs++
				fits = follows(s[i-1].External.Port(), s[i], d, known.Range, len(sequences) > 1)
			}
		}
		if fits && pairs > 0 {
			return d
		}
	}
	return 0
}

// follows reports whether a port is the next one after the last, where a NAT
// leaves out what is taken.
func follows(last uint16, c choice, delta int, r nat.PortRange, keep bool) bool {
	port := last
	for range r.Size() {
		port = Successor(port, delta, r)
		if keep && port%2 != last%2 {
			port++ // the low end has the other parity
		}
		if port == c.External.Port() {
			return true
		}
		if !c.taken[netip.AddrPortFrom(c.External.Addr(), port)] {
			return false
		}
	}
	return false
}

// Successor is the port that a sequential NAT tries after this one.
func Successor(port uint16, delta int, r nat.PortRange) uint16 {
	next := int(port) + delta
	if port <= r.High && next > int(r.High) || next > 65535 {
		return r.Low
	}
	return uint16(next)
}

// blocks reports whether the ports of each of several hosts lie within a block,
// apart from those of others. Where no block is declared, it takes more samples
// for that not to be chance, which doubtful says.
func blocks(samples []Sample, size int) (yes, doubtful bool) {
	// A host has a block of each external address that it is given ports of.
	type owner struct{ inside, external netip.Addr }
	hulls := make(map[owner]nat.PortRange)
	count := make(map[owner]int)
	hosts := make(map[netip.Addr]bool)
	for _, s := range samples {
		o, port := owner{s.Inside.Addr(), s.External.Addr()}, s.External.Port()
		h, known := hulls[o]
		if !known {
			h = nat.PortRange{Low: port, High: port}
		}
		hulls[o] = nat.PortRange{Low: min(h.Low, port), High: max(h.High, port)}
		count[o]++
		hosts[o.inside] = true
	}
	limit := max(clustered, size)
	if len(hosts) == 1 {
		limit = size
	}
	told := 0
	for o, h := range hulls {
		if count[o] < 2 {
			continue // one port lies together with itself
		}
		told++
		if h.Size() > limit {
			return false, false
		}
		for other, h2 := range hulls {
			if other != o && other.external == o.external && h.Low <= h2.High && h2.Low <= h.High {
				return false, false
			}
		}
		doubtful = doubtful || size == 0 && count[o] < 2*fewest
	}
	if told < min(2, len(hulls)) {
		return false, false
	}
	return !doubtful, doubtful
}
