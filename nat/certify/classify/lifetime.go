package classify

import (
	"fmt"
	"slices"
	"time"

	"p2pmodel/nat"
)

const (
	// width is how many mappings are left idle at once, each until an age of its
	// own: what a bisection learns one after the other, they learn together.
	width = 8
	// fineness is the share of the lifetime to which it is found out.
	fineness = 50
	// finest is the least interval that is looked into: a round trip blurs more.
	finest = 50 * time.Millisecond
	// attempts bounds rounds that contradict the ones before.
	attempts = 12
)

// life is what is known of the lifetime: a mapping lived to be so old, and one was
// dead when it was.
type life struct {
	alive, dead time.Duration // dead 0: none was
	rounds      int
	evidence    []string
}

// measureLifetime looks for the age at which an idle mapping is gone (RFC 5780
// section 4.6): a second socket asks the server to answer to the port of the
// first one's mapping, so that the first is not refreshed. Of the server's
// answers only those count that come in.
func (m *Machine) measureLifetime(now time.Time) {
	if m.cfg.Lifetime == 0 {
		m.untold(nat.AxisTimeout, "it was not asked for: --lifetime 10m looks for it up to 10 minutes of silence")
		return
	}
	if m.untranslated() {
		m.untold(nat.AxisTimeout, "there is no mapping")
		return
	}
	// First whether the way of asking works at all.
	m.linger(0, nil, func(now time.Time, _ [2]time.Duration, q *query) {
		switch {
		case q == nil:
			m.untold(nat.AxisTimeout, "the server stopped answering")
		case q.refused != "":
			m.untold(nat.AxisTimeout, "the server does not answer to other ports (RESPONSE-PORT): %s", q.refused)
		case !q.answered:
			m.untold(nat.AxisTimeout, "an answer that another socket asked for does not enter a new mapping: the server ignores RESPONSE-PORT, or the NAT gives the sockets of one machine different addresses")
		default:
			m.searchLifetime(now, &life{})
		}
	})
}

// searchLifetime is one round.
func (m *Machine) searchLifetime(now time.Time, l *life) {
	l.rounds++
	low, high := l.alive, l.dead
	if high == 0 {
		high = m.cfg.Lifetime
	}
	waiting := width
	for i := range width {
		age := low + (high-low)*time.Duration(i+1)/(width+1)
		if l.dead == 0 {
			age = low + (high-low)*time.Duration(i+1)/width // the last one is the longest of all
			if l.alive == 0 {
				age = high >> (width - 1 - i) // twice as old each: most timeouts are far below the bound
			}
		}
		m.linger(age, l, func(now time.Time, idle [2]time.Duration, q *query) {
			if waiting--; q != nil {
				l.note(idle, q.answered)
				if !q.answered { // older ones need not be waited for
					before := len(m.alarms)
					m.alarms = slices.DeleteFunc(m.alarms, func(a alarm) bool { return a.of == l })
					waiting -= before - len(m.alarms)
				}
			}
			if waiting == 0 {
				m.judgeLifetime(now, l)
			}
		})
	}
}

func (l *life) note(idle [2]time.Duration, answered bool) {
	what, age := "there", idle[0]
	if answered {
		l.alive = max(l.alive, age)
	} else {
		what, age = "gone", idle[1]
		if l.dead == 0 || age < l.dead {
			l.dead = age
		}
	}
	l.evidence = append(l.evidence, fmt.Sprintf("a mapping that had been idle for %s was %s", brief(age), what))
}

func (m *Machine) judgeLifetime(now time.Time, l *life) {
	if l.dead > 0 && l.alive >= l.dead {
		l.dead = 0 // an answer was lost
		if l.rounds < attempts {
			m.searchLifetime(now, l)
			return
		}
		m.untold(nat.AxisTimeout, "mappings of one age lived and died: %s", l.evidence[len(l.evidence)-1])
		return
	}
	switch {
	case l.dead == 0 && l.alive >= m.cfg.Lifetime:
		m.untold(nat.AxisTimeout, "mappings live for longer than %s, where --lifetime stops looking", m.cfg.Lifetime)
	case l.dead == 0, l.dead-l.alive > max(l.dead/fineness, finest):
		if l.rounds < attempts {
			m.searchLifetime(now, l)
			return
		}
		m.untold(nat.AxisTimeout, "between %s and %s", brief(l.alive), brief(l.dead))
	default:
		middle := (l.alive + l.dead) / 2
		m.find(nat.AxisTimeout, brief(round(middle, (l.dead-l.alive)/2)),
			append(l.evidence, fmt.Sprintf("so it lies between %s and %s", brief(l.alive), brief(l.dead)))...)
	}
}

// round gives the roundest duration that is as good as d.
func round(d, tolerance time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Minute, 30 * time.Second, 10 * time.Second, 5 * time.Second, time.Second, 500 * time.Millisecond, 100 * time.Millisecond, 10 * time.Millisecond} {
		if r := d.Round(unit); r > 0 && (r-d).Abs() <= tolerance {
			return r
		}
	}
	return d.Round(time.Millisecond)
}

func brief(d time.Duration) string { return d.Round(time.Millisecond).String() }

// linger makes a mapping, leaves it alone until it is that old, and has another
// socket ask for an answer to it. then gets how long it was idle, at least and at
// most, and the question; that is nil if there was no mapping.
func (m *Machine) linger(age time.Duration, l *life, then func(now time.Time, idle [2]time.Duration, q *query)) {
	m.open(func(sent time.Time, s *socket) {
		m.ask(sent, &query{from: s, to: m.cfg.Server, origin: m.cfg.Server, done: func(born time.Time, first *query) {
			if !first.answered {
				then(born, [2]time.Duration{}, nil)
				return
			}
			m.alarms = append(m.alarms, alarm{at: born.Add(age), of: l, ring: func(time.Time) {
				m.open(func(now time.Time, second *socket) {
					// The answer gets to the NAT within a round trip.
					idle := [2]time.Duration{now.Sub(born), now.Sub(sent) + born.Sub(sent)}
					m.ask(now, &query{from: second, at: s, to: m.cfg.Server, origin: m.cfg.Server, port: first.reflexive.Port(), done: func(now time.Time, q *query) {
						then(now, idle, q)
					}})
				})
			}})
		}})
	})
}
