package certify

import (
	"fmt"
	"net/netip"
	"time"

	"p2pmodel/nat"
)

// Words for what is no value of an axis.
const (
	unreached = "unreached" // nothing came through, so nothing can be told
	irregular = "irregular" // not a behaviour of RFC 4787
	// overloading: two hosts were given one external endpoint.
	overloading = "overloading"
)

// portSamples is how many mappings the port test makes for each host.
const portSamples = 5

// sample is one mapping of the port test.
type sample struct {
	host     int
	inside   netip.AddrPort
	external netip.AddrPort
}

func (s sample) preserved() bool { return s.inside.Port() == s.external.Port() }

// measurePorts makes mappings one after the other, while nothing else of the
// probe runs: first for one host, at ports spread over the declared range, then
// for another host at the same ports, so that the two contend for them, and at
// last one for a port beside the last that was given out.
func (p *Probe) measurePorts(now time.Time) {
	r := p.insideRange()
	var plan []func(now time.Time, next func(now time.Time))
	var ports []uint16
	for i := range portSamples {
		// One port in each fifth of the range, so that a range narrower than
		// declared shows.
		slice := r.Size() / portSamples
		low := r.Low + uint16(i*slice)
		ports = append(ports, p.freshPortIn(nat.PortRange{Low: low, High: low + uint16(max(slice, 1)-1)}))
	}
	p.shuffle(ports)
	for host := range min(2, len(p.cfg.Inside)) {
		for _, port := range ports {
			plan = append(plan, func(now time.Time, next func(now time.Time)) { p.samplePort(now, host, port, next) })
		}
	}
	plan = append(plan, func(now time.Time, next func(now time.Time)) {
		if len(p.samples) == 0 {
			next(now)
			return
		}
		last := p.samples[len(p.samples)-1].external.Port()
		beside := last + 23
		if beside < last { // past the highest port
			beside = last - 23
		}
		if p.used[beside] {
			next(now)
			return
		}
		p.used[beside] = true
		p.samplePort(now, 0, beside, next)
	})
	var run func(now time.Time)
	run = func(now time.Time) {
		if len(plan) == 0 {
			p.judgePorts()
			return
		}
		step := plan[0]
		plan = plan[1:]
		step(now, run)
	}
	run(now)
}

// samplePort makes a mapping for a socket at this port, if it can be opened.
func (p *Probe) samplePort(now time.Time, host int, port uint16, next func(now time.Time)) {
	p.open(true, netip.AddrPortFrom(p.cfg.Inside[host], port), func(now time.Time, s *socket) {
		if s == nil { // somebody has the port
			next(now)
			return
		}
		p.reach(now, s, p.outside[0][0].local, func(now time.Time, shot *shot) {
			if x, ok := p.outcome(shot, p.outside[0][0]); ok {
				p.samples = append(p.samples, sample{host: host, inside: s.local, external: x})
			}
			next(now)
		})
	})
}

// judgePorts concludes from the samples, which are in order of creation.
func (p *Probe) judgePorts() {
	var evidence []string
	for _, s := range p.samples {
		evidence = append(evidence, fmt.Sprintf("%s was mapped to %s", s.inside, s.external))
	}
	if len(p.samples) < portSamples {
		p.find(nat.AxisPorts, unreached, append(evidence, fmt.Sprintf("of at least %d datagrams to %s only %d came through", portSamples, p.outside[0][0].local, len(p.samples)))...)
		return
	}
	taken := make(map[netip.AddrPort]bool)
	preserved, uncontended, shared := 0, 0, 0
	var fallback []sample // those that got another port than their own
	steps := true
	for _, s := range p.samples {
		wanted := netip.AddrPortFrom(s.external.Addr(), s.inside.Port())
		if taken[s.external] {
			shared++
			evidence = append(evidence, fmt.Sprintf("%s had been given to another endpoint before", s.external))
		}
		if !taken[wanted] {
			uncontended++
			if s.preserved() {
				preserved++
			}
		}
		if !s.preserved() {
			if n := len(fallback); n > 0 && !p.follows(fallback[n-1].external, s.external, taken) {
				steps = false
			}
			fallback = append(fallback, s)
		}
		taken[s.external] = true
	}
	switch {
	case shared > 0:
		p.find(nat.AxisPorts, overloading, evidence...)
	case preserved > 0:
		p.narrow = preserved < uncontended
		if p.narrow {
			evidence = append(evidence, "some ports were preserved and others were not, although no mapping of the probe had them")
		}
		if !steps {
			p.find(nat.AxisPorts, "preserve/"+irregular, append(evidence, "where the port was taken, the ports given instead do not count up by one")...)
			return
		}
		p.find(nat.AxisPorts, nat.Preserve.String(), evidence...)
	case steps:
		p.find(nat.AxisPorts, nat.Sequential.String(), append(evidence, "no port was preserved, and in order of creation the ports count up by one")...)
	default:
		p.find(nat.AxisPorts, nat.Random.String(), append(evidence, "no port was preserved, and in order of creation the ports do not count up")...)
	}
}

// follows reports whether b is the next free port after a, where the counter
// skips what is taken and starts again at the end of the declared range.
func (p *Probe) follows(a, b netip.AddrPort, taken map[netip.AddrPort]bool) bool {
	for port := p.successor(a.Port()); port != a.Port(); port = p.successor(port) {
		if port == b.Port() {
			return true
		}
		if !taken[netip.AddrPortFrom(b.Addr(), port)] {
			return false
		}
	}
	return false
}

// successor is the port that a sequential NAT tries after this one.
func (p *Probe) successor(port uint16) uint16 {
	r := p.cfg.Declared.Resolved().Range
	if port == r.High || port == 65535 {
		return r.Low
	}
	return port + 1
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
