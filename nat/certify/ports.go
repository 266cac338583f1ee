package certify

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

const (
	// portSamples is how many mappings the port test makes for each host.
	portSamples = 5
	// moreSamples is how many it makes at most where those leave open whether
	// parity is kept, or whether a port was preserved by chance.
	moreSamples = 14
)

// patternOfParity is the parity of the inside ports in the order of use: ports
// that merely count up cannot keep it.
var patternOfParity = [portSamples]uint16{0, 0, 1, 1, 0}

// measurePorts makes mappings one after the other, while nothing else of the
// probe runs: first for one host, at ports spread over the declared range, then
// for another host at the same ports, so that the two contend for them, then
// one for a port beside the last that was given out; and more of those in doubt.
func (p *Probe) measurePorts(now time.Time) {
	r := p.insideRange()
	hosts := p.rivals
	var plan []sampling
	var ports []uint16
	for i := range portSamples {
		// One port in each fifth of the range, so that a range narrower than
		// declared shows.
		slice := r.Size() / portSamples
		low := r.Low + uint16(i*slice)
		ports = append(ports, p.freshPortIn(nat.PortRange{Low: low, High: low + uint16(max(slice, 1)-1)}))
	}
	p.shuffle(ports)
	for i, port := range ports {
		ports[i] = p.withParity(port, patternOfParity[i])
	}
	for _, host := range hosts {
		for _, port := range ports {
			plan = append(plan, sampling{host, port})
		}
	}
	p.take(now, plan, func(now time.Time) {
		p.take(now, p.beside(len(p.samples)-1), func(now time.Time) { p.doubt(now, moreSamples) })
	})
}

// meet finds two hosts that have one external address: only they contend for
// ports. Where there are several addresses, it takes a host more than those.
func (p *Probe) meet(now time.Time) {
	p.rivals = []int{0, 1}[:min(2, len(p.cfg.Inside))]
	if len(p.cfg.External) < 2 || len(p.cfg.Inside) < 3 {
		return
	}
	of := make(map[netip.Addr]int) // the first host that has it
	var next func(now time.Time, host int)
	next = func(now time.Time, host int) {
		if host == len(p.cfg.Inside) {
			return
		}
		p.inside(host, func(now time.Time, s *socket) {
			p.mapped(now, s, func(now time.Time, x netip.AddrPort) {
				if first, known := of[x.Addr()]; known {
					p.rivals = []int{first, host}
					return
				}
				of[x.Addr()] = host
				next(now, host+1)
			})
		})
	}
	next(now, 0)
}

// sampling is a mapping to be made: by which host, from which port.
type sampling struct {
	host int
	port uint16
}

// withParity gives a port of the wished parity: this one or a neighbour, if that
// is unused.
func (p *Probe) withParity(port, parity uint16) uint16 {
	if port%2 == parity {
		return port
	}
	if other := port ^ 1; p.insideRange().Contains(other) && !p.used[other] {
		delete(p.used, port)
		p.used[other] = true
		return other
	}
	return port
}

// beside is the mapping of a port not far from the external one of a sample: if
// that is preserved, the NAT preserves, in whatever range.
func (p *Probe) beside(sample int) []sampling {
	if sample < 0 {
		return nil
	}
	last := p.samples[sample].External.Port()
	port := last + 23
	if port < last { // past the highest port
		port = last - 23
	}
	if p.used[port] || port < 1024 {
		return nil
	}
	p.used[port] = true
	return []sampling{{p.rivals[0], port}}
}

// doubt takes more samples where those there are may be chance.
func (p *Probe) doubt(now time.Time, left int) {
	j := p.judgedPorts()
	var plan []sampling
	switch {
	case left == 0 || len(p.samples) < portSamples || int(p.room()) < len(p.samples)+2:
	case j.Lucky >= 0:
		plan = p.beside(j.Lucky)
	case p.scattered(j):
		// Each host has a block of each address: two ports of each are wanted.
		for range len(p.cfg.External) {
			for _, host := range p.rivals {
				plan = append(plan, sampling{host, p.freshPort()})
			}
		}
	case j.Clusters && j.Allocation == nat.Random.String() && len(p.rivals) > 1:
		plan = []sampling{{p.rivals[0], p.freshPort()}, {p.rivals[1], p.freshPort()}}
	case j.Parity != "":
	case j.Allocation == nat.Random.String() || j.Allocation == nat.Block.String():
		plan = []sampling{{p.rivals[0], p.freshPort()}}
	case j.Allocation == nat.Preserve.String() && len(p.rivals) > 1:
		port := p.freshPort()
		hosts := p.rivals
		if len(p.cfg.External) > 1 { // more than there are addresses
			hosts = []int{0, 1, 2, 3}[:min(4, len(p.cfg.Inside))]
		}
		for _, host := range hosts {
			plan = append(plan, sampling{host, port})
		}
	}
	if plan == nil {
		p.judgePorts()
		return
	}
	p.take(now, plan, func(now time.Time) { p.doubt(now, left-1) })
}

// scattered says that the ports of declared blocks are too few to tell, since they
// are of several addresses.
func (p *Probe) scattered(j analysis.Ports) bool {
	n := len(p.cfg.External)
	return declaredBlock(p.cfg.Declared.Resolved()) > 0 && n > 1 && j.Allocation == nat.Random.String() && len(p.samples) < 4*n*max(len(p.rivals), 1)
}

// room is how many mappings the NAT claims to have room for.
func (p *Probe) room() int {
	r := p.cfg.Declared.Resolved()
	room := min(r.Range.Size(), r.TableSize)
	if r.Ports == nat.Block {
		room = min(room, r.Block)
	}
	return room
}

// take makes mappings one after the other.
func (p *Probe) take(now time.Time, plan []sampling, then func(now time.Time)) {
	if len(plan) == 0 {
		then(now)
		return
	}
	next := func(now time.Time) { p.take(now, plan[1:], then) }
	p.open(true, netip.AddrPortFrom(p.cfg.Inside[plan[0].host], plan[0].port), func(now time.Time, s *socket) {
		if s == nil { // somebody has the port
			next(now)
			return
		}
		p.reach(now, s, p.outside[0][0].local, func(now time.Time, shot *shot) {
			if x, ok := p.outcome(shot, p.outside[0][0]); ok {
				p.samples = append(p.samples, analysis.Sample{Inside: s.local, External: x})
			}
			next(now)
		})
	})
}

func (p *Probe) judgedPorts() analysis.Ports {
	d := p.cfg.Declared.Resolved()
	return analysis.JudgePorts(p.samples, analysis.Assumptions{Range: d.Range, Block: declaredBlock(d), Delta: d.Delta, Alone: true})
}

// declaredBlock is the size of blocks that a NAT claims to give; 0: none.
func declaredBlock(d nat.Behavior) int {
	if d.Ports == nat.Block {
		return d.Block
	}
	return 0
}

// judgePorts concludes from the samples, which are in order of creation.
func (p *Probe) judgePorts() {
	var evidence []string
	for _, s := range p.samples {
		evidence = append(evidence, fmt.Sprintf("%s was mapped to %s", s.Inside, s.External))
	}
	d := p.cfg.Declared.Resolved()
	j := p.judgedPorts()
	p.narrow = j.Narrow
	evidence = append(evidence, j.Reason)
	p.find(nat.AxisPorts, j.Allocation, evidence...)
	if j.Fallback != "" && d.Kind == nat.KindRFC {
		p.find(nat.AxisFallback, j.Fallback, j.Reason)
	}
	if j.Delta > 0 && d.Kind == nat.KindRFC {
		p.find(nat.AxisDelta, strconv.Itoa(j.Delta), j.Reason)
	}
	if j.Parity != "" {
		p.find(nat.AxisParity, j.Parity, evidence...)
	}
}

// successor is the port that a sequential NAT tries after this one.
func (p *Probe) successor(port uint16) uint16 {
	r := p.cfg.Declared.Resolved()
	if r.Parity != nat.ParityKeep {
		return analysis.Successor(port, r.Delta, r.Range)
	}
	next := analysis.Successor(port, r.Delta+r.Delta%2, r.Range)
	if next%2 != port%2 { // the low end has the other parity
		next++
	}
	return next
}

// insideRange is where the probe's inside ports come from: the declared range,
// without the well-known ports where that leaves room.
func (p *Probe) insideRange() nat.PortRange {
	r := p.cfg.Declared.Resolved().Range
	if r.Low < 1024 && r.High >= 1024+minimalRange {
		r.Low = 1024
	}
	return r
}

// freshPort chooses an inside port that no socket of the probe has had.
func (p *Probe) freshPort() uint16 { return p.freshPortIn(p.insideRange()) }

// freshPortIn chooses it within a range, as long as that has unused ports.
func (p *Probe) freshPortIn(r nat.PortRange) uint16 {
	for attempt := 0; ; attempt++ {
		if attempt == 256 {
			r = nat.DefaultPortRange
		}
		port := r.Low + uint16(p.cfg.Rand.IntN(r.Size()))
		if !p.used[port] && port != p.cfg.Ports[0] && port != p.cfg.Ports[1] {
			p.used[port] = true
			return port
		}
	}
}

func (p *Probe) shuffle(ports []uint16) {
	p.cfg.Rand.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
}
