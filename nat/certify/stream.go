package certify

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// streamAge is the age from which on Linux takes a flow that was answered for a
// stream: two seconds, with some to spare.
const streamAge = 2200 * time.Millisecond

// measureStream measures how long a mapping lives through which packets have
// passed both ways.
func (p *Probe) measureStream(now time.Time) {
	p.measureAging(now, nat.AxisStream, p.cfg.Declared.Stream, p.bornStream)
}

// bornStream makes a mapping that carries a stream: packets both ways, for as long
// as it takes.
func (p *Probe) bornStream(now time.Time, s *socket, then func(now time.Time, x netip.AddrPort, sent, born time.Time), lost func()) {
	first := p.outside[0][0]
	d := p.cfg.Declared.Resolved()
	until := now
	if d.Kind != nat.KindRFC {
		until = now.Add(streamAge)
	}
	var exchange func(now time.Time, last bool)
	exchange = func(now time.Time, last bool) {
		p.born(now, s, func(now time.Time, x netip.AddrPort, sent, born time.Time) {
			if last {
				then(now, x, sent, born)
				return
			}
			p.reach(now, first, x, func(now time.Time, shot *shot) {
				switch {
				case !got(shot, s):
					lost()
				case now.After(until):
					exchange(now, true)
				default:
					p.after(now.Add(min(streamAge/2, d.Timeout/4, d.Stream/4)), func(now time.Time) { exchange(now, false) })
				}
			})
		}, lost)
	}
	exchange(now, false)
}

// rotation is how old a mapping was that was given up in use.
type rotation struct {
	least, most time.Duration // 0: it was not
	open        bool          // the old external port still was
}

// measureRotation uses mappings without a pause, and looks when they change.
func (p *Probe) measureRotation(now time.Time) {
	d := p.cfg.Declared.Resolved()
	step := min(tolerance(d.Rotate)/2, d.Timeout/4, d.Stream/4)
	var all []rotation
	var evidence []string
	p.phases = append([]func(now time.Time){func(time.Time) { p.judgeRotation(all, evidence) }}, p.phases...)
	for i := range 3 {
		p.after(now.Add(time.Duration(i)*stagger(d.Rotate)), func(time.Time) {
			p.inside(0, func(now time.Time, s *socket) {
				p.useUntilChanged(now, s, step, d.Rotate*3/2, func(r rotation, line string) {
					all, evidence = append(all, r), append(evidence, line)
				})
			})
		})
	}
}

// useUntilChanged sends both ways, again and again, until the mapping is another,
// or long enough.
func (p *Probe) useUntilChanged(now time.Time, s *socket, step, limit time.Duration, done func(r rotation, line string)) {
	first := p.outside[0][0]
	p.born(now, s, func(now time.Time, x netip.AddrPort, sent, born time.Time) {
		last := born
		var use func(now time.Time)
		use = func(now time.Time) {
			asked := now
			p.born(now, s, func(now time.Time, y netip.AddrPort, _, _ time.Time) {
				switch {
				case y != x:
					r := rotation{least: last.Sub(born), most: now.Sub(sent)}
					p.knockOnce(now, s, x, func(shot *shot) {
						r.open = got(shot, s)
						done(r, fmt.Sprintf("%s was mapped to %s until %s after that was made, then to %s", s.local, x, brief(r.most), y))
					})
				case now.Sub(born) > limit:
					done(rotation{}, fmt.Sprintf("%s was mapped to %s, still %s after that was made", s.local, x, brief(now.Sub(born))))
				default:
					last = asked
					p.try(now, first, x, func(now time.Time, _ *shot) {
						p.after(now.Add(step), use)
					})
				}
			}, func() {})
		}
		p.after(now.Add(step), use)
	}, func() {})
}

func (p *Probe) judgeRotation(all []rotation, evidence []string) {
	slices.Sort(evidence)
	if len(all) == 0 {
		p.find(nat.AxisRotate, analysis.Unreached)
		return
	}
	d := p.cfg.Declared.Rotate
	measured := p.cfg.Declared.Get(nat.AxisRotate)
	for _, r := range all {
		switch {
		case r.most == 0:
			measured = nat.Behavior{}.Get(nat.AxisRotate)
		case r.open:
			measured = analysis.Irregular
		case r.least > d+tolerance(d) || r.most < d-tolerance(d):
			measured = brief(r.least) + ".." + brief(r.most)
		}
	}
	p.find(nat.AxisRotate, measured, evidence...)
}
