package certify

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/nat"
)

const (
	// twoMinutes and fiveMinutes are of RFC 4787 REQ-5; margin is how much earlier a
	// mapping is looked at, for the kernel's timers are no finer.
	twoMinutes, fiveMinutes = 2 * time.Minute, 5 * time.Minute
	margin                  = time.Second
)

// measureLife is RFC 4787 REQ-5: mappings are left idle, each for a time of its
// own, up to the patience. Nothing is concluded from shorter times.
func (p *Probe) measureLife(time.Time) {
	ages := []time.Duration{twoMinutes - margin, fiveMinutes - margin}
	for age := p.cfg.Patience; age >= nat.MinTimeout; age /= 2 {
		ages = append(ages, age)
	}
	ages = slices.DeleteFunc(ages, func(age time.Duration) bool { return age > p.cfg.Patience })
	l := &lives{}
	p.phases = append([]func(now time.Time){func(time.Time) { l.judge(p) }}, p.phases...)
	for _, age := range ages {
		for range 2 { // a lost probe looks like a dead mapping
			p.inside(0, func(now time.Time, s *socket) {
				p.born(now, s, func(_ time.Time, x netip.AddrPort, sent, born time.Time) {
					p.after(born.Add(age), func(now time.Time) {
						p.knockOnce(now, s, x, func(shot *shot) {
							l.note(x, got(shot, s), shot.sent[0].Sub(born), shot.left[len(shot.left)-1].Sub(sent))
						})
					})
				}, func() {})
			})
		}
	}
}

// lives is how long mappings lived.
type lives struct {
	aliveAt, deadAt time.Duration
	evidence        []string
}

func (l *lives) note(x netip.AddrPort, alive bool, least, most time.Duration) {
	what, age := "alive", least
	if alive {
		l.aliveAt = max(l.aliveAt, least)
	} else {
		what, age = "gone", most
		if l.deadAt == 0 || most < l.deadAt {
			l.deadAt = most
		}
	}
	l.evidence = append(l.evidence, fmt.Sprintf("%s was %s when it had been idle for %s", x, what, brief(age)))
}

func (l *lives) judge(p *Probe) {
	for _, r := range []struct {
		id   string
		time time.Duration
	}{{"REQ-5", twoMinutes}, {"REQ-5c", fiveMinutes}} {
		switch {
		case l.deadAt > 0 && l.deadAt > l.aliveAt && l.deadAt < r.time:
			p.require(r.id, false, fmt.Sprintf("a mapping was gone when it had been idle for %s", brief(l.deadAt)), l.evidence...)
		case l.aliveAt >= r.time-margin-margin/2:
			p.require(r.id, true, fmt.Sprintf("a mapping was alive when it had been idle for %s", brief(l.aliveAt)), l.evidence...)
		default:
			p.judge(r.id, NotTested, fmt.Sprintf("it takes %s of silence, and --patience is %s; after %s a mapping was alive", spell(r.time), spell(p.cfg.Patience), brief(l.aliveAt)), l.evidence...)
		}
	}
}

// spell leaves out the zero units of a duration: 2m, not 2m0s.
func spell(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
