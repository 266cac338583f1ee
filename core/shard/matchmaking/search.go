package matchmaking

import (
	"slices"
	"time"
)

// maxSearch bounds the pairs looked at for one group beyond the first look at all:
// sets of many groups can be tried in more ways than there is time for.
const maxSearch = 1 << 15

// search looks for the match of one group after another.
type search struct {
	queue *Queue
	now   time.Time
	work  int // pairs that may still be looked at

	// candidates are the first of those that fit, in the order of waiting; at is
	// where to look for more.
	candidates []candidate
	at         int
	// reach are the numbers of players, as bits, that can be made up of the
	// candidates from an index on.
	reach  []uint64
	chosen []*entry
	budget int
}

// candidate is a group that accepts the one that a match is looked for, and is
// accepted.
type candidate struct {
	*entry
	window window
}

// from looks for a match of a group, among those who have waited longest first:
// most find theirs without a look at all others.
func (s *search) from(e *entry) (Match, bool) {
	missing := e.Players - len(e.Members)
	s.chosen = append(s.chosen[:0], e)
	if missing == 0 {
		return s.queue.form(s.now, s.chosen, e.latency), true
	}
	own := e.window(s.now)
	s.candidates, s.at, s.budget = s.candidates[:0], 0, maxSearch
	for most, more := 2*missing, true; more && s.budget > 0; most *= 4 {
		if more = s.gather(e, own, missing, most); s.reach[0]>>missing&1 == 0 {
			continue
		}
		before := s.budget
		common, ok := s.fill(0, missing, own, view(e))
		if s.work -= before - s.budget; ok {
			return s.queue.form(s.now, s.chosen, common.list), true
		}
	}
	return Match{}, false
}

// gather finds candidates, until there are so many, and what numbers of players
// they make up; false if there are no more.
func (s *search) gather(e *entry, own window, missing, most int) (more bool) {
	waiting := s.queue.pools[e.Players].waiting
	for ; s.at < len(waiting) && len(s.candidates) < most; s.at++ {
		o := waiting[s.at]
		if o.gone || o == e || len(o.Members) > missing {
			continue
		}
		s.work--
		if distance(e, o) > own.rating {
			continue
		}
		theirs := o.window(s.now)
		both := own.narrow(theirs)
		if distance(e, o) <= both.rating && near(e, o, both.latency) {
			s.candidates = append(s.candidates, candidate{o, theirs})
		}
	}
	s.reach = slices.Grow(s.reach[:0], len(s.candidates)+1)[:len(s.candidates)+1]
	s.reach[len(s.candidates)] = 1
	for i := len(s.candidates) - 1; i >= 0; i-- {
		s.reach[i] = s.reach[i+1] | s.reach[i+1]<<len(s.candidates[i].Members)
	}
	return s.at < len(waiting)
}

// fill adds candidates from an index on to those chosen until none is missing,
// and takes them back where that is not possible.
func (s *search) fill(from, missing int, w window, common region) (region, bool) {
	if missing == 0 {
		return common, true
	}
	for i := from; i < len(s.candidates); i++ {
		if s.reach[i]>>missing&1 == 0 {
			return common, false // not enough are left, or of the wrong sizes
		}
		if s.budget -= len(s.chosen); s.budget <= 0 {
			return common, false
		}
		c := s.candidates[i]
		if len(c.Members) > missing {
			continue
		}
		both := w.narrow(c.window)
		if !s.accepted(c, c.window.rating) {
			continue
		}
		with, ok := common.join(c.entry, both.latency)
		if !ok {
			continue
		}
		s.chosen = append(s.chosen, c.entry)
		if with, ok = s.fill(i+1, missing-len(c.Members), both, with); ok {
			return with, true
		}
		s.chosen = s.chosen[:len(s.chosen)-1]
	}
	return common, false
}

// accepted reports whether a candidate's rating and those chosen accept each
// other; with the first of them it has been made sure already.
func (s *search) accepted(c candidate, own int) bool {
	for _, o := range s.chosen[1:] {
		if d := distance(c.entry, o); d > own || d > o.window(s.now).rating {
			return false
		}
	}
	return true
}

func distance(a, b *entry) int {
	if a.rating > b.rating {
		return a.rating - b.rating
	}
	return b.rating - a.rating
}

// region is where groups could meet: the longest of their round trips to each
// region that all of them know who have measured any.
type region struct {
	list     []latency
	measured bool
}

func view(e *entry) region { return region{list: e.latency, measured: len(e.latency) > 0} }

// near reports whether two groups have a region within the limit.
func near(e, o *entry, limit int) bool {
	a, b := e.latency, o.latency
	if limit == open || len(a) == 0 || len(b) == 0 {
		return limit == open || withinOne(a, limit) && withinOne(b, limit)
	}
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].region < b[0].region:
			a = a[1:]
		case a[0].region > b[0].region:
			b = b[1:]
		case int(max(a[0].ms, b[0].ms)) <= limit:
			return true
		default:
			a, b = a[1:], b[1:]
		}
	}
	return false
}

// withinOne reports whether a group is within the limit of some region, as is
// one that has measured none.
func withinOne(list []latency, limit int) bool {
	best, measured := nearest(list)
	return !measured || int(best.ms) <= limit
}

// join adds a group, if a region within the limit remains.
func (r region) join(e *entry, limit int) (region, bool) {
	switch {
	case len(e.latency) == 0:
	case !r.measured:
		r = view(e)
	default:
		r.list = worst(r.list, e.latency)
	}
	if !r.measured || limit == open {
		return r, true
	}
	best, ok := nearest(r.list)
	return r, ok && int(best.ms) <= limit
}

// worst joins two lists: of the regions in both, the longer time.
func worst(a, b []latency) []latency {
	list := make([]latency, 0, min(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].region < b[0].region:
			a = a[1:]
		case a[0].region > b[0].region:
			b = b[1:]
		default:
			list = append(list, latency{a[0].region, max(a[0].ms, b[0].ms)})
			a, b = a[1:], b[1:]
		}
	}
	return list
}

// nearest is the region of the shortest time.
func nearest(list []latency) (best latency, ok bool) {
	for i, l := range list {
		if i == 0 || l.ms < best.ms {
			best = l
		}
	}
	return best, len(list) > 0
}
