package matchmaking

import (
	"cmp"
	"slices"
	"time"
)

// maxWork bounds what one Advance costs: how many pairs of groups it looks at, a
// few milliseconds. Whoever's turn does not come is first in the next one.
const maxWork = 1 << 20

// Advance makes the matches that are possible now, and gives up on groups that
// have waited for GiveUpAfter. Neither wait any more.
//
// A match that is possible is found when the last of its groups was added or
// got a wider window: from there all sets of groups are tried, those who wait
// longest first, as far as the work of an Advance reaches (which only thousands
// of groups exceed that do not fit together).
func (q *Queue) Advance(now time.Time) (matches []Match, failed []Group) {
	q.advanced, q.next = now, time.Time{}
	for e := range q.all() {
		if now.Sub(e.since) >= GiveUpAfter {
			q.drop(e)
			failed = append(failed, e.Group)
		}
	}
	s := search{queue: q, now: now, work: maxWork}
	for _, e := range q.due(now) {
		if e.gone {
			continue // found by another one
		}
		if e.late = s.work <= 0; e.late {
			q.wake(now)
			continue
		}
		e.tried = steps(now.Sub(e.since))
		if match, ok := s.from(e); ok {
			matches = append(matches, match)
		}
	}
	for e := range q.all() {
		q.wake(e.nextStep())
	}
	return matches, failed
}

// due are the groups whose windows have grown since a match was looked for: those
// whose turn did not come last time, in the order of their windows' growing, then
// the others in the order of Add.
func (q *Queue) due(now time.Time) []*entry {
	var due []*entry
	for e := range q.all() {
		if steps(now.Sub(e.since)) > e.tried {
			due = append(due, e)
		}
	}
	slices.SortFunc(due, func(a, b *entry) int {
		switch {
		case a.late && b.late && !a.nextStep().Equal(b.nextStep()):
			return a.nextStep().Compare(b.nextStep())
		case a.late == b.late:
			return cmp.Compare(a.number, b.number)
		case a.late:
			return -1
		}
		return 1
	})
	return due
}

// form ends the waiting of groups that have found each other.
func (q *Queue) form(now time.Time, groups []*entry, common []latency) Match {
	slices.SortFunc(groups, func(a, b *entry) int { return cmp.Compare(a.number, b.number) })
	match := Match{Waited: now.Sub(groups[0].since)}
	if best, ok := nearest(common); ok {
		match.Region, match.Latency = q.regions.names[best.region], best.ms
	}
	for _, e := range groups {
		match.Groups = append(match.Groups, e.Group)
		q.pools[e.Players].waits.note(now.Sub(e.since))
		q.drop(e)
	}
	return match
}

// waits are the last times that groups waited for a match.
type waits struct {
	last  [32]time.Duration
	count int
}

func (w *waits) note(waited time.Duration) {
	w.last[w.count%len(w.last)] = max(waited, 0)
	w.count++
}

// Estimate is how long a match of so many players takes at present: what the
// last groups waited in the mean, or, before the first match, what those
// waited so far who wait now. Zero: nothing is known.
func (q *Queue) Estimate(now time.Time, players int) time.Duration {
	var sum time.Duration
	n := 0
	if players >= MinPlayers && players <= MaxPlayers {
		w := &q.pools[players].waits
		n = min(w.count, len(w.last))
		for _, d := range w.last[:n] {
			sum += d
		}
	}
	if n == 0 {
		for e := range q.all() {
			if e.Players == players {
				sum += max(now.Sub(e.since), 0)
				n++
			}
		}
	}
	if n == 0 {
		return 0
	}
	return sum / time.Duration(n)
}
