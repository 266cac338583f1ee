package certify

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

const (
	// agingRounds is how often the timeout is measured at most where it speaks
	// against the declaration, because a probe that is lost, or held up on its way
	// through a busy kernel, looks like an expired mapping: a NAT that lies does so
	// every time. blurredRounds is how often where it speaks neither for nor
	// against it, because the probes were sent late; what was learned stays.
	agingRounds, blurredRounds = 4, 10
	// agingGroups is how many groups of mappings are made one after another, so
	// that a moment in which the machine stands still spoils one of them only.
	agingGroups = 3
	// refreshAt and refreshProbe, in tenths of the timeout, are when traffic
	// tries to keep a mapping alive, and when it is probed: late enough to be
	// dead without, early enough to be alive with.
	refreshAt, refreshProbe = 4, 12
)

// tolerance is how close to the declared timeout the probe looks: the kernel's
// timers and a busy machine blur what is closer.
func tolerance(timeout time.Duration) time.Duration {
	return min(max(25*time.Millisecond, timeout/50), timeout/8)
}

// aging is one round of measuring timeout and refresh direction. Every mapping
// is probed once only, because the probe itself may refresh it.
type aging struct {
	axis               nat.Axis
	protocol           Protocol
	birth              birth
	timeout, tolerance time.Duration
	round              int
	// aliveAt is the largest age at which a mapping lived, deadAt the smallest
	// at which one was dead; zero: none.
	aliveAt, deadAt time.Duration
	known           [2]time.Duration // both, from the rounds before
	probes          []aged
	near            int // probes close to the declared timeout that are under way
	later           []*alarm
	evidence        []string
	// kept says by direction of the traffic how mappings fared that it tried to
	// keep alive.
	inbound, outbound keeping
}

// aged is a mapping that was probed when it was at least and at most so old.
type aged struct {
	mapping     netip.AddrPort
	shot        *shot
	owner       *socket
	least, most time.Duration
}

// weigh sums up what the probes say now. What a busy kernel held up for longer
// than the wait counts as soon as it has come.
func (g *aging) weigh() {
	g.aliveAt, g.deadAt, g.evidence = g.known[0], g.known[1], g.evidence[:0]
	for _, a := range g.probes {
		if got(a.shot, a.owner) {
			g.aliveAt = max(g.aliveAt, a.least)
			g.note("%s was alive %s after it was made", a.mapping, a.least)
			continue
		}
		if g.deadAt == 0 || a.most < g.deadAt {
			g.deadAt = a.most
		}
		g.note("%s was dead %s after it was made", a.mapping, a.most)
	}
}

type keeping struct {
	alive, dead int
	evidence    []string
}

// stagger is the time between two groups of mappings.
func stagger(timeout time.Duration) time.Duration { return min(timeout/8, 200*time.Millisecond) }

// measureTimeout measures how long a mapping lives that was used once.
func (p *Probe) measureTimeout(now time.Time) {
	p.measureAging(now, nat.AxisTimeout, p.cfg.Declared.Resolved().Timeout, p.born)
}

// measureTCP and measureICMP measure the same of connections, which are open and
// silent, and of identifiers of echo requests.
func (p *Probe) measureTCP(time.Time) {
	p.measureAgingOf(TCP, p.outside[0][0].local, nat.AxisTimeoutTCP, p.cfg.Declared.TimeoutTCP)
}

func (p *Probe) measureICMP(time.Time) {
	p.measureAgingOf(ICMP, netip.AddrPortFrom(p.cfg.Outside[0], 0), nat.AxisTimeoutICMP, p.cfg.Declared.TimeoutICMP)
}

func (p *Probe) measureAgingOf(protocol Protocol, outside netip.AddrPort, axis nat.Axis, t time.Duration) {
	p.openAs(protocol, false, outside, func(now time.Time, s *socket) {
		if s == nil {
			p.find(axis, analysis.Unreached, fmt.Sprintf("no socket could be opened at %s", outside))
			return
		}
		p.other[protocol] = s
		p.startAging(now, &aging{axis: axis, protocol: protocol, birth: p.born, timeout: t, tolerance: tolerance(t), round: 1})
	})
}

// remote is the outside socket with which mappings of an inside one age.
func (p *Probe) remote(s *socket) *socket {
	if s.protocol == UDP {
		return p.outside[0][0]
	}
	return p.other[s.protocol]
}

// measureAging opens mappings in groups and probes each at its own age.
func (p *Probe) measureAging(now time.Time, axis nat.Axis, t time.Duration, make birth) {
	p.startAging(now, &aging{axis: axis, birth: make, timeout: t, tolerance: tolerance(t), round: 1})
}

// birth makes a mapping and says when it was last used, at least and at most.
type birth func(now time.Time, s *socket, then func(now time.Time, x netip.AddrPort, sent, born time.Time), lost func())

func (p *Probe) startAging(now time.Time, g *aging) {
	t := g.timeout
	for group := range time.Duration(agingGroups) {
		ages := []time.Duration{t - g.tolerance, t - g.tolerance/2, t + g.tolerance/2, t + g.tolerance}
		g.near += len(ages)
		p.after(now.Add(group*stagger(t)), func(time.Time) {
			for _, age := range ages {
				p.age(g, age, true)
			}
		})
	}
	for _, percent := range []time.Duration{25, 50, 75, 90, 110, 125, 150, 200, 300} {
		p.age(g, t*percent/100, false)
	}
	for range 2 {
		if !g.directs(p.cfg.Declared) {
			break
		}
		p.keep(g, &g.inbound, true)
		p.keep(g, &g.outbound, false)
	}
	p.phases = append([]func(now time.Time){func(now time.Time) { p.judgeAging(now, g) }}, p.phases...)
}

// age opens a mapping and probes it once, when it is this old. Once all the
// near ones have confirmed the declared timeout, older ones are not waited for.
func (p *Probe) age(g *aging, age time.Duration, near bool) {
	settle := func() {
		if near {
			g.near--
		}
		if g.near == 0 && g.confirmed() {
			for _, a := range g.later {
				p.cancel(a)
			}
		}
	}
	p.openAs(g.protocol, true, netip.AddrPortFrom(p.cfg.Inside[0], 0), func(now time.Time, s *socket) {
		g.birth(now, s, func(now time.Time, x netip.AddrPort, sent, born time.Time) {
			a := p.after(born.Add(age), func(now time.Time) {
				p.knockOnce(now, s, x, func(shot *shot) {
					// Between sending and arriving the mapping was made; the
					// probe got there between being given out and having left.
					g.probes = append(g.probes, aged{
						mapping: x, shot: shot, owner: s,
						least: shot.sent[0].Sub(born), most: shot.left[len(shot.left)-1].Sub(sent),
					})
					g.weigh()
					settle()
				})
			})
			if !near && age > g.timeout {
				g.later = append(g.later, a)
			}
		}, settle)
	})
}

// keep opens a mapping, sends through it once when it is refreshAt old, and
// probes it when it would be dead without that.
func (p *Probe) keep(g *aging, k *keeping, inbound bool) {
	p.inside(0, func(now time.Time, s *socket) {
		first := p.outside[0][0]
		p.born(now, s, func(_ time.Time, x netip.AddrPort, sent, born time.Time) {
			p.after(born.Add(g.timeout*refreshAt/10), func(now time.Time) {
				probe := func(now time.Time, refresh *shot, through bool) {
					if !through || now.Sub(sent) >= g.timeout-g.tolerance {
						return // too late to tell
					}
					refreshed := refresh.sent[0]
					p.after(born.Add(g.timeout*refreshProbe/10), func(now time.Time) {
						if now.Sub(refreshed) >= g.timeout-g.tolerance {
							return // too late to tell
						}
						p.knockOnce(now, s, x, func(shot *shot) {
							what := "dead"
							switch {
							case got(shot, s):
								k.alive++
								what = "alive"
							case shot.left[0].Sub(refreshed) >= g.timeout-g.tolerance:
								return // too late to tell
							default:
								k.dead++
							}
							k.evidence = append(k.evidence, fmt.Sprintf("%s, used %s once when it was %s old, was %s %s after it was made",
								x, direction(inbound), brief(refreshed.Sub(born)), what, brief(shot.sent[0].Sub(born))))
						})
					})
				}
				if inbound {
					p.reach(now, first, x, func(now time.Time, shot *shot) { probe(now, shot, got(shot, s)) })
				} else {
					p.reach(now, s, first.local, func(now time.Time, shot *shot) {
						again, ok := p.outcome(shot, first)
						probe(now, shot, ok && again == x)
					})
				}
			})
		}, func() {})
	})
}

// born makes a mapping towards the first outside socket and says when it was
// sent for, and when it was there at the latest.
func (p *Probe) born(now time.Time, s *socket, then func(now time.Time, x netip.AddrPort, sent, born time.Time), lost func()) {
	p.reach(now, s, p.remote(s).local, func(now time.Time, shot *shot) {
		if x, ok := p.outcome(shot, p.remote(s)); ok {
			then(now, x, shot.sent[0], now)
		} else {
			lost()
		}
	})
}

// knockOnce probes a mapping from the socket that it was made towards: two
// datagrams at once, for one may be lost, and the second cannot revive what the
// first found dead.
func (p *Probe) knockOnce(now time.Time, owner *socket, x netip.AddrPort, done func(s *shot)) {
	p.shoot(now, p.remote(owner), x, 2, time.Millisecond, p.cfg.Wait, func(_ time.Time, s *shot) { done(s) })
}

func (g *aging) note(format string, x netip.AddrPort, age time.Duration) {
	g.evidence = append(g.evidence, fmt.Sprintf(format, x, brief(age)))
}

// confirmed reports whether mappings lived until just before the declared
// timeout, and were dead just after.
func (g *aging) confirmed() bool {
	t, near := g.timeout, 2*g.tolerance
	return g.aliveAt >= t-near && g.aliveAt < t+g.tolerance/2 &&
		g.deadAt > t-g.tolerance/2 && g.deadAt <= t+near && g.aliveAt < g.deadAt
}

// blurred reports whether nothing speaks against the declared timeout, but not
// enough for it either.
func (g *aging) blurred() bool {
	return !g.confirmed() && g.aliveAt < g.timeout+g.tolerance/2 &&
		(g.deadAt == 0 || g.deadAt > g.timeout-g.tolerance/2 && g.deadAt > g.aliveAt)
}

// again is the next round: it begins with what is certain so far. A mapping that
// lived, lived; one that was found dead before the declared time may have been a
// lost probe.
func (g *aging) again() *aging {
	next := &aging{axis: g.axis, protocol: g.protocol, birth: g.birth, timeout: g.timeout, tolerance: g.tolerance, round: g.round + 1}
	if g.blurred() {
		next.known = [2]time.Duration{g.aliveAt, g.deadAt}
	}
	return next
}

func (p *Probe) judgeAging(now time.Time, g *aging) {
	g.weigh()
	slices.Sort(g.inbound.evidence)
	slices.Sort(g.outbound.evidence)
	refresh, told := g.refresh()
	if !g.directs(p.cfg.Declared) {
		refresh, told = p.cfg.Declared.Refresh.String(), true
	}
	agree := g.confirmed() && told && refresh == p.cfg.Declared.Refresh.String()
	rounds := agingRounds
	if g.blurred() || g.confirmed() && !told {
		rounds = blurredRounds
	}
	if !agree && g.round < rounds {
		p.startAging(now, g.again())
		return
	}
	measured := p.cfg.Declared.Get(g.axis)
	switch {
	case g.confirmed():
	case g.aliveAt == 0 && g.deadAt == 0:
		measured = analysis.Unreached
	case g.deadAt == 0:
		measured = ">" + brief(g.aliveAt)
	case g.aliveAt == 0:
		measured = "<" + brief(g.deadAt)
	case g.aliveAt >= g.deadAt:
		measured = analysis.Irregular
	default:
		measured = brief(g.aliveAt) + ".." + brief(g.deadAt)
	}
	p.find(g.axis, measured, g.evidence...)
	if g.confirmed() && told && g.directs(p.cfg.Declared) {
		// With another timeout the ages of these probes say nothing.
		p.find(nat.AxisRefresh, refresh, append(g.outbound.evidence, g.inbound.evidence...)...)
	}
}

// directs reports whether this is where the direction of refreshing is told. An
// inbound packet also makes a stream of a mapping: where those die much sooner, it
// cannot be seen to keep one alive.
func (g *aging) directs(b nat.Behavior) bool {
	return g.axis == nat.AxisTimeout && b.Resolved().Stream >= g.timeout*9/10
}

// refresh concludes which traffic keeps a mapping alive, if it can be told.
func (g *aging) refresh() (string, bool) {
	in, out := g.inbound.alive > 0, g.outbound.alive > 0
	if !in && g.inbound.dead == 0 || !out && g.outbound.dead == 0 {
		return "", false
	}
	switch {
	case in && out:
		return nat.RefreshBoth.String(), true
	case out:
		return nat.RefreshOutbound.String(), true
	case in:
		return nat.RefreshInbound.String(), true
	}
	return "neither", true
}

func direction(inbound bool) string {
	if inbound {
		return "inbound"
	}
	return "outbound"
}

// brief rounds to what is worth reading.
func brief(d time.Duration) string { return d.Round(time.Millisecond).String() }
